//! TLS settings, towards applications and towards PostgreSQL.
//!
//! The cryptography is ring's, named explicitly, so that nothing depends on a
//! process-wide default. As in PostgreSQL, no session is ever resumed.

mod end_point;
mod initiator;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{ClientSslMode, ClientTlsConfig, ServerTlsConfig, SslMode};
pub use end_point::{common_name, end_point};
pub use initiator::Initiator;
use verify::{AnyCertificate, PinnedRoots};

/// The protocol's name in ALPN, as PostgreSQL 17 and libpq know it.
pub const ALPN: &[u8] = b"postgresql";

/// Protocol and cipher of an established connection, as OpenSSL spells them: `TLSv1.3/TLS_AES_256_GCM_SHA384`.
pub fn describe(connection: &rustls::CommonState) -> String {
    use rustls::ProtocolVersion;
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLS",
    };
    match connection.negotiated_cipher_suite() {
        Some(suite) => {
            let suite = format!("{:?}", suite.suite());
            format!("{version}/{}", suite.replacen("TLS13_", "TLS_", 1))
        }
        None => version.to_owned(),
    }
}

/// A mistake of the operator's. Names files, never what is in them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{section}: {missing} is not set")]
    Missing {
        section: &'static str,
        missing: &'static str,
    },
    #[error("cannot read {what} from {path}: {source}")]
    Read {
        what: &'static str,
        path: PathBuf,
        source: pem::Error,
    },
    #[error("no certificate in {0}")]
    Empty(PathBuf),
    #[error("a certificate in {path} cannot be trusted as a root: {source}")]
    Root {
        path: PathBuf,
        source: rustls::Error,
    },
    #[error("the system has no trusted root certificates")]
    NoSystemRoots,
    #[error(
        "server_tls: sslmode verify-ca needs server_tls_ca_file; with the system's roots it would accept any public certificate (use verify-full)"
    )]
    WeakVerifyCa,
    #[error("certificate and key: {0}")]
    Config(#[from] rustls::Error),
}

/// TLS towards applications.
#[derive(Debug)]
pub struct Acceptor {
    pub config: Arc<ServerConfig>,
    /// The hash of our certificate that a client may bind its login to ([`end_point`]).
    pub end_point: Option<Arc<[u8]>>,
}

/// TLS towards applications; `None` if it is turned off.
///
/// # Errors
/// A file that is missing or cannot be read, or a key that is not the certificate's.
pub fn server(cfg: &ClientTlsConfig) -> Result<Option<Arc<Acceptor>>, TlsError> {
    match cfg.sslmode {
        ClientSslMode::Disable => return Ok(None),
        ClientSslMode::Allow | ClientSslMode::Require | ClientSslMode::Verify => (),
    }
    let missing = |missing| TlsError::Missing {
        section: "client_tls",
        missing,
    };
    let cert_file = cfg.cert_file.as_ref().ok_or(missing("cert_file"))?;
    let key_file = cfg.key_file.as_ref().ok_or(missing("key_file"))?;
    let chain = certificates(cert_file)?;
    let end_point = chain.first().and_then(end_point);
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &cfg.ca_file {
        None => builder.with_no_client_auth(),
        Some(ca_file) => builder.with_client_cert_verifier(client_verifier(
            ca_file,
            cfg.sslmode == ClientSslMode::Verify,
        )?),
    };
    let mut server = builder.with_single_cert(chain, private_key(key_file)?)?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Some(Arc::new(Acceptor {
        config: Arc::new(server),
        end_point,
    })))
}

/// Clients that show a certificate must have it from these authorities; with `is_demanded` they
/// must show one.
fn client_verifier(
    ca_file: &Path,
    is_demanded: bool,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = roots(ca_file, &certificates(ca_file)?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let verifier = match is_demanded {
        true => verifier,
        false => verifier.allow_unauthenticated(),
    };
    let built = verifier.build();
    built.map_err(|error| rustls::Error::General(error.to_string()).into())
}

/// TLS towards PostgreSQL; `None` if it is turned off.
///
/// What is verified follows libpq. `verify-full`: the chain and the host name.
/// `verify-ca`: the chain. `require`, `prefer` and `allow`: nothing, unless a
/// CA file is given; then the chain. Whether TLS is tried at all, and whether
/// to go on without it, is the caller's part of `sslmode`.
///
/// # Errors
/// A file that is missing or cannot be read, a key that is not the
/// certificate's, no roots, or `verify-ca` without a CA file.
pub fn upstream(cfg: &ServerTlsConfig) -> Result<Option<Arc<Initiator>>, TlsError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match (cfg.sslmode, &cfg.ca_file) {
        (SslMode::Disable, _) => return Ok(None),
        (SslMode::Allow | SslMode::Prefer | SslMode::Require, None) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(&provider))),
        (SslMode::VerifyCa, None) => return Err(TlsError::WeakVerifyCa),
        (SslMode::VerifyFull, None) => {
            let roots = Arc::new(system_roots()?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            builder.with_webpki_verifier(verifier)
        }
        (mode, Some(ca_file)) => {
            let pinned = certificates(ca_file)?;
            let roots = roots(ca_file, &pinned)?;
            let host_name = mode == SslMode::VerifyFull;
            let verifier = PinnedRoots::new(roots, pinned, host_name, &provider);
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let missing = |missing| TlsError::Missing {
        section: "server_tls",
        missing,
    };
    let mut client = match (&cfg.cert_file, &cfg.key_file) {
        (Some(cert), Some(key)) => {
            builder.with_client_auth_cert(certificates(cert)?, private_key(key)?)?
        }
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => return Err(missing("key_file")),
        (None, Some(_)) => return Err(missing("cert_file")),
    };
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    Ok(Some(Arc::new(Initiator {
        config: Arc::new(client),
        negotiation: cfg.sslnegotiation,
    })))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Every certificate of a PEM file, in order; never none.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| read_error("certificates", path, source))?;
    if certificates.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| read_error("a private key", path, source))
}

fn read_error(what: &'static str, path: &Path, source: pem::Error) -> TlsError {
    TlsError::Read {
        what,
        path: path.to_owned(),
        source,
    }
}

fn roots(path: &Path, certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate.clone())
            .map_err(|source| TlsError::Root {
                path: path.to_owned(),
                source,
            })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // A system's store may hold a few that cannot be read; the others count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsError::NoSystemRoots);
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
