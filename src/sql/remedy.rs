//! What can be done about a [`Bypass`]: the words of `docs/bypass-reasons.md`.

use super::Bypass;

impl Bypass {
    /// What helps, for users. `docs/bypass-reasons.md` says the same.
    pub fn remedy(self) -> &'static str {
        match self {
            Bypass::CacheOff => "`cache.mode = \"on\"`, or `\"shadow\"` to try.",
            Bypass::NotSelect
            | Bypass::SystemCatalog
            | Bypass::Sequence
            | Bypass::SelectInto
            | Bypass::TableSample => "Nothing.",
            Bypass::MultiStatement => "Send them one by one.",
            Bypass::Unparsed => {
                "Try a plainer form; `pgditto explain` shows which statement it is."
            }
            Bypass::TooLong => {
                "Use parameters, or `= ANY($1)`, in place of long lists of literals."
            }
            Bypass::Encoding => "Set `client_encoding` to `UTF8`.",
            Bypass::VolatileFunction => "Compute the value in the application and pass it.",
            Bypass::StableFunction => {
                "Pass the moment as a parameter; `age(a, b)` with two arguments is cached."
            }
            Bypass::UserFunction => {
                "Make one query in SQL of it. Or, if it depends on nothing but its arguments and on tables that can be seen, vouch for it: `functions = [\"schema.name\"]` in a rule. That holds for every statement, whatever the rule's conditions."
            }
            Bypass::UserOperator => {
                "Drop the operator, or make its function an immutable one of an extension."
            }
            Bypass::UserCast => "Drop the cast, or give it a trusted function.",
            Bypass::ClockValue => "Pass the moment itself.",
            Bypass::CurrentValue => "Pass the value as a parameter.",
            Bypass::SystemColumn => "Leave them out.",
            Bypass::ForeignTable => {
                "A materialised view over it is cached, and is invalidated by its REFRESH."
            }
            Bypass::TemporaryRelation => {
                "Drop temporary tables when done. See the pin `temporary_objects` in docs/pins.md."
            }
            Bypass::LargeObject => "Store the bytes in a `bytea` column.",
            Bypass::Locking => "Leave the locking clause out of reads that do not need it.",
            Bypass::UnknownRelation => {
                "Wait for `cache.catalog_watch_interval`; look for a misspelt name or another `search_path`."
            }
            Bypass::UnknownColumn => "Qualify columns; look for a misspelt name.",
            Bypass::UnsafeType => {
                "Keep such a column in a table of its own: it counts even where no statement names it. Cast in the application."
            }
            Bypass::RowSecurity => "Let the policy read other tables, or none.",
            Bypass::DatetimeText => "Store the value in a date or time column.",
            Bypass::InTransactionAfterWrite => "Read before the write, or after COMMIT.",
            Bypass::InTransactionAfterLock => "Read before the lock; release advisory locks.",
            Bypass::Isolation => "Use READ COMMITTED where it is enough.",
            Bypass::FailedTransaction => "ROLLBACK.",
            Bypass::SettingsUnknown => "It passes at the end of the transaction.",
            Bypass::LocalSettings => {
                "SET outside of the transaction; SET LOCAL of a custom setting to one string is followed."
            }
            Bypass::CustomSetting => {
                "Name the setting in the text and set it in the session before (`SET app.tenant = '7'`)."
            }
            Bypass::RowLimit => {
                "Fetch all rows at once where there are few, or outside of a transaction."
            }
            Bypass::OpenPortal => "Send Bind and Execute in one batch.",
            Bypass::Streamed => "End batches with Sync; raise the limit.",
            Bypass::FunctionCall => "Call the function by SELECT.",
            Bypass::Hint => "Remove the comment.",
            Bypass::Rule => "`SHOW CACHE_RULES`.",
            Bypass::Mismatch => {
                "`SHOW MISMATCHES` and the log have the evidence: most likely somebody writes past pgditto. Then `CACHE ENABLE SHAPE id`."
            }
            Bypass::Session => "`RESET pgditto.cache`.",
            Bypass::Pinned => {
                "RESET SESSION AUTHORIZATION; preload libraries on the server; LISTEN by itself, outside a transaction."
            }
            Bypass::Guard => "Look for `guard` in the log. Point pgditto at the primary.",
            Bypass::CatalogStale => {
                "It passes. If it lasts, the log says why the catalogue cannot be read."
            }
            Bypass::StartBarrier => {
                "Set `upstream.state_dir`: then they are ended at once. See docs/operations.md."
            }
            Bypass::NotAlone => {
                "Run one pgditto for each database, or use level `ttl`. See docs/operations.md."
            }
            Bypass::PoolerUpstream => "Connect pgditto to PostgreSQL itself.",
            Bypass::Marked => "Nothing: it lasts as long as the commit.",
            Bypass::TooLarge => "Ask for fewer rows or columns, or raise the limit.",
            Bypass::StandardStrings => "Turn it on.",
        }
    }
}
