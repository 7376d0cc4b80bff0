//! From a client that has proved who it is to a session that is ready.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::baseline::Resets;
use super::greeting::{self, Greeting, GreetingKey};
use super::process::OwnPast;
use super::registry::{Identity, Origin};
use super::request::{Assembler, Limits};
use super::state::{self, CustomNames, Pin};
use super::statements::ClientStatements;
use super::transaction::Transaction;
use super::{Database, Scope, Session, Shared};
use crate::catalog::{Effects, NameScope};
use crate::client::Login;
use crate::config::{Config, PoolMode};
use crate::upstream::{Lease, Pool, Settings};
use crate::wire::{self, ErrorReport, SqlState, TransactionStatus};

/// How a session ended.
#[derive(Debug)]
pub struct Ended {
    /// What the client was told, if pgditto ended it.
    pub report: Option<ErrorReport>,
}

/// A startup setting is asked of the server at most once in a while; more of
/// them than this in one packet are refused.
const STARTUP_SETTINGS_MAX: usize = 200;

/// A login that did not become a session: the client, and what it is to be told.
pub struct Refused {
    pub login: Box<Login>,
    pub report: ErrorReport,
}

/// Opens a session: finds its pool, learns its parameters from the server, and greets the client.
///
/// # Errors
/// What the client is to be told before it is closed.
pub async fn open(shared: Arc<Shared>, login: Login) -> Result<Session, Refused> {
    match prepare(&shared, &login).await {
        Ok(prepared) => match build(shared, login, prepared) {
            Ok(session) => Ok(session),
            Err(refused) => Err(refused),
        },
        Err(report) => Err(Refused {
            login: Box::new(login),
            report,
        }),
    }
}

struct Prepared {
    pool: Arc<Pool>,
    database: Arc<Database>,
    greeting: Arc<Greeting>,
    startup: Vec<(String, String)>,
    /// The session's own connection, where the startup packet asks for what only a connection can begin with.
    alone: Option<Lease>,
}

async fn prepare(shared: &Arc<Shared>, login: &Login) -> Result<Prepared, ErrorReport> {
    let config = shared.config.load_full();
    let ignored = &config.listen.ignore_startup_parameters;
    let mut startup = state::startup_settings(&login.parameters)?;
    startup.retain(|(name, _)| {
        !ignored
            .iter()
            .any(|ignored| ignored.eq_ignore_ascii_case(name))
    });
    if startup.len() > STARTUP_SETTINGS_MAX {
        return Err(ErrorReport::fatal(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            "too many settings in the startup packet",
        ));
    }
    let pool = shared
        .pools
        .get(&login.database, &login.user)
        .map_err(|error| error.report())?;
    let target = shared
        .pools
        .target(&login.database, &login.user)
        .map_err(|error| error.report())?;
    // Before the first connection: it proves itself to the authority of its database.
    let database = shared.databases.open(&target);
    let key = GreetingKey {
        database: login.database.clone(),
        user: login.user.clone(),
        settings: startup.clone(),
    };
    let generation = *database.authority.generation().borrow();
    let known = shared.greetings.get(&key);
    let mut alone = None;
    let greeting = match known.filter(|greeting| greeting.generation == generation) {
        Some(greeting) => greeting,
        None => {
            let deadline = Instant::now() + config.listen.client_login_timeout;
            let authority = &database.authority;
            let mut asked = greeting::ask(&pool, authority, 0, &startup, deadline).await;
            if let Err(report) = &asked
                && report.code == SqlState::CANNOT_CHANGE_PARAMETER
            {
                let on_own = greeting::ask_alone(&pool, authority, &startup, deadline).await;
                asked = on_own.map(|(greeting, lease)| {
                    alone = Some(lease);
                    greeting
                });
            }
            match asked {
                Ok(greeting) if alone.is_some() => Arc::new(greeting),
                Ok(greeting) => {
                    let greeting = Arc::new(greeting);
                    shared.greetings.insert(key, greeting.clone());
                    greeting
                }
                Err(report) => {
                    drop(database);
                    shared.databases.forget_unknown(&target, report.code);
                    return Err(report);
                }
            }
        }
    };
    Ok(Prepared {
        pool,
        database,
        greeting,
        startup,
        alone,
    })
}

