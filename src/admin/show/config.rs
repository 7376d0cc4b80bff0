//! CONFIG, MEM, STATE, VERSION.

use crate::admin::house::{ConfigRow, House};
use crate::admin::table::{Cell, Column, int4, row, text};
use crate::metrics::{self, Phase};

pub(super) const CONFIG: &[Column] = &[
    text("key"),
    text("value"),
    text("default"),
    text("changeable"),
];

/// Keys whose name and meaning are PgBouncer's are shown under the bare name, where its tools look for them.
const PGBOUNCER_KEYS: &[&str] = &[
    "admin_users",
    "auth_type",
    "client_idle_timeout",
    "client_login_timeout",
    "client_tls_cert_file",
    "client_tls_key_file",
    "client_tls_sslmode",
    "default_pool_size",
    "idle_transaction_timeout",
    "ignore_startup_parameters",
    "listen_addr",
    "listen_port",
    "log_connections",
    "log_disconnections",
    "max_client_conn",
    "max_db_connections",
    "max_prepared_statements",
    "min_pool_size",
    "pool_mode",
    "query_timeout",
    "query_wait_timeout",
    "reserve_pool_size",
    "reserve_pool_timeout",
    "server_connect_timeout",
    "server_idle_timeout",
    "server_lifetime",
    "server_tls_ca_file",
    "server_tls_cert_file",
    "server_tls_key_file",
    "server_tls_sslmode",
    "stats_users",
    "unix_socket_dir",
];

pub(super) fn config(house: &dyn House) -> Vec<Vec<Cell>> {
    let mut rows: Vec<(String, Vec<Cell>)> = Vec::new();
    for ConfigRow {
        key,
        value,
        default,
        changeable,
    } in house.config_rows()
    {
        let bare = key.rsplit('.').next().unwrap_or(&key);
        let key = if PGBOUNCER_KEYS.contains(&bare) {
            bare.to_owned()
        } else {
            key
        };
        let changeable = if changeable { "yes" } else { "no" };
        rows.push((key.clone(), row![key, value, default, changeable]));
    }
    // Exporters ask for it; there is no such limit, which PgBouncer says with zero.
    let unlimited = "max_user_connections";
    rows.push((unlimited.into(), row![unlimited, "0", "0", "no"]));
    // PgBouncer's keys first, then ours, each in alphabetical order.
    rows.sort_by(|(a, _), (b, _)| (a.contains('.'), a).cmp(&(b.contains('.'), b)));
    rows.into_iter().map(|(_, row)| row).collect()
}

pub(super) const MEM: &[Column] = &[
    text("name"),
    int4("size"),
    int4("used"),
    int4("free"),
    int4("memtotal"),
];

/// PgBouncer lists its allocators. What is worth knowing here is the cache and the process.
pub(super) fn mem(house: &dyn House) -> Vec<Vec<Cell>> {
    let cache = house.snapshot().cache;
    let average = cache.bytes.checked_div(cache.entries).unwrap_or_default();
    let left = cache.bytes_limit.saturating_sub(cache.bytes);
    let free = left.checked_div(average).unwrap_or_default();
    let resident = metrics::resident_bytes().unwrap_or_default();
    vec![
        row!["cache", average, cache.entries, free, cache.bytes],
        row!["process", resident, 1_u64, 0_u64, resident],
    ]
}

pub(super) const STATE: &[Column] = &[text("key"), text("value")];

pub(super) fn state(house: &dyn House) -> Vec<Vec<Cell>> {
    let snapshot = house.snapshot();
    let word = |flag: bool| if flag { "yes" } else { "no" };
    let active = snapshot.phase == Phase::Serving && !snapshot.paused && !snapshot.suspended;
    vec![
        row!["active", word(active)],
        row!["paused", word(snapshot.paused)],
        row!["suspended", word(snapshot.suspended)],
        row!["draining", word(snapshot.phase != Phase::Serving)],
        row!["upstream_reachable", word(snapshot.upstream_reachable)],
    ]
}

pub(super) const VERSION: &[Column] = &[text("version")];

pub(super) fn version(_: &dyn House) -> Vec<Vec<Cell>> {
    vec![row![concat!("pgditto ", env!("CARGO_PKG_VERSION"))]]
}
