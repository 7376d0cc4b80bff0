//! libpq's connection URIs.
//!
//! The grammar is that of libpq (PostgreSQL manual, "Connection URIs", and
//! `conninfo_uri_parse_options` in `fe-connect.c`), which is not that of
//! RFC 3986: several hosts, a percent-encoded socket directory as host, and a
//! `+` that is a plus.

use std::path::PathBuf;
use std::time::Duration;

use super::nearest::nearest;
use super::value::{Kind, OneOf, Raw};
use super::words::Word;
use super::{Host, SslMode, SslNegotiation, TargetSessionAttrs};

/// What a URL names; `None` is "not named".
#[derive(Debug, Default, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// Several are a list as `upstream.host` takes it, each with its port.
    pub host: Option<String>,
    pub port: Option<u16>,
    /// Where several are named, until they are put together with their hosts; `None` is the default.
    ports: Vec<Option<u16>>,
    pub target_session_attrs: Option<TargetSessionAttrs>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub dbname: Option<String>,
    pub application_name: Option<String>,
    pub options: Option<String>,
    pub connect_timeout: Option<Duration>,
    pub sslmode: Option<SslMode>,
    pub sslnegotiation: Option<SslNegotiation>,
    /// `Some(None)` is `system`.
    pub sslrootcert: Option<Option<PathBuf>>,
    pub sslcert: Option<PathBuf>,
    pub sslkey: Option<PathBuf>,
}

/// What is wrong with a URL. No variant holds the URL, which may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("expected a URL that begins with postgres:// or postgresql://")]
    Scheme,
    #[error("one of several hosts is empty")]
    EmptyHost,
    #[error("{ports} ports do not match {hosts} hosts")]
    PortCount { ports: usize, hosts: usize },
    #[error("the host's [ has no ]")]
    Bracket,
    #[error("unexpected text after the host's ]: expected a port, a database or parameters")]
    AfterBracket,
    #[error("an @ stands in the host: write an @ or / in a user name or password as %40 or %2F")]
    AtSign,
    #[error("the port must be a number from 1 to 65535")]
    Port,
    #[error("a % must be followed by two hexadecimal digits that are not 00")]
    Percent,
    #[error("percent-encoded text is not UTF-8")]
    Encoding,
    #[error("parameter {0} has no value: write {0}=value")]
    NoValue(String),
    #[error("unknown parameter {name}{}", .nearest.as_ref().map_or_else(String::new, |n| format!("; did you mean {n}?")))]
    UnknownParameter {
        name: String,
        nearest: Option<&'static str>,
    },
    #[error("libpq's parameter {0} is not supported")]
    Unsupported(String),
    #[error("{name}: {why}")]
    Invalid { name: &'static str, why: String },
}

const PARAMETERS: [&str; 15] = [
    "application_name",
    "connect_timeout",
    "dbname",
    "host",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "ssl",
    "target_session_attrs",
    "user",
];

/// Parameters of libpq that would change the connection in a way that we do not follow.
const UNSUPPORTED: [&str; 27] = [
    "channel_binding",
    "client_encoding",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslpassword",
    "sslsni",
];

/// Values of unsupported parameters that ask for what happens anyway.
const HARMLESS: [(&str, &str); 4] = [
    ("channel_binding", "disable"),
    ("channel_binding", "prefer"),
    ("gssencmode", "disable"),
    ("gssencmode", "prefer"),
];

