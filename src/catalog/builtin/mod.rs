//! What is known of PostgreSQL's own functions and types beyond what `pg_proc` says.
//!
//! Volatility in `pg_proc` is about one statement; a cache needs to know whether a
//! later statement may answer differently although no relation has changed and all
//! settings are the same. Every list here errs towards "may".

mod deeds;
mod order;
mod types;

use crate::sql::Bypass;

pub(crate) use deeds::{
    changes_catalogue, effects, is_quiet_extension, keeps_process_state, runs_text, sees_text,
    writes_unseen,
};
pub(crate) use order::{depends_on_order, sums};
pub(crate) use types::{
    converts_without_text, is_datetime_oid, is_datetime_range, is_datetime_type, is_plain_type,
    is_time_oid, is_unsafe_type, is_unsafe_type_oid, type_alias,
};

/// Stable functions that depend on their arguments, on settings (which are part of the
/// key) and on the catalogue (whose version is) only.
const SAFE_STABLE: &[&str] = &[
    "array_to_json",
    "array_to_string",
    "concat",
    "concat_ws",
    "convert",
    "convert_from",
    "convert_to",
    "current_database",
    "date_add",
    "date_part",
    "date_subtract",
    "date_trunc",
    "enum_first",
    "enum_last",
    "enum_range",
    "extract",
    "format",
    "generate_series",
    "getdatabaseencoding",
    "json_agg",
    "json_agg_strict",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "json_to_tsvector",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict",
    "jsonb_to_tsvector",
    "length",
    "make_timestamptz",
    "money",
    "numeric",
    "overlaps",
    "pg_client_encoding",
    "phraseto_tsquery",
    "plainto_tsquery",
    "quote_literal",
    "quote_nullable",
    "row_to_json",
    "timezone",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
    "to_tsquery",
    "to_tsvector",
    "ts_headline",
    "version",
    "websearch_to_tsquery",
    "xml",
    "xml_is_well_formed",
];

/// Functions that `pg_proc` calls immutable and that look at more than their arguments.
const NOT_IMMUTABLE: &[&str] = &[
    "acldefault",
    "aclcontains",
    "aclinsert",
    "aclremove",
    "makeaclitem",
    // hstore: texts become values of whatever type the row has, dates among them.
    "populate_record",
    // PostGIS: looks its coordinate systems up in a table that can be written.
    "st_transform",
];

/// The immutable `pg_…` functions that are what they say; the others follow the server's state.
const SAFE_PG: &[&str] = &[
    "pg_client_encoding",
    "pg_encoding_max_length",
    "pg_lsn",
    "pg_size_bytes",
    "pg_size_pretty",
    "pg_wal_lsn_diff",
];

/// Expressions that look like functions and are none of `pg_proc`.
const SYNTAX: &[&str] = &[
    "all",
    "any",
    "array",
    "coalesce",
    "exists",
    "greatest",
    "grouping",
    "least",
    "nullif",
    "row",
    "some",
    "trim",
    "xmlconcat",
    "xmlelement",
    "xmlforest",
    "xmlpi",
    "xmlroot",
];

/// Functions by whose name a value becomes a date or time.
const DATETIME_NAMES: &[&str] = &["date", "time", "timestamp", "timestamptz", "timetz"];

/// They turn texts inside JSON into whatever type the caller names, dates among them.
const JSON_TO_ROW: &[&str] = &[
    "json_populate_record",
    "json_populate_recordset",
    "json_to_record",
    "json_to_recordset",
    "jsonb_populate_record",
    "jsonb_populate_recordset",
    "jsonb_to_record",
    "jsonb_to_recordset",
];

const SEQUENCE_FUNCTIONS: &[&str] = &["nextval", "setval", "currval", "lastval"];

/// The settings whose value a statement may read although no key holds the whole
/// configuration file: they are either part of every key or fixed for a server's life.
const READABLE_SETTINGS: &[&str] = &[
    "block_size",
    "bytea_output",
    "client_encoding",
    "datestyle",
    "default_text_search_config",
    "extra_float_digits",
    "integer_datetimes",
    "intervalstyle",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "max_identifier_length",
    "search_path",
    "server_encoding",
    "server_version",
    "server_version_num",
    "standard_conforming_strings",
    "timezone",
];

/// What a built-in function means for a read.
pub(crate) enum Verdict {
    Fine,
    /// `current_setting`: it depends on which setting.
    Setting,
    Bypass(Bypass),
}

