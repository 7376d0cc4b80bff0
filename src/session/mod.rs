//! One client's session: the only room that sees both sides.
//!
//! The loop reads as a contents page: the next unit; can it be answered here
//! ([`serve`]); if not, forward it ([`forward`]). What a statement means is
//! decided in [`decide`], what was sent and which replies are due is kept in
//! [`exchange`], what the session leaves on its connection in [`state`].

mod added;
pub mod analysis;
mod baseline;
mod decide;
mod exchange;
mod expect;
mod fill;
mod forward;
pub mod greeting;
mod hold;
mod known;
mod learn;
mod lease;
mod listening;
mod open;
mod prepare;
mod process;
pub mod registry;
mod renewal;
mod replication;
pub mod report;
mod request;
mod roles;
mod rules;
mod send;
mod serve;
mod settle;
pub mod shared;
mod stage;
pub mod state;
mod statements;
mod suspension;
mod switches;
mod touch;
mod transaction;
mod translate;
mod unheard;
mod unnamed;
mod upkeep;
mod vacate;
mod verify;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

pub use open::{Ended, Refused, open, search_path};
pub use replication::{ReplicationSession, replicate};
pub use rules::{RuleCounts, matching_rule};
pub use shared::{Database, Databases, Phase, Shared};
pub use statements::StatementTexts;
pub use suspension::Suspension;
pub use verify::{Mismatch, Verifier};

use crate::cache::Writer;
use crate::catalog::{CatalogVersion, ColumnNumber, Effects, NameScope, RelationOid, Temporaries};
use crate::client;
use crate::config::Config;
use crate::metrics::{DatabaseMetrics, ErrorOrigin};
use crate::sql::Isolation;
use crate::upstream::{Lease, Pool, Preference, Settings, Told};
use crate::wire::{self, ErrorReport, SqlState, TransactionStatus, WireError, frontend};
use analysis::Analysis;
use baseline::Resets;
use exchange::Exchange;
use forward::Work;
use greeting::Defaults;
use hold::Wish;
use listening::Listening;
use process::OwnPast;
use registry::{Activity, Registration, SessionHandle};
use report::UnitReport;
use request::{Assembler, End, Limits, Unit};
use serve::Served;
use state::{CustomNames, Pin};
use statements::{Bound, ClientStatement, ClientStatements, Reading, Rules, Statement};
use suspension::UnderWay;
use transaction::Transaction;
use unnamed::UnnamedPortal;

/// Why a session ends.
#[derive(Debug)]
pub enum Ending {
    /// The client said goodbye or vanished.
    ClientGone,
    /// The client was told everything already.
    Closed,
    /// The client is told this, then closed.
    Fatal(ErrorReport),
    /// The client's bytes make no sense.
    Protocol(WireError),
}

/// How names are resolved in a session, with a digest for cache keys.
#[derive(Debug)]
struct Scope {
    names: NameScope,
    digest: u64,
    /// Without temporary objects.
    path: u64,
}

/// One client's session.
pub struct Session {
    shared: Arc<Shared>,
    /// The configuration as it stood when the current unit began.
    config: Arc<Config>,
    database: Arc<Database>,
    pool: Arc<Pool>,
    registration: Registration,
    metrics: Arc<DatabaseMetrics>,
    user: String,
    client: client::Connection,
    limits: Limits,
    assembler: Assembler,

    statements: ClientStatements,
    /// Portals of the current transaction, by name; `None` where the statement is not known.
    portals: HashMap<Bytes, Option<Bound>>,
    unnamed_portal: UnnamedPortal,
    tx: Transaction,
    writer: Option<Writer>,

    /// The session's settings, beyond what connections start with.
    settings: Settings,
    /// What the client asked for at login.
    baseline: Settings,
    /// Those of `settings` that are not on the leased connection, since the server refuses them by now and the
    /// transaction makes an end of them.
    refused: Settings,
    defaults: Arc<Defaults>,
    /// The authority's generation of which the defaults are.
    generation: u64,
    custom: CustomNames,
    /// A custom setting whose name is not known may have been set.
    custom_lost: bool,
    /// Something ran whose settings are not to be seen in its text.
    hidden_code: bool,
    scope: Scope,
    /// What of the session stands in every cache key.
    context: Bytes,
    /// ParameterStatus as the client knows it.
    reported: BTreeMap<String, String>,
    pins: BTreeSet<Pin>,
    listening: Listening,
    /// What has been left on the connection since it was last read back.
    effects: Effects,
    touched_sequences: bool,
    /// How often a transaction has drawn from sequences.
    draws: u64,
    own_past: OwnPast,
    loads: bool,
    /// The client, or code of its own, was told by which backend it is served.
    backend_told: bool,
    /// For that backend's connection.
    preference: Option<Arc<Preference>>,

