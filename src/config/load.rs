//! The layers in rising order (defaults, file, environment, flags) and the source that can be loaded again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ConfigError, ConfigErrors, Origin, Problem};
use super::merge::{Given, Loaded, apply_layer};
use super::value::Raw;
use super::{Config, HttpConfig, Secret, check, file, keys, userlist};

/// Where the configuration comes from. Loading again reads the file and the secrets' files anew; environment and
/// flags stay what they were when the process began.
#[derive(Clone, Default)]
pub struct Source {
    file: Option<PathBuf>,
    /// Only what begins with `PGDITTO_`, and `DATABASE_URL`.
    environment: Vec<(String, OsString)>,
    flags: Vec<Setting>,
}

/// One `section.key=value` of a flag or the console, unread.
#[derive(Clone)]
struct Setting {
    key: String,
    value: Result<String, String>,
    origin: Origin,
}

impl Source {
    /// Defaults, then `file` if there is one, then `environment` (usually `std::env::vars_os()`).
    pub fn new(
        file: Option<PathBuf>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let mut environment: Vec<(String, OsString)> = environment
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name == "DATABASE_URL" || name.starts_with("PGDITTO_"))
            .collect();
        // So that the same environment always gives the same messages.
        environment.sort();
        Self {
            file,
            environment,
            flags: Vec::new(),
        }
    }

    /// `--upstream URL`.
    pub fn upstream(&mut self, url: &str) {
        self.push("upstream.url", Ok(url.into()), Origin::Flag("--upstream"));
    }

    /// `--listen ADDR:PORT`.
    pub fn listen(&mut self, address: &str) {
        let origin = Origin::Flag("--listen");
        match split_address(address) {
            Some((host, port)) => {
                self.push("listen.listen_addr", Ok(host.into()), origin.clone());
                self.push("listen.listen_port", Ok(port.to_string()), origin);
            }
            None => {
                let why = "expected ADDR:PORT, such as 127.0.0.1:6432, [::1]:6432 or *:6432";
                self.push("listen.listen_addr", Err(why.into()), origin);
            }
        }
    }

    /// `--http ADDR:PORT`.
    pub fn http(&mut self, address: &str) {
        self.push("http.listen", Ok(address.into()), Origin::Flag("--http"));
    }

    /// `--set section.key=value`.
    pub fn set(&mut self, assignment: &str) {
        let origin = Origin::Flag("--set");
        match assignment.split_once('=') {
            Some((key, value)) => self.push(key.trim(), Ok(value.into()), origin),
            None => {
                let why = "expected section.key=value";
                self.push(assignment.trim(), Err(why.into()), origin);
            }
        }
    }

    /// `SET key = 'value'` on the console: above all other layers, until the process ends. Load afterwards, and keep
    /// the source as it was when that fails.
    pub fn set_from_console(&mut self, key: &str, value: &str) {
        self.push(key, Ok(value.into()), Origin::Console);
    }

    fn push(&mut self, key: &str, value: Result<String, String>, origin: Origin) {
        self.flags.push(Setting {
            key: key.into(),
            value,
            origin,
        });
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    /// Every mistake that was found, not only the first.
    pub fn load(&self) -> Result<Arc<Config>, ConfigErrors> {
        self.load_with_origins()
            .map(|loaded| Arc::new(loaded.config))
    }

    /// As [`Source::load`], and says where each value came from.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub fn load_with_origins(&self) -> Result<Loaded, ConfigErrors> {
        let (mut loaded, mut errors) = self.merge();
        read_user_list(&mut loaded, &mut errors);
        errors.extend(check::check(&loaded, &errors));
        ConfigErrors::unless_empty(errors)?;
        loaded.config.watched_files = watched_files(&loaded.config);
        Ok(loaded)
    }

    /// `[http]` alone, for commands that only want to reach the running process: they need not know its secrets.
    ///
    /// # Errors
    /// The mistakes that touch `[http]`, and an unreadable file.
    pub fn load_http(&self) -> Result<(HttpConfig, std::time::Duration), ConfigErrors> {
        let (loaded, mut errors) = self.merge();
        errors.extend(check::http(&loaded));
        errors.retain(|error| {
            let key = error.problem.key();
            key.is_empty() || key.starts_with("http.") || key == "listen.drain_timeout"
        });
        ConfigErrors::unless_empty(errors)?;
        Ok((loaded.config.http, loaded.config.listen.drain_timeout))
    }

    fn merge(&self) -> (Loaded, Vec<ConfigError>) {
        let mut loaded = Loaded::default();
        let mut errors = Vec::new();
        let file = match &self.file {
            Some(path) => read_file(path, &mut loaded, &mut errors),
            None => Vec::new(),
        };
        let environment = self.environment_layer(&mut errors);
        let flags = self.flag_layer(&mut errors);
        let mut layers = vec![file, environment, flags];
        if !layers.iter().flatten().any(names_a_server) {
            layers.insert(0, self.database_url(&mut errors));
        }
        for layer in layers {
            apply_layer(layer, &mut loaded, &mut errors);
        }
        (loaded, errors)
    }

    /// A single underscore is left alone: Kubernetes puts `PGDITTO_PORT` and its like into the environment of every
    /// pod beside a service of our name.
    fn environment_layer(&self, errors: &mut Vec<ConfigError>) -> Vec<Given<Config>> {
        let mut layer: Vec<Given<Config>> = Vec::new();
        for (name, value) in &self.environment {
            let full = match name.strip_prefix("PGDITTO_") {
                Some("UPSTREAM_URL") => "upstream.url".to_owned(),
                Some(rest) if rest.contains("__") => rest.replace("__", ".").to_ascii_lowercase(),
                Some(_) => continue,
                None => continue,
            };
            let origin = Origin::Environment(name.clone());
            let given = bare(&full, value.to_str().ok_or("is not UTF-8"), origin, errors);
            let Some(given) = given else { continue };
            match layer.iter().find(|other| other.key.full == full) {
                Some(other) if other.raw != given.raw => errors.push(ConfigError {
                    origin: given.origin,
                    problem: Problem::Together {
                        key: full.clone(),
                        why: format!("{full} is also given by {}", other.origin),
                    },
                }),
                Some(_) => {}
                None => layer.push(given),
            }
        }
        layer
    }

    /// Later flags win.
    fn flag_layer(&self, errors: &mut Vec<ConfigError>) -> Vec<Given<Config>> {
        let mut layer: Vec<Given<Config>> = Vec::new();
        for Setting { key, value, origin } in &self.flags {
            let value = value.as_deref().map_err(String::as_str);
            if let Some(given) = bare(key, value, origin.clone(), errors) {
                layer.retain(|other| other.key.full != given.key.full);
                layer.push(given);
            }
        }
        layer
    }

    /// `DATABASE_URL` is what many platforms hand to an application, so it counts only where nothing else names a
    /// server: a stray one never redirects a configured pgditto.
    fn database_url(&self, errors: &mut Vec<ConfigError>) -> Vec<Given<Config>> {
        let variable = self
            .environment
            .iter()
            .find(|(name, _)| name == "DATABASE_URL");
        variable
            .and_then(|(name, value)| {
                let origin = Origin::Environment(name.clone());
                let value = value.to_str().ok_or("is not UTF-8");
                bare("upstream.url", value, origin, errors)
            })
            .into_iter()
            .collect()
    }
}

