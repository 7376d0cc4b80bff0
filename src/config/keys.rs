//! The table of keys: adding one is a row here and its field (with its default) in [`super`].
//!
//! The words for users become the comments of `config.toml`; `print-config --reference` prints it anew.

use super::hidden::{Hidden, HiddenFile};
use super::hosts::HostList;
use super::table::keys;
pub use super::table::{Effect, Key};
use super::units::{Size, TIME, TIME_OR_ZERO};
use super::value::{CaFile, Count, Maybe, Name, Names, OneOf, Path, Shape, Share, Text};
use super::{CacheRule, Config, DatabaseConfig, UserConfig};

const GIB: u64 = 1 << 30;

/// The sections in the order in which they are printed, with what each is about.
pub const SECTIONS: &[(&str, &str)] = &[
    ("listen", "Where applications connect."),
    ("auth", "How clients prove who they are."),
    ("client_tls", "TLS towards applications."),
    (
        "upstream",
        "The PostgreSQL server. One URL is enough: `--upstream postgres://user:password@host:5432/db`.",
    ),
    (
        "server_tls",
        "TLS towards PostgreSQL. The URL's sslmode, sslnegotiation, sslrootcert, sslcert and sslkey set the same keys.",
    ),
    (
        "pool",
        "Upstream connections. The limits are those of one pool: one database and one user.",
    ),
    (
        "cache",
        "What is answered from memory, and how fresh it is.",
    ),
    (
        "cache.verify",
        "Asks the server again, beside a client's hit, whether it was right. One proven mistake takes the statement out of the cache.",
    ),
    (
        "redis",
        "A second tier of the cache, off without a URL. While Redis is slow or gone there are only more misses.",
    ),
    (
        "slow_log",
        "One line for each statement that took too long.",
    ),
    ("http", "Metrics, health and draining."),
    ("log", "The process's own log, on standard error."),
];

