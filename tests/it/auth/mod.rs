//! Who is let in, how they prove it, and what those are told who do not.

mod auth_file;
mod auth_query;
mod channel_binding;
mod client_certificates;
mod hba;
mod interceptor;
mod passthrough;

use crate::fixture::{CertificateFiles, Certificates, Options, Postgres, PsqlOutput, psql};

/// A certificate for loopback and its authority.
fn loopback() -> CertificateFiles {
    CertificateFiles::write(&Certificates::for_names(&["localhost", "127.0.0.1"]))
}

/// TLS towards clients, as `sslmode` says.
fn offer_tls(options: &mut Options, sslmode: &str, files: &CertificateFiles) {
    options
        .set("client_tls.client_tls_sslmode", sslmode)
        .set(
            "client_tls.client_tls_cert_file",
            files.certificate().display(),
        )
        .set("client_tls.client_tls_key_file", files.key().display());
}

/// Asks for 1 as libpq does, with this connection string on top of the application's.
fn libpq(port: u16, more: &str) -> PsqlOutput {
    let conninfo = format!(
        "host=localhost hostaddr=127.0.0.1 port={port} user=app password=secret dbname=app {more}"
    );
    psql(&conninfo, &["-Atq", "-c", "SELECT 1"], "")
}

/// Runs one statement as this user, in clear.
fn ask(port: u16, user: &str, password: &str, database: &str, sql: &str) -> PsqlOutput {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let conninfo = format!(
        "host=127.0.0.1 port={port} sslmode=disable user='{}' password='{}' dbname={database}",
        quoted(user),
        quoted(password)
    );
    psql(&conninfo, &["-Atq", "-c", sql], "")
}

/// What the server keeps of a user's password.
fn server_secret(postgres: &Postgres, user: &str) -> String {
    postgres.psql(&format!(
        "SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'"
    ))
}