fn names_a_server(given: &Given<Config>) -> bool {
    matches!(
        given.key.full,
        "upstream.url" | "upstream.url_file" | "upstream.host"
    ) && !given.raw.is_empty_text()
}

fn bare(
    full: &str,
    value: Result<&str, &str>,
    origin: Origin,
    errors: &mut Vec<ConfigError>,
) -> Option<Given<Config>> {
    let problem = match (keys::find(full), value) {
        (Some(key), Ok(value)) => {
            let raw = Raw::Bare(value.into());
            return Some(Given { key, raw, origin });
        }
        (None, Ok(_)) => match full {
            "databases" | "users" | "cache.rules" => Problem::Invalid {
                key: full.into(),
                why: "can only be given in the file".into(),
            },
            _ => file::unknown_key(full),
        },
        (_, Err(why)) => Problem::Invalid {
            key: full.into(),
            why: why.into(),
        },
    };
    errors.push(ConfigError { origin, problem });
    None
}

/// Checks `text` as a file on its own, with no other layer.
///
/// # Errors
/// As [`Source::load`].
pub fn check_text(text: &str) -> Result<Config, ConfigErrors> {
    let mut loaded = Loaded::default();
    let mut errors = Vec::new();
    let path = Arc::from(Path::new("line"));
    let layer = file::read(&path, text, &mut loaded, &mut errors);
    apply_layer(layer, &mut loaded, &mut errors);
    errors.extend(check::check(&loaded, &errors));
    ConfigErrors::unless_empty(errors)?;
    Ok(loaded.config)
}

fn read_file(
    path: &Path,
    loaded: &mut Loaded,
    errors: &mut Vec<ConfigError>,
) -> Vec<Given<Config>> {
    match std::fs::read_to_string(path) {
        Ok(text) => file::read(&Arc::from(path), &text, loaded, errors),
        Err(error) => {
            errors.push(ConfigError {
                origin: Origin::Flag("--config"),
                problem: Problem::Unreadable {
                    what: path.display().to_string(),
                    why: error.to_string(),
                },
            });
            Vec::new()
        }
    }
}

/// `ADDR:PORT` with an IPv6 address in brackets; the brackets are taken off.
pub(crate) fn split_address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        // An IPv6 address without brackets would lose its last group to the port.
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then_some((host, port))
}

fn read_user_list(loaded: &mut Loaded, errors: &mut Vec<ConfigError>) {
    let Some(path) = &loaded.config.auth.auth_file else {
        return;
    };
    let key = "auth.auth_file";
    match userlist::read(path) {
        Ok(users) => loaded.config.auth.listed = Arc::new(users),
        Err(why) => errors.push(ConfigError {
            origin: loaded.origins.of(key).clone(),
            problem: Problem::Invalid {
                key: key.into(),
                why,
            },
        }),
    }
}

fn watched_files(config: &Config) -> Vec<PathBuf> {
    let user_secrets = config
        .users
        .iter()
        .flat_map(|user| [&user.password, &user.scram_secret]);
    let secrets = [
        &config.upstream.url,
        &config.upstream.password,
        &config.redis.url,
    ];
    let secret_files = secrets
        .into_iter()
        .chain(user_secrets)
        .filter_map(|secret| secret.as_ref().and_then(Secret::file))
        .map(Path::to_path_buf);
    let (client, server) = (&config.client_tls, &config.server_tls);
    let plain = [
        &client.key_file,
        &client.cert_file,
        &server.ca_file,
        &server.cert_file,
        &server.key_file,
        &config.http.admin_token_file,
        &config.auth.auth_file,
        &config.auth.auth_hba_file,
        &config.auth.auth_ident_file,
        &client.ca_file,
    ];
    let mut files: Vec<PathBuf> = plain
        .into_iter()
        .flatten()
        .cloned()
        .chain(secret_files)
        .collect();
    files.sort();
    files.dedup();
    files
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
