//! Logging in: every method, every sslmode, and servers that mean no good.

use bytes::{BufMut, BytesMut};
use pgditto::auth::{ScramKeys, ScramServer, md5_response};
use pgditto::config::{Config, SslMode};
use pgditto::upstream::{ConnectOptions, Connection, UpstreamError};
use pgditto::wire::{
    ErrorReport, SqlState, StartupPacket, TransactionStatus, backend, frontend, tag,
};
use tokio::time::Instant;

use super::script::{Peer, Script};
use super::{lease, pools, value};
use crate::fixture::{Certificates, DATABASE, DEADLINE, PASSWORD, Postgres, USER};

async fn begin(script: &Script) -> Peer {
    let mut peer = script.accept().await;
    let startup = peer.startup().await;
    assert_eq!((startup.major, startup.minor), (3, 0));
    assert_eq!(startup.get("user"), Some("app"));
    assert_eq!(startup.get("database"), Some("app"));
    peer
}

#[tokio::test]
async fn trusted_user_is_in_at_once() {
    let script = Script::new().await;
    let client = script.connect(|_| {});
    let mut peer = begin(&script).await;
    peer.welcome(42).await;
    let connection = client.await.unwrap().expect("logged in");
    assert_eq!(connection.pid, 42);
    assert_eq!(&connection.key[..], [1, 2, 3, 4]);
    assert_eq!(connection.parameters["server_version"], "15.0");
    assert_eq!(connection.status, TransactionStatus::Idle);
    drop(connection);
    assert_eq!(peer.frame().await.tag(), tag::frontend::TERMINATE);
}

#[tokio::test]
async fn cleartext_and_md5_passwords_are_given_when_asked_for() {
    let script = Script::new().await;
    let client = script.connect(|_| {});
    let mut peer = begin(&script).await;
    peer.send(backend::authentication_cleartext).await;
    let answer = peer.frame().await;
    assert_eq!(
        frontend::read_password(answer.body()).unwrap(),
        PASSWORD.as_bytes()
    );
    peer.welcome(1).await;
    client.await.unwrap().expect("logged in");

    let client = script.connect(|_| {});
    let mut peer = begin(&script).await;
    peer.send(|out| backend::authentication_md5(out, *b"salt"))
        .await;
    let answer = peer.frame().await;
    let expected = md5_response(USER, PASSWORD, *b"salt");
    assert_eq!(
        frontend::read_password(answer.body()).unwrap(),
        expected.as_bytes()
    );
    peer.welcome(1).await;
    client.await.unwrap().expect("logged in");
}

/// Plays SCRAM up to the client's proof; returns the server's last message.
async fn scram(peer: &mut Peer) -> Vec<u8> {
    let keys = ScramKeys::from_password(PASSWORD, *b"salt of a script");
    let mut server = ScramServer::new(keys, true);
    let mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"];
    peer.send(|out| backend::authentication_sasl(out, &mechanisms))
        .await;
    let first = peer.frame().await;
    let first = frontend::SaslInitial::read(first.body()).unwrap();
    assert_eq!(first.mechanism, b"SCRAM-SHA-256");
    let challenge = server
        .first(first.data.expect("data"))
        .expect("a challenge");
    peer.send(|out| backend::authentication_sasl_continue(out, &challenge))
        .await;
    let last = peer.frame().await;
    server.last(last.body()).expect("the right password")
}

#[tokio::test]
async fn scram_proves_both_sides() {
    let script = Script::new().await;
    let client = script.connect(|_| {});
    let mut peer = begin(&script).await;
    let proof = scram(&mut peer).await;
    peer.send(|out| backend::authentication_sasl_final(out, &proof))
        .await;
    peer.welcome(1).await;
    client.await.unwrap().expect("logged in");
}

#[tokio::test]
async fn server_that_cannot_prove_itself_is_left() {
    for wrong_proof in [true, false] {
        let script = Script::new().await;
        let client = script.connect(|_| {});
        let mut peer = begin(&script).await;
        scram(&mut peer).await;
        if wrong_proof {
            let proof = b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
            peer.send(|out| backend::authentication_sasl_final(out, proof))
                .await;
        } else {
            // Straight to the welcome, as if nothing had to be proved.
            peer.welcome(1).await;
        }
        let error = client.await.unwrap().expect_err("no proof");
        assert!(
            matches!(error, UpstreamError::Authentication(_)),
            "{error:?}"
        );
        assert!(peer.is_left().await);
    }
}

#[tokio::test]
async fn password_that_is_not_known_is_not_made_up() {
    let script = Script::new().await;
    let client = script.connect(|target| target.password = None);
    let mut peer = begin(&script).await;
    peer.send(backend::authentication_cleartext).await;
    let error = client.await.unwrap().expect_err("no password");
    assert!(
        matches!(error, UpstreamError::NoPassword { .. }),
        "{error:?}"
    );
    assert_eq!(error.sqlstate(), SqlState::INVALID_AUTHORIZATION);
}

