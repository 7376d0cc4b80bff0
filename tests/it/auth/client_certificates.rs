//! Certificates of clients, and certificates of our own that are replaced.

use super::{loopback, offer_tls};
use crate::fixture::{
    Authority, CertificateFiles, Certificates, Options, Pgditto, Postgres, PsqlOutput, Wire,
    eventually, psql,
};

/// Asks who it is, with the certificate of `files`.
fn login(port: u16, files: Option<&CertificateFiles>, more: &str) -> PsqlOutput {
    let own = files.map_or_else(
        // Never one from the home directory.
        || "sslcert=/nonexistent sslkey=/nonexistent".to_owned(),
        |files| {
            format!(
                "sslcert={} sslkey={}",
                files.certificate().display(),
                files.key().display()
            )
        },
    );
    let conninfo = format!("host=localhost hostaddr=127.0.0.1 port={port} dbname=app {own} {more}");
    psql(&conninfo, &["-Atq", "-c", "SELECT current_user"], "")
}

/// TLS with the certificate of `files`, whose authority vouches for clients too.
fn trusting(options: &mut Options, sslmode: &str, files: &CertificateFiles) {
    offer_tls(options, sslmode, files);
    options.set("client_tls.client_tls_ca_file", files.authority().display());
}

fn refused(output: &PsqlOutput, expected: &str) {
    assert!(!output.success, "{output:?}");
    assert!(output.stderr.contains(expected), "{expected}: {output:?}");
}

#[test]
fn certificate_with_the_users_name_is_enough() {
    let postgres = Postgres::start(&[]);
    let authority = Authority::new();
    let server = CertificateFiles::write(&authority.server(&["localhost"]));
    let of = |name: &str| CertificateFiles::write(&authority.client(name));
    let (app, other) = (of("app"), of("other"));
    let strange = CertificateFiles::write(&Authority::new().client("app"));
    let pgditto = Pgditto::start(&postgres, |o| {
        trusting(o, "require", &server);
        o.set("auth.auth_type", "cert");
    });
    let login = |files, more| login(pgditto.port, files, more);
    let output = login(Some(&app), "user=app sslmode=require");
    assert_eq!(output.stdout.trim(), "app", "{output:?}");
    refused(
        &login(Some(&other), "user=app sslmode=require"),
        "certificate authentication failed for user \"app\"",
    );
    // Whether there is such a user is not told.
    refused(
        &login(Some(&app), "user=nobody sslmode=require"),
        "certificate authentication failed for user \"nobody\"",
    );
    refused(
        &login(None, "user=app sslmode=require"),
        "connection requires a valid client certificate",
    );
    assert!(!login(Some(&strange), "user=app sslmode=require").success);
    assert!(!login(Some(&app), "user=app sslmode=disable").success);
}

#[test]
fn certificate_may_be_demanded_besides_the_password() {
    let postgres = Postgres::start(&[]);
    let authority = Authority::new();
    let server = CertificateFiles::write(&authority.server(&["localhost"]));
    let anybody = CertificateFiles::write(&authority.client("anybody"));
    let strange = CertificateFiles::write(&Authority::new().client("app"));
    let pgditto = Pgditto::start(&postgres, |o| trusting(o, "verify-full", &server));
    let login = |files, password: &str| {
        let more = format!("user=app password={password} sslmode=require");
        login(pgditto.port, files, &more)
    };
    assert!(login(Some(&anybody), "secret").success);
    refused(
        &login(Some(&anybody), "wrong"),
        "password authentication failed for user \"app\"",
    );
    assert!(!login(None, "secret").success);
    assert!(!login(Some(&strange), "secret").success);
}

#[test]
fn maps_say_whose_certificate_serves_which_user() {
    let postgres = Postgres::start(&[]);
    let authority = Authority::new();
    let server = CertificateFiles::write(&authority.server(&["localhost"]));
    let of = |name: &str| CertificateFiles::write(&authority.client(name));
    let (mail, plain) = (of("app@example.com"), of("app"));
    let folder = tempfile::tempdir().expect("a folder");
    let (hba, ident) = (folder.path().join("hba"), folder.path().join("ident"));
    std::fs::write(
        &hba,
        "hostssl all app all cert map=mail\n\
         hostssl all postgres all scram-sha-256 clientcert=verify-full\n",
    )
    .expect("a file");
    std::fs::write(&ident, "mail /^(.*)@example\\.com$ \\1\n").expect("a file");
    let pgditto = Pgditto::start(&postgres, |o| {
        trusting(o, "allow", &server);
        o.set("auth.auth_type", "hba")
            .set("auth.auth_hba_file", hba.display())
            .set("auth.auth_ident_file", ident.display());
    });
    let login = |files, more| login(pgditto.port, Some(files), more);
    let output = login(&mail, "user=app sslmode=require");
    assert_eq!(output.stdout.trim(), "app", "{output:?}");
    refused(
        &login(&plain, "user=app sslmode=require"),
        "certificate authentication failed for user \"app\"",
    );
    // Both are asked for, and the password comes first.
    refused(
        &login(&plain, "user=postgres password=x sslmode=require"),
        "password authentication failed for user \"postgres\"",
    );
}

#[test]
fn new_connections_see_a_certificate_that_was_replaced() {
    let postgres = Postgres::start(&[]);
    let files = loopback();
    let pgditto = Pgditto::start(&postgres, |o| offer_tls(o, "allow", &files));
    let new = Certificates::for_names(&["localhost"]);
    let trusted = CertificateFiles::write(&new);
    let verified = || {
        let more = format!(
            "user=app password=secret sslmode=verify-full channel_binding=require sslrootcert={}",
            trusted.authority().display()
        );
        login(pgditto.port, None, &more).success
    };
    assert!(!verified());
    let mut stays = Wire::connect(pgditto.port);
    files.replace(&new);
    eventually("the new certificate is shown", verified);
    assert_eq!(stays.value("SELECT 1"), "1");
}
