//! SCRAM-SHA-256-PLUS: a login that holds for one TLS connection and not for one that is passed on.

use pgditto::config::SslMode;

use super::interceptor::intercept;
use super::{libpq, loopback, offer_tls};
use crate::fixture::{Certificates, Pgditto, Postgres, psql};
use crate::upstream;

#[test]
fn clients_may_demand_channel_binding_over_tls() {
    let postgres = Postgres::start(&[]);
    let files = loopback();
    let pgditto = Pgditto::start(&postgres, |o| offer_tls(o, "allow", &files));
    for binding in ["require", "prefer", "disable"] {
        let login = libpq(
            pgditto.port,
            &format!("sslmode=require channel_binding={binding}"),
        );
        assert!(login.success, "{binding}: {login:?}");
    }
    // There is nothing to bind in clear.
    assert!(libpq(pgditto.port, "sslmode=disable channel_binding=prefer").success);
    let login = libpq(pgditto.port, "sslmode=disable channel_binding=require");
    assert!(!login.success, "{login:?}");
    let login = libpq(
        pgditto.port,
        "sslmode=require channel_binding=require password=wrong",
    );
    let expected = "password authentication failed for user \"app\"";
    assert!(login.stderr.contains(expected), "{login:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_passed_on_by_somebody_else_is_refused() {
    let postgres = Postgres::start(&[]);
    let files = loopback();
    let pgditto = Pgditto::start(&postgres, |o| offer_tls(o, "allow", &files));
    let between = intercept(pgditto.port, &loopback()).await;
    let login = |more| libpq(between, more);
    let bound = login("sslmode=require channel_binding=prefer");
    let expected = "SCRAM channel binding check failed";
    assert!(bound.stderr.contains(expected), "{bound:?}");
    // Without channel binding nobody would have noticed.
    assert!(login("sslmode=require channel_binding=disable").success);
}

#[test]
fn certificate_without_a_hash_offers_no_binding() {
    let postgres = Postgres::start(&[]);
    let files = crate::fixture::CertificateFiles::write(&Certificates::ed25519(&["localhost"]));
    let pgditto = Pgditto::start(&postgres, |o| offer_tls(o, "require", &files));
    assert!(libpq(pgditto.port, "sslmode=require channel_binding=prefer").success);
    assert!(!libpq(pgditto.port, "sslmode=require channel_binding=require").success);
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_logins_are_bound_to_the_servers_certificate() {
    let postgres = Postgres::start_tls(&[], &Certificates::for_names(&["localhost"]));
    let log_in = async |port| {
        let pools = upstream::pools(port, |config| config.server_tls.sslmode = SslMode::Require);
        let lease = upstream::try_lease(&upstream::app_of(&pools)).await;
        lease.map(|lease| assert!(lease.is_encrypted()))
    };
    log_in(postgres.port).await.expect("let in");
    // `require` takes any certificate, so only the binding notices whose it is.
    let between = intercept(postgres.port, &loopback()).await;
    let error = log_in(between).await.expect_err("a login passed on");
    let expected = "SCRAM channel binding check failed";
    assert!(error.to_string().contains(expected), "{error}");
    // The server itself says so of the same login by libpq.
    let url = format!("postgres://app:secret@127.0.0.1:{between}/app?sslmode=require");
    let direct = psql(&url, &["-c", "SELECT 1"], "");
    assert!(direct.stderr.contains(expected), "{direct:?}");
}
