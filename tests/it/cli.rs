//! The built binary, as an operator calls it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// The binary with an environment that holds nothing of ours.
fn pgditto(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgditto"));
    command.args(args).env_remove("DATABASE_URL");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PGDITTO_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(args: &[&str]) -> Output {
    pgditto(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

const URL: &str = "postgres://shop:hush@db.internal:5433/orders";

#[test]
fn version_and_help_are_printed() {
    let output = run(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        format!("pgditto {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = stdout(&run(&["--help"]));
    for word in [
        "serve",
        "check-config",
        "print-config",
        "explain",
        "import-pgbouncer",
        "drain",
        "healthcheck",
        "--config",
        "--upstream",
        "--listen",
        "--http",
        "--set",
    ] {
        assert!(help.contains(word), "{word}\n{help}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [&["--nonsense"][..], &["frobnicate"], &["explain"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("Usage"), "{}", stderr(&output));
    }
}

#[test]
fn check_config_accepts_the_reference_with_a_url() {
    let output = run(&["check-config", "--config", "config.toml", "--upstream", URL]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn check_config_reports_every_mistake_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(
        dir.path(),
        "pgditto.toml",
        "[pool]\ndefault_pool_siz = 5\n\n[cache]\nttl = 30\n",
    );
    let output = run(&[
        "check-config",
        "--config",
        &path,
        "--set",
        "cache.mode=maybe",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    for message in [
        format!(
            "pgditto: {path}:2: unknown key pool.default_pool_siz; did you mean pool.default_pool_size?"
        ),
        format!("pgditto: {path}:5: cache.ttl: 30 has no unit: write \"30s\" for seconds"),
        "pgditto: flag --set: cache.mode: expected one of on, off, shadow, got \"maybe\"".into(),
        "--set auth.auth_type=trust".into(),
    ] {
        assert!(text.contains(&message), "{message}\n{text}");
    }
}

#[test]
fn start_without_a_secret_is_refused_and_names_the_way_out() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("--set auth.auth_type=trust"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn print_config_shows_origins_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(
        dir.path(),
        "pgditto.toml",
        "[pool]\ndefault_pool_size = 7\n",
    );
    let output = pgditto(&["print-config", "-c", &path, "--listen", "*:7000"])
        .env("PGDITTO_UPSTREAM_URL", URL)
        .env("DATABASE_URL", "postgres://x:y@stray/z")
        .env("PGDITTO_CACHE__MODE", "shadow")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(!text.contains("hush"), "{text}");
    for line in [
        "listen_addr = \"*\"  # from flag --listen".to_owned(),
        "listen_port = 7000  # from flag --listen".to_owned(),
        "host = \"db.internal\"  # from environment PGDITTO_UPSTREAM_URL".to_owned(),
        "password = \"***\"  # from environment PGDITTO_UPSTREAM_URL".to_owned(),
        "mode = \"shadow\"  # from environment PGDITTO_CACHE__MODE".to_owned(),
        "min_pool_size = 0  # from default".to_owned(),
        format!("default_pool_size = 7  # from {path}:2"),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn flags_are_taken_before_and_after_the_command() {
    for args in [
        ["--upstream", URL, "check-config"],
        ["check-config", "--upstream", URL],
    ] {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}

#[test]
fn reference_is_printed_as_it_stands_in_the_repository() {
    let output = run(&["print-config", "--reference"]);
    let file = std::fs::read_to_string("config.toml").unwrap();
    assert_eq!(stdout(&output), file);
}

#[test]
fn output_of_import_passes_check_config() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "userlist.txt", "\"shop\" \"hush\"\n");
    let ini = write(
        dir.path(),
        "pgbouncer.ini",
        "[databases]\n* = host=10.0.0.5\n[pgbouncer]\nlisten_addr = *\nauth_type = md5\n\
         auth_file = userlist.txt\npool_mode = transaction\npidfile = /run/p.pid\n",
    );
    let output = run(&["import-pgbouncer", &ini]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("pidfile: is not needed"));

    let path = write(dir.path(), "config.toml", &stdout(&output));
    let output = run(&["check-config", "--config", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn import_without_any_secret_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let ini = write(
        dir.path(),
        "pgbouncer.ini",
        "[databases]\n* = host=10.0.0.5\n[pgbouncer]\nlisten_addr = *\nauth_query = SELECT 1\n",
    );
    let output = run(&["import-pgbouncer", &ini]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("host = \"10.0.0.5\""));
    assert!(stdout(&output).contains("auth_query = \"SELECT 1\""));
    assert!(stderr(&output).contains("does not pass check-config yet"));

    let list = write(dir.path(), "users", "\"shop\" \"hush\"\n");
    let output = run(&["import-pgbouncer", &ini, "--userlist", &list]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn missing_ini_is_an_error() {
    let output = run(&["import-pgbouncer", "/nowhere/pgbouncer.ini"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("pgditto: cannot read /nowhere/pgbouncer.ini: "));
}

/// Answers requests one after the other, and returns them.
fn http_server(answers: Vec<&'static str>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap() == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            requests.push(String::from_utf8(request).unwrap());
            write!(
                stream,
                "HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n{answer}\n"
            )
            .unwrap();
        }
        requests
    });
    (address, thread)
}

#[test]
fn healthcheck_asks_readyz_and_needs_no_secret() {
    let (address, server) = http_server(vec!["200 OK", "503 Service Unavailable"]);
    let output = run(&["healthcheck", "--http", &address]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = run(&["healthcheck", "--http", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not ready: 503"));
    let requests = server.join().unwrap();
    assert!(requests[0].starts_with("GET /readyz HTTP/1.1\r\n"));

    let output = run(&["healthcheck", "--http", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("nobody listens on"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn healthcheck_gives_up_on_a_silent_process() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = run(&["healthcheck", "--http", &address, "--timeout", "200ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no answer in time"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn drain_sends_the_token_and_waits_until_done() {
    let dir = tempfile::tempdir().unwrap();
    let token = write(dir.path(), "token", "t0ken\n");
    let set = format!("http.admin_token_file={token}");
    let (address, server) = http_server(vec!["202 Accepted", "202 Accepted", "200 OK"]);
    let output = run(&["drain", "--http", &address, "--set", &set]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for request in server.join().unwrap() {
        assert!(request.starts_with("POST /drain HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nAuthorization: Bearer t0ken\r\n"));
    }
}

#[test]
fn drain_is_done_when_the_process_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let token = write(dir.path(), "token", "t0ken\n");
    let set = format!("http.admin_token_file={token}");
    let (address, server) = http_server(vec!["202 Accepted"]);
    let output = run(&["drain", "--http", &address, "--set", &set]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    server.join().unwrap();
}

#[test]
fn drain_that_is_refused_or_has_no_token_fails() {
    let dir = tempfile::tempdir().unwrap();
    let token = write(dir.path(), "token", "wrong\n");
    let set = format!("http.admin_token_file={token}");
    let (address, server) = http_server(vec!["403 Forbidden"]);
    let output = run(&["drain", "--http", &address, "--set", &set]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("refused (HTTP 403)"),
        "{}",
        stderr(&output)
    );
    server.join().unwrap();

    let output = run(&["drain", "--http", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("http.admin_token_file is not set"));
}

/// Answers GET with one client less each time, and POST once, as the last.
fn leaving_clients(mut clients: u32) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let mut methods = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let method = String::from_utf8(request).unwrap();
            let method = method.split(' ').next().unwrap().to_owned();
            let drains = method == "POST";
            methods.push(format!("{method} {clients}"));
            let body = format!("pgditto_clients{{state=\"idle\"}} {clients}\n");
            write!(
                stream,
                "HTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\n{body}"
            )
            .unwrap();
            if drains {
                break;
            }
            clients = clients.saturating_sub(1);
        }
        methods
    });
    (address, thread)
}

#[test]
fn drain_waits_for_clients_before_it_asks() {
    let dir = tempfile::tempdir().unwrap();
    let token = write(dir.path(), "token", "t0ken\n");
    let set = format!("http.admin_token_file={token}");
    let (address, server) = leaving_clients(2);
    let output = run(&[
        "drain",
        "--wait-for-clients",
        "--http",
        &address,
        "--set",
        &set,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let requests = server.join().unwrap();
    assert_eq!(requests[..3], ["GET 2", "GET 1", "GET 0"]);
    assert_eq!(requests.last().unwrap(), "POST 0");
    assert!(
        requests.len() > 5,
        "a moment without clients is not enough: {requests:?}"
    );
}

#[test]
fn drain_that_waits_is_done_when_the_process_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let token = write(dir.path(), "token", "t0ken\n");
    let set = format!("http.admin_token_file={token}");
    let (address, server) = http_server(vec!["200 OK\r\n\r\npgditto_clients{state=\"idle\"} 1\n"]);
    let output = run(&[
        "drain",
        "--wait-for-clients",
        "--http",
        &address,
        "--set",
        &set,
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    server.join().unwrap();
}
