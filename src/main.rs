fn main() {
    tracing_subscriber::fmt().with_env_filter("info,pgditto=debug").with_writer(std::io::stderr).init();
    let a: Vec<String> = std::env::args().collect();
    let mut s = pgditto::config::Source::new(None, std::env::vars_os());
    s.upstream(&a[1]); s.listen(&a[2]);
    for x in &a[3..] { s.set(x); }
    tokio::runtime::Runtime::new().unwrap().block_on(async { pgditto::app::serve(s).await.unwrap() });
}
