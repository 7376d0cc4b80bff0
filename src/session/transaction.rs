//! Where a session stands in its transaction, as the client sees it.

use bytes::Bytes;

use crate::sql::{Bypass, Isolation};
use crate::wire::TransactionStatus;

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
    /// It has settings of its own, or changed the session's.
    pub local_settings: bool,
    /// A statement of it has been answered from the cache.
    pub served: bool,
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
            served: false,
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
        } else {
            self.status = status;
        }
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
