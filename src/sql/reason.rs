//! Why a statement is not answered from the cache.

macro_rules! reasons {
    ($($variant:ident = $label:literal, $explanation:literal;)*) => {
        /// Why a statement is not answered from the cache: a metric label, a word in the logs and on the console.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Bypass { $(#[doc = $explanation] $variant,)* }

        impl Bypass {
            pub const ALL: &'static [Bypass] = &[$(Bypass::$variant,)*];

            /// The metric label.
            pub fn as_str(self) -> &'static str {
                match self { $(Bypass::$variant => $label,)* }
            }

            /// What it means, and where it can be helped, how.
            pub fn explanation(self) -> &'static str {
                match self { $(Bypass::$variant => $explanation,)* }
            }
        }
    };
}

reasons! {
    CacheOff = "cache_off", "The cache is off (`cache.mode`).";
    NotSelect = "not_select", "Only a single SELECT, VALUES or TABLE is cached.";
    MultiStatement = "multi_statement", "Several statements in one string are forwarded as one.";
    Unparsed = "unparsed", "The statement could not be analysed, so nothing is known about it.";
    TooLong = "too_long", "The statement is longer than what is analysed (16 KiB); use parameters in place of long literal lists.";
    Encoding = "encoding", "The statement is not UTF-8, or client_encoding is not UTF8.";
    VolatileFunction = "volatile_function", "It calls a volatile function: every call may answer differently.";
    StableFunction = "stable_function", "It calls a function that depends on more than its arguments and is not on the list of those known safe.";
    UserFunction = "user_function", "It calls a function of users that cannot be followed; a rule with `functions = [...]` can vouch for it.";
    UserOperator = "user_operator", "It uses an operator that a schema other than pg_catalog also defines, and not by an immutable function of an extension.";
    UserCast = "user_cast", "The database has a cast with a function of its own that may apply unseen.";
    ClockValue = "clock_value", "A literal or parameter such as 'now' or 'today' may be read from the clock; pass the moment itself.";
    CurrentValue = "current_value", "CURRENT_DATE, CURRENT_SCHEMA and their like depend on the clock or the session; pass the value as a parameter.";
    SystemCatalog = "system_catalog", "System catalogues and statistics change without a write that can be seen.";
    SystemColumn = "system_column", "ctid, xmin and the other system columns change without a visible change of the row.";
    Sequence = "sequence", "Sequences are not transactional.";
    ForeignTable = "foreign_table", "A foreign table changes where nobody tells us.";
    TemporaryRelation = "temporary_relation", "The session has, or may have, temporary relations that shadow others.";
    LargeObject = "large_object", "Large objects are read through functions whose writes cannot be followed.";
    Locking = "locking", "FOR UPDATE, FOR SHARE and LOCK must reach the server.";
    SelectInto = "select_into", "SELECT INTO creates a table.";
    TableSample = "table_sample", "TABLESAMPLE answers differently each time.";
    UnknownRelation = "unknown_relation", "A relation that it names is not in the catalogue's picture (yet).";
    UnknownColumn = "unknown_column", "A name in it is no column of its relations, so it may be a function call in disguise.";
    UnsafeType = "unsafe_type", "It names a type whose conversion may depend on more than its input.";
    RowSecurity = "row_security", "A policy of a relation reads that relation itself.";
    DatetimeText = "datetime_text", "Text is converted to a date or time, and a stored 'today' would follow the clock.";
    InTransactionAfterWrite = "after_write", "The transaction has written: it must see its own changes.";
    InTransactionAfterLock = "after_lock", "The transaction or session holds locks: a read after a lock must see what the lock protects.";
    Isolation = "isolation", "REPEATABLE READ and SERIALIZABLE transactions read from one snapshot that only the server has.";
    FailedTransaction = "failed_transaction", "The transaction has failed and only ROLLBACK is heard.";
    SettingsUnknown = "settings_unknown", "The session's settings are not completely known.";
    LocalSettings = "local_settings", "The transaction has settings of its own (SET, SET LOCAL, SET TRANSACTION) whose values are not certain.";
    CustomSetting = "custom_setting", "It reads a custom setting whose name is not a constant, or that the session has not set.";
    RowLimit = "row_limit", "Execute with a row limit, in a transaction or with more behind it, leaves a portal open on the server.";
    OpenPortal = "open_portal", "The portal was bound in an earlier unit, so its snapshot is older.";
    Streamed = "streamed", "The client flushes without Sync, sends more than `listen.unit_buffer_size` before it, or pauses in the middle of a batch.";
    FunctionCall = "function_call", "A FunctionCall message may do anything.";
    Hint = "hint", "A comment in the statement asks not to cache it.";
    Rule = "rule", "A rule of `[[cache.rules]]` keeps it out.";
    Mismatch = "mismatch", "Verification (`[cache.verify]`) found an answer of this shape that was not the server's; `SHOW MISMATCHES` has the evidence, `CACHE ENABLE` lets it be cached again.";
    Session = "session", "The session has turned the cache off (`SET pgditto.cache = 'off'`).";
    Pinned = "pinned", "The session is pinned by state that may change what a statement means.";
    Guard = "guard", "The guard connection has no fresh proof that this is still the same server.";
    CatalogStale = "catalog_stale", "The catalogue has changed and its picture is being loaded.";
    StartBarrier = "start_barrier", "Backends of an earlier process may still commit.";
    NotAlone = "not_alone", "Another pgditto serves this database and they are not a fleet: neither may serve `strict` hits.";
    PoolerUpstream = "pooler_upstream", "There is another pooler between pgditto and the server, so backends cannot be told apart.";
    Marked = "marked", "A write to what it depends on is about to commit.";
    TooLarge = "too_large", "The answer is larger than `cache.max_entry_size`.";
    StandardStrings = "standard_strings", "standard_conforming_strings is off.";
}