    lease: Option<Lease>,
    /// Since when the transaction has an upstream connection.
    upstream_since: Option<Instant>,
    /// The statement that is the unnamed one on the leased connection.
    unnamed_upstream: Option<(u64, Told)>,

    /// Columns of which it is to be asked whether they may be read.
    unasked: Vec<(RelationOid, ColumnNumber)>,
    /// The unit runs again as it was.
    adds_nothing: bool,

    // What the unit in flight has done so far.
    commit_inside: bool,
    single_control: bool,
    executes_sent: usize,
    /// The server may read texts in another way than it has told.
    texts_uncertain: bool,
    /// A setting may have gone back to the server's default, where the client asked for another at login.
    resets: Resets,
    /// Names of statements that the unit deallocates in SQL, in order.
    deallocates: Vec<String>,
    ran_ddl: bool,
    /// PREPARE TRANSACTION of these is under way, or has been done in a unit whose transaction goes on.
    prepared_gids: Vec<String>,
    hold: Wish,
    /// A statement of the unit ends a prepared transaction.
    ends_prepared: bool,
    catalog_at_start: Option<CatalogVersion>,
    status_before: TransactionStatus,
}

impl Session {
    /// Serves the client until one side ends the session.
    pub async fn run(&mut self) -> Ending {
        loop {
            if let Err(ending) = self.run_unit().await {
                return ending;
            }
        }
    }

    /// Waits for the client's next unit and answers it.
    async fn run_unit(&mut self) -> Result<(), Ending> {
        let unit = self.next_unit().await?;
        let handle = self.registration.handle.clone();
        let _under_way = self.enter_unit(&handle).await?;
        self.config = self.shared.config.load_full();
        handle.note_request();
        match unit {
            Unit::Terminate => return Err(Ending::ClientGone),
            Unit::Query(frame) => self.query(&frame).await?,
            Unit::FunctionCall(frame) => self.function_call(&frame).await?,
            Unit::Extended { frames, end } => self.extended(&frames, end).await?,
        }
        handle.note_statements(self.statements.named_len());
        Ok(())
    }

    /// Begins a unit; while the pooler is suspended, after RESUME.
    async fn enter_unit(&self, handle: &Arc<SessionHandle>) -> Result<UnderWay, Ending> {
        loop {
            let under_way = UnderWay::begin(handle);
            if handle.is_ended() {
                return Err(Ending::Fatal(shut_down()));
            }
            if !self.shared.suspension.is_on() {
                return Ok(under_way);
            }
            drop(under_way);
            let mut phase = self.shared.phase.clone();
            tokio::select! {
                () = self.shared.suspension.over() => {}
                _ = phase.wait_for(|phase| *phase == Phase::Stopping) => {
                    return Err(Ending::Fatal(shut_down()));
                }
                () = handle.kill.notified() => return Err(Ending::Fatal(shut_down())),
            }
        }
    }

    async fn query(&mut self, frame: &wire::Frame) -> Result<(), Ending> {
        self.renew_defaults().await;
        let Ok(query) = frontend::Query::read(frame.body()) else {
            // The server says what is wrong with it.
            return self.function_call(frame).await;
        };
        let analysis = self.analyse(query.sql);
        let mut report = UnitReport::new();
        if let Some(command) = self.listen_here(&analysis, query.sql).await {
            self.statements.remove(b"");
            let mut out = BytesMut::new();
            wire::backend::command_complete(&mut out, command);
            report.here = true;
            self.reply(&out, End::Sync, &mut report).await?;
            self.record(&report, &analysis, query.sql);
            return Ok(());
        }
        match self.serve_query(query.sql, &analysis, &mut report).await {
            Served::Whole(out) => {
                report.here = true;
                self.reply(&out, End::Sync, &mut report).await?;
            }
            Served::Miss(miss) => {
                let work = Work::Query {
                    frame,
                    analysis: &analysis,
                };
                self.forward(work, miss, &mut report).await?;
            }
        }
        self.record(&report, &analysis, query.sql);
        Ok(())
    }

