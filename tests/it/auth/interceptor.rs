//! Somebody between a client and a server who speaks TLS to both, with a certificate of their own.

use std::sync::Arc;

use pgditto::config::{ClientSslMode, ClientTlsConfig, ServerTlsConfig, SslMode};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::fixture::CertificateFiles;

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Passes on what clients of the port that it returns say to the server on `port`.
pub async fn intercept(port: u16, own: &CertificateFiles) -> u16 {
    let acceptor = pgditto::tls::server(&ClientTlsConfig {
        sslmode: ClientSslMode::Require,
        cert_file: Some(own.certificate()),
        key_file: Some(own.key()),
        ..ClientTlsConfig::default()
    });
    let acceptor = acceptor.expect("its files").expect("turned on");
    let connector = pgditto::tls::upstream(&ServerTlsConfig {
        sslmode: SslMode::Require,
        ..ServerTlsConfig::default()
    });
    let connector = connector.expect("no files").expect("turned on");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let place = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, connector) =
                (Arc::clone(&acceptor.config), Arc::clone(&connector.config));
            tokio::spawn(relay(client, port, acceptor.into(), connector.into()));
        }
    });
    place
}

async fn relay(
    mut client: TcpStream,
    port: u16,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
) -> std::io::Result<()> {
    let mut request = [0; 8];
    client.read_exact(&mut request).await?;
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    server.write_all(&SSL_REQUEST).await?;
    server.read_u8().await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut server = connector.connect(name, server).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
