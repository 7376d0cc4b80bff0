//! The section `[pgbouncer]`.

use super::Import;
use crate::cli::ini::Entry;

/// How a value of PgBouncer's is written for us.
#[derive(Clone, Copy)]
enum Unit {
    Same,
    /// PgBouncer's times are seconds, with fractions.
    Seconds,
    /// A path; empty is none.
    File,
}

use Unit::{File, Same, Seconds};

/// Keys of the same meaning.
const COUNTERPARTS: &[(&str, &str, Unit)] = &[
    ("listen_port", "listen.listen_port", Same),
    ("max_client_conn", "listen.max_client_conn", Same),
    (
        "client_login_timeout",
        "listen.client_login_timeout",
        Seconds,
    ),
    ("client_idle_timeout", "listen.client_idle_timeout", Seconds),
    (
        "idle_transaction_timeout",
        "listen.idle_transaction_timeout",
        Seconds,
    ),
    ("max_packet_size", "listen.max_message_size", Same),
    (
        "ignore_startup_parameters",
        "listen.ignore_startup_parameters",
        Same,
    ),
    ("admin_users", "auth.admin_users", Same),
    ("stats_users", "auth.stats_users", Same),
    (
        "client_tls_key_file",
        "client_tls.client_tls_key_file",
        File,
    ),
    ("client_tls_sslmode", "client_tls.client_tls_sslmode", Same),
    ("client_tls_ca_file", "client_tls.client_tls_ca_file", File),
    (
        "client_tls_cert_file",
        "client_tls.client_tls_cert_file",
        File,
    ),
    (
        "server_connect_timeout",
        "upstream.server_connect_timeout",
        Seconds,
    ),
    ("query_timeout", "upstream.query_timeout", Seconds),
    ("server_tls_sslmode", "server_tls.server_tls_sslmode", Same),
    (
        "server_tls_cert_file",
        "server_tls.server_tls_cert_file",
        File,
    ),
    (
        "server_tls_key_file",
        "server_tls.server_tls_key_file",
        File,
    ),
    ("auth_user", "auth.auth_user", Same),
    ("auth_query", "auth.auth_query", Same),
    ("auth_dbname", "auth.auth_dbname", Same),
    ("default_pool_size", "pool.default_pool_size", Same),
    ("min_pool_size", "pool.min_pool_size", Same),
    ("reserve_pool_size", "pool.reserve_pool_size", Same),
    ("reserve_pool_timeout", "pool.reserve_pool_timeout", Seconds),
    ("max_db_connections", "pool.max_db_connections", Same),
    ("query_wait_timeout", "pool.query_wait_timeout", Seconds),
    ("server_lifetime", "pool.server_lifetime", Seconds),
    ("server_idle_timeout", "pool.server_idle_timeout", Seconds),
    (
        "max_prepared_statements",
        "pool.max_prepared_statements",
        Same,
    ),
    ("log_connections", "log.log_connections", Same),
    ("log_disconnections", "log.log_disconnections", Same),
];

/// Keys whose absence here needs a word.
const WITHOUT: &[(&str, &str)] = &[
    ("auth_hba_file", "is not used without auth_type = hba"),
    ("auth_ident_file", "is not used without auth_type = hba"),
    ("logfile", "is not needed: the log goes to standard error"),
    (
        "max_user_connections",
        "has no counterpart: pool_size of [[users]] limits each of a user's pools",
    ),
    (
        "pidfile",
        "is not needed: the process stays in the foreground",
    ),
    (
        "server_check_query",
        "is not needed: connections are checked without a query",
    ),
    (
        "server_reset_query",
        "is not needed: a connection is cleaned of what its session left behind",
    ),
    (
        "server_reset_query_always",
        "is not needed: a connection is cleaned of what its session left behind",
    ),
    ("user", "has no counterpart: start the process as that user"),
];