    async fn function_call(&mut self, frame: &wire::Frame) -> Result<(), Ending> {
        let mut report = UnitReport::new();
        let miss = serve::Miss::bypass(crate::sql::Bypass::FunctionCall);
        self.forward(Work::FunctionCall(frame), miss, &mut report)
            .await?;
        self.record(&report, &Analysis::not_understood(), b"<FunctionCall>");
        Ok(())
    }

    async fn extended(&mut self, frames: &[wire::Frame], end: End) -> Result<(), Ending> {
        self.renew_defaults().await;
        self.count_parses(frames);
        self.renew_statements(frames);
        let mut report = UnitReport::new();
        if let Some((out, statement)) = self.listen_unit(frames, end).await {
            report.here = true;
            self.reply(&out, end, &mut report).await?;
            self.record(&report, &statement.analysis, &statement.sql);
            return Ok(());
        }
        let served = if Self::may_serve(frames, end) {
            self.serve_extended(frames, &mut report).await
        } else {
            Served::Miss(serve::Miss::bypass(crate::sql::Bypass::Streamed))
        };
        match served {
            Served::Whole(out) => self.reply(&out, end, &mut report).await?,
            Served::Miss(miss) => {
                let work = Work::Extended {
                    frames,
                    open: end != End::Sync,
                };
                self.forward(work, miss, &mut report).await?;
            }
        }
        if let Some(statement) = self.last_statement(frames) {
            self.record(&report, &statement.analysis, &statement.sql);
        }
        Ok(())
    }

    /// Only those with a name, as PgBouncer counts.
    fn count_parses(&self, frames: &[wire::Frame]) {
        for frame in frames {
            if frame.tag() == wire::tag::frontend::PARSE && frame.body().first() != Some(&0) {
                self.metrics.client_parse();
            }
        }
    }

    /// Whether what sessions begin with may have changed since this one asked.
    fn has_old_defaults(&self) -> bool {
        !self.database.authority.may_fill(self.generation)
    }

    /// Asks again what sessions begin with, where that may have changed: names and values mean other things
    /// then. While it cannot be asked nothing is served, and writes mean everything.
    async fn renew_defaults(&mut self) {
        if !self.has_old_defaults()
            || self.tx.status != TransactionStatus::Idle
            || self.lease.is_some()
            || self.database.authority.proof_now().is_none()
        {
            return;
        }
        let deadline = Instant::now() + self.config.pool.query_wait_timeout;
        let number = u64::from(self.registration.handle.number);
        let asked =
            greeting::ask(&self.pool, &self.database.authority, number, &[], deadline).await;
        if let Ok(greeting) = asked {
            self.defaults = greeting.defaults;
            self.generation = greeting.generation;
            self.rescope();
        }
    }

    /// Sends what was answered here.
    async fn reply(&mut self, out: &[u8], end: End, report: &mut UnitReport) -> Result<(), Ending> {
        self.client.output.extend_from_slice(out);
        if end == End::Sync {
            if self.tx.status == TransactionStatus::Idle {
                self.hand_over(false).await;
            }
            wire::backend::ready_for_query(&mut self.client.output, self.tx.status);
        }
        report.bytes += out.len() as u64;
        let sending = Instant::now();
        let sent = self.send_or_end().await;
        report.sending += sending.elapsed();
        sent
    }

    /// Waits for the client's next unit; what the server says meanwhile on a
    /// connection that the session holds goes to the client.
    async fn next_unit(&mut self) -> Result<Unit, Ending> {
        let handle = self.registration.handle.clone();
        let mut phase = self.shared.phase.clone();
        let idle_since = Instant::now();
        loop {
            match self.assembler.next(&mut self.client.input, &self.limits) {
                Ok(Some(unit)) => return Ok(unit),
                Ok(None) => {}
                Err(error) => return Err(Ending::Protocol(error)),
            }
            let now = *phase.borrow_and_update();
            if now == Phase::Stopping
                || (now == Phase::Draining && self.tx.status == TransactionStatus::Idle)
            {
                return Err(Ending::Fatal(shut_down()));
            }
            let deadline = self.idle_deadline(idle_since);
            let holds = self.lease.is_some();
            // In the middle of a message the client is still sending.
            let pauses = self.assembler.is_open() && self.client.input.is_empty();
            tokio::select! {
                read = self.client.fill() => match read {
                    Ok(length @ 1..) => self.metrics.received(length as u64),
                    // What it has sent is run, as far as it goes.
                    _ => return self.assembler.take_open().ok_or(Ending::ClientGone),
                },
                read = fill_lease(&mut self.lease), if holds => self.overhear(read).await?,
                () = self.listening.arrived(), if self.tx.status == TransactionStatus::Idle => {
                    self.deliver().await?;
                }
                _ = phase.changed() => {}
                () = tokio::time::sleep(PAUSE), if pauses => {
                    // It may wait for what the server says unasked: an error, or that it takes the rows of a COPY.
                    return self.assembler.take_open().ok_or(Ending::ClientGone);
                }
                () = handle.kill.notified() => return Err(Ending::Fatal(shut_down())),
                () = tokio::time::sleep_until(deadline.0.into()), if deadline.1.is_some() => {
                    return Err(Ending::Fatal(deadline.1.unwrap_or_else(|| {
                        ErrorReport::fatal(SqlState::IDLE_SESSION_TIMEOUT, "client_idle_timeout")
                    })));
                }
            }
        }
    }

