use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};
use tempfile::TempDir;

use super::*;

/// A directory with the files of a little authority and of who it vouches for.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// An authority `<name>.crt`, and `<name>-server.{crt,key}` for `db.example`.
    fn authority(&self, name: &str) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        self.write(&format!("{name}.crt"), &issuer.pem());
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["db.example".into()])
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        self.write(&format!("{name}-server.crt"), &server.pem());
        self.write(&format!("{name}-server.key"), &key.serialize_pem());
    }

    /// A server that vouches for itself: `<name>-server.{crt,key}`.
    fn self_signed(&self, name: &str, is_ca: IsCa, expired: bool) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["db.example".into()]).unwrap();
        params.is_ca = is_ca;
        if expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let server = params.self_signed(&key).unwrap();
        self.write(&format!("{name}-server.crt"), &server.pem());
        self.write(&format!("{name}-server.key"), &key.serialize_pem());
    }

    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let acceptor = server(&ClientTlsConfig {
            sslmode: ClientSslMode::Require,
            key_file: Some(self.path(&format!("{name}-server.key"))),
            cert_file: Some(self.path(&format!("{name}-server.crt"))),
            ca_file: None,
        })
        .unwrap()
        .unwrap();
        Arc::clone(&acceptor.config)
    }

    fn client(&self, sslmode: SslMode, ca_file: Option<&str>) -> Arc<ClientConfig> {
        let connector = upstream(&ServerTlsConfig {
            sslmode,
            ca_file: ca_file.map(|name| self.path(name)),
            ..ServerTlsConfig::default()
        });
        Arc::clone(&connector.unwrap().unwrap().config)
    }
}

/// Shakes hands in memory; whether the client accepts the server under this name.
fn accepts(client: Arc<ClientConfig>, server: Arc<ServerConfig>, host: &'static str) -> bool {
    let name = ServerName::try_from(host).unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            if client.process_new_packets().is_err() {
                return false;
            }
        }
    }
    assert_eq!(client.alpn_protocol(), Some(ALPN));
    true
}

#[test]
fn sslmodes_check_what_libpq_checks() {
    let files = Files::new();
    files.authority("ours");
    files.authority("theirs");
    let (ours, theirs) = (Some("ours.crt"), Some("theirs.crt"));
    let table = [
        (SslMode::Allow, None, "other.example", true),
        (SslMode::Prefer, None, "other.example", true),
        (SslMode::Require, None, "other.example", true),
        (SslMode::Require, ours, "other.example", true),
        (SslMode::Require, theirs, "db.example", false),
        (SslMode::Prefer, theirs, "db.example", false),
        (SslMode::VerifyCa, ours, "other.example", true),
        (SslMode::VerifyCa, ours, "127.0.0.1", true),
        (SslMode::VerifyCa, theirs, "db.example", false),
        (SslMode::VerifyFull, ours, "db.example", true),
        (SslMode::VerifyFull, ours, "other.example", false),
        (SslMode::VerifyFull, theirs, "db.example", false),
    ];
    let server = files.server("ours");
    for (sslmode, ca_file, host, expected) in table {
        let client = files.client(sslmode, ca_file);
        let accepted = accepts(client, Arc::clone(&server), host);
        assert_eq!(accepted, expected, "{sslmode:?} {ca_file:?} {host}");
    }
}

#[test]
fn self_signed_certificate_is_its_own_authority() {
    let files = Files::new();
    let ca = || IsCa::Ca(BasicConstraints::Unconstrained);
    files.self_signed("plain", IsCa::NoCa, false);
    files.self_signed("marked", ca(), false);
    files.self_signed("expired", ca(), true);
    files.self_signed("other", ca(), false);
    for (name, pinned, host, expected) in [
        ("plain", "plain-server.crt", "db.example", true),
        ("marked", "marked-server.crt", "db.example", true),
        ("marked", "marked-server.crt", "other.example", false),
        ("marked", "other-server.crt", "db.example", false),
        ("expired", "expired-server.crt", "db.example", false),
    ] {
        let client = files.client(SslMode::VerifyFull, Some(pinned));
        let accepted = accepts(client, files.server(name), host);
        assert_eq!(accepted, expected, "{name} {pinned} {host}");
    }
}

#[test]
fn turned_off_is_none() {
    assert!(server(&ClientTlsConfig::default()).unwrap().is_none());
    let off = ServerTlsConfig {
        sslmode: SslMode::Disable,
        ..ServerTlsConfig::default()
    };
    assert!(upstream(&off).unwrap().is_none());
}

#[test]
fn mistakes_name_the_file_or_the_key() {
    let files = Files::new();
    files.authority("ours");
    files.authority("theirs");
    let towards_clients = |cert: Option<&str>, key: Option<&str>| {
        let cfg = ClientTlsConfig {
            sslmode: ClientSslMode::Allow,
            key_file: key.map(|name| files.path(name)),
            cert_file: cert.map(|name| files.path(name)),
            ca_file: None,
        };
        server(&cfg).unwrap_err().to_string()
    };
    let empty = files.write("empty.crt", "").display().to_string();
    assert!(towards_clients(None, None).contains("cert_file"));
    assert!(towards_clients(Some("ours-server.crt"), None).contains("key_file"));
    assert!(towards_clients(Some("none.crt"), Some("none.key")).contains("none.crt"));
    assert!(towards_clients(Some("empty.crt"), Some("ours-server.key")).contains(&empty));
    let swapped = towards_clients(Some("ours-server.crt"), Some("theirs-server.key"));
    assert!(swapped.starts_with("certificate and key"), "{swapped}");

    let towards_server = |sslmode, cert: Option<&str>| {
        let cfg = ServerTlsConfig {
            sslmode,
            cert_file: cert.map(|name| files.path(name)),
            ..ServerTlsConfig::default()
        };
        upstream(&cfg).unwrap_err().to_string()
    };
    assert!(towards_server(SslMode::Require, Some("ours-server.crt")).contains("key_file"));
    assert!(towards_server(SslMode::VerifyCa, None).contains("verify-full"));
}

#[test]
fn client_certificate_is_taken_along() {
    let files = Files::new();
    files.authority("ours");
    let with_certificate = upstream(&ServerTlsConfig {
        sslmode: SslMode::VerifyFull,
        ca_file: Some(files.path("ours.crt")),
        cert_file: Some(files.path("ours-server.crt")),
        key_file: Some(files.path("ours-server.key")),
        ..ServerTlsConfig::default()
    })
    .unwrap()
    .unwrap();
    assert!(
        with_certificate
            .config
            .client_auth_cert_resolver
            .has_certs()
    );
    let without = files.client(SslMode::VerifyFull, Some("ours.crt"));
    assert!(!without.client_auth_cert_resolver.has_certs());
}