#[tokio::test]
async fn refusal_is_kept_as_the_server_said_it() {
    let script = Script::new().await;
    let client = script.connect(|_| {});
    let mut peer = begin(&script).await;
    let report = ErrorReport::fatal(
        SqlState::NO_SUCH_DATABASE,
        "database \"app\" does not exist",
    )
    .with_hint("Make it.");
    let mut frame = BytesMut::new();
    backend::error(&mut frame, &report);
    peer.raw(&frame).await;
    let error = client.await.unwrap().expect_err("refused");
    assert_eq!(error.frame().map(|frame| &frame[..]), Some(&frame[..]));
    assert_eq!(error.sqlstate(), SqlState::NO_SUCH_DATABASE);
}

#[tokio::test]
async fn hostile_logins_end_in_errors() {
    type Act = fn(&mut BytesMut);
    let acts: &[(&str, Act)] = &[
        ("a message of a gigabyte", |out| {
            out.put_slice(b"R\x40\0\0\0")
        }),
        ("a negative length", |out| {
            out.put_slice(b"R\xff\xff\xff\xff")
        }),
        ("a length below four", |out| out.put_slice(b"S\0\0\0\x03")),
        ("ready before the authentication", |out| {
            backend::ready_for_query(out, TransactionStatus::Idle);
        }),
        ("a parameter before the authentication", |out| {
            backend::parameter_status_message(out, b"a", b"b");
        }),
        ("a proof that nobody asked for", |out| {
            backend::authentication_sasl_final(out, b"v=");
        }),
        ("an unknown method", |out| {
            out.put_slice(b"R\0\0\0\x08\0\0\0\x07")
        }),
        ("no mechanism in common", |out| {
            backend::authentication_sasl(out, &["OAUTHBEARER"]);
        }),
        ("a second authentication", |out| {
            backend::authentication_ok(out);
            backend::authentication_cleartext(out);
        }),
        ("rows", |out| {
            backend::authentication_ok(out);
            backend::data_row_message(out, &[None]);
        }),
        ("a key that is none", |out| {
            backend::authentication_ok(out);
            out.put_slice(b"K\0\0\0\x05\0");
        }),
        ("notices without end", |out| {
            backend::authentication_ok(out);
            let report = ErrorReport::warning(SqlState::WARNING, "");
            (0..2000).for_each(|_| backend::notice(out, &report));
        }),
        ("names without end", |out| {
            backend::authentication_ok(out);
            for number in 0..500 {
                let name = format!("name{number}");
                backend::parameter_status_message(out, name.as_bytes(), b"");
            }
        }),
    ];
    for (what, act) in acts {
        let script = Script::new().await;
        let client = script.connect(|_| {});
        let mut peer = begin(&script).await;
        peer.send(act).await;
        assert!(client.await.unwrap().is_err(), "{what}");
        assert!(peer.is_left().await, "{what}");
    }
}