    /// When waiting for the client ends, and what it is told then.
    fn idle_deadline(&self, since: Instant) -> (Instant, Option<ErrorReport>) {
        let listen = &self.config.listen;
        // The session's own counts where the server cannot see that it is idle.
        let (ours, own, report) = if self.tx.status == TransactionStatus::Idle {
            let own = self.own_timeout("idle_session_timeout");
            (listen.client_idle_timeout, own, idle_session())
        } else {
            let name = "idle_in_transaction_session_timeout";
            let unseen = self.tx.unsent_begin.is_some().then_some(name);
            let own = unseen.map_or(Duration::ZERO, |name| self.own_timeout(name));
            (listen.idle_transaction_timeout, own, idle_in_transaction())
        };
        let timeout = match (ours.is_zero(), own.is_zero()) {
            (_, true) => ours,
            (true, false) => own,
            (false, false) => ours.min(own),
        };
        if timeout.is_zero() {
            (since, None)
        } else {
            (since + timeout, Some(report))
        }
    }

    /// What the session has set, or begins with.
    fn own_timeout(&self, name: &str) -> Duration {
        let value = self.settings.get(name).and_then(|value| value.parse().ok());
        let default = || self.defaults.timeouts.get(name).copied();
        let milliseconds = value.or_else(default).unwrap_or_default();
        Duration::from_millis(milliseconds)
    }

    /// Passes on what the server says between units: notices, notifications,
    /// changed parameters, or that it ends the connection.
    async fn overhear(&mut self, read: std::io::Result<usize>) -> Result<(), Ending> {
        let Some(lease) = &mut self.lease else {
            return Ok(());
        };
        let connection = &mut **lease;
        let mut exchange = Exchange::overhearing();
        let mut sides = exchange::Sides {
            upstream_parameters: &mut connection.parameters,
            client_parameters: &mut self.reported,
            withheld: false,
            speakers: &self.database.hub.speakers,
        };
        let heard = exchange.interpret(&mut connection.input, &mut sides, &mut self.client.output);
        let lost = !matches!(read, Ok(n) if n > 0) || heard.is_err();
        if exchange.outcome.fatal {
            let _ = self.send(None).await;
            return Err(Ending::Closed);
        }
        if lost {
            return Err(Ending::Fatal(ErrorReport::fatal(
                SqlState::CONNECTION_FAILURE,
                "the upstream connection was lost",
            )));
        }
        self.send_or_end().await
    }

    fn analyse(&self, sql: &[u8]) -> Analysis {
        if self.is_readable(sql) {
            self.shared.analyser.analyse(sql)
        } else {
            Analysis::not_understood()
        }
    }

    fn intern(&self, sql: &[u8], parameter_types: &[u32]) -> Arc<Statement> {
        let reading = self.reading(sql);
        self.shared
            .statements
            .intern(sql, parameter_types, &self.shared.analyser, reading)
    }

    fn private_statement(&self, sql: &[u8], parameter_types: &[u32]) -> Arc<Statement> {
        let reading = self.reading(sql);
        self.shared
            .statements
            .private(sql, parameter_types, &self.shared.analyser, &reading)
    }

    /// What the server goes by when it reads `sql` in this session.
    fn reading(&self, sql: &[u8]) -> Reading {
        // Before the picture is looked at.
        let epoch = self.database.authority.catalogue_epoch();
        let catalog = self.database.authority.catalog();
        Reading {
            epoch,
            scope: self.scope.digest,
            path: self.scope.path,
            context: self.context.clone(),
            catalogue: catalog.map_or(0, |catalog| catalog.version.0),
            readable: self.is_readable(sql),
            rules: self.rules(sql),
        }
    }

