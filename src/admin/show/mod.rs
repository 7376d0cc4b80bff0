//! What can be shown: one [`Table`] for each SHOW.
//!
//! The columns of PgBouncer 1.18 come first, in its order and with its types, then
//! those that 1.19 to 1.25 added, then ours: exporters find columns by name, people
//! and scripts by place. `CONFIG` and `LISTS` get rows instead, since exporters insist on
//! their number of columns.

mod cache;
mod config;
mod connections;
mod pools;
mod queries;
mod stats;

use std::time::SystemTime;

use super::house::House;
use super::table::{Column, Table};

macro_rules! shows {
    ($($variant:ident = $word:literal, $module:ident :: $columns:ident, $build:path;)*) => {
        /// A table that SHOW names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Show { $($variant,)* }

        impl Show {
            pub const ALL: &'static [Show] = &[$(Show::$variant,)*];

            /// The word after SHOW.
            pub fn as_str(self) -> &'static str {
                match self { $(Show::$variant => $word,)* }
            }

            pub fn columns(self) -> &'static [Column] {
                match self { $(Show::$variant => $module::$columns,)* }
            }

            /// What it is now.
            pub fn table(self, house: &dyn House) -> Table {
                let rows = match self { $(Show::$variant => $build(house),)* };
                Table { columns: self.columns(), rows }
            }
        }
    };
}

shows! {
    Config = "CONFIG", config::CONFIG, config::config;
    Databases = "DATABASES", pools::DATABASES, pools::databases;
    Pools = "POOLS", pools::POOLS, pools::pools;
    Clients = "CLIENTS", connections::CLIENTS, connections::clients;
    Servers = "SERVERS", connections::SERVERS, connections::servers;
    Sockets = "SOCKETS", connections::SOCKETS, connections::sockets;
    ActiveSockets = "ACTIVE_SOCKETS", connections::SOCKETS, connections::active_sockets;
    Users = "USERS", pools::USERS, pools::users;
    Lists = "LISTS", pools::LISTS, pools::lists;
    Mem = "MEM", config::MEM, config::mem;
    State = "STATE", config::STATE, config::state;
    Version = "VERSION", config::VERSION, config::version;
    Stats = "STATS", stats::STATS, stats::stats;
    StatsTotals = "STATS_TOTALS", stats::PARTS, stats::totals;
    StatsAverages = "STATS_AVERAGES", stats::PARTS, stats::averages;
    Totals = "TOTALS", stats::TOTALS, stats::sums;
    Cache = "CACHE", cache::CACHE, cache::cache;
    CacheTables = "CACHE_TABLES", cache::TABLES, cache::tables;
    CacheRules = "CACHE_RULES", cache::RULES, cache::rules;
    Mismatches = "MISMATCHES", cache::MISMATCHES, cache::mismatches;
    Queries = "QUERIES", queries::QUERIES, queries::queries;
    Slow = "SLOW", queries::SLOW, queries::slow;
    Pins = "PINS", connections::PINS, connections::pins;
}

impl Show {
    pub fn from_word(word: &str) -> Option<Self> {
        let is_it = |show: &&Show| show.as_str().eq_ignore_ascii_case(word);
        Self::ALL.iter().find(is_it).copied()
    }
}

/// `2026-11-21 03:08:35 UTC`, as PgBouncer prints it.
fn moment(time: SystemTime) -> String {
    // humantime refuses, by panicking, what is before 1970 or after the year 9999.
    const LAST_SECOND: u64 = 253_402_300_799;
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().min(LAST_SECOND));
    let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_printed_as_pgbouncer_does() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_230_515);
        assert_eq!(moment(time), "2026-11-21 03:08:35 UTC");
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(moment(far), "9999-12-31 23:59:59 UTC");
    }

    #[test]
    fn words_are_read_in_any_case() {
        assert_eq!(Show::from_word("stats_totals"), Some(Show::StatsTotals));
        assert_eq!(Show::from_word("nothing"), None);
    }
}
