use std::time::Duration;

use bytes::BytesMut;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::*;
use crate::auth::{ScramClient, md5_response};
use crate::client::Peer;
use crate::config::{ClientTlsConfig, Config, Secret, ServerTlsConfig, SslMode, UserConfig};
use crate::wire::{Frame, Replication, frontend, take_frame};

const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

/// How the door of one test is set up.
struct Setup {
    auth: AuthType,
    sslmode: ClientSslMode,
    tls: Option<Arc<Acceptor>>,
    listen: ListenConfig,
}

fn setup(auth: AuthType) -> Setup {
    Setup {
        auth,
        sslmode: ClientSslMode::Disable,
        tls: None,
        listen: ListenConfig::default(),
    }
}

fn with_tls(sslmode: ClientSslMode) -> Setup {
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let path = |name: &str, content: String| {
        let path = files.path().join(name);
        std::fs::write(&path, content).unwrap();
        Some(path)
    };
    let cfg = ClientTlsConfig {
        sslmode,
        cert_file: path("server.crt", made.cert.pem()),
        key_file: path("server.key", made.signing_key.serialize_pem()),
        ca_file: None,
    };
    Setup {
        sslmode,
        tls: crate::tls::server(&cfg).unwrap(),
        ..setup(AuthType::Trust)
    }
}

fn users() -> UserDirectory {
    let mut config = Config::default();
    config.upstream.user = Some("amy".into());
    config.upstream.password = Some(Secret::new("pencil"));
    for (name, verifier) in [
        ("scram", PENCIL),
        ("md5", "md500000000000000000000000000000000"),
    ] {
        config.users.push(UserConfig {
            name: name.into(),
            scram_secret: Some(Secret::new(verifier)),
            ..UserConfig::default()
        });
    }
    UserDirectory::from_config(&config)
}

impl Setup {
    fn greet(self, stream: Stream) -> Greeted {
        tokio::spawn(async move {
            let users = users();
            let reception = Reception {
                tls: self.tls,
                sslmode: self.sslmode,
                listen: &self.listen,
                auth: self.auth,
                rules: None,
                users: &users,
                lookup: None,
                members: None,
                passthrough: None,
                passthrough_without_tls: Default::default(),
            };
            let greeting = greet(stream, reception);
            let deadline = Duration::from_secs(30);
            tokio::time::timeout(deadline, greeting).await.unwrap()
        })
    }

    async fn tcp(self) -> (Client<TcpStream>, Greeted) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (accepted, _) = listener.accept().await.unwrap();
        let greeted = self.greet(Stream::tcp(accepted).unwrap());
        (Client::new(client.unwrap()), greeted)
    }

    fn unix(self) -> (Client<UnixStream>, Greeted) {
        let (client, accepted) = UnixStream::pair().unwrap();
        let greeted = self.greet(Stream::Unix(accepted));
        (Client::new(client), greeted)
    }
}

type Greeted = JoinHandle<Result<Greeting, ClientError>>;

async fn login(greeted: Greeted) -> Login {
    match greeted.await.unwrap() {
        Ok(Greeting::Login(login)) => login,
        other => panic!("{other:?}"),
    }
}