fn build(shared: Arc<Shared>, login: Login, prepared: Prepared) -> Result<Session, Refused> {
    let Prepared {
        pool,
        database,
        greeting,
        startup,
        alone,
    } = prepared;
    let application_name = startup
        .iter()
        .rfind(|(name, _)| name == "application_name")
        .map(|(_, value)| value.clone())
        .unwrap_or_default();
    let identity = Identity {
        user: login.user.clone(),
        database: login.database.clone(),
        origin: Origin::of(&login.connection.stream),
        application_name,
    };
    let registration = match shared
        .registry
        .register(identity, wire::cancel_key_len(login.minor))
    {
        Ok(registration) => registration,
        Err(_) => {
            let report = ErrorReport::fatal(
                SqlState::INTERNAL_ERROR,
                "no random bytes for the session's cancel key",
            );
            return Err(Refused {
                login: Box::new(login),
                report,
            });
        }
    };
    let config = shared.config.load_full();
    let mut custom = CustomNames::default();
    for (name, _) in &startup {
        if name.contains('.') {
            custom.insert(name);
        }
    }
    let mut pins = BTreeSet::new();
    if pool_mode(&config, &login.database, &login.user) == PoolMode::Session {
        pins.insert(Pin::SessionPooling);
        shared.metrics.pinned(Pin::SessionPooling.as_str());
    }
    let mut session = Session {
        limits: Limits {
            frame_len_max: config.listen.max_message_size,
            unit_bytes_max: config.listen.unit_buffer_size,
        },
        metrics: shared.metrics.database(&login.database),
        user: login.user,
        client: login.connection,
        assembler: Assembler::default(),
        statements: ClientStatements::default(),
        portals: Default::default(),
        unnamed_portal: Default::default(),
        tx: Transaction::none(),
        writer: None,
        settings: Settings::default(),
        baseline: match alone {
            Some(_) => Settings::none(),
            None => greeting.settings.clone(),
        },
        refused: Settings::none(),
        defaults: greeting.defaults.clone(),
        generation: greeting.generation,
        custom,
        custom_lost: false,
        hidden_code: false,
        scope: Scope {
            names: NameScope::default(),
            digest: 0,
            path: 0,
        },
        context: Bytes::new(),
        reported: greeting.parameters.clone(),
        pins,
        listening: Default::default(),
        effects: Effects::NONE,
        touched_sequences: false,
        draws: 0,
        own_past: OwnPast::default(),
        loads: false,
        backend_told: false,
        preference: None,
        lease: None,
        upstream_since: None,
        unnamed_upstream: None,
        unasked: Vec::new(),
        adds_nothing: false,
        commit_inside: false,
        single_control: false,
        executes_sent: 0,
        texts_uncertain: false,
        resets: Resets::default(),
        deallocates: Vec::new(),
        ran_ddl: false,
        prepared_gids: Vec::new(),
        hold: super::hold::Wish::default(),
        ends_prepared: false,
        catalog_at_start: None,
        status_before: TransactionStatus::Idle,
        config,
        database,
        pool,
        registration,
        shared,
    };
    session.adopt_settings(greeting.settings.clone());
    if let Some(lease) = alone {
        session.pins.insert(Pin::ConnectionStart);
        session.hand_on(lease);
    }
    session.greet();
    Ok(session)
}

impl Session {
    /// Queues what follows AuthenticationOk.
    fn greet(&mut self) {
        let out = &mut self.client.output;
        // The server's order, as long as it sorts them (PostgreSQL 15).
        let mut reported: Vec<_> = self.reported.iter().collect();
        reported.sort_by_cached_key(|(name, _)| name.to_ascii_lowercase());
        for (name, value) in reported {
            wire::backend::parameter_status_message(out, name.as_bytes(), value.as_bytes());
        }
        let handle = &self.registration.handle;
        wire::backend::backend_key_data(out, handle.number, handle.key());
        wire::backend::ready_for_query(out, TransactionStatus::Idle);
    }

    /// Sends the greeting that [`open`] queued.
    ///
    /// # Errors
    /// The client has gone.
    pub async fn send_greeting(&mut self) -> std::io::Result<()> {
        self.client.flush().await
    }
}

/// How connections are shared out to this user in this database: the user's word, the database's, the pool's.
fn pool_mode(config: &Config, database: &str, user: &str) -> PoolMode {
    let of_user = config.users.iter().find(|entry| entry.name == user);
    let of_database = config.databases.iter().find(|entry| entry.name == database);
    of_user
        .and_then(|entry| entry.pool_mode)
        .or_else(|| of_database.and_then(|entry| entry.pool_mode))
        .unwrap_or(config.pool.pool_mode)
}

/// The schemas of a `search_path` in order, unquoted, `"$user"` replaced by the role.
pub fn search_path(path: &str, role: &str) -> Vec<String> {
    let mut schemas = Vec::new();
    let mut characters = path.chars().peekable();
    while characters.peek().is_some() {
        while characters
            .next_if(|c| c.is_whitespace() || *c == ',')
            .is_some()
        {}
        let mut name = String::new();
        if characters.next_if_eq(&'"').is_some() {
            while let Some(c) = characters.next() {
                if c != '"' {
                    name.push(c);
                } else if characters.next_if_eq(&'"').is_some() {
                    name.push('"');
                } else {
                    break;
                }
            }
        } else {
            while let Some(c) = characters.next_if(|c| *c != ',' && !c.is_whitespace()) {
                name.extend(c.to_lowercase());
            }
        }
        if name == "$user" {
            schemas.push(role.to_owned());
        } else if !name.is_empty() {
            schemas.push(name);
        }
    }
    schemas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_path_is_read_as_postgres_reads_it() {
        assert_eq!(search_path(r#""$user", public"#, "ann"), ["ann", "public"]);
        assert_eq!(
            search_path(r#"A,"B""c", $user"#, "ann"),
            ["a", "B\"c", "ann"]
        );
        assert_eq!(search_path(r#""""#, "ann"), Vec::<String>::new());
    }
}