/// Every key outside `[[…]]`.
pub static KEYS: &[Key<Config>] = keys! { Config;
    listen.listen_addr => listen.listen_addr, Text, Restart,
        "Address to listen on for TCP. \"*\" is every interface, \"\" is none (a Unix socket only).";
    listen.listen_port => listen.listen_port, Count(1, 65535), Restart,
        "Port to listen on; it also names the Unix socket.";
    listen.unix_socket_dir => listen.unix_socket_dir, Maybe("", Path), Restart,
        "Directory of a Unix socket to listen on as well, as <dir>/.s.PGSQL.<port>. Empty is none.";
    listen.max_client_conn => listen.max_client_conn, Count(1, 1_000_000), Reload,
        "Clients at once. One more is refused with SQLSTATE 53300.";
    listen.client_login_timeout => listen.client_login_timeout, TIME, Reload,
        "How long a client may take to log in.";
    listen.client_idle_timeout => listen.client_idle_timeout, TIME_OR_ZERO, Reload,
        "Clients that ask nothing for this long are disconnected. 0 is never.";
    listen.client_write_timeout => listen.client_write_timeout, TIME, Reload,
        "Clients that take nothing of their answer for this long are disconnected.";
    listen.idle_transaction_timeout => listen.idle_transaction_timeout, TIME_OR_ZERO, Reload,
        "Clients that leave a transaction open and idle for this long are disconnected with SQLSTATE 25P03. 0 is never.";
    listen.max_message_size => listen.max_message_size, Size(8 << 10, (2 << 30) - 1), Reload,
        "The longest single message (a statement with its parameters) that a client may send, in bytes.";
    listen.unit_buffer_size => listen.unit_buffer_size, Size(8 << 10, GIB), Reload,
        "How much of a client's batch is kept until it is complete, in bytes. A longer batch streams to the server and is not cached.";
    listen.notification_buffer_size => listen.notification_buffer_size, Size(8 << 10, GIB), Reload,
        "Notifications (LISTEN) that wait until a client has ended its transaction, in bytes. A client with more is disconnected.";
    listen.ignore_startup_parameters => listen.ignore_startup_parameters, Names, Reload,
        "Startup parameters that are accepted and dropped instead of being sent to the server.";
    listen.drain_timeout => listen.drain_timeout, TIME_OR_ZERO, Reload,
        "How long a drain (SIGTERM, or POST /drain) waits for open transactions before it closes them.";
    listen.workers => listen.workers, Maybe("auto", Count(1, 1024)), Restart,
        "Threads that serve clients. \"auto\" is one for each core.";

    auth.auth_type => auth.auth_type, OneOf, Reload,
        "How clients log in: \"scram-sha-256\", \"md5\", \"trust\", which asks no password, \"cert\", which asks for a certificate with the user's name, \"hba\", as auth_hba_file says, or \"passthrough\", by the password in clear, which the server is asked about.";
    auth.auth_hba_file => auth.auth_hba_file, Maybe("", Path), Reload,
        "Who may come from where and how they log in, in the syntax of pg_hba.conf (PostgreSQL 16), with one method more, passthrough. Read again when it or a file that it names changes.";
    auth.auth_ident_file => auth.auth_ident_file, Maybe("", Path), Reload,
        "The maps that its rules name (map=), in the syntax of pg_ident.conf. Read again when it changes.";
    auth.auth_file => auth.auth_file, Maybe("", Path), Reload,
        "More users, in PgBouncer's format: \"name\" \"secret\" on each line, the secret a password or what pg_authid.rolpassword holds (SCRAM-SHA-256$… or md5…). Read again when it changes.";
    auth.auth_user => auth.auth_user, Maybe("", Text), Reload,
        "As whom to ask the server for the secrets of users that are listed nowhere here. Empty asks for none.";
    auth.auth_query => auth.auth_query, Name, Reload,
        "The statement that asks: $1 is the user, and its row has the name and what pg_authid.rolpassword holds.";
    auth.auth_dbname => auth.auth_dbname, Maybe("", Text), Reload,
        "The database in which it asks, as clients would name it. Empty is the one that the client wants.";
    auth.auth_query_ttl => auth.auth_query_ttl, TIME_OR_ZERO, Reload,
        "How long its answer counts for further logins of the same user, and what the server says of members of roles (+role, samerole); a login that is refused asks anew. 0 asks for every login.";
    auth.passthrough_ttl => auth.passthrough_ttl, TIME_OR_ZERO, Reload,
        "How long the server's yes to a password counts for further logins with it: a user that was dropped or locked there gets in no longer than this. 0 asks for every login.";
    auth.passthrough_without_tls => auth.passthrough_without_tls, OneOf, Reload,
        "Where pass-through asks for passwords without TLS: \"off\" is nowhere, \"unix\" on the Unix socket, \"loopback\" there and from 127.0.0.0/8 and ::1.";
    auth.learned_lifetime => auth.learned_lifetime, TIME, Reload,
        "How long after a user's last login the keys that it has shown log the user in to the server; as long as clients of the user are connected in any case.";
    auth.admin_users => auth.admin_users, Names, Reload,
        "Users who may give commands on the console (psql to the database \"pgbouncer\").";
    auth.stats_users => auth.stats_users, Names, Reload,
        "Users who may SHOW on the console and change nothing. The user of the upstream URL always may.";

    client_tls.client_tls_sslmode => client_tls.sslmode, OneOf, Reload,
        "\"disable\" refuses TLS, \"allow\" offers it, \"require\" refuses clients without it, \"verify-full\" also those without a certificate.";
    client_tls.client_tls_key_file => client_tls.key_file, Maybe("", Path), Reload,
        "Private key, PEM. Read again when it changes.";
    client_tls.client_tls_cert_file => client_tls.cert_file, Maybe("", Path), Reload,
        "Certificate and its chain, PEM. Read again when it changes.";
    client_tls.client_tls_ca_file => client_tls.ca_file, Maybe("", Path), Reload,
        "Certificates of the authorities whose clients may show certificates, PEM. A certificate of another authority is refused. Read again when it changes.";

    upstream.url => upstream.url, Hidden, Reload,
        "A postgres:// URL in libpq's form, which sets the keys below that it names. PGDITTO_UPSTREAM_URL sets it too; DATABASE_URL does where nothing else names a server.";
    upstream.url_file => upstream.url, HiddenFile, Reload,
        "A file that holds the URL, instead of url.";
    upstream.host => upstream.host, HostList, Restart,
        "Host name, address, or the directory of a Unix socket (begins with /). Several, such as \"db1,db2:5433\", are a primary and its standbys: see target_session_attrs.";
    upstream.port => upstream.port, Count(1, 65535), Restart,
        "The server's port, and that of hosts of a list that name none.";
    upstream.target_session_attrs => upstream.target_session_attrs, Maybe("auto", OneOf), Restart,
        "Which of the hosts to use, in libpq's words: the first that is so, beginning with the one that was so last. \"auto\" is \"primary\" of several hosts and \"any\" of one.";
    upstream.user => upstream.user, Maybe("", Text), Restart,
        "The user whose password stands below; clients of this name log in with the same password.";
    upstream.password => upstream.password, Hidden, Reload,
        "That user's password, for the server and for clients.";
    upstream.password_file => upstream.password, HiddenFile, Reload,
        "A file that holds the password, instead of password. Read again when it changes.";
    upstream.dbname => upstream.dbname, Maybe("", Text), Restart,
        "The database for pgditto's own connections until a client named one. Empty is the user's name, as in libpq.";
    upstream.application_name => upstream.application_name, Text, Restart,
        "What the names of pgditto's own connections in pg_stat_activity begin with. Clients' own names pass unchanged.";
    upstream.options => upstream.options, Maybe("", Text), Restart,
        "Command-line options for every upstream connection, such as \"-c statement_timeout=5s\".";
    upstream.server_connect_timeout => upstream.server_connect_timeout, TIME, Reload,
        "How long connecting and logging in to the server may take; of several hosts each.";
    upstream.login_failures_max => upstream.login_failures_max, Count(1, 1_000_000), Reload,
        "Logins of one user that the server may refuse within login_failures_window before no more are tried, so that nobody has users locked out through pgditto.";
    upstream.login_failures_window => upstream.login_failures_window, TIME, Reload,
        "For how long they are counted, and no more are tried.";
    upstream.query_timeout => upstream.query_timeout, TIME_OR_ZERO, Reload,
        "Statements that run longer are cancelled with SQLSTATE 57014. 0 is never.";
    upstream.abandoned_timeout => upstream.abandoned_timeout, TIME_OR_ZERO, Reload,
        "How long a statement goes on whose client has closed the connection, as the server would bring it to its end. One that is known only to read goes on for a minute at most. 0 is no limit for the others.";
    upstream.cancel_wait_timeout => upstream.cancel_wait_timeout, TIME, Reload,
        "How long an upstream connection is held back until the server has taken note of a cancel request for it.";
    upstream.state_dir => upstream.state_dir, Maybe("", Path), Restart,
        "Directory in which open upstream connections are written down, so that a restart after a crash can recognise its own. Empty is none.";
    upstream.lazy_begin => upstream.lazy_begin, OneOf, Reload,
        "Send BEGIN together with the first statement that needs the server, so that a transaction answered from memory never reaches it.";

    server_tls.server_tls_sslmode => server_tls.sslmode, OneOf, Restart,
        "\"disable\", \"allow\", \"prefer\", \"require\", \"verify-ca\" or \"verify-full\", as in libpq. Only the last two check who the server is.";
    server_tls.server_tls_sslnegotiation => server_tls.sslnegotiation, OneOf, Restart,
        "\"postgres\" asks the server whether it has TLS, \"direct\" begins with it: one round trip less, and what proxies of TLS understand. As in libpq, it needs sslmode require or stronger and a server since PostgreSQL 17 (or a pgditto).";
    server_tls.server_tls_ca_file => server_tls.ca_file, CaFile, Restart,
        "Certificates of the authorities to trust, PEM. Empty or \"system\" is the system's.";
    server_tls.server_tls_cert_file => server_tls.cert_file, Maybe("", Path), Restart,
        "Certificate to show to the server, PEM.";
    server_tls.server_tls_key_file => server_tls.key_file, Maybe("", Path), Restart,
        "Private key of that certificate, PEM.";

    pool.pool_mode => pool.pool_mode, OneOf, Reload,
        "\"transaction\" gives an upstream connection for a transaction, \"session\" for as long as the client stays.";
    pool.default_pool_size => pool.default_pool_size, Count(1, 100_000), Reload,
        "Upstream connections of one pool.";
    pool.min_pool_size => pool.min_pool_size, Count(0, 100_000), Reload,
        "Connections that a pool keeps open even when nobody asks.";
    pool.reserve_pool_size => pool.reserve_pool_size, Count(0, 100_000), Reload,
        "Connections beyond the pool's size for clients that waited for reserve_pool_timeout.";
    pool.reserve_pool_timeout => pool.reserve_pool_timeout, TIME_OR_ZERO, Reload,
        "How long a client waits before it may use the reserve.";
    pool.max_db_connections => pool.max_db_connections, Count(0, 100_000), Reload,
        "Upstream connections of one database, over all its users. 0 is no limit.";
    pool.max_pinned_connections => pool.max_pinned_connections, Maybe("auto", Count(0, 100_000)), Reload,
        "Connections bound to one client (by temporary tables, LISTEN, session locks and the like) that do not count as part of the pool. \"auto\" is default_pool_size.";
    pool.max_replication_connections => pool.max_replication_connections, Count(0, 100_000), Reload,
        "Replication connections, over all users and databases. Each has an upstream connection of its own beside the pools. 0 refuses them.";
    pool.query_wait_timeout => pool.query_wait_timeout, TIME, Reload,
        "How long a client waits for an upstream connection before SQLSTATE 53300.";
    pool.server_lifetime => pool.server_lifetime, TIME_OR_ZERO, Reload,
        "Idle upstream connections older than this are replaced. 0 is never.";
    pool.server_idle_timeout => pool.server_idle_timeout, TIME_OR_ZERO, Reload,
        "Upstream connections that nobody used for this long are closed. 0 is never.";
    pool.max_prepared_statements => pool.max_prepared_statements, Count(1, 1_000_000), Reload,
        "Prepared statements kept on one upstream connection; the least used make room.";

    cache.mode => cache.mode, OneOf, Reload,
        "\"on\"; \"off\"; or \"shadow\", which answers nothing and counts and checks what it would have answered.";
    cache.level => cache.level, OneOf, Reload,
        "\"strict\" never answers with what a finished write has changed. \"ttl\" answers may be as old as ttl.";
    cache.ttl => cache.ttl, TIME, Reload,
        "How long any answer is kept, at every level.";
    cache.memory_limit => cache.memory_limit, Size(1 << 20, 1 << 50), Reload,
        "Memory for answers, in bytes, overhead included.";
    cache.key_memory => cache.key_memory, Size(0, GIB), Restart,
        "Memory for knowing which rows answers depend on, in bytes, of each database; it is taken as it is needed. With \"0\" a write invalidates all answers from its table.";
    cache.learn_keys => cache.learn_keys, OneOf, Reload,
        "Send an INSERT, UPDATE or DELETE of few rows with a RETURNING where that tells which answers it changes. Clients do not see it; the server's log does.";
    cache.hold_commits_from => cache.hold_commits_from, TIME_OR_ZERO, Reload,
        "A statement on its own that touches a whole table or more, and takes so long as a rule or has not been seen yet, is committed in a step of its own when its work is done, so that answers stay valid while it works. That costs a round trip. 0 is never.";
    cache.max_entry_size => cache.max_entry_size, Size(1 << 10, GIB), Restart,
        "Longer answers are not kept, in bytes.";
    cache.lease => cache.lease, TIME, Restart,
        "Answers are given only while the server was heard from within this time, so that a server that was replaced behind pgditto's back is noticed.";
    cache.catalog_watch_interval => cache.catalog_watch_interval, TIME, Restart,
        "How often schema changes that did not come through pgditto are looked for.";
    cache.single_flight_timeout => cache.single_flight_timeout, TIME_OR_ZERO, Restart,
        "How long a statement waits for the same statement already under way, before it asks the server itself. 0 is not at all.";
    cache.single_flight_waiters => cache.single_flight_waiters, Count(0, 1_000_000), Restart,
        "How many may wait so for one statement.";

    cache.verify.sample => cache.verify.sample, Share, Reload,
        "The share of hits that are checked, such as 0.01. Each costs the server two reads, on a connection that leaves another one free. 0 is none.";
    cache.verify.concurrency => cache.verify.concurrency, Count(1, 1000), Reload,
        "How many are checked at once.";
    cache.verify.queue => cache.verify.queue, Count(0, 100_000), Reload,
        "How many wait to be checked; more hits are not.";
    cache.verify.timeout => cache.verify.timeout, TIME, Reload,
        "How long one check may take; then its read is cancelled.";

    redis.url => redis.url, Hidden, Restart,
        "redis:// or rediss:// URL.";
    redis.url_file => redis.url, HiddenFile, Restart,
        "A file that holds the URL, instead of url.";
    redis.timeout => redis.timeout, TIME, Restart,
        "The longest that a lookup waits for Redis.";
    redis.connect_timeout => redis.connect_timeout, TIME, Restart,
        "How long connecting to Redis may take. No client waits for it.";
    redis.retry_interval => redis.retry_interval, TIME, Restart,
        "How long Redis is left alone after failures.";
    redis.fleet_name => redis.fleet_name, Maybe("", Text), Restart,
        "A name in front of every key: pgditto:<fleet_name>:<hash>. With a name, processes of the same name share answers of level ttl; all of them must serve the same databases of the same server. Empty: keys are named \"default\", and nothing is shared.";
    redis.min_entry_size => redis.min_entry_size, Size(0, GIB), Restart,
        "Answers shorter than this stay in memory only, in bytes.";

    slow_log.warn => slow_log.warn, TIME_OR_ZERO, Reload,
        "Statements that take this long are logged as a warning. 0 is never.";
    slow_log.error => slow_log.error, TIME_OR_ZERO, Reload,
        "Statements that take this long are logged as an error. 0 is never.";
    slow_log.literals => slow_log.literals, OneOf, Reload,
        "Log the statement as it came. Without it literals are taken out, since they may be personal data.";
    slow_log.max_per_second => slow_log.max_per_second, Count(1, 1_000_000), Reload,
        "Lines in a second; what is beyond is counted and not written.";

    http.listen => http.listen, Text, Restart,
        "ADDR:PORT of /metrics, /healthz, /readyz and /drain. \"\" turns it off.";
    http.admin_token_file => http.admin_token_file, Maybe("", Path), Reload,
        "A file that holds the token for whatever changes state, such as /drain. Without it those are refused. Read again when it changes.";

    log.level => log.level, Name, Restart,
        "\"error\", \"warn\", \"info\", \"debug\" or \"trace\", or a filter such as \"info,pgditto::upstream=debug\".";
    log.format => log.format, OneOf, Restart,
        "\"text\" or \"json\".";
    log.log_connections => log.log_connections, OneOf, Reload,
        "Log each client that logs in.";
    log.log_disconnections => log.log_disconnections, OneOf, Reload,
        "Log each client that leaves, with the reason.";
};