/// An application, played frame by frame.
struct Client<S> {
    stream: S,
    input: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        let input = BytesMut::new();
        Self { stream, input }
    }

    async fn send(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        encode(&mut out);
        self.stream.write_all(&out).await.unwrap();
    }

    async fn startup(&mut self, minor: u16, parameters: &[(&str, &str)]) {
        self.send(|out| frontend::startup(out, minor, parameters))
            .await;
    }

    async fn byte(&mut self) -> u8 {
        self.stream.read_u8().await.unwrap()
    }

    /// The next message; `None` at the end of the stream.
    async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = take_frame(&mut self.input, usize::MAX).unwrap() {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                assert!(self.input.is_empty());
                return None;
            }
        }
    }

    async fn authentication_ok(&mut self) {
        let frame = self.frame().await.unwrap();
        assert_eq!(frame.body(), [0, 0, 0, 0], "{frame:?}");
    }

    /// SQLSTATE and message of the error that must come next, and last.
    async fn refusal(&mut self) -> (String, String) {
        let frame = self.frame().await.unwrap();
        assert_eq!(frame.tag(), b'E');
        let fields = backend::Fields::read(frame.body()).unwrap();
        let text = |code| String::from_utf8(fields.get(code).unwrap().to_vec()).unwrap();
        assert_eq!(text(b'V'), "FATAL");
        assert!(self.frame().await.is_none());
        (text(b'C'), text(b'M'))
    }

    /// Plays SCRAM up to the server's last message; `None` if there is none.
    async fn scram(&mut self, password: &str) -> Option<()> {
        let request = self.frame().await.unwrap();
        let Ok(backend::Authentication::Sasl(mechanisms)) =
            backend::Authentication::read(request.body())
        else {
            panic!("no SASL: {request:?}");
        };
        assert!(mechanisms.contains(&&b"SCRAM-SHA-256"[..]));
        let (mut client, first) = ScramClient::new(password);
        self.send(|out| frontend::sasl_initial(out, "SCRAM-SHA-256", &first))
            .await;
        let challenge = self.frame().await.unwrap();
        let last = client.respond(&challenge.body()[4..]).unwrap();
        self.send(|out| frontend::sasl_response(out, &last)).await;
        loop {
            if let Some(frame) = take_frame(&mut self.input, usize::MAX).unwrap() {
                if frame.tag() == b'E' {
                    let mut back = BytesMut::from(&frame.bytes()[..]);
                    back.extend_from_slice(&self.input);
                    self.input = back;
                    return None;
                }
                return client.finish(&frame.body()[4..]).ok();
            }
            assert_ne!(self.stream.read_buf(&mut self.input).await.unwrap(), 0);
        }
    }

    async fn md5(&mut self, user: &str, password: &str) {
        let request = self.frame().await.unwrap();
        let salt = match backend::Authentication::read(request.body()) {
            Ok(backend::Authentication::Md5(salt)) => salt,
            other => panic!("{other:?}"),
        };
        let response = md5_response(user, password, salt);
        self.send(|out| frontend::password(out, response.as_bytes()))
            .await;
    }
}

impl Client<TcpStream> {
    async fn encrypt(self, alpn: bool) -> io::Result<Client<impl AsyncRead + AsyncWrite + Unpin>> {
        let cfg = ServerTlsConfig {
            sslmode: SslMode::Require,
            ..ServerTlsConfig::default()
        };
        let mut config = ClientConfig::clone(&crate::tls::upstream(&cfg).unwrap().unwrap().config);
        if !alpn {
            config.alpn_protocols.clear();
        }
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Client::new(connector.connect(name, self.stream).await?))
    }
}

#[tokio::test]
async fn trusted_client_logs_in_and_keeps_its_parameters() {
    let mut setup = setup(AuthType::Trust);
    setup.listen.ignore_startup_parameters = vec!["extra_float_digits".into()];
    let (mut client, greeted) = setup.tcp().await;
    client
        .startup(
            0,
            &[
                ("user", "eve"),
                ("options", "-c work_mem=4MB"),
                ("Extra_Float_Digits", "3"),
                ("replication", "database"),
                ("application_name", ""),
            ],
        )
        .await;
    client.send(|out| frontend::query(out, b"select 1")).await;
    client.authentication_ok().await;
    let mut login = login(greeted).await;
    assert_eq!(
        (login.user.as_str(), login.database.as_str()),
        ("eve", "eve")
    );
    assert_eq!(login.minor, 0);
    let names: Vec<&str> = login.parameters.iter().map(|(k, _)| k.as_str()).collect();
    assert_eq!(names, ["options", "application_name"]);
    assert_eq!(login.replication, Some(Replication::Logical));
    assert!(matches!(login.connection.peer, Peer::Tcp(_)));
    // What the client sent ahead is there for the session.
    while login.connection.input.is_empty() {
        login.connection.fill().await.unwrap();
    }
    assert_eq!(login.connection.input[0], b'Q');
}