    /// A statement that the client prepares at this moment.
    fn as_prepared_now(&self, statement: Arc<Statement>) -> ClientStatement {
        if self.is_current(&statement) {
            ClientStatement::shared(statement)
        } else {
            ClientStatement {
                apart: !self.reads_as_others_do(),
                ..ClientStatement::alone(statement)
            }
        }
    }

    /// The server would read the statement now as it did when it was first prepared: the catalogue has not been
    /// seen to change since, and nothing that only this session knows of is in the way.
    fn is_current(&self, statement: &Statement) -> bool {
        let authority = &self.database.authority;
        let reading = &statement.reading;
        let catalog = authority.catalog();
        catalog.is_some_and(|catalog| catalog.version.0 == reading.catalogue)
            && authority.catalogue_epoch() == reading.epoch
            && !statement.is_retired()
            && reading.scope == self.scope.digest
            && reading.context == self.context
            && self.is_shareable()
    }

    /// What this session prepares now means the same to others with the same
    /// settings: nothing that only its connection knows of is in the way.
    fn is_shareable(&self) -> bool {
        self.effects.is_empty() && self.reads_as_others_do()
    }

    /// The bytes mean what they seem to: in another encoding they are other
    /// characters, and with old string rules quotes end elsewhere.
    fn is_readable(&self, sql: &[u8]) -> bool {
        (self.is_utf8() || sql.is_ascii())
            && (self.standard_strings() || !quotes_may_end_elsewhere(sql))
    }

    /// By what the server reads the bytes of `sql`. `None`: it is open until the unit has ended.
    fn rules(&self, sql: &[u8]) -> Option<Rules> {
        let by_encoding = !sql.is_ascii();
        let by_strings = quotes_may_end_elsewhere(sql);
        if self.texts_uncertain && (by_encoding || by_strings) {
            return None;
        }
        Some(Rules {
            encoding: match by_encoding {
                true => Some(self.reported.get("client_encoding")?.clone()),
                false => None,
            },
            standard_strings: by_strings.then(|| self.standard_strings()),
        })
    }

    fn standard_strings(&self) -> bool {
        !self.texts_uncertain
            && self
                .reported
                .get("standard_conforming_strings")
                .is_none_or(|value| value == "on")
    }

    fn is_utf8(&self) -> bool {
        !self.texts_uncertain
            && self
                .reported
                .get("client_encoding")
                .is_some_and(|value| value == "UTF8")
    }

    /// A name that the server would take: it refuses what is no text in the client's encoding.
    fn is_text(&self, name: &[u8]) -> bool {
        name.is_ascii() || !self.is_utf8() || std::str::from_utf8(name).is_ok()
    }

    fn default_isolation(&self) -> Isolation {
        let name = self
            .settings
            .get("default_transaction_isolation")
            .unwrap_or(&self.defaults.transaction_isolation);
        match name {
            "serializable" => Isolation::Serializable,
            "repeatable read" => Isolation::RepeatableRead,
            "read uncommitted" => Isolation::ReadUncommitted,
            _ => Isolation::ReadCommitted,
        }
    }

    /// Takes over settings that the server reported, and what follows from them.
    fn adopt_settings(&mut self, settings: Settings) {
        if let Some(name) = settings.get("application_name") {
            name.clone_into(&mut self.registration.handle.application_name.lock());
        }
        self.settings = settings;
        self.rescope();
    }