/// The keys of one `[[databases]]`.
pub static DATABASE_KEYS: &[Key<DatabaseConfig>] = keys! { DatabaseConfig;
    databases.name => name, Name, Restart,
        "The name that clients ask for. \"*\" is every name that has no entry of its own.";
    databases.host => host, Maybe("", HostList), Restart,
        "Another server than that of [upstream], or several, as in upstream.host.";
    databases.port => port, Maybe("", Count(1, 65535)), Restart,
        "That server's port; 5432 where only host is given.";
    databases.target_session_attrs => target_session_attrs, Maybe("", OneOf), Restart,
        "Instead of upstream.target_session_attrs.";
    databases.dbname => dbname, Maybe("", Name), Restart,
        "The database's name on the server, where it differs.";
    databases.pool_mode => pool_mode, Maybe("", OneOf), Restart,
        "Instead of pool.pool_mode.";
    databases.pool_size => pool_size, Maybe("", Count(1, 100_000)), Restart,
        "Instead of pool.default_pool_size.";
};

/// The keys of one `[[users]]`.
pub static USER_KEYS: &[Key<UserConfig>] = keys! { UserConfig;
    users.name => name, Name, Reload,
        "The user's name, here and on the server.";
    users.password => password, Hidden, Reload,
        "The password, for clients and for the server.";
    users.password_file => password, HiddenFile, Reload,
        "A file that holds the password, instead of password. Read again when it changes.";
    users.scram_secret => scram_secret, Hidden, Reload,
        "Instead of a password: what pg_authid.rolpassword holds (SCRAM-SHA-256$… or md5…).";
    users.scram_secret_file => scram_secret, HiddenFile, Reload,
        "A file that holds it, instead of scram_secret.";
    users.pool_mode => pool_mode, Maybe("", OneOf), Reload,
        "Instead of pool.pool_mode, and of the database's.";
    users.pool_size => pool_size, Maybe("", Count(1, 100_000)), Reload,
        "Instead of pool.default_pool_size, and of the database's.";
};