/// Judges a built-in by its name. `volatile` and `stable` say whether any function of
/// that name is.
pub(crate) fn verdict(name: &str, argument_count: usize, volatile: bool, stable: bool) -> Verdict {
    if name == "current_setting" {
        return Verdict::Setting;
    }
    if JSON_TO_ROW.contains(&name) {
        return Verdict::Bypass(Bypass::DatetimeText);
    }
    if SEQUENCE_FUNCTIONS.contains(&name) {
        return Verdict::Bypass(Bypass::Sequence);
    }
    if is_large_object(name) {
        return Verdict::Bypass(Bypass::LargeObject);
    }
    if is_unsafe_type(name) || name.contains("timetz") {
        return Verdict::Bypass(Bypass::UnsafeType);
    }
    if volatile {
        return Verdict::Bypass(Bypass::VolatileFunction);
    }
    let listed = SAFE_STABLE.contains(&name)
        || (name == "age" && argument_count == 2)
        // What a text may become by these is a hazard that the statement's own facts tell.
        || DATETIME_NAMES.contains(&name);
    let immutable = !stable
        && !NOT_IMMUTABLE.contains(&name)
        && (!name.starts_with("pg_") || SAFE_PG.contains(&name));
    if listed || immutable {
        Verdict::Fine
    } else {
        Verdict::Bypass(Bypass::StableFunction)
    }
}

/// A word of a function's body that makes the function's answer depend on the clock, the
/// session or the server.
pub(crate) fn is_circumstance(word: &str) -> bool {
    matches!(
        word,
        "current_catalog"
            | "current_date"
            | "current_role"
            | "current_schema"
            | "current_time"
            | "current_timestamp"
            | "current_user"
            | "information_schema"
            | "localtime"
            | "localtimestamp"
            | "session_user"
            | "system_user"
            | "tablesample"
    ) || (word.starts_with("pg_") && word != "pg_catalog")
}

/// An expression of the grammar that is written like a function.
pub(crate) fn is_syntax(name: &str) -> bool {
    SYNTAX.contains(&name)
}

/// Immutable on paper, for functions of extensions.
pub(crate) fn is_not_immutable(name: &str) -> bool {
    NOT_IMMUTABLE.contains(&name)
}

pub(crate) fn is_readable_setting(name: &str) -> bool {
    READABLE_SETTINGS.contains(&name)
}

/// Columns that every table has and no catalogue query lists.
pub(crate) fn is_system_column(name: &str) -> bool {
    matches!(
        name,
        "ctid" | "xmin" | "xmax" | "cmin" | "cmax" | "tableoid"
    )
}

fn is_large_object(name: &str) -> bool {
    name.starts_with("lo_") || matches!(name, "loread" | "lowrite")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bypass(name: &str, arguments: usize, volatile: bool, stable: bool) -> Option<Bypass> {
        match verdict(name, arguments, volatile, stable) {
            Verdict::Bypass(reason) => Some(reason),
            Verdict::Fine | Verdict::Setting => None,
        }
    }

    #[test]
    fn the_clock_and_the_session_are_not_cacheable() {
        assert_eq!(bypass("now", 0, false, true), Some(Bypass::StableFunction));
        assert_eq!(
            bypass("random", 0, true, false),
            Some(Bypass::VolatileFunction)
        );
        assert_eq!(bypass("age", 1, false, true), Some(Bypass::StableFunction));
        assert_eq!(bypass("age", 2, false, true), None);
        assert_eq!(bypass("nextval", 1, true, false), Some(Bypass::Sequence));
        assert_eq!(bypass("lo_get", 1, true, false), Some(Bypass::LargeObject));
        assert_eq!(
            bypass("pg_walfile_name", 1, false, false),
            Some(Bypass::StableFunction)
        );
    }

    #[test]
    fn functions_of_settings_in_the_key_are_cacheable() {
        for name in [
            "to_char",
            "date_trunc",
            "extract",
            "concat",
            "row_to_json",
            "to_tsvector",
        ] {
            assert_eq!(bypass(name, 2, false, true), None, "{name}");
        }
        assert_eq!(bypass("lower", 1, false, false), None);
        assert_eq!(bypass("regexp_replace", 3, false, false), None);
    }

    #[test]
    fn what_may_ask_for_the_offset_of_today_is_not_cacheable() {
        for name in ["jsonb_path_query_tz", "jsonb_path_exists_tz"] {
            let reason = Some(Bypass::StableFunction);
            assert_eq!(bypass(name, 2, false, true), reason, "{name}");
        }
        for name in ["timetz", "datetimetz_timestamptz", "timetz_larger"] {
            let reason = Some(Bypass::UnsafeType);
            assert_eq!(bypass(name, 2, false, false), reason, "{name}");
        }
        assert_eq!(bypass("timezone", 2, false, true), None);
    }

    #[test]
    fn json_may_hold_a_date() {
        assert_eq!(
            bypass("jsonb_to_record", 1, false, true),
            Some(Bypass::DatetimeText)
        );
        assert_eq!(bypass("date", 1, false, true), None);
    }
}
