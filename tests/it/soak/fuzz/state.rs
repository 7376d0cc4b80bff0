//! What a session is, as far as answers depend on it.

use super::ask::{Ask, Client};

/// Who has logged in, and what the session has set since.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    pub user: String,
    settings: Vec<(String, String)>,
}

/// The role and settings of users' own are not among `pg_settings`.
const SETTINGS: &str = "SELECT name, setting FROM pg_catalog.pg_settings
    WHERE source = 'session' AND pg_catalog.left(name, 12) <> 'transaction_'
    UNION ALL SELECT 'app.tenant', pg_catalog.current_setting('app.tenant', true)
    UNION ALL SELECT 'role', pg_catalog.current_setting('role')
    ORDER BY 1";

impl State {
    pub fn login(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            settings: Vec::new(),
        }
    }

    /// The state of a session of `user` that is asked for it; `None` when it cannot say.
    pub fn of(user: &str, session: &mut Client) -> Option<Self> {
        let reply = session.ask(&Ask::simple(SETTINGS))?;
        if reply.error().is_some() {
            return None;
        }
        let text = reply.text();
        let mut settings: Vec<(String, String)> = text
            .lines()
            .filter_map(|line| line.split_once('|'))
            .filter(|setting| !matches!(setting, ("role", "none") | (_, "~")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        // Another role may not set all of them.
        settings.sort_by_key(|(name, _)| name == "role");
        Some(Self {
            user: user.to_owned(),
            settings,
        })
    }

    /// Brings a session that has just logged in into this state; false when the server says no.
    pub fn enter(&self, session: &mut Client) -> bool {
        self.settings.iter().all(|(name, value)| {
            let value = value.replace('\'', "''");
            let sql = format!("SELECT pg_catalog.set_config('{name}', '{value}', false)");
            let reply = session.ask(&Ask::simple(sql));
            reply.is_some_and(|reply| reply.error().is_none())
        })
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.user)?;
        for (name, value) in &self.settings {
            write!(f, ", {name} = {value:?}")?;
        }
        Ok(())
    }
}
