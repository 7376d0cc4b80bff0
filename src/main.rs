fn main() -> std::process::ExitCode {
    pgditto::cli::run(std::env::args_os())
}
