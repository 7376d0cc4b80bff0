//! Which servers an upstream is, and which of them is wanted.

use super::value::{Kind, Name, Raw, quoted};
use super::{DatabaseConfig, UpstreamConfig};

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// Host name, address, or the directory of a Unix socket (begins with `/`).
    pub name: String,
    pub port: u16,
}

impl Host {
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self {
            name: name.into(),
            port,
        }
    }

    /// Whether the name is a directory that holds a socket.
    pub fn is_unix(&self) -> bool {
        self.name.starts_with('/')
    }
}

/// As it stands in a list of several: `name:port`, an IPv6 address in brackets.
impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name.contains(':') && !self.is_unix() {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// Which of several servers to connect to: libpq's words, and its meaning of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetSessionAttrs {
    Any,
    /// Sessions may write by default, and the server is not in recovery.
    ReadWrite,
    ReadOnly,
    /// Not in recovery.
    Primary,
    Standby,
    /// A standby if there is one, else any.
    PreferStandby,
}

impl UpstreamConfig {
    /// The servers in the order in which they are tried; at least one.
    pub fn hosts(&self) -> Vec<Host> {
        // Checked when it was read.
        list(&self.host, self.port).unwrap_or_default()
    }

    /// As [`wanted_of`] for [`UpstreamConfig::hosts`].
    pub fn wanted(&self) -> TargetSessionAttrs {
        wanted_of(&self.hosts(), self.target_session_attrs)
    }
}

impl DatabaseConfig {
    /// The servers of this entry, and which of them is wanted.
    pub fn hosts(&self, upstream: &UpstreamConfig) -> (Vec<Host>, TargetSessionAttrs) {
        let hosts = match (&self.host, self.port) {
            (Some(host), port) => list(host, port.unwrap_or(5432)).unwrap_or_default(),
            (None, None) => upstream.hosts(),
            (None, Some(port)) => {
                let mut hosts = upstream.hosts();
                hosts.iter_mut().for_each(|host| host.port = port);
                hosts
            }
        };
        let inherited = match self.host {
            Some(_) => None,
            None => upstream.target_session_attrs,
        };
        let wanted = wanted_of(&hosts, self.target_session_attrs.or(inherited));
        (hosts, wanted)
    }
}

/// What is wanted where nothing is said: of one server whatever it is, of several the primary.
fn wanted_of(hosts: &[Host], said: Option<TargetSessionAttrs>) -> TargetSessionAttrs {
    said.unwrap_or(match hosts.len() {
        0 | 1 => TargetSessionAttrs::Any,
        _ => TargetSessionAttrs::Primary,
    })
}

/// Reads `name` or `name[:port],name[:port]…`. One alone is a name as it stands, an IPv6 address
/// among others.
pub(super) fn list(text: &str, port: u16) -> Result<Vec<Host>, String> {
    if !text.contains(',') {
        return Ok(vec![Host::new(text, port)]);
    }
    text.split(',').map(|one| host(one.trim(), port)).collect()
}

fn host(text: &str, port: u16) -> Result<Host, String> {
    let number = |digits: &str| {
        let number = digits.parse().ok().filter(|port| *port != 0);
        number.ok_or_else(|| format!("{digits:?} is no port from 1 to 65535"))
    };
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, "")) => (name, port),
            Some((name, rest)) => match rest.strip_prefix(':') {
                Some(digits) => (name, number(digits)?),
                None => return Err(format!("unexpected text after the ] of {text:?}")),
            },
            None => return Err(format!("the [ of {text:?} has no ]")),
        },
        None => match text.rsplit_once(':') {
            // More than one colon is an address without a port.
            Some((name, digits)) if text.starts_with('/') || !name.contains(':') => {
                (name, number(digits)?)
            }
            _ => (text, port),
        },
    };
    match name.is_empty() {
        true => Err("a host of the list is empty".into()),
        false => Ok(Host::new(name, port)),
    }
}

/// A host, or several with commas between them.
pub(crate) struct HostList;

impl Kind<String> for HostList {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        let text = Name.read(raw)?;
        list(&text, 5432).map(|_| text)
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }

    fn takes(&self) -> String {
        "text".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_a_name_and_several_have_ports_of_their_own() {
        let hosts = |text: &str| list(text, 5432).unwrap();
        assert_eq!(hosts("::1"), [Host::new("::1", 5432)]);
        assert_eq!(hosts("/run/pg"), [Host::new("/run/pg", 5432)]);
        let several = hosts("a, b:5433,[::1]:5434,fe80::1,/run/pg:5435,[::2]");
        let written: Vec<String> = several.iter().map(Host::to_string).collect();
        assert_eq!(
            written,
            [
                "a:5432",
                "b:5433",
                "[::1]:5434",
                "[fe80::1]:5432",
                "/run/pg:5435",
                "[::2]:5432"
            ]
        );
        assert_eq!(hosts(&written.join(",")), several);
        for wrong in ["a,", "a,b:0", "a,b:x", "a,[::1", "a,[::1]x"] {
            assert!(list(wrong, 5432).is_err(), "{wrong}");
        }
    }

    #[test]
    fn several_hosts_are_searched_for_the_primary_unless_something_else_is_said() {
        let mut upstream = UpstreamConfig::default();
        assert_eq!(upstream.wanted(), TargetSessionAttrs::Any);
        upstream.host = "a,b".into();
        assert_eq!(upstream.wanted(), TargetSessionAttrs::Primary);
        upstream.target_session_attrs = Some(TargetSessionAttrs::PreferStandby);
        let mut entry = DatabaseConfig::default();
        let same = (upstream.hosts(), TargetSessionAttrs::PreferStandby);
        assert_eq!(entry.hosts(&upstream), same);
        entry.host = Some("c".into());
        let one = (vec![Host::new("c", 5432)], TargetSessionAttrs::Any);
        assert_eq!(entry.hosts(&upstream), one);
        entry.host = None;
        entry.port = Some(6000);
        let (moved, _) = entry.hosts(&upstream);
        assert_eq!(moved, [Host::new("a", 6000), Host::new("b", 6000)]);
    }
}