/// The keys of one `[[cache.rules]]`.
pub static RULE_KEYS: &[Key<CacheRule>] = keys! { CacheRule;
    rules.tables => tables, Names, Reload,
        "Condition: every table that the statement reads matches one of these (table or schema.table; * matches any text).";
    rules.users => users, Names, Reload,
        "Condition: the user is one of these.";
    rules.databases => databases, Names, Reload,
        "Condition: the database is one of these.";
    rules.shape => shape, Maybe("", Shape), Reload,
        "Condition: the statement's shape, as the slow log and SHOW QUERIES print it.";
    rules.cache => cache, Maybe("", OneOf), Reload,
        "false keeps what matches out of the cache.";
    rules.level => level, Maybe("", OneOf), Reload,
        "Instead of cache.level.";
    rules.ttl => ttl, Maybe("", TIME), Reload,
        "Instead of cache.ttl.";
    rules.tags => tags, Names, Reload,
        "Labels for CACHE FLUSH TAG.";
    rules.functions => functions, Names, Reload,
        "User functions whose result depends on nothing but their arguments and on tables that the statement names: you vouch for it, in every statement, whatever the conditions of this rule.";
};

/// Sections and keys that are planned: they are answered so instead of as unknown.
pub(super) const NOT_AVAILABLE: &[&str] = &[
    "fleet",
    "changes",
    "cache.max_staleness",
    "cache.stale_while_revalidate",
    "cache.rules.max_staleness",
    "cache.rules.stale_while_revalidate",
];

/// The key of that `section.name`.
pub fn find(full: &str) -> Option<&'static Key<Config>> {
    KEYS.iter().find(|key| key.full == full)
}

/// `name` and what bare `text` means for it as TOML, for one element of an array of tables.
pub(crate) fn to_toml<T: Default>(
    keys: &'static [Key<T>],
    name: &str,
    text: &str,
) -> Result<(&'static str, String), String> {
    let key = keys.iter().find(|key| key.name == name);
    let key = key.ok_or("no such key")?;
    Ok((key.name, key.to_toml(text)?))
}
