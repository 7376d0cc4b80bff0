//! The proof that a connection leads to the server on which the guard stands.
//!
//! The guard bears a name that is drawn at random. Everybody may see what connections of a server are
//! called (`application_name`), whatever his role, and no other server has this one: not a
//! standby, not a restored copy, and not the same server after a crash, which
//! keeps its start time but loses its connections. A lock would do as well, but
//! applications that look at `pg_locks` would see it.

use std::time::Duration;

use super::control::column;
use crate::config::Host;

/// What a guard's name ends with: the incarnation of its pgditto, and its lease in milliseconds, by which
/// others know how long to wait for it.
pub(super) fn guard_name(incarnation: u128, lease: Duration) -> String {
    let lease_ms = lease.as_millis().min(LEASE_MS_MAX);
    format!(" {incarnation:032x}/{lease_ms}")
}

/// So that it has nine digits, as [`GUARDS`] has.
const LEASE_MS_MAX: u128 = 999_999_999;

/// A regular expression for the names of guards. Anybody can call himself so, and then keeps
/// others from serving hits, but from nothing else.
pub(super) const GUARDS: &str = " [0-9a-f]{32}/[0-9]{1,9}$";

/// A backend of the server, as nobody else will be called again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backend {
    pub pid: u32,
    /// `backend_start`, in microseconds since 1970 by the server's clock.
    pub started_us: i64,
    /// As whom it was logged in.
    pub user: String,
}

/// What a new connection must show before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    guard_pid: i32,
    /// Where the guard stands, and so where every connection leads.
    pub host: Host,
    /// What [`guard_name`] gave.
    name: String,
    /// [`super::Authority::generation`] for which the proof counts.
    pub generation: u64,
}

/// Why a connection proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    #[error("the connection leads to another server than the guard's, or the guard is lost")]
    OtherServer,
    #[error("there is another pooler between pgditto and the server")]
    PoolerUpstream,
    #[error("the server's answer is not what was asked for")]
    Malformed,
}

impl Proof {
    pub(super) fn new(guard_pid: i32, host: Host, name: String, generation: u64) -> Self {
        Self {
            guard_pid,
            host,
            name,
            generation,
        }
    }

    /// One statement with one row. It is run with whatever `search_path` the role has, so
    /// every name and operator in it is qualified.
    pub fn sql(&self) -> String {
        let (pid, name, length) = (self.guard_pid, &self.name, self.name.len());
        format!(
            "SELECT pg_catalog.pg_backend_pid()::pg_catalog.text, \
             (SELECT (pg_catalog.date_part('epoch', backend_start) \
             OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8::pg_catalog.text \
             FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())), \
             session_user::pg_catalog.text, \
             EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity({pid}) \
             WHERE pg_catalog.right(application_name, {length}) OPERATOR(pg_catalog.=) '{name}'\
             )::pg_catalog.text"
        )
    }

    /// Reads the row. `key_pid` is the process id of the connection's BackendKeyData:
    /// if the server calls itself another, somebody stands in between, and what
    /// happens to the connection says nothing about the backend.
    ///
    /// # Errors
    /// It proves nothing.
    pub(super) fn read(&self, row: &[Option<String>], key_pid: u32) -> Result<Backend, Unproven> {
        let backend = Self::backend(row).ok_or(Unproven::Malformed)?;
        if backend.pid != key_pid {
            return Err(Unproven::PoolerUpstream);
        }
        if row.get(3).and_then(Option::as_deref) != Some("true") {
            return Err(Unproven::OtherServer);
        }
        Ok(backend)
    }

    /// For connections of our own, whose BackendKeyData the driver keeps to itself.
    pub(super) fn holds(row: &[Option<String>]) -> bool {
        row.get(3).and_then(Option::as_deref) == Some("true")
    }

    fn backend(row: &[Option<String>]) -> Option<Backend> {
        Some(Backend {
            pid: column(row, 0)?,
            started_us: column(row, 1)?,
            user: column(row, 2)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_proves_or_says_what_is_wrong() {
        let proof = Proof::new(
            7,
            Host::new("db", 5432),
            guard_name(255, Duration::from_secs(1)),
            1,
        );
        let row = |pid: &str, stands: &str| -> Vec<Option<String>> {
            [pid, "1700000000000001", "app", stands]
                .map(|text| Some(text.to_owned()))
                .to_vec()
        };
        let backend = proof.read(&row("12", "true"), 12).unwrap();
        assert_eq!((backend.pid, backend.user.as_str()), (12, "app"));
        assert_eq!(backend.started_us, 1_700_000_000_000_001);
        assert_eq!(
            proof.read(&row("13", "true"), 12),
            Err(Unproven::PoolerUpstream)
        );
        assert_eq!(
            proof.read(&row("12", "false"), 12),
            Err(Unproven::OtherServer)
        );
        assert_eq!(proof.read(&row("x", "true"), 12), Err(Unproven::Malformed));
        assert_eq!(proof.read(&[], 12), Err(Unproven::Malformed));
        let sql = proof.sql();
        assert!(sql.contains("pg_stat_get_activity(7)"), "{sql}");
        assert!(
            sql.contains("' 000000000000000000000000000000ff/1000'"),
            "{sql}"
        );
        assert_eq!(guard_name(u128::MAX, Duration::MAX).len(), 43);
    }
}
