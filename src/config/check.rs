//! What must hold between values that are each fine by themselves.

use std::path::Path;

use super::error::{ConfigError, Problem};
use super::load::split_address;
use super::merge::Loaded;
use super::{AuthType, ClientSslMode, Config, Host, SslMode, SslNegotiation, WithoutTls};

/// Checks the merged configuration. `read` are the mistakes already found: what follows from one of them is not
/// reported again.
pub(super) fn check(loaded: &Loaded, read: &[ConfigError]) -> Vec<ConfigError> {
    let mut checker = Checker {
        loaded,
        errors: Vec::new(),
    };
    let config = &loaded.config;
    checker.listen(config);
    checker.client_tls(config);
    checker.auth(config);
    checker.upstream(config);
    checker.server_tls(config);
    checker.pool(config);
    checker.cache(config);
    checker.slow_log(config);
    checker.log(config);
    checker.rules(&config.cache.rules);
    checker.databases(&config.databases);
    checker.users(config);
    // A file that could not be read, or a login that is wrong, leaves secrets out that are meant to be there.
    let doubtful = ["", "upstream", "users", "auth"];
    if !read.iter().any(|error| doubtful.contains(&section(error))) {
        checker.secrets(config);
    }
    let mut errors = checker.errors;
    errors.extend(http(loaded));
    errors.retain(|error| {
        let same_section = |other: &ConfigError| section(other) == section(error);
        section(error) == "auth" || !read.iter().any(same_section)
    });
    errors
}

fn section(error: &ConfigError) -> &str {
    let key = error.problem.key();
    key.split_once('.').map_or(key, |(section, _)| section)
}

/// Checks `[http]`.
pub(super) fn http(loaded: &Loaded) -> Vec<ConfigError> {
    let mut checker = Checker {
        loaded,
        errors: Vec::new(),
    };
    let (http, listen) = (&loaded.config.http, &loaded.config.listen);
    match split_address(&http.listen) {
        Some((host, port)) => {
            if port == listen.listen_port && host == listen.listen_addr {
                checker.report(
                    "http.listen",
                    "http.listen is where applications connect (listen.listen_addr and listen_port): choose another port",
                );
            }
        }
        None if http.listen.is_empty() => {}
        None => checker.report(
            "http.listen",
            "http.listen: expected ADDR:PORT, such as 127.0.0.1:9930 or 0.0.0.0:9930",
        ),
    }
    checker.readable("http.admin_token_file", http.admin_token_file.as_deref());
    checker.errors
}

pub(super) struct Checker<'a> {
    pub(super) loaded: &'a Loaded,
    errors: Vec<ConfigError>,
}

