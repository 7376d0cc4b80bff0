//! POOLS, DATABASES, USERS, LISTS.

use crate::admin::house::{House, Role, UserRow};
use crate::admin::table::{Cell, Column, int4, row, text};
use crate::metrics::{DatabaseSnapshot, PoolSnapshot, pool_mode_word};

pub(super) const POOLS: &[Column] = &[
    text("database"),
    text("user"),
    int4("cl_active"),
    int4("cl_waiting"),
    int4("cl_active_cancel_req"),
    int4("cl_waiting_cancel_req"),
    int4("sv_active"),
    int4("sv_active_cancel"),
    int4("sv_being_canceled"),
    int4("sv_idle"),
    int4("sv_used"),
    int4("sv_tested"),
    int4("sv_login"),
    int4("maxwait"),
    int4("maxwait_us"),
    text("pool_mode"),
    text("load_balance_hosts"),
    int4("sv_pinned"),
    int4("pool_size"),
    int4("reserve_pool_size"),
    int4("pinned_limit"),
];

pub(super) fn pools(house: &dyn House) -> Vec<Vec<Cell>> {
    let row = |pool: PoolSnapshot| {
        row![
            pool.database,
            pool.user,
            pool.clients_active,
            pool.clients_waiting,
            pool.cancels_active,
            pool.cancels_waiting,
            pool.servers_active,
            pool.cancels_active,
            pool.servers_being_cancelled,
            pool.servers_idle,
            // Connections are checked without being set aside for it.
            0_u64,
            pool.servers_tested,
            pool.servers_login,
            pool.wait_max.as_secs(),
            pool.wait_max.subsec_micros(),
            pool_mode_word(pool.pool_mode),
            Cell::Null,
            pool.servers_pinned,
            pool.pool_size,
            pool.reserve_pool_size,
            pool.pinned_limit,
        ]
    };
    house.snapshot().pools.into_iter().map(row).collect()
}

pub(super) const DATABASES: &[Column] = &[
    text("name"),
    text("host"),
    int4("port"),
    text("database"),
    text("force_user"),
    int4("pool_size"),
    int4("min_pool_size"),
    int4("reserve_pool"),
    text("pool_mode"),
    int4("max_connections"),
    int4("current_connections"),
    int4("paused"),
    int4("disabled"),
    int4("reserve_pool_size"),
    int4("server_lifetime"),
    text("load_balance_hosts"),
    int4("max_client_connections"),
    int4("current_client_connections"),
    text("guard"),
];

pub(super) fn databases(house: &dyn House) -> Vec<Vec<Cell>> {
    let snapshot = house.snapshot();
    let guard = |database: &DatabaseSnapshot| {
        let name = database.authority.as_ref()?;
        let mut authorities = snapshot.authorities.iter();
        let authority = authorities.find(|authority| authority.database == *name)?;
        Some(authority.hindrance.map_or("serving", |why| why.as_str()))
    };
    let row = |database: &DatabaseSnapshot| {
        row![
            database.name.as_str(),
            database.host.as_deref(),
            database.port,
            database.dbname.as_str(),
            Cell::Null,
            database.pool_size,
            database.min_pool_size,
            database.reserve_pool_size,
            database.pool_mode.map(pool_mode_word),
            database.connections_limit,
            database.connections,
            database.paused,
            database.disabled,
            database.reserve_pool_size,
            database.server_lifetime.as_secs(),
            Cell::Null,
            0_u64,
            database.clients,
            guard(database),
        ]
    };
    snapshot.databases.iter().map(row).collect()
}

pub(super) const USERS: &[Column] = &[
    text("name"),
    text("pool_mode"),
    int4("pool_size"),
    int4("reserve_pool_size"),
    int4("max_user_connections"),
    int4("current_connections"),
    int4("max_user_client_connections"),
    int4("current_client_connections"),
    text("console"),
];

pub(super) fn users(house: &dyn House) -> Vec<Vec<Cell>> {
    let row = |user: UserRow| {
        let role = house.role(&user.name).map(Role::as_str);
        row![
            user.name,
            user.pool_mode.map(pool_mode_word),
            user.pool_size,
            Cell::Null,
            0_u64,
            user.connections,
            0_u64,
            user.clients,
            role,
        ]
    };
    house.users().into_iter().map(row).collect()
}

pub(super) const LISTS: &[Column] = &[text("list"), int4("items")];

pub(super) fn lists(house: &dyn House) -> Vec<Vec<Cell>> {
    let snapshot = house.snapshot();
    let pinned: usize = snapshot.pools.iter().map(|pool| pool.servers_pinned).sum();
    vec![
        row!["databases", snapshot.databases.len()],
        row!["users", snapshot.users],
        row!["pools", snapshot.pools.len()],
        row!["free_clients", snapshot.free_clients()],
        row!["used_clients", snapshot.clients.connected],
        row!["login_clients", snapshot.clients.logging_in],
        row!["free_servers", snapshot.free_servers()],
        row!["used_servers", snapshot.used_servers()],
        // Names are resolved by the system: there is no list of them here.
        row!["dns_names", 0_u64],
        row!["dns_zones", 0_u64],
        row!["dns_queries", 0_u64],
        row!["dns_pending", 0_u64],
        row!["pinned_servers", pinned],
        row!["cache_entries", snapshot.cache.entries],
    ]
}
