use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pgditto::admin::{House, http};
use pgditto::metrics::Phase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::house::Played;
use crate::fixture::tool;

const TOKEN: &str = "a-token-of-twenty-chars";

struct Served {
    house: Arc<Played>,
    address: SocketAddr,
    _token: tempfile::NamedTempFile,
}

async fn serve(token: bool) -> Served {
    let house = Played::new();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{TOKEN}").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let access = http::Access::new(token.then(|| file.path().to_owned()));
    let door: Arc<dyn House> = house.clone();
    tokio::spawn(http::serve(listener, access, door));
    Served {
        house,
        address,
        _token: file,
    }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Served {
    async fn send(&self, request: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        let read = stream.read_to_end(&mut reply);
        let _ = tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .unwrap();
        let reply = String::from_utf8(reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Reply {
            status: status.unwrap_or(0),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str) -> Reply {
        let host = self.address;
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await
    }

    async fn drain(&self, headers: &str) -> Reply {
        let host = self.address;
        self.send(&format!(
            "POST /drain HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{headers}\r\n"
        ))
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_tell_life_from_readiness() {
    let served = serve(false).await;
    let health = served.get("/healthz").await;
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    assert_eq!(served.get("/readyz").await.status, 200);
    *served.house.upstream_reachable.lock() = false;
    let reply = served.get("/readyz").await;
    assert_eq!(reply.status, 503);
    assert!(reply.head.contains("content-type: application/json"));
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(body["reason"], "upstream unreachable");
    *served.house.phase.lock() = Phase::Draining;
    let body = served.get("/readyz").await.body;
    assert!(body.contains("draining"), "{body}");
    assert_eq!(served.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_satisfy_promtool() {
    let served = serve(false).await;
    let reply = served.get("/metrics").await;
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("text/plain; version=0.0.4"));
    for line in [
        "pgditto_statements_total{database=\"shop\",outcome=\"bypass\"} 1",
        "pgbouncer_pools_server_idle_connections{database=\"shop\",user=\"app\"} 5",
        "pgbouncer_up 1",
    ] {
        assert!(reply.body.lines().any(|l| l == line), "{line}");
    }
    let mut promtool = tool("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(reply.body.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    // Its advice on names does not fit the names that pgbouncer_exporter has chosen.
    let ours = said.lines().filter(|line| !line.starts_with("pgbouncer_"));
    let ours: Vec<&str> = ours.collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_needs_the_token_and_the_same_site() {
    let served = serve(true).await;
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let wrong = format!("Authorization: Bearer {TOKEN}x\r\n");
    for headers in [
        String::new(),
        wrong,
        format!("{bearer}Origin: http://evil.example\r\n"),
        format!("{bearer}Sec-Fetch-Site: cross-site\r\n"),
    ] {
        assert_eq!(served.drain(&headers).await.status, 403, "{headers}");
    }
    let get = served.get("/drain").await;
    assert_eq!(get.status, 405);
    assert!(get.head.contains("allow: post"));
    assert!(served.house.commands().is_empty());
    assert_eq!(served.drain(&bearer).await.status, 202);
    assert_eq!(served.house.commands(), ["drain"]);
    assert_eq!(served.get("/readyz").await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_file_drain_is_refused() {
    let served = serve(false).await;
    let reply = served
        .drain(&format!("Authorization: Bearer {TOKEN}\r\n"))
        .await;
    assert_eq!(reply.status, 403);
    assert!(reply.body.contains("admin_token_file"));
    assert!(served.house.commands().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_shows_what_the_console_shows() {
    let served = serve(false).await;
    for (path, key, value) in [
        ("pools", "sv_idle", serde_json::json!(5)),
        ("clients", "id", serde_json::json!(41)),
        ("servers", "remote_pid", serde_json::json!(777)),
        ("cache", "name", serde_json::json!("mode")),
        ("cache_tables", "relation", serde_json::json!("public.b")),
        ("slow", "total_time", serde_json::json!(1_203_000)),
        ("queries", "shape", serde_json::json!("0000000000000007")),
        ("pins", "reason", serde_json::json!("listen")),
    ] {
        let reply = served.get(&format!("/api/v1/{path}")).await;
        assert_eq!(reply.status, 200, "{path}");
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(body["rows"][0][key], value, "{path}");
        assert!(!reply.body.contains("secret"), "{path}");
    }
    assert_eq!(served.get("/api/v1/nothing").await.status, 404);
    assert_eq!(served.get("/api/v1/config").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_here_from_elsewhere_sees_nothing() {
    let served = serve(true).await;
    let ask = async |path: &str, more: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: rebound.example\r\n{more}\r\n");
        served.send(&request).await.status
    };
    for path in ["/", "/api/v1/slow"] {
        assert_eq!(ask(path, "").await, 403, "{path}");
        let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
        assert_eq!(ask(path, &bearer).await, 200, "{path}");
    }
    assert_eq!(ask("/metrics", "").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_no_script_and_escapes_what_clients_chose() {
    let served = serve(false).await;
    let reply = served.get("/").await;
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .head
            .contains("content-security-policy: default-src 'none'")
    );
    assert!(reply.body.contains("color-scheme:light dark"));
    assert!(!reply.body.contains("<b>till"), "{}", reply.body);
    assert!(reply.body.contains("&lt;b&gt;till"));
    assert!(!reply.body.contains("<script") && !reply.body.contains("http://"));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_heads_and_odd_requests_are_refused() {
    let served = serve(false).await;
    let long = "x".repeat(40_000);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n");
    assert!(matches!(served.send(&request).await.status, 431 | 0));
    let many = "X-A: b\r\n".repeat(500);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    assert_eq!(served.send(&request).await.status, 431);
    let request = "DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(served.send(request).await.status, 405);
    assert_eq!(
        served.send("\x16\x03\x01 garbage\r\n\r\n").await.status,
        400
    );
    let head = served
        .send("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_keep_the_probes_out_for_long() {
    let served = serve(false).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    // They are closed when their time for a request's head is over.
    let mut waited = Duration::ZERO;
    while served.get("/healthz").await.status != 200 {
        let pause = Duration::from_millis(200);
        tokio::time::sleep(pause).await;
        waited += pause;
        assert!(waited < Duration::from_secs(15));
    }
}
