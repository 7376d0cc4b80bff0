//! Prepared statements of the protocol, virtualised: a client's name leads to a
//! text, and a text has one name on every upstream connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use moka::sync::Cache;

use super::analysis::{Analyser, Analysis};
use crate::catalog::CatalogVersion;

/// One statement text with its parameter types: the same for every session that prepares it.
#[derive(Debug)]
pub struct Statement {
    /// Names it on upstream connections; never used twice in this process.
    pub id: u64,
    pub sql: Bytes,
    pub parameter_types: Box<[u32]>,
    pub analysis: Analysis,
    pub setting: Setting,
}

impl Statement {
    /// The name under which upstream connections know it.
    pub fn upstream_name(&self) -> String {
        upstream_name(self.id)
    }
}

/// The name under which upstream connections know the statement `id`.
pub fn upstream_name(id: u64) -> String {
    format!("pgditto_{id}")
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TextKey {
    sql: Bytes,
    parameter_types: Box<[u32]>,
    /// The bytes mean what they seem to, in the encoding and under the settings of the client.
    readable: bool,
    setting: Setting,
}

/// Where a statement is prepared. Prepared in another catalogue or under another path, it is another one for
/// the server: it may have other columns, and then the server refuses the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Setting {
    /// [`crate::authority::Authority::catalogue_epoch`].
    pub epoch: u64,
    /// `None` while there is no picture.
    pub catalogue: Option<CatalogVersion>,
    /// A digest of how names are resolved.
    pub scope: u64,
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
        readable: bool,
        setting: Setting,
    ) -> Arc<Statement> {
        let key = TextKey {
            sql: Bytes::copy_from_slice(sql),
            parameter_types: parameter_types.into(),
            readable,
            setting,
        };
        if let Some(known) = self.texts.get(&key) {
            return known;
        }
        let statement = Arc::new(Statement {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            sql: key.sql.clone(),
            parameter_types: key.parameter_types.clone(),
            analysis: if readable {
                analyser.analyse(sql)
            } else {
                Analysis::not_understood()
            },
            setting,
        });
        self.texts.insert(key, statement.clone());
        statement
    }
}

/// The statements that one client has prepared; the unnamed one has the empty name.
#[derive(Debug, Default)]
pub struct ClientStatements {
    by_name: HashMap<Bytes, Arc<Statement>>,
}

impl ClientStatements {
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.by_name.get(name)
    }

    pub fn insert(&mut self, name: &[u8], statement: Arc<Statement>) {
        self.by_name.insert(Bytes::copy_from_slice(name), statement);
    }

    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.by_name.remove(name).is_some()
    }

    pub fn clear(&mut self) {
        self.by_name.clear();
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }
}
