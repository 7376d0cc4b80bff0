//! A server that does exactly what a test says.

use std::time::Duration;

use bytes::BytesMut;
use pgditto::upstream::{ConnectOptions, Connection, Target, UpstreamError};
use pgditto::wire::{
    Frame, Startup, StartupPacket, TransactionStatus, backend, take_frame, take_startup,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A loopback port where a test plays PostgreSQL.
pub struct Script {
    listener: TcpListener,
}

impl Script {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self { listener }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }

    pub async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        Peer {
            stream,
            input: BytesMut::new(),
        }
    }

    /// Connects as `app` while the test plays the other side.
    pub fn connect(
        &self,
        change: impl FnOnce(&mut Target),
    ) -> JoinHandle<Result<Connection, UpstreamError>> {
        let config = super::config_for(self.port(), |_| {});
        let mut target = Target::new(
            &config.upstream,
            &config.server_tls,
            None,
            "app",
            "app",
            config.upstream.password.clone(),
        );
        change(&mut target);
        let options = ConnectOptions {
            timeout: Duration::from_secs(20),
            ..Default::default()
        };
        tokio::spawn(async move { Connection::connect(&target, &options).await })
    }
}

/// One connection to the script.
pub struct Peer {
    pub stream: TcpStream,
    input: BytesMut,
}

impl Peer {
    pub async fn packet(&mut self) -> StartupPacket {
        loop {
            if let Some(packet) = take_startup(&mut self.input).expect("a valid packet") {
                return packet;
            }
            self.more().await;
        }
    }

    pub async fn startup(&mut self) -> Startup {
        match self.packet().await {
            StartupPacket::Startup(startup) => startup,
            other => panic!("{other:?}"),
        }
    }

    pub async fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = take_frame(&mut self.input, 1 << 20).expect("a valid frame") {
                return frame;
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let read = self.stream.read_buf(&mut self.input).await;
        assert_ne!(read.expect("a connection"), 0, "the peer has gone");
    }

    pub async fn send(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let mut output = BytesMut::new();
        write(&mut output);
        self.raw(&output).await;
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("a connection");
    }

    /// The end of a login without a password.
    pub async fn welcome(&mut self, pid: u32) {
        self.send(|out| {
            backend::authentication_ok(out);
            backend::parameter_status_message(out, b"server_version", b"15.0");
            backend::backend_key_data(out, pid, &[1, 2, 3, 4]);
            backend::ready_for_query(out, TransactionStatus::Idle);
        })
        .await;
    }

    /// True when the peer closes without saying more than goodbye.
    pub async fn is_left(&mut self) -> bool {
        let mut rest = Vec::new();
        // A reset is a way to leave, too.
        let _ = self.stream.read_to_end(&mut rest).await;
        rest.is_empty() || rest == b"X\0\0\0\x04"
    }
}