#[tokio::test]
async fn right_passwords_log_in() {
    for user in ["amy", "scram"] {
        let (mut client, greeted) = setup(AuthType::ScramSha256).tcp().await;
        client
            .startup(2, &[("user", user), ("database", "shop")])
            .await;
        client.scram("pencil").await.unwrap();
        client.authentication_ok().await;
        let login = login(greeted).await;
        assert_eq!(login.database, "shop");
        assert_eq!(login.minor, 2);
    }
    let (mut client, greeted) = setup(AuthType::Md5).tcp().await;
    client.startup(0, &[("user", "amy")]).await;
    client.md5("amy", "pencil").await;
    client.authentication_ok().await;
    login(greeted).await;
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_are_told_the_same() {
    for (auth, user, password) in [
        (AuthType::ScramSha256, "amy", "pen"),
        (AuthType::ScramSha256, "eve", "pencil"),
        (AuthType::ScramSha256, "md5", "pencil"),
        (AuthType::Md5, "amy", "pen"),
        (AuthType::Md5, "eve", "pencil"),
        // With a SCRAM secret md5 asks for SCRAM, as PostgreSQL does.
        (AuthType::Md5, "scram", "pen"),
    ] {
        let (mut client, greeted) = setup(auth).tcp().await;
        client.startup(0, &[("user", user)]).await;
        match (auth, user) {
            (AuthType::Md5, "amy" | "eve") => client.md5(user, password).await,
            _ => assert!(client.scram(password).await.is_none()),
        }
        let (code, message) = client.refusal().await;
        assert_eq!(code, "28P01");
        assert_eq!(
            message,
            format!("password authentication failed for user \"{user}\"")
        );
        let error = greeted.await.unwrap().unwrap_err();
        assert!(matches!(error, ClientError::Auth { .. }));
        assert!(!format!("{error} {error:?}").contains("pencil"));
    }
}

#[tokio::test]
async fn client_may_name_its_mechanism_before_its_first_message() {
    let (mut client, greeted) = setup(AuthType::ScramSha256).tcp().await;
    client.startup(0, &[("user", "amy")]).await;
    client.frame().await.unwrap();
    client
        .send(|out| out.extend_from_slice(b"p\0\0\0\x16SCRAM-SHA-256\0\xff\xff\xff\xff"))
        .await;
    let empty = client.frame().await.unwrap();
    assert_eq!(empty.body(), [0, 0, 0, 11]);
    let (mut scram, first) = ScramClient::new("pencil");
    client
        .send(|out| frontend::sasl_response(out, &first))
        .await;
    let challenge = client.frame().await.unwrap();
    let last = scram.respond(&challenge.body()[4..]).unwrap();
    client.send(|out| frontend::sasl_response(out, &last)).await;
    scram
        .finish(&client.frame().await.unwrap().body()[4..])
        .unwrap();
    client.authentication_ok().await;
    login(greeted).await;
}

#[tokio::test]
async fn anything_but_a_short_password_message_is_refused() {
    type Encoder = fn(&mut BytesMut);
    let table: [(Encoder, &str); 5] = [
        (
            |out| frontend::query(out, b"select 1"),
            "expected SASL response, got message type 81",
        ),
        (
            |out| out.extend_from_slice(&[b'p', 0, 1, 0, 0]),
            "invalid message length",
        ),
        (
            |out| frontend::sasl_initial(out, "SCRAM-SHA-1", b""),
            "client selected an invalid SASL authentication mechanism",
        ),
        (
            |out| frontend::sasl_initial(out, "SCRAM-SHA-256", b"n,,"),
            "malformed SCRAM message",
        ),
        (
            |out| frontend::sasl_response(out, b"x"),
            "invalid string in message",
        ),
    ];
    for (encode, expected) in table {
        let (mut client, greeted) = setup(AuthType::ScramSha256).tcp().await;
        client.startup(0, &[("user", "amy")]).await;
        client.frame().await.unwrap();
        client.send(encode).await;
        let (code, message) = client.refusal().await;
        assert_eq!((code.as_str(), message.as_str()), ("08P01", expected));
        assert!(greeted.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn broken_startup_packets_are_refused_as_by_postgresql() {
    type Encoder = fn(&mut BytesMut);
    let table: [(Encoder, &str, &str); 3] = [
        (
            |out| frontend::startup(out, 0, &[("database", "shop")]),
            "28000",
            "no PostgreSQL user name specified in startup packet",
        ),
        (
            |out| out.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n"),
            "08P01",
            "invalid length of startup packet",
        ),
        (
            |out| out.extend_from_slice(&[0, 0, 0, 8, 0, 3, 0, 0]),
            "08P01",
            "invalid startup packet layout: expected terminator as last byte",
        ),
    ];
    for (encode, code, message) in table {
        let (mut client, greeted) = setup(AuthType::Trust).tcp().await;
        client.send(encode).await;
        let refusal = client.refusal().await;
        assert_eq!(refusal, (code.to_owned(), message.to_owned()));
        assert!(greeted.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_client_of_protocol_2_is_refused_in_its_own_form() {
    let (mut client, greeted) = setup(AuthType::Trust).tcp().await;
    client
        .send(|out| out.extend_from_slice(&[0, 0, 0, 8, 0, 2, 0, 0]))
        .await;
    let mut said = Vec::new();
    client.stream.read_to_end(&mut said).await.unwrap();
    let message = "unsupported frontend protocol 2.0: server supports 3.0 to 3.2";
    assert_eq!(said, format!("EFATAL:  {message}\n\0").as_bytes());
    assert!(greeted.await.unwrap().is_err());
}

#[tokio::test]
async fn version_and_options_are_negotiated() {
    for (minor, options, settled, answer) in [
        (9999, vec![], 2, Some(196_610)),
        (3, vec!["_pq_.a"], 2, Some(196_610)),
        (0, vec!["_pq_.a", "_pq_.b"], 0, Some(196_608)),
        (2, vec![], 2, None),
        (0, vec![], 0, None),
    ] {
        let (mut client, greeted) = setup(AuthType::Trust).tcp().await;
        let mut parameters = vec![("user", "amy")];
        parameters.extend(options.iter().map(|&name| (name, "1")));
        client.startup(minor, &parameters).await;
        if let Some(version) = answer {
            let frame = client.frame().await.unwrap();
            assert_eq!(frame.tag(), b'v');
            let options = options.iter().map(|name| name.as_bytes()).collect();
            assert_eq!(
                backend::negotiated_version(frame.body()),
                Ok((version, options))
            );
        }
        client.authentication_ok().await;
        let login = login(greeted).await;
        assert_eq!(login.minor, settled);
        assert!(login.parameters.is_empty());
    }
}

#[tokio::test]
async fn cancel_request_is_handed_over_with_its_connection() {
    for key in [&[1, 2, 3, 4][..], &[7; 32]] {
        let mut setup = setup(AuthType::ScramSha256);
        setup.sslmode = ClientSslMode::Require;
        let (mut client, greeted) = setup.tcp().await;
        client
            .send(|out| frontend::cancel_request(out, 4711, key))
            .await;
        match greeted.await.unwrap().unwrap() {
            Greeting::Cancel {
                pid,
                key: got,
                connection,
            } => {
                assert_eq!((pid, &got[..]), (4711, key));
                drop(connection);
            }
            Greeting::Login(login) => panic!("{login:?}"),
        }
        assert!(client.frame().await.is_none());
    }
}

#[tokio::test]
async fn encryption_is_declined_once_each_when_there_is_none() {
    let gss: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
    let (mut client, greeted) = setup(AuthType::Trust).tcp().await;
    client.send(|out| out.extend_from_slice(gss)).await;
    assert_eq!(client.byte().await, b'N');
    client.send(frontend::ssl_request).await;
    assert_eq!(client.byte().await, b'N');
    client.startup(0, &[("user", "amy")]).await;
    client.authentication_ok().await;
    assert!(!login(greeted).await.connection.stream.is_encrypted());

    for (request, minor) in [
        (&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f][..], 5679),
        (gss, 5680),
    ] {
        let (mut client, _greeted) = setup(AuthType::Trust).tcp().await;
        client.send(|out| out.extend_from_slice(request)).await;
        assert_eq!(client.byte().await, b'N');
        client.send(|out| out.extend_from_slice(request)).await;
        let (code, message) = client.refusal().await;
        assert_eq!(code, "0A000");
        assert!(message.contains(&format!("1234.{minor}")), "{message}");
    }
}

#[tokio::test]
async fn unix_peers_have_no_tls_and_need_none() {
    let (mut client, greeted) = with_tls(ClientSslMode::Require).unix();
    client.send(frontend::ssl_request).await;
    assert_eq!(client.byte().await, b'N');
    client.startup(0, &[("user", "amy")]).await;
    client.authentication_ok().await;
    assert_eq!(login(greeted).await.connection.peer.to_string(), "unix");
}

#[tokio::test]
async fn client_logs_in_over_tls() {
    for sslmode in [ClientSslMode::Allow, ClientSslMode::Require] {
        let mut setup = with_tls(sslmode);
        setup.auth = AuthType::ScramSha256;
        let (mut client, greeted) = setup.tcp().await;
        client.send(frontend::ssl_request).await;
        assert_eq!(client.byte().await, b'S');
        let mut client = client.encrypt(false).await.unwrap();
        client.startup(2, &[("user", "amy")]).await;
        client.scram("pencil").await.unwrap();
        client.authentication_ok().await;
        let mut login = login(greeted).await;
        assert!(login.connection.stream.is_encrypted());
        assert!(matches!(login.connection.peer, Peer::Tcp(_)));
        // Both ways through the connection's buffers, and to its end.
        client.send(frontend::sync).await;
        login.connection.fill().await.unwrap();
        assert_eq!(login.connection.input[0], b'S');
        let mut big = BytesMut::from(&b"d"[..]);
        big.extend_from_slice(&1_000_004u32.to_be_bytes());
        big.resize(1_000_005, 7);
        login.connection.output = big.clone();
        let (flushed, frame) = tokio::join!(login.connection.flush(), client.frame());
        flushed.unwrap();
        assert_eq!(frame.unwrap().bytes()[..], big[..]);
        assert!(login.connection.output.is_empty());
        // With and without TLS's good-bye.
        if sslmode == ClientSslMode::Allow {
            client.stream.shutdown().await.unwrap();
        }
        drop(client);
        login.connection.input.clear();
        assert_eq!(login.connection.fill().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn direct_tls_is_refused_where_there_is_none() {
    let (client, greeted) = setup(AuthType::Trust).tcp().await;
    assert!(client.encrypt(true).await.is_err());
    assert!(matches!(
        greeted.await.unwrap(),
        Err(ClientError::Wire(WireError::StartupLength))
    ));
}

#[tokio::test]
async fn direct_tls_needs_its_alpn() {
    let (client, greeted) = with_tls(ClientSslMode::Require).tcp().await;
    let mut client = client.encrypt(true).await.unwrap();
    client.startup(0, &[("user", "amy")]).await;
    client.authentication_ok().await;
    assert!(login(greeted).await.connection.stream.is_encrypted());

    let (client, greeted) = with_tls(ClientSslMode::Allow).tcp().await;
    let mut client = client.encrypt(false).await.unwrap();
    let (code, message) = client.refusal().await;
    assert_eq!(code, "08P01");
    assert!(message.contains("ALPN"), "{message}");
    assert!(matches!(greeted.await.unwrap(), Err(ClientError::NoAlpn)));
}

#[tokio::test]
async fn startup_in_clear_is_refused_where_tls_is_required() {
    let (mut client, greeted) = with_tls(ClientSslMode::Require).tcp().await;
    client.startup(0, &[("user", "amy")]).await;
    let (code, message) = client.refusal().await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("28000", "connection requires TLS")
    );
    assert!(matches!(
        greeted.await.unwrap(),
        Err(ClientError::TlsRequired)
    ));
    let (mut client, greeted) = with_tls(ClientSslMode::Allow).tcp().await;
    client.startup(0, &[("user", "amy")]).await;
    client.authentication_ok().await;
    login(greeted).await;
}

#[tokio::test]
async fn bytes_in_clear_behind_an_encryption_request_are_refused() {
    for setup in [with_tls(ClientSslMode::Allow), setup(AuthType::Trust)] {
        let (mut client, greeted) = setup.tcp().await;
        client
            .send(|out| {
                frontend::ssl_request(out);
                frontend::startup(out, 0, &[("user", "mallory")]);
            })
            .await;
        let (code, message) = client.refusal().await;
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("08P01", "received unencrypted data after SSL request")
        );
        assert!(matches!(
            greeted.await.unwrap(),
            Err(ClientError::EarlyData { .. })
        ));
    }
}

#[tokio::test]
async fn bytes_in_clear_after_the_answer_break_the_handshake() {
    let (mut client, greeted) = with_tls(ClientSslMode::Allow).tcp().await;
    client.send(frontend::ssl_request).await;
    assert_eq!(client.byte().await, b'S');
    client.startup(0, &[("user", "mallory")]).await;
    assert!(matches!(
        greeted.await.unwrap(),
        Err(ClientError::Handshake(_))
    ));
}

#[tokio::test]
async fn no_second_request_inside_tls() {
    let (mut client, greeted) = with_tls(ClientSslMode::Allow).tcp().await;
    client.send(frontend::ssl_request).await;
    assert_eq!(client.byte().await, b'S');
    let mut client = client.encrypt(true).await.unwrap();
    client.send(frontend::ssl_request).await;
    let (code, _) = client.refusal().await;
    assert_eq!(code, "0A000");
    assert!(greeted.await.unwrap().is_err());
}

#[tokio::test]
async fn client_that_goes_away_is_no_error_of_anybody() {
    for sent in [&b""[..], &[0, 0], &[0, 0, 0, 20, 0, 3, 0, 0]] {
        for setup in [setup(AuthType::Trust), with_tls(ClientSslMode::Allow)] {
            let (mut client, greeted) = setup.tcp().await;
            client.send(|out| out.extend_from_slice(sent)).await;
            drop(client);
            assert!(matches!(greeted.await.unwrap(), Err(ClientError::Closed)));
        }
    }
}
