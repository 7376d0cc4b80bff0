//! Where a session stands in its transaction, as the client sees it.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::sql::{Bypass, Isolation};
use crate::wire::TransactionStatus;

/// Custom settings of one transaction; with more of them nothing is answered from the cache.
const LOCAL_CUSTOM_MAX: usize = 16;

/// The client's transaction.
#[derive(Debug)]
pub struct Transaction {
    /// As the last ReadyForQuery told the client.
    pub status: TransactionStatus,
    /// The BEGIN that was answered here and has not been sent upstream.
    pub unsent_begin: Option<Bytes>,
    /// It failed before it reached the server; only COMMIT and ROLLBACK are heard.
    pub failed_here: bool,
    /// It may have written.
    pub wrote: bool,
    /// It holds locks that a later read relies on.
    pub locked: bool,
    /// It has settings of its own that are not known, or changed the session's.
    pub local_settings: bool,
    /// Custom settings that it has of its own, by name.
    local_custom: SmallVec<[(String, String); 1]>,
    /// One of them whose SET LOCAL is under way.
    local_pending: Option<(String, String)>,
    /// A statement of it has been answered from the cache.
    pub served: bool,
    /// Roles that have lost their names in it.
    pub freed_roles: Vec<String>,
    /// What sessions begin with has been changed in it.
    pub changed_defaults: bool,
    /// What BEGIN or SET TRANSACTION asked for; `None` is the session's default.
    pub isolation: Option<Isolation>,
}

impl Transaction {
    pub fn none() -> Self {
        Self {
            status: TransactionStatus::Idle,
            unsent_begin: None,
            failed_here: false,
            wrote: false,
            locked: false,
            local_settings: false,
            local_custom: SmallVec::new(),
            local_pending: None,
            served: false,
            freed_roles: Vec::new(),
            changed_defaults: false,
            isolation: None,
        }
    }

    /// A transaction whose BEGIN was answered here.
    pub fn begun_here(begin: Bytes, isolation: Option<Isolation>) -> Self {
        Self {
            status: TransactionStatus::InBlock,
            unsent_begin: Some(begin),
            isolation,
            ..Self::none()
        }
    }

    /// Takes the server's word at the end of a unit.
    pub fn observe(&mut self, status: TransactionStatus) {
        if status == TransactionStatus::Idle {
            *self = Self::none();
            return;
        }
        self.status = status;
        if let Some((name, value)) = self.local_pending.take()
            && status == TransactionStatus::InBlock
        {
            self.local_custom.retain(|(known, _)| *known != name);
            self.local_custom.push((name, value));
            self.local_settings = false;
        }
    }

    /// A statement is about to be sent after which it is not known which settings it has of its own.
    pub fn loses_settings(&mut self) {
        self.local_settings = true;
        self.local_pending = None;
    }

    /// SET LOCAL of a custom setting is about to be sent: until the unit has ended well, nothing is certain.
    pub fn sets_custom(&mut self, name: String, value: String) {
        let certain = self.status == TransactionStatus::InBlock
            && !self.local_settings
            && self.local_custom.len() < LOCAL_CUSTOM_MAX;
        self.loses_settings();
        if certain {
            self.local_pending = Some((name, value));
        }
    }

    /// A statement is about to be sent that takes settings back: ROLLBACK TO some of them, and the end of the transaction
    /// all, though another may begin with it (COMMIT AND CHAIN).
    pub fn takes_settings_back(&mut self) {
        if self.local_settings || !self.local_custom.is_empty() {
            self.loses_settings();
        }
    }

    /// The value that it has given to a custom setting.
    pub fn custom(&self, name: &str) -> Option<&str> {
        let mut known = self.local_custom.iter();
        known
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn customs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.local_custom
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Why a read in this transaction may not be answered from the cache, if so.
    /// `default_isolation` is the session's.
    pub fn bypass(&self, default_isolation: Isolation) -> Option<Bypass> {
        let isolation = self.isolation.unwrap_or(default_isolation);
        if self.status == TransactionStatus::Failed {
            Some(Bypass::FailedTransaction)
        } else if matches!(
            isolation,
            Isolation::RepeatableRead | Isolation::Serializable
        ) {
            Some(Bypass::Isolation)
        } else if self.wrote {
            Some(Bypass::InTransactionAfterWrite)
        } else if self.locked {
            Some(Bypass::InTransactionAfterLock)
        } else if self.local_settings {
            Some(Bypass::LocalSettings)
        } else {
            None
        }
    }
}
