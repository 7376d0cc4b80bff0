//! What logins go by in a certificate: the hash that SCRAM binds itself to (`tls-server-end-point` of
//! RFC 5929), and the name of whom it is for.

use std::sync::Arc;

use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::ContextSpecific;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Any, Decode, SliceReader, Tag, TagNumber, Tagged};
use x509_cert::spki::AlgorithmIdentifierOwned;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The certificate's hash, by the algorithm of its own signature; SHA-256 in place of MD5 and SHA-1.
///
/// `None` where that signature has no hash of its own (Ed25519), or one that is not done here, and
/// for a certificate that webpki cannot read: then nothing has checked the handshake's signature
/// either ([`super::upstream`]), and a binding would prove nothing.
pub fn end_point(certificate: &CertificateDer<'_>) -> Option<Arc<[u8]>> {
    webpki::EndEntityCert::try_from(certificate).ok()?;
    let read = Certificate::from_der(certificate).ok()?;
    let hash = hash_of(&read.signature_algorithm)?;
    Some(digest(hash, certificate).as_ref().into())
}

/// The first common name of the certificate's subject; `None` if there is none, or one that is not
/// plain text.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let read = Certificate::from_der(certificate).ok()?;
    let names = read.tbs_certificate.subject.0;
    let attributes = names.iter().flat_map(|relative| relative.0.iter());
    let name = attributes
        .filter(|attribute| attribute.oid == COMMON_NAME)
        .map(|attribute| &attribute.value)
        .next()?;
    let is_text = matches!(
        name.tag(),
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString
    );
    let text = std::str::from_utf8(name.value()).ok()?;
    // A zero byte would be the name's end for others.
    (is_text && !text.contains('\0')).then(|| text.to_owned())
}

fn hash_of(signature: &AlgorithmIdentifierOwned) -> Option<&'static Algorithm> {
    match signature.oid.to_string().as_str() {
        // RSA with MD5, SHA-1, SHA-256, SHA-384, SHA-512.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" => Some(&SHA256),
        "1.2.840.113549.1.1.12" => Some(&SHA384),
        "1.2.840.113549.1.1.13" => Some(&SHA512),
        // ECDSA with the same, without MD5.
        "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => Some(&SHA256),
        "1.2.840.10045.4.3.3" => Some(&SHA384),
        "1.2.840.10045.4.3.4" => Some(&SHA512),
        // RSA-PSS names its hash apart.
        "1.2.840.113549.1.1.10" => pss_hash(signature.parameters.as_ref()?),
        _ => None,
    }
}

/// `RSASSA-PSS-params` of RFC 4055: the hash is its first field, SHA-1 where that is missing.
fn pss_hash(parameters: &Any) -> Option<&'static Algorithm> {
    let mut reader = SliceReader::new(parameters.value()).ok()?;
    let hash =
        ContextSpecific::<AlgorithmIdentifierOwned>::decode_explicit(&mut reader, TagNumber::N0)
            .ok()?;
    let Some(hash) = hash else {
        return Some(&SHA256);
    };
    match hash.value.oid.to_string().as_str() {
        // SHA-1 and SHA-256.
        "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(&SHA256),
        "2.16.840.1.101.3.4.2.2" => Some(&SHA384),
        "2.16.840.1.101.3.4.2.3" => Some(&SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// A certificate that OpenSSL signed with a key of this kind, and its hash by `algorithm`.
    fn made(key: &[&str], sign: &[&str], algorithm: &str) -> (CertificateDer<'static>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let openssl = |args: &mut Command| {
            let output = args.output().expect("Debian's package openssl");
            assert!(output.status.success(), "{output:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-nodes", "-subj", "/CN=localhost"]);
        make.args(["-addext", "subjectAltName=DNS:localhost"]);
        make.arg("-newkey").args(key).args(sign);
        make.arg("-keyout")
            .arg(path("key"))
            .arg("-out")
            .arg(path("crt"));
        openssl(&mut make);
        let mut show = Command::new("openssl");
        show.args(["x509", "-noout", "-fingerprint", algorithm, "-in"]);
        let shown = openssl(show.arg(path("crt")));
        let (_, hash) = shown.trim().split_once('=').unwrap();
        let certificate = CertificateDer::from_pem_file(path("crt")).unwrap();
        (certificate, hash.replace(':', "").to_ascii_lowercase())
    }

    #[test]
    fn hash_is_that_of_the_certificates_own_signature() {
        let rsa = ["rsa:2048"];
        let curve = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let pss = ["-sigopt", "rsa_padding_mode:pss", "-sha384"];
        for (key, sign, algorithm) in [
            (&rsa[..], &["-sha256"][..], "-sha256"),
            (&rsa, &["-sha1"], "-sha256"),
            (&rsa, &["-sha512"], "-sha512"),
            (&rsa, &pss, "-sha384"),
            (&curve, &["-sha384"], "-sha384"),
        ] {
            let (certificate, expected) = made(key, sign, algorithm);
            let hash = end_point(&certificate).expect("a hash");
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hash, expected, "{key:?} {sign:?}");
        }
    }

    #[test]
    fn signature_without_a_hash_binds_nothing() {
        let (certificate, _) = made(&["ed25519"], &[], "-sha256");
        assert!(end_point(&certificate).is_none());
        assert!(end_point(&CertificateDer::from(&b"no certificate"[..])).is_none());
    }
}
