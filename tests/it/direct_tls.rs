//! TLS towards the server that begins with the first byte: `sslnegotiation=direct`.

use std::sync::{Arc, Mutex};
use std::thread;

use bytes::BytesMut;
use pgditto::config::{ClientSslMode, ClientTlsConfig};
use pgditto::wire::frontend;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::fixture::{
    CertificateFiles, Certificates, Options, Pgditto, Postgres, PsqlOutput, Wait, Wire, error_code,
    eventually, psql,
};

/// The first byte of a TLS handshake; that of an SSLRequest is zero.
const HANDSHAKE: u8 = 0x16;

/// What stands between a pgditto and a server and ends TLS there.
struct Terminator {
    port: u16,
    /// With what each connection began.
    begun: Arc<Mutex<Vec<u8>>>,
}

impl Terminator {
    /// Passes on in clear what comes by TLS. It knows nothing of SSLRequest; with `alpn` it chooses
    /// `postgresql`.
    async fn before(server: u16, files: &CertificateFiles, alpn: bool) -> Self {
        let acceptor = pgditto::tls::server(&ClientTlsConfig {
            sslmode: ClientSslMode::Require,
            cert_file: Some(files.certificate()),
            key_file: Some(files.key()),
            ..ClientTlsConfig::default()
        });
        let acceptor = acceptor.expect("its files").expect("turned on");
        let mut config = rustls::ServerConfig::clone(&acceptor.config);
        if !alpn {
            config.alpn_protocols.clear();
        }
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let terminator = Self {
            port: listener.local_addr().expect("bound").port(),
            begun: Arc::default(),
        };
        let begun = Arc::clone(&terminator.begun);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(
                    client,
                    server,
                    acceptor.clone(),
                    Arc::clone(&begun),
                ));
            }
        });
        terminator
    }
}

