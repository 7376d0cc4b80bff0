//! The words that label counters. Each is exported from the start, with zero,
//! so that an alert can be written before the first one happens.

use prometheus::{IntCounter, IntCounterVec};

use crate::sql::Bypass;
use crate::wire::SqlState;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The label.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// Who gave a cached answer.
    Tier {
        Memory = "memory",
        Redis = "redis",
        /// Another session asked the same at the same time.
        Flight = "flight",
    }
}

words! {
    /// What came of a hit that was to be compared with the server's answer (`[cache.verify]`).
    Verification {
        Match = "match",
        /// The server gave another answer, twice, though the entry still might be served.
        Mismatch = "mismatch",
        /// The server's own two answers differ.
        Moved = "moved",
        /// The entry may not be served any more.
        Outdated = "outdated",
        /// No connection was to spare, or a client needed it.
        Busy = "busy",
        QueueFull = "queue_full",
        /// More than one answer would be right.
        NotComparable = "not_comparable",
        /// It cannot be asked again as it was.
        NotRebuilt = "not_rebuilt",
        /// An error, or no answer in time.
        Failed = "failed",
    }
}

words! {
    /// What made cached answers stale.
    Invalidation {
        /// A write through this process, to rows of which a key is known.
        Keys = "keys",
        /// A write through this process, to relations that are known.
        Write = "write",
        /// A write that may have touched anything.
        Everything = "everything",
        /// DDL through this process.
        Catalogue = "catalogue",
        /// The catalogue was found changed by somebody else.
        CatalogueOutside = "catalogue_outside",
        /// The guard can no longer prove that this is the same server.
        Guard = "guard",
        /// Whether a commit happened is not known, so what it touches stays marked.
        UnknownOutcome = "unknown_outcome",
        /// An operator's CACHE FLUSH.
        Flush = "flush",
    }
}

words! {
    /// What was known of work when its commit, which was held, was sent.
    Held {
        Written = "written",
        NothingWritten = "nothing_written",
    }
}

words! {
    /// What the rows of a write have told of the keys that it changed.
    Learning {
        Known = "known",
        /// Too many, none that can be told apart, or not all came.
        Unknown = "unknown",
    }
}

words! {
    /// Whose RETURNING it was.
    Asker {
        Client = "client",
        /// Added to a statement without.
        Proxy = "pgditto",
    }
}

words! {
    /// Why a session that listens was ended.
    ListenerEnd {
        /// The connection on which it listened was lost.
        Lost = "lost",
        /// More notifications waited than may.
        Full = "full",
    }
}

words! {
    /// Why a client was turned away.
    Refusal {
        TooManyClients = "too_many_clients",
        Authentication = "authentication",
        UnknownDatabase = "unknown_database",
        Tls = "tls",
        Protocol = "protocol",
        Timeout = "timeout",
        Draining = "draining",
        /// The server could not be reached, or said no.
        Upstream = "upstream",
    }
}

words! {
    /// What became of a login upstream that failed.
    FailedLogin {
        /// The server said no.
        Refused = "refused",
        /// It had said no too often: it was not asked.
        Withheld = "withheld",
    }
}

words! {
    /// What became of a CancelRequest.
    Cancel {
        /// Sent on to the server.
        Forwarded = "forwarded",
        /// What it was for waited here and was ended here.
        Local = "local",
        /// There was nothing to cancel.
        Idle = "idle",
        /// No session has this key.
        Unknown = "unknown",
        Failed = "failed",
    }
}

words! {
    /// Whose error a client was sent.
    ErrorOrigin {
        /// PostgreSQL's own.
        Upstream = "upstream",
        /// Ours.
        Proxy = "proxy",
    }
}

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered from the cache.
    Hit(Tier),
    /// Cacheable, asked of the server.
    Miss,
    /// A read that was asked of the server because it may not be cached.
    Bypass(Bypass),
    /// A write, or anything else that is no read.
    Write,
    /// Answered by us without the server and without the cache: BEGIN, SET, SHOW of ours.
    Local,
}

impl Outcome {
    /// The values of the label `outcome`.
    pub const LABELS: [&'static str; 5] = ["hit", "miss", "bypass", "write", "local"];

    pub fn as_str(self) -> &'static str {
        Self::LABELS[self.index()]
    }

    pub(super) fn index(self) -> usize {
        match self {
            Outcome::Hit(_) => 0,
            Outcome::Miss => 1,
            Outcome::Bypass(_) => 2,
            Outcome::Write => 3,
            Outcome::Local => 4,
        }
    }

    /// The tier or the reason; empty where there is none.
    pub fn detail(self) -> &'static str {
        match self {
            Outcome::Hit(tier) => tier.as_str(),
            Outcome::Bypass(reason) => reason.as_str(),
            Outcome::Miss | Outcome::Write | Outcome::Local => "",
        }
    }
}

/// The handles of one counter family, in the order of `all`.
pub(super) fn each<T: Copy>(
    all: &[T],
    word: fn(T) -> &'static str,
    family: &IntCounterVec,
) -> Vec<IntCounter> {
    let handle = |&reason| family.with_label_values(&[word(reason)]);
    all.iter().map(handle).collect()
}

/// The classes of PostgreSQL's appendix "Error Codes". A statement may raise any
/// SQLSTATE it likes, so others are not taken as a label.
const ERROR_CLASSES: &[&str] = &[
    "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "20", "21", "22", "23", "24", "25", "26",
    "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54",
    "55", "57", "58", "72", "F0", "HV", "P0", "XX",
];
const OTHER_CLASS: &str = "other";

pub(super) fn error_class(code: SqlState) -> &'static str {
    let class = &code.0[..2];
    let known = ERROR_CLASSES.iter().find(|known| known.as_bytes() == class);
    known.copied().unwrap_or(OTHER_CLASS)
}

pub(super) fn export_errors(family: &IntCounterVec) {
    for origin in ErrorOrigin::ALL {
        for class in ERROR_CLASSES.iter().chain([&OTHER_CLASS]) {
            family.with_label_values(&[*class, origin.as_str()]);
        }
    }
}
