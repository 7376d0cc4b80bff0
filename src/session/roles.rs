//! Roles that are gone, or renamed: a session goes by the name of its role, and so do connections and cache keys, but to
//! PostgreSQL it goes on as whom it was. So what goes by a name ends when the name is nobody's, or another's.
//! And what sessions of roles and databases begin with, when that is changed.

use std::collections::HashSet;

use super::Session;
use super::shared::Shared;
use crate::upstream::Target;

/// Names of one transaction; others are found when the catalogue is read.
const NAMES_MAX: usize = 256;

impl Session {
    /// The statement takes these names from their roles, if its transaction commits.
    pub(super) fn note_freed(&mut self, names: &[String]) {
        let room = NAMES_MAX.saturating_sub(self.tx.freed_roles.len());
        self.tx.freed_roles.extend(names.iter().take(room).cloned());
    }

    /// It has committed, or may have: who asks from now on finds roles and what sessions begin with as they are.
    pub(super) fn announce_roles(&mut self) {
        self.end_freed();
        if std::mem::take(&mut self.tx.changed_defaults) {
            let hosts = self.pool.target().hosts;
            for database in self.shared.databases.on(&hosts) {
                database.authority.defaults_changed();
            }
            for pool in self.shared.pools.all() {
                if pool.target().hosts == hosts {
                    pool.reconnect();
                }
            }
        }
    }

    /// On all databases of the server.
    fn end_freed(&mut self) {
        if self.tx.freed_roles.is_empty() {
            return;
        }
        let names = std::mem::take(&mut self.tx.freed_roles);
        let hosts = self.pool.target().hosts;
        for database in self.shared.databases.on(&hosts) {
            database.authority.forget_roles(&names);
        }
        self.shared
            .end_roles(|target| target.hosts == hosts, &names);
    }
}

impl Shared {
    /// Ends the sessions that have logged in or act as one of these, in the databases that `is_there` says, and has
    /// connections made anew. An idle session hears of it at once, another at its next step.
    pub fn end_roles(&self, is_there: impl Fn(&Target) -> bool, names: &[String]) {
        let is_named = |name: &str| names.iter().any(|known| known == name);
        let mut databases = HashSet::new();
        let mut logins = HashSet::new();
        for pool in self.pools.all() {
            let target = pool.target();
            if !is_there(&target) {
                continue;
            }
            databases.insert(pool.database().to_owned());
            if is_named(&target.user) {
                pool.reconnect();
                logins.insert((pool.database().to_owned(), pool.user().to_owned()));
            }
        }
        self.greetings.invalidate_all();
        let mut ended = 0;
        for session in self.registry.all() {
            let login = (session.database.clone(), session.user.clone());
            let acts = || session.role.lock().as_deref().is_some_and(is_named);
            if logins.contains(&login) || databases.contains(&session.database) && acts() {
                session.end();
                ended += 1;
            }
        }
        if ended > 0 || !logins.is_empty() {
            tracing::warn!(
                ?names,
                ended,
                "roles are gone, renamed or replaced: their sessions end"
            );
        }
    }
}
