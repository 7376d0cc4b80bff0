//! What a client is told at login: the parameters that PostgreSQL would report
//! to a session of this user with these startup settings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::state::{self, CustomNames};
use crate::authority::Authority;
use crate::upstream::{Beginning, Connection, Lease, Pool, Settings, UpstreamError, Wish};
use crate::wire::ErrorReport;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GreetingKey {
    pub database: String,
    pub user: String,
    pub settings: Vec<(String, String)>,
}

/// The beginning of a session.
#[derive(Debug)]
pub struct Greeting {
    /// ParameterStatus, by name.
    pub parameters: BTreeMap<String, String>,
    /// The startup settings as the server holds them: what RESET goes back to.
    pub settings: Settings,
    /// What sessions of this user and database start from, by the server's own configuration.
    pub defaults: Arc<Defaults>,
    /// [`crate::authority::Authority::generation`] when they were asked for: they hold no longer than it.
    pub generation: u64,
}

/// The settings that a new connection starts with and that the answers depend on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// A digest of all of them.
    pub digest: u64,
    pub search_path: String,
    pub transaction_isolation: String,
    /// By their names, in milliseconds.
    pub timeouts: BTreeMap<&'static str, u64>,
    /// Clients are sent messages for the server's log, which may have texts of statements in them.
    pub tells_texts: bool,
}

/// Asks for the defaults of a connection, whatever has been set on it since.
pub const DEFAULTS_SQL: &str = "SELECT name::pg_catalog.text, reset_val FROM pg_catalog.pg_settings \
     WHERE (COALESCE(reset_val, '') OPERATOR(pg_catalog.<>) COALESCE(boot_val, '') AND source OPERATOR(pg_catalog.<>) 'override' \
         AND context OPERATOR(pg_catalog.<>) 'internal') \
       OR name OPERATOR(pg_catalog.=) ANY (ARRAY['search_path','default_transaction_isolation']) \
     ORDER BY 1";

/// What ends a session that is idle, as the server would.
const IDLE_TIMEOUTS: [&str; 2] = [
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
];

/// Settings by which modules send clients what they log, texts of statements among it.
pub const TEXT_TELLERS: [&str; 2] = ["auto_explain.log_level", "pgaudit.log_client"];

/// At this `client_min_messages` messages for the server's log reach the client.
pub fn tells_texts(level: &str) -> bool {
    level.starts_with("debug") || level == "log"
}

/// Takes the rows of [`DEFAULTS_SQL`].
pub fn defaults(rows: &[Vec<Option<String>>]) -> Defaults {
    let mut defaults = Defaults::default();
    let mut bytes = Vec::new();
    for row in rows {
        let [Some(name), Some(value)] = &row[..] else {
            continue;
        };
        match name.as_str() {
            "search_path" => defaults.search_path.clone_from(value),
            "client_min_messages" => defaults.tells_texts |= tells_texts(value),
            name if let Some(name) = IDLE_TIMEOUTS.iter().find(|known| **known == name) => {
                defaults.timeouts.insert(name, value.parse().unwrap_or(0));
            }
            name if TEXT_TELLERS.contains(&name) => defaults.tells_texts = true,
            "default_transaction_isolation" => defaults.transaction_isolation.clone_from(value),
            _ => {}
        }
        for part in [name, value] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    defaults.digest = xxhash_rust::xxh3::xxh3_64(&bytes);
    defaults
}

/// Connections that may be found dead before a login gives up.
const LOST_MAX: usize = 10;

/// Finds out from the server how a session with these startup settings begins.
///
/// # Errors
/// What the client is to be told: no connection, or a setting that PostgreSQL refuses.
pub async fn ask(
    pool: &Arc<Pool>,
    authority: &Authority,
    session: u64,
    startup: &[(String, String)],
    deadline: Instant,
) -> Result<Greeting, ErrorReport> {
    let wish = Wish {
        session,
        ..Wish::default()
    };
    let (greeting, lease) = ask_on(pool, authority, &wish, startup, deadline).await?;
    lease.finish(true);
    Ok(greeting)
}

/// The same with a connection that began with these settings, which is the session's alone.
///
/// # Errors
/// As of [`ask`]: what PostgreSQL says of them when a connection begins.
pub async fn ask_alone(
    pool: &Arc<Pool>,
    authority: &Authority,
    startup: &[(String, String)],
    deadline: Instant,
) -> Result<(Greeting, Lease), ErrorReport> {
    let settings = startup.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let wish = Wish {
        beginning: Some(Beginning::with(settings)),
        ..Wish::default()
    };
    ask_on(pool, authority, &wish, startup, deadline).await
}

async fn ask_on(
    pool: &Arc<Pool>,
    authority: &Authority,
    wish: &Wish,
    startup: &[(String, String)],
    deadline: Instant,
) -> Result<(Greeting, Lease), ErrorReport> {
    let mut lost = 0;
    loop {
        let generation = *authority.generation().borrow();
        let mut lease = pool
            .lease(wish, deadline.into())
            .await
            .map_err(|error| error.report())?;
        let proof = authority.proof_now();
        let is_old =
            proof.is_some_and(|proof| lease.admission.generation != Some(proof.generation));
        let in_time = Instant::now() < deadline;
        if is_old && in_time {
            lease.finish(false);
            continue;
        }
        let is_set = wish.beginning.is_some();
        match on_connection(&mut lease, startup, is_set, deadline).await {
            Ok(greeting) => {
                let greeting = Greeting {
                    generation,
                    ..greeting
                };
                return Ok((greeting, lease));
            }
            // The connection died while it was idle: the next one is as good.
            Err(error) if error.is_departure() && in_time && lost < LOST_MAX => {
                lost += 1;
                lease.finish(false);
            }
            Err(error) => {
                lease.finish(false);
                // A setting that the server refuses ends the login, in the server's own words.
                return Err(error.report());
            }
        }
    }
}

async fn on_connection(
    connection: &mut Connection,
    startup: &[(String, String)],
    is_set: bool,
    deadline: Instant,
) -> Result<Greeting, UpstreamError> {
    connection
        .bring(&Settings::default(), None, deadline.into())
        .await?;
    let defaults = defaults(&connection.simple(DEFAULTS_SQL, deadline.into()).await?);
    let mut custom = CustomNames::default();
    for (name, _) in startup {
        if name.contains('.') && !custom.insert(name) {
            return Err(UpstreamError::Protocol("too many custom settings".into()));
        }
    }
    if !startup.is_empty() && !is_set {
        let mut sql = String::from("SELECT ");
        for (i, (name, value)) in startup.iter().enumerate() {
            if i > 0 {
                sql.push_str(", ");
            }
            sql.push_str(&format!(
                "pg_catalog.set_config({}, {}, false)",
                state::quote_literal(name),
                state::quote_literal(value)
            ));
        }
        // Where a later setting is refused, the earlier ones roll back with the statement.
        connection.simple(&sql, deadline.into()).await?;
    }
    let rows = connection
        .simple(&state::read_back_sql(&custom, false), deadline.into())
        .await?;
    let settings = state::read_back(&rows).settings;
    connection.applied = settings.clone();
    Ok(Greeting {
        parameters: connection.parameters.clone(),
        settings,
        defaults: Arc::new(defaults),
        generation: 0,
    })
}