impl UpstreamUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// Everything that is wrong with the parameters, or the first thing that is wrong before them.
    pub fn parse(text: &str) -> Result<Self, Vec<UrlError>> {
        let mut url = Self::default();
        let query = url.read_address(text).map_err(|error| vec![error])?;
        let mut errors = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if let Err(error) = url.read_parameter(pair) {
                errors.push(error);
            }
        }
        for settled in [url.settle_hosts(), url.settle_tls()] {
            errors.extend(settled.err());
        }
        match errors.is_empty() {
            true => Ok(url),
            false => Err(errors),
        }
    }

    /// Everything before the `?`; returns what is after it.
    fn read_address<'a>(&mut self, text: &'a str) -> Result<&'a str, UrlError> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or(UrlError::Scheme)?;
        // As in libpq, an @ before the first / ends the user and password, whatever else they hold.
        let address = match rest.find(['@', '/']) {
            Some(at) if rest[at..].starts_with('@') => {
                let login = &rest[..at];
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                self.user = not_empty(decode(user)?);
                self.password = not_empty(decode(password)?);
                &rest[at + 1..]
            }
            _ => rest,
        };
        let (address, query) = address.split_once('?').unwrap_or((address, ""));
        let (hosts, dbname) = address.split_once('/').unwrap_or((address, ""));
        self.read_host(hosts)?;
        self.dbname = not_empty(decode(dbname)?);
        Ok(query)
    }

    fn read_host(&mut self, hosts: &str) -> Result<(), UrlError> {
        if hosts.contains('@') {
            return Err(UrlError::AtSign);
        }
        if hosts.contains(',') {
            let each: Vec<Self> = hosts
                .split(',')
                .map(|one| {
                    let mut url = Self::default();
                    url.read_host(one).map(|()| url)
                })
                .collect::<Result<_, _>>()?;
            let names = each.iter().map(|one| one.host.as_deref().unwrap_or(""));
            self.host = Some(names.collect::<Vec<_>>().join(","));
            self.ports = each.iter().map(|one| one.port).collect();
            return Ok(());
        }
        let (host, port) = match hosts.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or(UrlError::Bracket)?;
                match rest.strip_prefix(':') {
                    Some(port) => (host, port),
                    None if rest.is_empty() => (host, ""),
                    None => return Err(UrlError::AfterBracket),
                }
            }
            None => hosts.split_once(':').unwrap_or((hosts, "")),
        };
        self.set_host(decode(host)?);
        self.set_port(&decode(port)?)
    }

    fn set_host(&mut self, host: String) {
        self.host = not_empty(host).or(self.host.take());
    }

    fn set_port(&mut self, port: &str) -> Result<(), UrlError> {
        let read = |port: &str| match port.is_empty() {
            true => Ok(None),
            false => {
                let number = port.parse().ok().filter(|port| *port != 0);
                number.ok_or(UrlError::Port).map(Some)
            }
        };
        if port.contains(',') {
            self.ports = port.split(',').map(read).collect::<Result<_, _>>()?;
        } else if let Some(port) = read(port)? {
            self.port = Some(port);
            self.ports.clear();
        }
        Ok(())
    }

    /// Puts several hosts together with their ports: one for all, or as many as there are hosts.
    fn settle_hosts(&mut self) -> Result<(), UrlError> {
        let ports = std::mem::take(&mut self.ports);
        let names: Vec<&str> = self.host.iter().flat_map(|host| host.split(',')).collect();
        if !ports.is_empty() && ports.len() != names.len() {
            return Err(UrlError::PortCount {
                ports: ports.len(),
                hosts: names.len(),
            });
        }
        if names.len() < 2 {
            return Ok(());
        }
        if names.iter().any(|name| name.is_empty()) {
            return Err(UrlError::EmptyHost);
        }
        let port = |n: usize| match ports.get(n) {
            Some(port) => port.unwrap_or(5432),
            None => self.port.unwrap_or(5432),
        };
        let hosts = names.iter().enumerate();
        let hosts: Vec<String> = hosts
            .map(|(n, name)| Host::new(*name, port(n)).to_string())
            .collect();
        self.host = Some(hosts.join(","));
        self.port = None;
        Ok(())
    }

    fn read_parameter(&mut self, pair: &str) -> Result<(), UrlError> {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| UrlError::NoValue(printable(pair)))?;
        let name = decode(name)?;
        let value = decode(value)?;
        match name.as_str() {
            "host" => self.set_host(value),
            "port" => self.set_port(&value)?,
            "user" => self.user = not_empty(value),
            "password" => self.password = not_empty(value),
            "dbname" => self.dbname = not_empty(value),
            "application_name" => self.application_name = not_empty(value),
            "options" => self.options = not_empty(value),
            "connect_timeout" => self.connect_timeout = connect_timeout(&value)?,
            "sslmode" => self.sslmode = Some(word("sslmode", value)?),
            "sslnegotiation" => self.sslnegotiation = Some(word("sslnegotiation", value)?),
            "target_session_attrs" => {
                self.target_session_attrs = Some(word("target_session_attrs", value)?);
            }
            // JDBC's spelling, which libpq takes too.
            "ssl" if value == "true" => self.sslmode = Some(SslMode::Require),
            "ssl" => {
                return Err(UrlError::Invalid {
                    name: "ssl",
                    why: "expected true; use sslmode for anything else".into(),
                });
            }
            "sslrootcert" if value == "system" => self.sslrootcert = Some(None),
            "sslrootcert" => self.sslrootcert = not_empty(value).map(|file| Some(file.into())),
            "sslcert" => self.sslcert = not_empty(value).map(PathBuf::from),
            "sslkey" => self.sslkey = not_empty(value).map(PathBuf::from),
            other if HARMLESS.contains(&(other, value.as_str())) => {}
            other if UNSUPPORTED.contains(&other) => {
                return Err(UrlError::Unsupported(name));
            }
            other => {
                return Err(UrlError::UnknownParameter {
                    nearest: nearest(other, PARAMETERS),
                    name: printable(other),
                });
            }
        }
        Ok(())
    }

    /// libpq's rules that tie `sslmode` to `sslrootcert`.
    fn settle_tls(&mut self) -> Result<(), UrlError> {
        match (&self.sslrootcert, self.sslmode) {
            (Some(None), None) => self.sslmode = Some(SslMode::VerifyFull),
            (Some(None), Some(mode)) if mode != SslMode::VerifyFull => {
                return Err(UrlError::Invalid {
                    name: "sslmode",
                    why: "sslrootcert=system needs sslmode=verify-full".into(),
                });
            }
            // Kept by libpq from the days before verify-ca: a root certificate that is given is used.
            (Some(Some(_)), Some(SslMode::Require)) => self.sslmode = Some(SslMode::VerifyCa),
            _ => {}
        }
        Ok(())
    }
}

fn not_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A parameter's name as it may be printed: a mistake such as an unescaped `&` in a password ends up here.
fn printable(name: &str) -> String {
    match name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.len() <= 40 {
        true => name.to_owned(),
        false => "(not a name)".to_owned(),
    }
}

fn word<T: Word>(name: &'static str, value: String) -> Result<T, UrlError> {
    OneOf
        .read(&Raw::Text(value))
        .map_err(|why| UrlError::Invalid { name, why })
}

/// Whole seconds. libpq waits for ever at zero and below: the key's own value stays in force instead.
fn connect_timeout(value: &str) -> Result<Option<Duration>, UrlError> {
    match value.trim().parse::<i32>() {
        Ok(seconds) => Ok(u64::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs)),
        Err(_) => Err(UrlError::Invalid {
            name: "connect_timeout",
            why: "expected a whole number of seconds".into(),
        }),
    }
}

fn decode(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) if high + low > 0 => bytes.push((high * 16 + low) as u8),
            _ => return Err(UrlError::Percent),
        }
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Encoding)
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
