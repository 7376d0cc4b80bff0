//! The section `[databases]`.

use super::Import;
use crate::cli::ini::{self, Entry};
use crate::config::keys::{DATABASE_KEYS, to_toml};

/// One connection string, its parts as PgBouncer understands them.
struct Database<'a> {
    entry: &'a Entry,
    host: String,
    port: String,
    parts: Vec<(String, String)>,
}

impl Database<'_> {
    fn part(&self, name: &str) -> Option<&str> {
        let part = self.parts.iter().find(|(part, _)| part == name);
        part.map(|(_, value)| value.as_str())
    }

    fn same_server(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

impl Import {
    pub(super) fn databases(&mut self, entries: &[&Entry]) {
        let mut databases = Vec::new();
        for entry in entries {
            match ini::connection_string(&entry.value) {
                Some(parts) => databases.push(self.database(entry, parts)),
                None => self.note(entry, "is no connection string and left out"),
            }
        }
        let fallback = databases.iter().find(|database| database.entry.name == "*");
        let Some(main) = fallback.or(databases.first()) else {
            self.notes
                .push("[databases] is empty: every database of 127.0.0.1:5432 is served".into());
            return;
        };
        self.upstream(main);
        for database in &databases {
            self.push_database(database, main, databases.len() == 1);
        }
    }

    fn database<'a>(&mut self, entry: &'a Entry, parts: Vec<(String, String)>) -> Database<'a> {
        let mut database = Database {
            entry,
            // Without a host PgBouncer looks for the server's socket where its own is.
            host: self.socket_dir.clone(),
            port: "5432".into(),
            parts,
        };
        if let Some(hosts) = database.part("host").filter(|host| !host.is_empty()) {
            let first = hosts.split(',').next().unwrap_or(hosts).trim().to_owned();
            if hosts.contains(',') {
                self.note(
                    entry,
                    &format!("PgBouncer spreads connections over several hosts, pgditto uses one at a time: only {first} is taken"),
                );
            }
            database.host = first;
        }
        if let Some(port) = database.part("port") {
            database.port = port.to_owned();
        }
        database
    }

    /// The server of most databases, and whom pgditto's own connections log in as.
    fn upstream(&mut self, main: &Database<'_>) {
        let mut wanted = vec![
            ("upstream.host", Some(main.host.as_str())),
            ("upstream.port", Some(main.port.as_str())),
            ("upstream.user", main.part("user")),
        ];
        if main.entry.name != "*" {
            let dbname = main.part("dbname").unwrap_or(&main.entry.name);
            wanted.push(("upstream.dbname", Some(dbname)));
        }
        if main.part("user").is_some() {
            wanted.push(("upstream.password", main.part("password")));
        }
        for (key, value) in wanted {
            if let Some(value) = value
                && let Err(why) = self.document.set(key, value)
            {
                self.note(main.entry, &format!("left at the default of {key}: {why}"));
            }
        }
    }

    fn push_database(&mut self, database: &Database<'_>, main: &Database<'_>, alone: bool) {
        let mut wanted = vec![("name", database.entry.name.as_str())];
        if !database.same_server(main) {
            wanted.push(("host", &database.host));
            wanted.push(("port", &database.port));
        }
        for (name, value) in &database.parts {
            match name.as_str() {
                "host" | "port" => {}
                "dbname" if *value == database.entry.name => {}
                "dbname" => wanted.push(("dbname", value)),
                "pool_size" => wanted.push(("pool_size", value)),
                "pool_mode" => wanted.push(("pool_mode", value)),
                "user" => self.note(
                    database.entry,
                    "user= has no counterpart: each client reaches the server as the user it logged in as",
                ),
                "password" => self.forced_user(database, main),
                other => {
                    let why = format!("{other}= has no counterpart for one database");
                    self.note(database.entry, &why);
                }
            }
        }
        // A fallback that says no more than [upstream] is what happens without any [[databases]].
        if alone && wanted == [("name", "*")] {
            return;
        }
        let mut lines = Vec::new();
        for (name, value) in wanted {
            match to_toml(DATABASE_KEYS, name, value) {
                Ok(line) => lines.push(line),
                Err(why) => self.note(database.entry, &format!("{name} is left out: {why}")),
            }
        }
        self.document.push("databases", lines);
    }

    /// The password of a database's `user=`, kept for clients who log in as that user.
    fn forced_user(&mut self, database: &Database<'_>, main: &Database<'_>) {
        let (Some(user), Some(password)) = (database.part("user"), database.part("password"))
        else {
            self.note(database.entry, "password= has no user= and is left out");
            return;
        };
        if main.part("user") != Some(user) {
            self.forced.push((user.to_owned(), password.to_owned()));
        }
    }
}