impl Import {
    pub(super) fn settings(&mut self, entries: &[&Entry]) {
        let value = |name: &str| {
            let entry = entries.iter().find(|entry| entry.name == name);
            entry.map(|entry| (*entry, entry.value.as_str()))
        };
        self.listen(value("listen_addr"), value("unix_socket_dir"));
        self.auth_type(value("auth_type"));
        self.pool_mode(value("pool_mode"));
        let verifies =
            value("server_tls_sslmode").is_some_and(|(_, mode)| mode.starts_with("verify-"));
        let is_hba = value("auth_type").is_some_and(|(_, word)| word == "hba");
        for entry in entries {
            match entry.name.as_str() {
                "listen_addr" | "unix_socket_dir" | "auth_type" | "pool_mode" => {}
                "auth_file" => {
                    self.auth_file = Some(entry.value.clone().into())
                        .filter(|path: &std::path::PathBuf| !path.as_os_str().is_empty());
                }
                "auth_hba_file" if is_hba => self.same(entry, "auth.auth_hba_file", File),
                "auth_ident_file" if is_hba => self.same(entry, "auth.auth_ident_file", File),
                "server_tls_ca_file" if verifies => {
                    self.same(entry, "server_tls.server_tls_ca_file", File);
                }
                "server_tls_ca_file" => {
                    self.note(
                        entry,
                        "is not used without server_tls_sslmode = verify-ca or verify-full",
                    );
                }
                // PgBouncer's way to turn them off; ours cannot be, and clients see no difference.
                "max_prepared_statements" if entry.value == "0" => {
                    self.note(
                        entry,
                        "0 has no counterpart: prepared statements always work",
                    );
                }
                name => match COUNTERPARTS.iter().find(|(theirs, _, _)| *theirs == name) {
                    Some((_, ours, unit)) => self.same(entry, ours, *unit),
                    None => {
                        let why = WITHOUT.iter().find(|(theirs, _)| *theirs == name);
                        self.note(entry, why.map_or("has no counterpart", |(_, why)| why));
                    }
                },
            }
        }
    }

    fn same(&mut self, entry: &Entry, ours: &str, unit: Unit) {
        if matches!(unit, File) && entry.value.is_empty() {
            return;
        }
        let text = match unit {
            Seconds => milliseconds(&entry.value),
            Same | File => Some(entry.value.clone()),
        };
        let set = text
            .ok_or_else(|| "expected a number of seconds".to_owned())
            .and_then(|text| self.document.set(ours, &text));
        if let Err(why) = set {
            self.note(entry, &format!("left at the default of {ours}: {why}"));
        }
    }

    /// Sets a value that is known to be one of ours, in the words of a note when it is not.
    fn put(&mut self, ours: &str, text: &str) {
        if let Err(why) = self.document.set(ours, text) {
            self.notes.push(format!("{ours}: {why}"));
        }
    }

    fn listen(&mut self, addr: Option<(&Entry, &str)>, socket_dir: Option<(&Entry, &str)>) {
        let addresses: Vec<&str> = addr
            .map_or("", |(_, value)| value)
            .split(',')
            .map(str::trim)
            .filter(|address| !address.is_empty())
            .collect();
        let address = match addresses.as_slice() {
            list if list.contains(&"*") => "*",
            [] => "",
            [address] => address,
            [first, ..] => {
                if let Some((entry, _)) = addr {
                    let why = format!("several addresses are not supported: only {first} is taken");
                    self.note(entry, &why);
                }
                first
            }
        };
        self.put("listen.listen_addr", address);
        match socket_dir {
            Some((entry, value)) if value.starts_with('@') => {
                self.note(entry, "abstract sockets are not supported");
            }
            Some((_, value)) => self.socket_dir = value.to_owned(),
            None => {}
        }
        let dir = self.socket_dir.clone();
        self.put("listen.unix_socket_dir", &dir);
    }

    fn auth_type(&mut self, given: Option<(&Entry, &str)>) {
        let word = match given {
            None | Some((_, "md5")) => "md5",
            Some((_, "trust")) => "trust",
            Some((_, "scram-sha-256")) => "scram-sha-256",
            Some((_, "cert")) => "cert",
            Some((_, "hba")) => "hba",
            Some((entry, other)) => {
                let why = format!("{other} has no counterpart: clients log in with scram-sha-256");
                self.note(entry, &why);
                "scram-sha-256"
            }
        };
        self.scram_only = word == "scram-sha-256";
        self.put("auth.auth_type", word);
    }

    fn pool_mode(&mut self, given: Option<(&Entry, &str)>) {
        match given {
            None => {
                self.put("pool.pool_mode", "session");
                self.notes.push(
                    "pool_mode: not set, which is session in PgBouncer; transaction shares connections better".into(),
                );
            }
            Some((entry, "statement")) => {
                self.note(
                    entry,
                    "statement has no counterpart: transaction is taken, which allows transactions",
                );
                self.put("pool.pool_mode", "transaction");
            }
            Some((entry, _)) => self.same(entry, "pool.pool_mode", Same),
        }
    }
}

/// `2.5` → `2500ms`.
fn milliseconds(seconds: &str) -> Option<String> {
    let seconds: f64 = seconds.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| format!("{}ms", (seconds * 1000.0).round()))
}