#[tokio::test]
async fn silent_server_is_given_up() {
    let script = Script::new().await;
    let config = super::config_for(script.port(), |_| {});
    let target = pgditto::upstream::Target::new(
        &config.upstream,
        &config.server_tls,
        None,
        "app",
        "app",
        None,
    );
    let options = ConnectOptions {
        timeout: std::time::Duration::from_millis(50),
        ..Default::default()
    };
    let error = Connection::connect(&target, &options)
        .await
        .expect_err("silence");
    assert!(
        matches!(error, UpstreamError::ConnectTimeout(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn bytes_before_the_handshake_are_refused() {
    let config = super::config_for(1, |config| config.server_tls.sslmode = SslMode::Require);
    let tls = pgditto::tls::upstream(&config.server_tls).expect("no files");
    for (answer, expected) in [
        (&b"S\x16"[..], "unencrypted data"),
        (b"N", "does not support TLS"),
        (b"E\0\0\0\x08oops", "an error in answer"),
        (b"x", "0x78"),
    ] {
        let script = Script::new().await;
        let client = script.connect(|target| {
            target.sslmode = SslMode::Require;
            target.tls.clone_from(&tls);
        });
        let mut peer = script.accept().await;
        assert!(matches!(peer.packet().await, StartupPacket::Ssl));
        peer.raw(answer).await;
        let error = client.await.unwrap().expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn prefer_goes_on_in_clear_where_tls_is_not_offered() {
    let config = super::config_for(1, |config| config.server_tls.sslmode = SslMode::Prefer);
    let tls = pgditto::tls::upstream(&config.server_tls).expect("no files");
    let script = Script::new().await;
    let client = script.connect(|target| {
        target.sslmode = SslMode::Prefer;
        target.tls = tls;
    });
    let mut peer = script.accept().await;
    assert!(matches!(peer.packet().await, StartupPacket::Ssl));
    peer.raw(b"N").await;
    peer.startup().await;
    peer.welcome(1).await;
    assert!(!client.await.unwrap().expect("logged in").is_encrypted());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sslmode_meets_a_server_with_tls() {
    let certificates = Certificates::for_names(&["localhost", "127.0.0.1"]);
    let strangers = Certificates::for_names(&["localhost"]);
    let postgres = Postgres::start_tls(&[], &certificates);
    postgres.allow("hostnossl nobody,app app 127.0.0.1/32 reject");
    let folder = tempfile::tempdir().expect("a folder");
    let ours = folder.path().join("ours.pem");
    let theirs = folder.path().join("theirs.pem");
    std::fs::write(&ours, &certificates.authority_pem).expect("a file");
    std::fs::write(&theirs, &strangers.authority_pem).expect("a file");
    let attempt = async |sslmode, ca_file: Option<&std::path::Path>| {
        let pools = pools(postgres.port, |config: &mut Config| {
            config.server_tls.sslmode = sslmode;
            config.server_tls.ca_file = ca_file.map(Into::into);
        });
        let pool = super::app_of(&pools);
        let mut lease = super::try_lease(&pool).await?;
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(value(&mut lease, sql).await, "t");
        assert!(lease.is_encrypted());
        assert!(
            pool.servers()[0].tls.starts_with("TLSv1.3/TLS_"),
            "{:?}",
            pool.servers()
        );
        Ok::<_, pgditto::upstream::LeaseError>(())
    };
    for (sslmode, ca_file, expected) in [
        // Its pg_hba.conf admits nobody in clear.
        (SslMode::Disable, None, false),
        (SslMode::Allow, None, true),
        (SslMode::Prefer, None, true),
        (SslMode::Require, None, true),
        (SslMode::VerifyCa, Some(&*ours), true),
        (SslMode::VerifyFull, Some(&*ours), true),
        (SslMode::VerifyCa, Some(&*theirs), false),
        (SslMode::VerifyFull, Some(&*theirs), false),
    ] {
        let outcome = attempt(sslmode, ca_file).await;
        assert_eq!(outcome.is_ok(), expected, "{sslmode:?}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_socket_is_a_directory() {
    let postgres = Postgres::start(&[]);
    let pools = pools(postgres.port, |config| {
        config.upstream.host = postgres.socket_dir().display().to_string();
        config.server_tls.sslmode = SslMode::Require;
    });
    let pool = pools.get(DATABASE, "postgres").expect("a pool");
    let mut lease = lease(&pool).await;
    assert_eq!(value(&mut lease, "SELECT current_user").await, "postgres");
    assert!(
        pool.servers()[0]
            .address
            .ends_with(&format!(".s.PGSQL.{}", postgres.port))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn control_statements_tell_what_happened() {
    let postgres = Postgres::start(&[]);
    let pool = super::pool(&postgres, |_| {});
    let mut lease = lease(&pool).await;
    let deadline = || Instant::now() + DEADLINE;
    let rows = lease
        .simple("SELECT 1, NULL; SELECT 'é', ''", deadline())
        .await;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        rows.unwrap(),
        [vec![some("1"), None], vec![some("é"), some("")]]
    );
    let error = lease.simple("SELECT 1/0", deadline()).await.unwrap_err();
    assert!(
        matches!(&error, UpstreamError::Server { message, .. } if message == "division by zero")
    );
    assert!(!lease.is_broken());
    assert_eq!(
        lease
            .simple("SET application_name = 'x'", deadline())
            .await
            .unwrap()
            .len(),
        0
    );
    assert_eq!(lease.parameters["application_name"], "x");
    lease.simple("BEGIN", deadline()).await.unwrap();
    assert_eq!(lease.status, TransactionStatus::InBlock);
    let odd = lease
        .simple(
            "SET client_encoding = 'LATIN1'; SELECT 'e', chr(233)",
            deadline(),
        )
        .await;
    assert!(matches!(odd, Err(UpstreamError::Encoding)), "{odd:?}");
    assert!(!lease.is_broken());
    // Left in the middle, it cannot be used again.
    let late = lease.simple("SELECT pg_sleep(60)", Instant::now()).await;
    assert!(matches!(late, Err(UpstreamError::Deadline)), "{late:?}");
    assert!(lease.is_broken());
    assert!(lease.simple("SELECT 1", deadline()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn pump_writes_and_reads_more_than_any_buffer_holds() {
    let postgres = Postgres::start(&[]);
    let pool = super::pool(&postgres, |_| {});
    let mut lease = lease(&pool).await;
    // Many statements whose answers come while the rest is still being sent.
    let padding = "x".repeat(1 << 20);
    let mut outgoing = BytesMut::new();
    for _ in 0..64 {
        frontend::query(&mut outgoing, format!("SELECT '{padding}'").as_bytes());
    }
    let mut ready = 0;
    while ready < 64 {
        while let Some(frame) = pgditto::wire::take_frame(&mut lease.input, 2 << 20).unwrap() {
            ready += usize::from(frame.tag() == tag::backend::READY_FOR_QUERY);
        }
        if ready < 64 {
            lease.pump(&mut outgoing).await.expect("a connection");
        }
    }
    assert!(outgoing.is_empty());
    lease.finish(true);
    assert_eq!(pool.stats().sv_idle, 1);
}