impl Checker<'_> {
    /// `key` is where the operator would look first.
    pub(super) fn report(&mut self, key: &str, why: impl Into<String>) {
        self.errors.push(ConfigError {
            origin: self.loaded.origins.of(key).clone(),
            problem: Problem::Together {
                key: key.into(),
                why: why.into(),
            },
        });
    }

    fn readable(&mut self, key: &str, path: Option<&Path>) {
        let Some(path) = path else { return };
        if let Err(error) = std::fs::File::open(path) {
            self.report(
                key,
                format!("{key}: cannot read {}: {error}", path.display()),
            );
        }
    }

    fn listen(&mut self, config: &Config) {
        let listen = &config.listen;
        if listen.listen_addr.is_empty() && listen.unix_socket_dir.is_none() {
            self.report(
                "listen.listen_addr",
                "nothing to listen on: set listen.listen_addr or listen.unix_socket_dir",
            );
        }
        if listen.listen_addr.contains([',', ' ', '/']) {
            self.report(
                "listen.listen_addr",
                "listen.listen_addr: expected one address, or * for every interface",
            );
        }
        let loops = |host: &Host| {
            host.port == listen.listen_port
                && match host.is_unix() {
                    true => listen.unix_socket_dir.as_deref() == Some(Path::new(&host.name)),
                    false => {
                        let local = ["127.0.0.1", "localhost", "::1"];
                        !listen.listen_addr.is_empty()
                            && (host.name == listen.listen_addr
                                || local.contains(&host.name.as_str())
                                    && local
                                        .iter()
                                        .chain(&["*", "0.0.0.0", "::"])
                                        .any(|addr| listen.listen_addr == *addr))
                    }
                }
        };
        if let Some(host) = config.upstream.hosts().into_iter().find(loops) {
            self.report(
                "upstream.host",
                format!(
                    "the upstream {}:{} is pgditto itself: name the PostgreSQL server, or choose another listen.listen_port",
                    host.name, host.port
                ),
            );
        }
    }

    fn client_tls(&mut self, config: &Config) {
        let tls = &config.client_tls;
        if tls.sslmode != ClientSslMode::Disable {
            for (key, file) in [
                ("client_tls.client_tls_key_file", &tls.key_file),
                ("client_tls.client_tls_cert_file", &tls.cert_file),
            ] {
                if file.is_none() {
                    self.report(
                        "client_tls.client_tls_sslmode",
                        format!("client_tls.client_tls_sslmode needs {key}"),
                    );
                }
            }
        }
        if tls.sslmode == ClientSslMode::Verify && tls.ca_file.is_none() {
            self.report(
                "client_tls.client_tls_sslmode",
                "client_tls.client_tls_sslmode needs client_tls.client_tls_ca_file",
            );
        }
        self.readable("client_tls.client_tls_ca_file", tls.ca_file.as_deref());
        self.readable("client_tls.client_tls_key_file", tls.key_file.as_deref());
        self.readable("client_tls.client_tls_cert_file", tls.cert_file.as_deref());
    }

    fn auth(&mut self, config: &Config) {
        let (auth, tls) = (&config.auth, &config.client_tls);
        let is_hba = auth.auth_type == AuthType::Hba;
        if is_hba && auth.auth_hba_file.is_none() {
            self.report(
                "auth.auth_type",
                "auth.auth_type is hba: set auth.auth_hba_file",
            );
        }
        for (key, file) in [
            ("auth.auth_hba_file", &auth.auth_hba_file),
            ("auth.auth_ident_file", &auth.auth_ident_file),
        ] {
            if file.is_some() && !is_hba {
                self.report(
                    key,
                    format!("{key} would not be used: set auth.auth_type to hba"),
                );
            }
            self.readable(key, file.as_deref());
        }
        let is_offered = tls.sslmode != ClientSslMode::Disable;
        let in_clear = auth.passthrough_without_tls != WithoutTls::Off;
        if auth.auth_type == AuthType::Passthrough && !is_offered && !in_clear {
            self.report(
                "auth.auth_type",
                "auth.auth_type is passthrough: set client_tls.client_tls_sslmode, or say by auth.passthrough_without_tls where passwords may come in clear",
            );
        }
        if auth.auth_type == AuthType::Cert && (!is_offered || tls.ca_file.is_none()) {
            self.report(
                "auth.auth_type",
                "auth.auth_type is cert: set client_tls.client_tls_sslmode and client_tls.client_tls_ca_file",
            );
        }
    }

    fn upstream(&mut self, config: &Config) {
        let upstream = &config.upstream;
        if upstream.password.is_some() && upstream.user.is_none() {
            self.report(
                "upstream.password",
                "upstream.password has no user: set upstream.user, or name the user in the URL",
            );
        }
        if let Some(dir) = &upstream.state_dir
            && !dir.is_dir()
        {
            self.report(
                "upstream.state_dir",
                format!("upstream.state_dir: {} is not a directory", dir.display()),
            );
        }
    }

    fn server_tls(&mut self, config: &Config) {
        let tls = &config.server_tls;
        match (&tls.cert_file, &tls.key_file) {
            (Some(_), None) => self.report(
                "server_tls.server_tls_cert_file",
                "server_tls.server_tls_cert_file needs server_tls.server_tls_key_file",
            ),
            (None, Some(_)) => self.report(
                "server_tls.server_tls_key_file",
                "server_tls.server_tls_key_file needs server_tls.server_tls_cert_file",
            ),
            _ => {}
        }
        let is_demanded = matches!(
            tls.sslmode,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull
        );
        if tls.sslnegotiation == SslNegotiation::Direct && !is_demanded {
            self.report(
                "server_tls.server_tls_sslnegotiation",
                "server_tls.server_tls_sslnegotiation is direct: set server_tls.server_tls_sslmode to require, verify-ca or verify-full",
            );
        }
        if tls.ca_file.is_some() && !matches!(tls.sslmode, SslMode::VerifyCa | SslMode::VerifyFull)
        {
            self.report(
                "server_tls.server_tls_ca_file",
                "server_tls.server_tls_ca_file would not be used: set server_tls.server_tls_sslmode to verify-full or verify-ca",
            );
        }
        self.readable("server_tls.server_tls_ca_file", tls.ca_file.as_deref());
        self.readable("server_tls.server_tls_cert_file", tls.cert_file.as_deref());
        self.readable("server_tls.server_tls_key_file", tls.key_file.as_deref());
    }

    fn pool(&mut self, config: &Config) {
        let pool = &config.pool;
        if pool.min_pool_size > pool.default_pool_size {
            self.report(
                "pool.min_pool_size",
                "pool.min_pool_size is more than pool.default_pool_size",
            );
        }
        let limit = pool.max_db_connections;
        if limit != 0 && pool.min_pool_size > limit {
            self.report(
                "pool.max_db_connections",
                "pool.max_db_connections is less than pool.min_pool_size",
            );
        }
    }

    fn cache(&mut self, config: &Config) {
        let cache = &config.cache;
        if cache.max_entry_size as u64 > cache.memory_limit {
            self.report(
                "cache.max_entry_size",
                "cache.max_entry_size is more than cache.memory_limit",
            );
        }
    }

    fn slow_log(&mut self, config: &Config) {
        let (warn, error) = (config.slow_log.warn, config.slow_log.error);
        if !error.is_zero() && warn > error {
            self.report("slow_log.warn", "slow_log.warn is more than slow_log.error");
        }
    }

    fn log(&mut self, config: &Config) {
        let level = &config.log.level;
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(level) {
            self.report("log.level", format!("log.level: {error}"));
        }
    }

    fn secrets(&mut self, config: &Config) {
        let word = match config.auth.auth_type {
            AuthType::Trust | AuthType::Cert | AuthType::Hba | AuthType::Passthrough => return,
            AuthType::ScramSha256 => "scram-sha-256",
            AuthType::Md5 => "md5",
        };
        let auth = &config.auth;
        let known = config.upstream.password.is_some()
            || auth.auth_file.is_some()
            || auth.auth_user.is_some()
            || config
                .users
                .iter()
                .any(|user| user.password.is_some() || user.scram_secret.is_some());
        if !known {
            self.report(
                "auth.auth_type",
                format!(
                    "auth.auth_type is {word}, and no password of any user is known: name user and password in the upstream URL, \
                     in [[users]] or auth.auth_file, or let clients in without a password by --set auth.auth_type=trust"
                ),
            );
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
