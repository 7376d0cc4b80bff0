//! Who is let in, how they prove it, and what those are told who do not.

mod channel_binding;
mod interceptor;

use crate::fixture::{CertificateFiles, Certificates, Options, PsqlOutput, psql};

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
