//! Prepared statements of the protocol, virtualised: a client's name leads to a
//! text, and a text has one name on every upstream connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use moka::sync::Cache;

use super::analysis::{Analyser, Analysis};
use super::state::quote_literal;
use crate::upstream::{Prepared, Told};
use crate::wire::Frame;

/// One statement text with its parameter types: the same for every session that prepares it.
#[derive(Debug)]
pub struct Statement {
    /// Names it on upstream connections; never used twice in this process.
    pub id: u64,
    pub sql: Bytes,
    pub parameter_types: Box<[u32]>,
    pub analysis: Analysis,
    /// With what the client that it was made for took it.
    pub reading: Reading,
    /// What the server says of it when it is read so.
    pub told: Told,
    /// The server has refused a copy: what it was read as is not known any more.
    retired: AtomicBool,
}

impl Statement {
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// The name under which upstream connections know it.
    pub fn upstream_name(&self) -> String {
        upstream_name(self.id)
    }
}

/// With which the names of all statements on upstream connections begin. No client can guess it: SQL in a function
/// would reach another session's statement by its name.
static UPSTREAM_PREFIX: LazyLock<String> = LazyLock::new(|| {
    let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    format!("pgditto_{random:016x}_")
});

/// A name that no client and nobody else gives to a statement: describing it fails on purpose.
pub static ABSENT: LazyLock<String> = LazyLock::new(|| format!("{}absent", *UPSTREAM_PREFIX));

/// The name of the statement and portal that pgditto runs by itself within a client's transaction.
pub static OWN: LazyLock<String> = LazyLock::new(|| format!("{}own", *UPSTREAM_PREFIX));

/// A statement that is bound to a portal.
#[derive(Debug, Clone)]
pub struct Bound {
    pub statement: Arc<Statement>,
    /// Its Bind, if the values in it may tell which rows are changed.
    pub bind: Option<Frame>,
}

impl Bound {
    /// Longer messages are not kept.
    const BIND_BYTES_MAX: usize = 16 * 1024;

    pub fn new(statement: Arc<Statement>, bind: &Frame) -> Self {
        let changes = statement
            .analysis
            .single()
            .is_some_and(|facts| facts.change.is_some());
        let kept = changes && bind.len() <= Self::BIND_BYTES_MAX;
        Self {
            statement,
            bind: kept.then(|| bind.clone()),
        }
    }
}

/// The name under which upstream connections know the statement `id`.
pub fn upstream_name(id: u64) -> String {
    format!("{}{id}", *UPSTREAM_PREFIX)
}

/// Whether upstream connections may know a statement of ours by this name.
pub fn is_upstream_name(name: &[u8]) -> bool {
    name.starts_with(UPSTREAM_PREFIX.as_bytes())
}

/// The statement that upstream connections know as `name`; `None` if it is none of ours.
pub fn upstream_id(name: &str) -> Option<u64> {
    name.strip_prefix(UPSTREAM_PREFIX.as_str())?.parse().ok()
}

/// What the server goes by when it reads a text: two texts that differ in it
/// may mean different things, so they are different statements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reading {
    /// Who reads, under which settings.
    pub context: Bytes,
    /// The version of the catalogue; zero if it is not known.
    pub catalogue: u64,
    /// [`crate::authority::Authority::catalogue_epoch`]: without a picture the version does not tell.
    pub epoch: u64,
    /// A digest of how names are resolved.
    pub scope: u64,
    /// The same without temporary objects.
    pub path: u64,
    /// The bytes mean what they seem to, in the encoding and under the settings of the client.
    pub readable: bool,
    /// By what the bytes are read. `None`: it was open at that moment.
    pub rules: Option<Rules>,
}

/// The settings by which the server reads the bytes of a text, as far as they matter to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rules {
    /// `client_encoding`, if not all is ASCII.
    pub encoding: Option<String>,
    /// `standard_conforming_strings`, if quotes could end elsewhere.
    pub standard_strings: Option<bool>,
}

