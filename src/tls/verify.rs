//! What libpq's `sslmode` words ask of a server's certificate.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// `verify-ca` and `verify-full` with a CA file.
#[derive(Debug)]
pub(super) struct PinnedRoots {
    roots: RootCertStore,
    /// The CA file's certificates as they are.
    pinned: Vec<CertificateDer<'static>>,
    /// Whether the certificate must be the host's: the difference between the two.
    host_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedRoots {
    pub(super) fn new(
        roots: RootCertStore,
        pinned: Vec<CertificateDer<'static>>,
        host_name: bool,
        provider: &CryptoProvider,
    ) -> Self {
        Self {
            roots,
            pinned,
            host_name,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Whether a refusal is only for this: the server shows the very
    /// certificate that the operator trusts, and it is marked as a CA's.
    /// That is what `openssl req -x509` makes and what PostgreSQL's manual lets
    /// a self-signed server do, but webpki takes no CA for a server. It looks
    /// at the validity period before it looks at that mark.
    fn is_pinned(&self, error: &Error, end_entity: &CertificateDer<'_>) -> bool {
        let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
            return false;
        };
        other.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
            && self.pinned.iter().any(|pinned| pinned == end_entity)
    }
}

impl ServerCertVerifier for PinnedRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
        .or_else(|error| {
            if self.is_pinned(&error, end_entity) {
                Ok(())
            } else {
                Err(error)
            }
        })?;
        if self.host_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// `require`, `prefer` and `allow` without a CA file: encryption only, which
/// keeps out who listens and not who stands in the middle.
#[derive(Debug)]
pub(super) struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyCertificate {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

/// Whether the certificate can be read at all. Many servers still have one of X.509 v1, which webpki
/// cannot.
fn is_readable(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate).is_ok()
}

/// The certificate may be anybody's. The handshake's signature is checked all the same, where the
/// certificate can be read: channel binding rests on it ([`super::end_point`]), or somebody in between
/// could show the server's own certificate without having its key.
impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match is_readable(cert) {
            true => verify_tls12_signature(message, cert, dss, &self.algorithms),
            false => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match is_readable(cert) {
            true => verify_tls13_signature(message, cert, dss, &self.algorithms),
            false => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
