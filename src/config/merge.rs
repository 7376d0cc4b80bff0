//! One layer over the next: every value set in rising order, and where it came from remembered.

use std::collections::HashMap;

use super::error::{ConfigError, Origin, Problem};
use super::table::Key;
use super::url::UpstreamUrl;
use super::value::Raw;
use super::{Config, Secret, keys};

/// Where each value came from; what is not listed is a default.
#[derive(Debug, Clone, Default)]
pub struct Origins(HashMap<String, Origin>);

impl Origins {
    /// `key` is `section.name`, or `users[0].name` for the elements of an array of tables.
    pub fn of(&self, key: &str) -> &Origin {
        self.0.get(key).unwrap_or(&Origin::Default)
    }

    pub(super) fn insert(&mut self, key: impl Into<String>, origin: Origin) {
        self.0.insert(key.into(), origin);
    }

    /// Whether the operator gave this key in any layer.
    pub(super) fn given(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

/// A valid configuration with its origins.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    pub config: Config,
    pub origins: Origins,
}

/// One key as one layer gives it.
pub(super) struct Given<T: 'static> {
    pub(super) key: &'static Key<T>,
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// The `_file` form of a secret's key, or the secret of a `_file` key.
fn sibling<T>(key: &Key<T>, keys: &'static [Key<T>]) -> Option<&'static Key<T>> {
    let name = match key.name.strip_suffix("_file") {
        Some(plain) => plain.to_owned(),
        None => format!("{}_file", key.name),
    };
    keys.iter()
        .find(|other| other.section == key.section && other.name == name)
}

/// Sets what one layer gives. `array` names the element (`users`, 0) where `into` is one.
pub(super) fn apply<T>(
    mut layer: Vec<Given<T>>,
    keys: &'static [Key<T>],
    array: Option<(&str, usize)>,
    into: &mut T,
    origins: &mut Origins,
    errors: &mut Vec<ConfigError>,
) {
    drop_empty_siblings(&mut layer, keys, errors);
    let origin_key = |key: &Key<T>| match array {
        Some((array, n)) => format!("{array}[{n}].{}", key.name),
        None => key.full.to_owned(),
    };
    for given in layer {
        match (given.key.set)(into, &given.raw) {
            Ok(()) => {
                if let Some(other) = sibling(given.key, keys) {
                    origins.0.remove(&origin_key(other));
                }
                origins.insert(origin_key(given.key), given.origin);
            }
            Err(why) => {
                let key = match array {
                    Some((array, _)) => format!("{array}.{}", given.key.name),
                    None => given.key.full.to_owned(),
                };
                errors.push(ConfigError {
                    origin: given.origin,
                    problem: Problem::Invalid { key, why },
                });
            }
        }
    }
}

/// A secret and its `_file` form share a field: of the two in one layer only one may say something.
fn drop_empty_siblings<T>(
    layer: &mut Vec<Given<T>>,
    keys: &'static [Key<T>],
    errors: &mut Vec<ConfigError>,
) {
    let mut emptied = Vec::new();
    for given in layer.iter() {
        let Some(plain) = given.key.name.strip_suffix("_file") else {
            continue;
        };
        let Some(other) = sibling(given.key, keys)
            .and_then(|plain| layer.iter().find(|other| other.key.full == plain.full))
        else {
            continue;
        };
        match (given.raw.is_empty_text(), other.raw.is_empty_text()) {
            (true, _) => emptied.push(given.key.full),
            (false, true) => emptied.push(other.key.full),
            (false, false) => errors.push(ConfigError {
                origin: given.origin.clone(),
                problem: Problem::Together {
                    key: given.key.full.into(),
                    why: format!(
                        "{} and {} exclude each other: give one",
                        plain, given.key.name
                    ),
                },
            }),
        }
    }
    layer.retain(|given| !emptied.contains(&given.key.full));
}

/// Sets one layer of keys outside arrays, then what its URL says.
pub(super) fn apply_layer(
    layer: Vec<Given<Config>>,
    loaded: &mut Loaded,
    errors: &mut Vec<ConfigError>,
) {
    let url = layer
        .iter()
        .filter(|given| matches!(given.key.full, "upstream.url" | "upstream.url_file"))
        .find(|given| !given.raw.is_empty_text())
        .map(|given| given.origin.clone());
    let explicit: Vec<(&'static Key<Config>, Origin)> = layer
        .iter()
        .map(|given| (given.key, given.origin.clone()))
        .collect();
    apply(
        layer,
        keys::KEYS,
        None,
        &mut loaded.config,
        &mut loaded.origins,
        errors,
    );
    if let Some(origin) = url {
        apply_url(&origin, &explicit, loaded, errors);
    }
}

fn apply_url(
    origin: &Origin,
    explicit: &[(&'static Key<Config>, Origin)],
    loaded: &mut Loaded,
    errors: &mut Vec<ConfigError>,
) {
    // Absent when the key itself was refused, which is reported already.
    let Some(text) = loaded.config.upstream.url.clone() else {
        return;
    };
    let url = match UpstreamUrl::parse(text.reveal()) {
        Ok(url) => url,
        Err(problems) => {
            errors.extend(problems.into_iter().map(|problem| ConfigError {
                origin: origin.clone(),
                problem: Problem::Invalid {
                    key: "upstream.url".into(),
                    why: problem.to_string(),
                },
            }));
            return;
        }
    };
    let before = loaded.config.clone();
    let named = set_parts(url, &mut loaded.config);
    let default = Config::default();
    for (key, key_origin) in explicit {
        let contradicts = named.contains(&key.full)
            && !(key.same)(&before, &loaded.config)
            && !(key.same)(&before, &default);
        if contradicts {
            errors.push(ConfigError {
                origin: key_origin.clone(),
                problem: Problem::Together {
                    key: key.full.into(),
                    why: format!("{} contradicts the URL ({origin}): give one", key.full),
                },
            });
        }
    }
    for key in named {
        loaded.origins.insert(key, origin.clone());
    }
}

/// Writes the parts that the URL names, and says which keys they are.
fn set_parts(url: UpstreamUrl, config: &mut Config) -> Vec<&'static str> {
    let mut named = Vec::new();
    let upstream = &mut config.upstream;
    if let Some(host) = url.host {
        upstream.host = host;
        // A URL with a host and no port means the default port, never one of a lower layer for another host.
        upstream.port = url.port.unwrap_or(5432);
        named.extend(["upstream.host", "upstream.port"]);
    } else if let Some(port) = url.port {
        upstream.port = port;
        named.push("upstream.port");
    }
    if let Some(wanted) = url.target_session_attrs {
        upstream.target_session_attrs = Some(wanted);
        named.push("upstream.target_session_attrs");
    }
    if let Some(user) = url.user {
        // Another user's password, from a lower layer, is of no use to this one.
        if upstream.user.as_ref().is_some_and(|known| *known != user) {
            upstream.password = None;
            named.push("upstream.password");
        }
        upstream.user = Some(user);
        named.push("upstream.user");
    }
    if let Some(password) = url.password {
        upstream.password = Some(Secret::new(password));
        named.push("upstream.password");
    }
    if let Some(dbname) = url.dbname {
        upstream.dbname = Some(dbname);
        named.push("upstream.dbname");
    }
    if let Some(name) = url.application_name {
        upstream.application_name = name;
        named.push("upstream.application_name");
    }
    if let Some(options) = url.options {
        upstream.options = Some(options);
        named.push("upstream.options");
    }
    if let Some(timeout) = url.connect_timeout {
        upstream.server_connect_timeout = timeout;
        named.push("upstream.server_connect_timeout");
    }
    let tls = &mut config.server_tls;
    if let Some(mode) = url.sslmode {
        tls.sslmode = mode;
        named.push("server_tls.server_tls_sslmode");
    }
    if let Some(negotiation) = url.sslnegotiation {
        tls.sslnegotiation = negotiation;
        named.push("server_tls.server_tls_sslnegotiation");
    }
    if let Some(roots) = url.sslrootcert {
        tls.ca_file = roots;
        named.push("server_tls.server_tls_ca_file");
    }
    if let Some(file) = url.sslcert {
        tls.cert_file = Some(file);
        named.push("server_tls.server_tls_cert_file");
    }
    if let Some(file) = url.sslkey {
        tls.key_file = Some(file);
        named.push("server_tls.server_tls_key_file");
    }
    named
}
