//! One line of `pg_hba.conf`.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use regex_lite::Regex;

use super::Visit;
use super::address::{Network, prefix_of};
use super::line::{Line, Word};

/// A rule: whom it is for, and what it asks of them.
#[derive(Debug)]
pub struct Rule {
    /// Where it stands: a file, and the line in it, from one.
    pub file: Arc<Path>,
    pub line: usize,
    pub method: Method,
    /// What is asked of a certificate besides the method.
    pub client_cert: Option<ClientCert>,
    /// The map of `pg_ident.conf` for `cert` and `peer`.
    pub map: Option<String>,
    kind: Kind,
    databases: Vec<Name>,
    users: Vec<Name>,
    address: Address,
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Trust,
    Reject,
    /// md5, or SCRAM for users that have only a SCRAM secret.
    Md5,
    /// The password in clear.
    Password,
    /// The password in clear, for the server to judge: a word of our own.
    Passthrough,
    ScramSha256,
    Cert,
    Peer,
}

/// `clientcert=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCert {
    /// A certificate of the authority.
    VerifyCa,
    /// And it must be the user's.
    VerifyFull,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    Host,
    HostSsl,
    HostNoSsl,
    /// Over GSSAPI, which nobody speaks here.
    Never,
}

#[derive(Debug)]
enum Name {
    All,
    /// The database that is named like the user.
    SameUser,
    /// The database that is named like a role which the user is a member of.
    SameRole,
    /// Members of this role.
    MemberOf(String),
    /// Physical replication connections, for which no other name stands.
    Replication,
    Is(String),
    Matches(Regex),
}

#[derive(Debug)]
enum Address {
    All,
    SameHost,
    SameNet,
    In(Network),
}

impl Rule {
    /// The error is a sentence without the line's number.
    pub(super) fn read(line: &Line) -> Result<Self, String> {
        let mut fields = line.fields.iter();
        let mut next = |what: &str| {
            fields
                .next()
                .ok_or_else(|| format!("end of line before {what}"))
        };
        let kind = kind(single(next("the connection type")?, "connection type")?)?;
        let databases = names(next("the database")?, database)?;
        let users = names(next("the user")?, user)?;
        let address = match kind {
            Kind::Local => Address::All,
            _ => {
                let word = single(next("the address")?, "address")?;
                match address(word)? {
                    Read::Whole(address) => address,
                    Read::NeedsMask(ip) => {
                        let mask = single(next("the network mask")?, "network mask")?;
                        Address::In(masked(ip, &mask.text)?)
                    }
                }
            }
        };
        let method = method(single(next("the method")?, "method")?, kind)?;
        let mut rule = Self {
            file: Arc::clone(&line.file),
            line: line.number,
            method,
            client_cert: (method == Method::Cert).then_some(ClientCert::VerifyFull),
            map: None,
            kind,
            databases,
            users,
            address,
        };
        for field in fields {
            for word in field {
                rule.option(&word.text)?;
            }
        }
        Ok(rule)
    }

    fn option(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is no option: expected name=value"))?;
        match (name, value) {
            ("clientcert", _) if self.kind != Kind::HostSsl => {
                Err("clientcert can only be given for hostssl".into())
            }
            ("clientcert", "verify-full") => {
                self.client_cert = Some(ClientCert::VerifyFull);
                Ok(())
            }
            ("clientcert", "verify-ca") if self.method == Method::Cert => {
                Err("the method cert checks as clientcert=verify-full does".into())
            }
            ("clientcert", "verify-ca") => {
                self.client_cert = Some(ClientCert::VerifyCa);
                Ok(())
            }
            ("clientcert", _) => Err(format!(
                "clientcert={value} is not verify-ca or verify-full"
            )),
            ("map", _) if !matches!(self.method, Method::Cert | Method::Peer) => {
                Err("map can only be given for cert and peer".into())
            }
            ("map", _) => {
                self.map = Some(value.into());
                Ok(())
            }
            ("clientname", "CN") => Ok(()),
            _ => Err(format!("the option {text:?} is not supported")),
        }
    }

    /// Whether it asks about roles.
    pub fn needs_roles(&self) -> bool {
        let asks = |name: &Name| matches!(name, Name::SameRole | Name::MemberOf(_));
        self.databases.iter().chain(&self.users).any(asks)
    }

    /// `None` if that depends on roles which are not known.
    pub(super) fn matches(&self, visit: &Visit<'_>) -> Option<bool> {
        let connection = match (self.kind, visit.address) {
            (Kind::Local, address) => address.is_none(),
            (_, None) | (Kind::Never, _) => false,
            (Kind::HostSsl, _) if !visit.encrypted => false,
            (Kind::HostNoSsl, _) if visit.encrypted => false,
            (_, Some(address)) => self.address.contains(address, visit),
        };
        if !connection {
            return Some(false);
        }
        let database = match visit.is_physical {
            true => Some(self.databases.iter().any(Name::is_replication)),
            false => any(&self.databases, visit.database, visit),
        };
        match (database, any(&self.users, visit.user, visit)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }
}

/// Whether one of the names is `value`; `None` if that depends on roles which are not known.
fn any(names: &[Name], value: &str, visit: &Visit<'_>) -> Option<bool> {
    let mut answer = Some(false);
    for name in names {
        match name.is(value, visit) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => answer = None,
        }
    }
    answer
}

