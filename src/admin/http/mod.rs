//! The HTTP listener: metrics, probes, drain, the API and the status page.
//!
//! One request for each connection, a time limit on all of it and a bound on how many there
//! are: whoever can reach the port can keep others from it for seconds, and can do nothing else.

mod api;
mod gate;
mod page;
mod routes;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::house::House;

const CONNECTIONS_MAX: usize = 64;
const HEADERS_MAX: usize = 64;
/// hyper refuses to work with less than 8 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// From accept to the last byte of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// After an error of accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the listener needs to know beyond the [`House`].
#[derive(Default)]
pub struct Access {
    /// `http.admin_token_file`, read at every request that needs it.
    token_file: ArcSwapOption<PathBuf>,
}

impl Access {
    pub fn new(token_file: Option<PathBuf>) -> Arc<Self> {
        let access = Self::default();
        access.reload(token_file);
        Arc::new(access)
    }

    pub fn reload(&self, token_file: Option<PathBuf>) {
        self.token_file.store(token_file.map(Arc::new));
    }
}

/// Answers until it is dropped, and with it every connection that is open.
pub async fn serve(listener: TcpListener, access: Arc<Access>, house: Arc<dyn House>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "http: accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        // One too many is closed at once: waiting for a place would keep the probes out for longer.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let (access, house) = (Arc::clone(&access), Arc::clone(&house));
        connections.spawn(async move {
            let _ = timeout(REQUEST_TIMEOUT, answer(stream, peer, access, house)).await;
            drop(place);
        });
    }
}

async fn answer(
    stream: TcpStream,
    peer: SocketAddr,
    access: Arc<Access>,
    house: Arc<dyn House>,
) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let (access, house) = (Arc::clone(&access), Arc::clone(&house));
        async move { Ok::<_, Infallible>(routes::respond(request, peer, &access, house).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}