impl Rules {
    /// SQL that puts them in force until the transaction ends.
    pub fn sql(&self) -> String {
        let strings = self
            .standard_strings
            .map(|on| if on { "on" } else { "off" });
        let settings = [
            ("client_encoding", self.encoding.as_deref()),
            ("standard_conforming_strings", strings),
        ];
        let calls = settings.into_iter().filter_map(|(name, value)| {
            let value = quote_literal(value?);
            Some(format!("pg_catalog.set_config('{name}', {value}, true)"))
        });
        format!("SELECT {}", calls.collect::<Vec<_>>().join(", "))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TextKey {
    sql: Bytes,
    parameter_types: Box<[u32]>,
    reading: Reading,
}

/// All statement texts of this process, bounded in bytes.
pub struct StatementTexts {
    texts: Cache<TextKey, Arc<Statement>>,
    next_id: AtomicU64,
}

/// What one entry costs beside its text.
const ENTRY_OVERHEAD_BYTES: usize = 2048;

impl StatementTexts {
    pub fn new(bytes_max: u64) -> Self {
        Self {
            texts: Cache::builder()
                .max_capacity(bytes_max)
                .weigher(|key: &TextKey, _| {
                    u32::try_from(key.sql.len() * 2 + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
                })
                .build(),
            next_id: AtomicU64::new(1),
        }
    }

    /// The statement of this text and these parameter types.
    pub fn intern(
        &self,
        sql: &[u8],
        parameter_types: &[u32],
        analyser: &Analyser,
        reading: Reading,
    ) -> Arc<Statement> {
        let key = TextKey {
            sql: Bytes::copy_from_slice(sql),
            parameter_types: parameter_types.into(),
            reading,
        };
        if let Some(known) = self.texts.get(&key) {
            return known;
        }
        let statement = self.private(sql, parameter_types, analyser, &key.reading);
        self.texts.insert(key, statement.clone());
        statement
    }

    /// A statement that nobody else is given.
    pub fn private(
        &self,
        sql: &[u8],
        parameter_types: &[u32],
        analyser: &Analyser,
        reading: &Reading,
    ) -> Arc<Statement> {
        Arc::new(Statement {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            sql: Bytes::copy_from_slice(sql),
            parameter_types: parameter_types.into(),
            analysis: if reading.readable {
                analyser.analyse(sql)
            } else {
                Analysis::not_understood()
            },
            reading: reading.clone(),
            told: Told::default(),
            retired: AtomicBool::new(false),
        })
    }

    /// Whoever prepares this text from now on is given another statement.
    pub fn retire(&self, statement: &Statement) {
        statement.retired.store(true, Ordering::Relaxed);
        self.texts.invalidate(&TextKey {
            sql: statement.sql.clone(),
            parameter_types: statement.parameter_types.clone(),
            reading: statement.reading.clone(),
        });
    }
}

/// A statement as one client prepared it.
#[derive(Debug, Clone)]
pub struct ClientStatement {
    pub statement: Arc<Statement>,
    /// Copies that were made earlier may be of another shape; `None` if none can be.
    pub since: Option<Instant>,
    /// What the client was told of it, or would have been.
    pub told: Told,
    /// It was read where nobody else reads: under settings or definitions of a transaction of its own.
    pub apart: bool,
    /// It was read anew since the client was told of it, and may give other columns now.
    pub renewed: bool,
    /// The version of the catalogue in which it was last found to mean the same.
    pub means_the_same_in: u64,
}

impl ClientStatement {
    /// Every copy that was made in the statement's reading is as good as the client's own.
    pub fn shared(statement: Arc<Statement>) -> Self {
        let told = statement.told.clone();
        Self {
            means_the_same_in: statement.reading.catalogue,
            statement,
            since: None,
            told,
            apart: false,
            renewed: false,
        }
    }

    /// It is not known what others were told of it, or will be.
    pub fn alone(statement: Arc<Statement>) -> Self {
        Self {
            since: Some(Instant::now()),
            told: Told::default(),
            ..Self::shared(statement)
        }
    }

    /// The same read anew, as `statement`.
    pub fn renewed(&self, statement: Arc<Statement>, apart: bool) -> Self {
        Self {
            told: self.told.clone(),
            apart,
            renewed: true,
            ..Self::shared(statement)
        }
    }

    /// It is not known whether it gives the columns that the client was told of.
    pub fn is_unexamined(&self) -> bool {
        self.renewed
            && !(self.statement.told.get().is_some() && self.statement.told.agrees(&self.told))
    }

    /// A copy that was made so will do.
    pub fn takes(&self, copy: &Prepared) -> bool {
        self.since.is_none_or(|since| copy.at >= since) && copy.told.agrees(&self.told)
    }
}

/// As much of a name of a statement or a portal as the server looks at.
pub fn told_apart(name: &[u8]) -> &[u8] {
    const NAME_BYTES_MAX: usize = 63;
    &name[..name.len().min(NAME_BYTES_MAX)]
}

/// The statements that one client has prepared; the unnamed one has the empty name.
#[derive(Debug, Default)]
pub struct ClientStatements {
    by_name: HashMap<Bytes, ClientStatement>,
}

impl ClientStatements {
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.as_prepared(name).map(|prepared| &prepared.statement)
    }

    pub fn as_prepared(&self, name: &[u8]) -> Option<&ClientStatement> {
        self.by_name.get(told_apart(name))
    }

    /// Some name leads to the statement `id`.
    pub fn holds(&self, id: u64) -> bool {
        let mut all = self.by_name.values();
        all.any(|prepared| prepared.statement.id == id)
    }

    pub fn as_prepared_mut(&mut self, name: &[u8]) -> Option<&mut ClientStatement> {
        self.by_name.get_mut(told_apart(name))
    }

    pub fn insert(&mut self, name: &[u8], prepared: ClientStatement) {
        self.by_name
            .insert(Bytes::copy_from_slice(told_apart(name)), prepared);
    }

    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.by_name.remove(told_apart(name)).is_some()
    }

    pub fn clear(&mut self) {
        self.by_name.clear();
    }

    /// All but the unnamed one, which go.
    pub fn take_named(&mut self) -> Vec<(Bytes, ClientStatement)> {
        let named = self.by_name.extract_if(|name, _| !name.is_empty());
        named.collect()
    }

    /// Those that SQL can say, in order.
    pub fn names(&self) -> Vec<String> {
        let named = self.by_name.keys().filter(|name| !name.is_empty());
        let mut names: Vec<String> = named
            .filter_map(|name| String::from_utf8(name.to_vec()).ok())
            .collect();
        names.sort_unstable();
        names
    }

    /// What DEALLOCATE ALL leaves: the unnamed one, and those that have been prepared since.
    pub fn deallocate_all_but(&mut self, kept: impl Fn(u64) -> bool) {
        self.by_name
            .retain(|name, prepared| name.is_empty() || kept(prepared.statement.id));
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Without the unnamed one.
    pub fn named_len(&self) -> usize {
        self.by_name.len() - usize::from(self.by_name.contains_key(&b""[..]))
    }
}