    /// Computes anew how names are resolved and what stands in cache keys.
    fn rescope(&mut self) {
        let set = self.settings.get("role");
        *self.registration.handle.role.lock() = set.map(str::to_owned);
        let role = set.unwrap_or(&self.user).to_owned();
        let path = self
            .settings
            .get("search_path")
            .unwrap_or(&self.defaults.search_path);
        let names = NameScope {
            search_path: open::search_path(path, &role),
            anywhere: false,
            role: role.clone(),
            temporaries: std::mem::take(&mut self.scope.names.temporaries),
            vouched_functions: self.shared.vouched_functions(),
        };
        let mut bytes = Vec::new();
        for part in names.search_path.iter().chain(&names.vouched_functions) {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(names.role.as_bytes());
        let path = xxhash_rust::xxh3::xxh3_64(&bytes);
        match &names.temporaries {
            Temporaries::None => bytes.push(0),
            Temporaries::Any => bytes.push(1),
            Temporaries::Tables(tables) => {
                for table in tables {
                    bytes.extend_from_slice(&(table.name.len() as u64).to_be_bytes());
                    bytes.extend_from_slice(table.name.as_bytes());
                    bytes.push(2 | u8::from(table.draws));
                }
            }
        }
        self.scope = Scope {
            names,
            digest: xxhash_rust::xxh3::xxh3_64(&bytes),
            path,
        };
        let mut context = Vec::new();
        for part in [self.user.as_bytes(), role.as_bytes()] {
            context.extend_from_slice(&(part.len() as u64).to_be_bytes());
            context.extend_from_slice(part);
        }
        context.extend_from_slice(&self.defaults.digest.to_be_bytes());
        context.extend_from_slice(&state::key_settings(&self.settings));
        self.context = context.into();
    }

    /// The statement of the unit's last Execute, Describe or Parse, for the log.
    fn last_statement(&self, frames: &[wire::Frame]) -> Option<Arc<Statement>> {
        use wire::tag::frontend as tag;
        let named = frames.iter().rev().find_map(|frame| match frame.tag() {
            tag::BIND => frontend::Bind::read(frame.body())
                .ok()
                .and_then(|bind| self.statements.get(bind.statement).cloned()),
            tag::PARSE => frontend::Parse::read(frame.body())
                .ok()
                .map(|parse| self.intern(parse.sql, &parse.parameter_types)),
            _ => None,
        });
        // Or a portal that an earlier unit bound.
        named.or_else(|| {
            frames.iter().rev().find_map(|frame| match frame.tag() {
                tag::EXECUTE => frontend::Execute::read(frame.body())
                    .ok()
                    .and_then(|execute| self.portals.get(execute.portal)?.as_ref())
                    .map(|bound| bound.statement.clone()),
                _ => None,
            })
        })
    }

    /// Tells the client why, as far as that still reaches it, and gives back what the session holds.
    pub async fn close(&mut self, ending: Ending) -> Ended {
        let report = match &ending {
            Ending::ClientGone | Ending::Closed => None,
            Ending::Fatal(report) => Some(report.clone()),
            Ending::Protocol(error) => Some(ErrorReport {
                severity: wire::Severity::Fatal,
                ..error.report()
            }),
        };
        if let Some(report) = &report {
            self.shared.metrics.error(report.code, ErrorOrigin::Proxy);
            wire::backend::error(&mut self.client.output, report);
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.client.flush()).await;
        }
        self.registration.handle.set_activity(Activity::Idle);
        self.stop_listening().await;
        if let Some(lease) = self.lease.take() {
            self.keep_unknown(&lease);
            self.registration.handle.set_cancel_target(None);
            lease.finish(false);
        }
        Ended { report }
    }
}

/// PostgreSQL's function that ends statements and sessions from outside.
const INTERRUPTS: &str = "ProcessInterrupts";

/// As PostgreSQL says it.
fn shut_down() -> ErrorReport {
    let message = "terminating connection due to administrator command";
    ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, message).in_routine(INTERRUPTS)
}

/// As PostgreSQL says it.
fn idle_session() -> ErrorReport {
    let message = "terminating connection due to idle-session timeout";
    ErrorReport::fatal(SqlState::IDLE_SESSION_TIMEOUT, message).in_routine(INTERRUPTS)
}

/// As PostgreSQL says it.
fn idle_in_transaction() -> ErrorReport {
    let message = "terminating connection due to idle-in-transaction timeout";
    ErrorReport::fatal(SqlState::IDLE_IN_TRANSACTION_TIMEOUT, message).in_routine(INTERRUPTS)
}

/// A client that sends nothing for so long in the middle of a unit may wait for an answer. What comes in several pieces
/// comes sooner.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

async fn fill_lease(lease: &mut Option<Lease>) -> std::io::Result<usize> {
    match lease {
        Some(lease) => lease.fill().await,
        None => std::future::pending().await,
    }
}

/// It is not the same text with `standard_conforming_strings` on and off.
fn quotes_may_end_elsewhere(sql: &[u8]) -> bool {
    memchr::memchr2_iter(b'\\', b'&', sql)
        .any(|at| sql[at] == b'\\' || at > 0 && matches!(sql[at - 1], b'U' | b'u'))
}