async fn pass_on(
    client: TcpStream,
    server: u16,
    acceptor: TlsAcceptor,
    begun: Arc<Mutex<Vec<u8>>>,
) -> std::io::Result<()> {
    let mut first = [0];
    if client.peek(&mut first).await? == 1 {
        begun.lock().expect("no panic").push(first[0]);
    }
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// A certificate for loopback and its authority.
fn loopback() -> CertificateFiles {
    CertificateFiles::write(&Certificates::for_names(&["localhost", "127.0.0.1"]))
}

/// The application's URL on this port, TLS being begun directly.
fn directly(port: u16, files: &CertificateFiles) -> String {
    let authority = files.authority();
    format!(
        "postgres://app:secret@127.0.0.1:{port}/app?sslmode=verify-full&sslrootcert={}&sslnegotiation=direct",
        authority.display()
    )
}

fn ask(pgditto: &Pgditto, user: &str, sql: &str) -> PsqlOutput {
    let port = pgditto.port;
    let conninfo = format!(
        "host=127.0.0.1 port={port} user={user} password=secret dbname=app sslmode=disable"
    );
    psql(&conninfo, &["-Atq", "-c", sql], "")
}

fn cancel(port: u16, pid: u32, key: &[u8]) {
    let mut wire = Wire::open(port);
    let mut packet = BytesMut::new();
    frontend::cancel_request(&mut packet, pid, key);
    wire.send(&packet);
    assert!(wire.read().is_none(), "a CancelRequest has no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_begins_with_tls_and_asks_nothing_before() {
    let postgres = Postgres::start(&[]);
    postgres.allow("host replication app 127.0.0.1/32 scram-sha-256");
    postgres.psql(
        "ALTER ROLE app REPLICATION; CREATE TABLE item (id int); GRANT SELECT ON item TO app;
         CREATE ROLE asker LOGIN PASSWORD 'secret'; CREATE ROLE amy LOGIN PASSWORD 'secret';
         CREATE FUNCTION lookup(INOUT name text, OUT secret text) LANGUAGE sql SECURITY DEFINER
            AS $$ SELECT usename, passwd FROM pg_shadow WHERE usename = name $$",
    );
    let files = loopback();
    let server = Terminator::before(postgres.port, &files, true).await;
    let pgditto = Pgditto::start(&postgres, |o: &mut Options| {
        let [asker, app] = ["auth_user = \"asker\"", "name = \"app\""];
        let users = format!(
            "[auth]\n{asker}\nauth_dbname = \"app\"\nauth_query = \"SELECT * FROM lookup($1)\"\n\
             [[users]]\n{app}\npassword = \"secret\"\n\
             [[users]]\nname = \"asker\"\npassword = \"secret\"\n"
        );
        let file = files.authority().with_file_name("config.toml");
        std::fs::write(&file, users).expect("a file");
        o.args(&["--config", &file.display().to_string()])
            .upstream(directly(server.port, &files));
    });
    // The guard's: without it nothing would be answered from memory.
    eventually("a hit", || {
        assert_eq!(
            ask(&pgditto, "app", "SELECT count(*) FROM item").stdout,
            "0\n"
        );
        let hits = [("outcome", "hit")];
        pgditto.metrics().sum("pgditto_statements_total", &hits) > 0.0
    });
    // That of auth_query, and amy's own.
    let output = ask(&pgditto, "amy", "SELECT current_user");
    assert_eq!(output.stdout, "amy\n", "{output:?}");
    let mut sleeper = Wire::connect(pgditto.port);
    let (port, pid, key) = (pgditto.port, sleeper.pid, sleeper.key.clone());
    let sleeps = thread::spawn(move || sleeper.query("SELECT pg_sleep(600)"));
    eventually("it sleeps", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        postgres.psql(sql) == "1"
    });
    cancel(port, pid, &key);
    assert_eq!(error_code(&sleeps.join().expect("an answer")), "57014");
    let mut walsender = Wire::connect_to(port, "app", &[("replication", "true")]);
    assert_eq!(walsender.rows("IDENTIFY_SYSTEM").len(), 1);
    // There was no other way to the server.
    let begun = server.begun.lock().expect("no panic").clone();
    assert!(begun.iter().all(|first| *first == HANDSHAKE), "{begun:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_name_its_protocol_is_refused() {
    let postgres = Postgres::start(&[]);
    let files = loopback();
    let server = Terminator::before(postgres.port, &files, false).await;
    let pgditto = Pgditto::start(&postgres, |o| {
        o.wait(Wait::Listening)
            .upstream(directly(server.port, &files));
    });
    let output = ask(&pgditto, "app", "SELECT 1");
    let expected = "the TLS handshake with the upstream server failed";
    assert!(output.stderr.contains(expected), "{output:?}");
    eventually("the guard says why", || {
        says(
            &pgditto,
            "authority::guard",
            "did not choose postgresql by ALPN",
        )
    });
}

#[test]
fn postgresql_takes_it_since_version_17_and_before_the_error_says_so() {
    let certificates = Certificates::for_names(&["localhost", "127.0.0.1"]);
    let files = CertificateFiles::write(&certificates);
    let postgres = Postgres::start_tls(&[], &certificates);
    let pgditto = Pgditto::start(&postgres, |o| {
        o.wait(Wait::Listening)
            .upstream(directly(postgres.port, &files));
    });
    let output = ask(&pgditto, "app", "SELECT 1");
    if postgres.major() >= 17 {
        assert_eq!(output.stdout, "1\n", "{output:?}");
        let ours = "FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'app'";
        eventually("the guard stands", || {
            let guards = format!("SELECT count(*) {ours} AND application_name LIKE 'pgditto%'");
            postgres.psql(&guards) != "0"
        });
        let in_clear = format!("SELECT count(*) {ours} AND NOT ssl");
        assert_eq!(postgres.psql(&in_clear), "0");
    } else {
        let expected = "the TLS handshake with the upstream server failed";
        assert!(output.stderr.contains(expected), "{output:?}");
        eventually("the guard names the way out", || {
            says(&pgditto, "authority::guard", "since version 17")
                && says(&pgditto, "authority::guard", "server_tls_sslnegotiation")
        });
    }
}

#[test]
fn a_pgditto_takes_it_from_another() {
    let postgres = Postgres::start(&[]);
    let files = loopback();
    let near = Pgditto::start(&postgres, |o| {
        o.set("client_tls.client_tls_sslmode", "require")
            .set(
                "client_tls.client_tls_cert_file",
                files.certificate().display(),
            )
            .set("client_tls.client_tls_key_file", files.key().display());
    });
    let far = Pgditto::start(&postgres, |o| {
        o.wait(Wait::Listening)
            .upstream(directly(near.port, &files));
    });
    let output = ask(&far, "app", "SELECT current_user");
    assert_eq!(output.stdout, "app\n", "{output:?}");
    // It takes no client in clear, so the connection between them is not.
    assert!(!ask(&near, "app", "SELECT 1").success);
}

/// Whether a line of its log holds both.
fn says(pgditto: &Pgditto, who: &str, what: &str) -> bool {
    let log = pgditto.log();
    log.iter()
        .any(|line| line.contains(who) && line.contains(what))
}
