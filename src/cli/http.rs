//! A client for the one kind of HTTP that the local process speaks: a request, a short answer, the end.
//!
//! Blocking and by hand: probes run every few seconds, and starting a runtime for them would cost more than they do.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::config::{HttpConfig, split_address};

/// Where the local process listens, as seen from this machine.
pub(super) struct Local {
    host: String,
    port: u16,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("http.listen is empty: there is nobody to ask")]
    Off,
    #[error("nobody listens on {0}")]
    Refused(String),
    #[error("{address}: {source}")]
    Io {
        address: String,
        source: std::io::Error,
    },
    #[error("{0}: no answer in time")]
    Timeout(String),
    #[error("{0} does not speak HTTP")]
    NotHttp(String),
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Longer answers are cut. Metrics of a hundred databases fit.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

impl Local {
    pub(super) fn new(http: &HttpConfig) -> Result<Self, HttpError> {
        let (host, port) = split_address(&http.listen).ok_or(HttpError::Off)?;
        // Every interface includes loopback, which nobody else can listen on instead.
        let host = match host {
            "*" | "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Sends one request and reads the answer, all within `timeout`.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        timeout: Duration,
    ) -> Result<Answer, HttpError> {
        let deadline = Instant::now() + timeout;
        let mut answer = Vec::new();
        self.exchange(method, path, token, deadline, &mut answer)
            .map_err(|error| self.failed(error))?;
        read_answer(&answer).ok_or_else(|| HttpError::NotHttp(self.address()))
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        deadline: Instant,
        answer: &mut Vec<u8>,
    ) -> std::io::Result<()> {
        let mut stream = self.connect(deadline)?;
        let authorization = token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        stream.set_write_timeout(Some(left(deadline)?))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Content-Length: 0\r\nConnection: close\r\n\r\n",
            self.address()
        )?;
        let mut buffer = [0; 4096];
        while (answer.len() as u64) < ANSWER_BYTES_MAX {
            stream.set_read_timeout(Some(left(deadline)?))?;
            match stream.read(&mut buffer)? {
                0 => break,
                n => answer.extend_from_slice(&buffer[..n]),
            }
        }
        Ok(())
    }

    fn connect(&self, deadline: Instant) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::from(ErrorKind::AddrNotAvailable);
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(deadline)?) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn failed(&self, source: std::io::Error) -> HttpError {
        let address = self.address();
        match source.kind() {
            ErrorKind::ConnectionRefused => HttpError::Refused(address),
            ErrorKind::TimedOut | ErrorKind::WouldBlock => HttpError::Timeout(address),
            _ => HttpError::Io { address, source },
        }
    }

    fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

fn left(deadline: Instant) -> std::io::Result<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
        .ok_or_else(|| ErrorKind::TimedOut.into())
}

fn read_answer(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some(Answer {
        status: status.get(..3)?.parse().ok()?,
        body: body.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_asked_on_loopback() {
        for (listen, address) in [
            ("0.0.0.0:9930", "127.0.0.1:9930"),
            ("*:9930", "127.0.0.1:9930"),
            ("[::]:9930", "[::1]:9930"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            let http = HttpConfig {
                listen: listen.into(),
                ..HttpConfig::default()
            };
            assert_eq!(Local::new(&http).unwrap().address(), address);
        }
    }

    #[test]
    fn answers_are_read_or_refused() {
        let answer = read_answer(b"HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\ndraining\n");
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "draining"));
        for wrong in [
            "",
            "HTTP/1.1 200 OK",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 x\r\n\r\n",
        ] {
            assert!(read_answer(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