impl Name {
    fn is(&self, value: &str, visit: &Visit<'_>) -> Option<bool> {
        Some(match self {
            Name::All => true,
            Name::SameUser => value == visit.user,
            Name::SameRole => visit.roles?.contains(value),
            Name::MemberOf(role) => visit.roles?.contains(role),
            Name::Replication => false,
            Name::Is(name) => name == value,
            Name::Matches(pattern) => pattern.is_match(value),
        })
    }

    fn is_replication(&self) -> bool {
        matches!(self, Name::Replication)
    }
}

impl Address {
    fn contains(&self, address: IpAddr, visit: &Visit<'_>) -> bool {
        let address = address.to_canonical();
        match self {
            Address::All => true,
            Address::In(network) => network.contains(address),
            Address::SameNet => (visit.own_networks)()
                .iter()
                .any(|network| network.contains(address)),
            Address::SameHost => (visit.is_own)(address),
        }
    }
}

fn single<'a>(field: &'a [Word], what: &str) -> Result<&'a Word, String> {
    match field {
        [word] => Ok(word),
        _ => Err(format!("one {what} is expected, not a list")),
    }
}

fn kind(word: &Word) -> Result<Kind, String> {
    match word.text.as_str() {
        "local" => Ok(Kind::Local),
        "host" | "hostnogssenc" => Ok(Kind::Host),
        "hostssl" => Ok(Kind::HostSsl),
        "hostnossl" => Ok(Kind::HostNoSsl),
        "hostgssenc" => Ok(Kind::Never),
        other => Err(format!("{other:?} is no connection type")),
    }
}

fn names(
    field: &[Word],
    read: impl Fn(&Word) -> Result<Name, String>,
) -> Result<Vec<Name>, String> {
    field.iter().map(read).collect()
}

fn database(word: &Word) -> Result<Name, String> {
    match word.text.as_str() {
        "sameuser" if !word.quoted => Ok(Name::SameUser),
        "replication" if !word.quoted => Ok(Name::Replication),
        "samerole" | "samegroup" if !word.quoted => Ok(Name::SameRole),
        _ => name(word),
    }
}

fn user(word: &Word) -> Result<Name, String> {
    match word.text.strip_prefix('+') {
        Some(role) if !word.quoted => Ok(Name::MemberOf(role.into())),
        _ => name(word),
    }
}

fn name(word: &Word) -> Result<Name, String> {
    match word.text.strip_prefix('/') {
        _ if word.is_keyword("all") => Ok(Name::All),
        // Also in quotes, which it needs around a comma.
        Some(pattern) => {
            let pattern = Regex::new(pattern);
            pattern
                .map(Name::Matches)
                .map_err(|error| error.to_string())
        }
        None => Ok(Name::Is(word.text.clone())),
    }
}

enum Read {
    Whole(Address),
    /// An address whose mask is the next field.
    NeedsMask(IpAddr),
}

fn address(word: &Word) -> Result<Read, String> {
    let text = word.text.as_str();
    match text {
        "all" if !word.quoted => return Ok(Read::Whole(Address::All)),
        "samehost" if !word.quoted => return Ok(Read::Whole(Address::SameHost)),
        "samenet" if !word.quoted => return Ok(Read::Whole(Address::SameNet)),
        _ => {}
    }
    let (ip, prefix) = match text.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix)),
        None => (text, None),
    };
    let ip: IpAddr = ip
        .parse()
        .map_err(|_| format!("{text:?} is no address; names of hosts are not supported"))?;
    let Some(prefix) = prefix else {
        return Ok(Read::NeedsMask(ip));
    };
    let is_number = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let network = prefix.parse().ok().filter(|_| is_number);
    let network = network.and_then(|prefix| Network::new(ip, prefix));
    network
        .map(|network| Read::Whole(Address::In(network)))
        .ok_or_else(|| format!("{text:?} has no valid network length"))
}

fn masked(ip: IpAddr, mask: &str) -> Result<Network, String> {
    let wrong = || format!("{mask:?} is no network mask for {ip}");
    let mask: IpAddr = mask.parse().map_err(|_| wrong())?;
    if mask.is_ipv4() != ip.is_ipv4() {
        return Err(wrong());
    }
    let network = prefix_of(mask).and_then(|prefix| Network::new(ip, prefix));
    network.ok_or_else(wrong)
}

fn method(word: &Word, kind: Kind) -> Result<Method, String> {
    let method = match word.text.as_str() {
        "trust" => Method::Trust,
        "reject" => Method::Reject,
        "md5" => Method::Md5,
        "password" => Method::Password,
        "passthrough" => Method::Passthrough,
        "scram-sha-256" => Method::ScramSha256,
        "cert" => Method::Cert,
        "peer" => Method::Peer,
        // On a Unix socket PostgreSQL takes it for peer.
        "ident" if kind == Kind::Local => Method::Peer,
        other => return Err(format!("the method {other:?} is not supported")),
    };
    match (method, kind) {
        (Method::Peer, Kind::Local) => Ok(method),
        (Method::Peer, _) => Err("peer can only be used on a Unix socket (local)".into()),
        (Method::Cert, Kind::HostSsl) => Ok(method),
        (Method::Cert, _) => Err("cert can only be used over TLS (hostssl)".into()),
        _ => Ok(method),
    }
}
