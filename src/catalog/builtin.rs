//! What is known of PostgreSQL's own functions and types beyond what `pg_proc` says.
//!
//! Volatility in `pg_proc` is about one statement; a cache needs to know whether a
//! later statement may answer differently although no relation has changed and all
//! settings are the same. Every list here errs towards "may".

use super::footprint::Effects;
use crate::sql::Bypass;

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
    "jsonb_path_exists_tz",
    "jsonb_path_match_tz",
    "jsonb_path_query_array_tz",
    "jsonb_path_query_first_tz",
    "jsonb_path_query_tz",
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

/// Functions by whose name a value becomes a date or time when the argument is text.
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
    if DATETIME_NAMES.contains(&name) && argument_count <= 1 || JSON_TO_ROW.contains(&name) {
        return Verdict::Bypass(Bypass::DatetimeText);
    }
    if SEQUENCE_FUNCTIONS.contains(&name) {
        return Verdict::Bypass(Bypass::Sequence);
    }
    if is_large_object(name) {
        return Verdict::Bypass(Bypass::LargeObject);
    }
    if is_unsafe_type(name) {
        return Verdict::Bypass(Bypass::UnsafeType);
    }
    if volatile {
        return Verdict::Bypass(Bypass::VolatileFunction);
    }
    let listed = SAFE_STABLE.contains(&name)
        || (name == "age" && argument_count == 2)
        || (DATETIME_NAMES.contains(&name) && argument_count == 2);
    let immutable = !stable
        && !NOT_IMMUTABLE.contains(&name)
        && (!name.starts_with("pg_") || SAFE_PG.contains(&name));
    if listed || immutable {
        Verdict::Fine
    } else {
        Verdict::Bypass(Bypass::StableFunction)
    }
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

fn is_large_object(name: &str) -> bool {
    name.starts_with("lo_") || matches!(name, "loread" | "lowrite")
}

/// Functions that run SQL which they are handed, or read relations that they are told by name.
pub(crate) fn runs_text(name: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "cursor_to_xml",
        "database_to_xml",
        "dblink",
        "query_to_xml",
        "schema_to_xml",
        "table_to_xml",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || matches!(name, "ts_stat" | "ts_rewrite")
}

/// Functions that write, or may run what writes, where no target is named.
pub(crate) fn writes_unseen(name: &str) -> bool {
    let large_object_reader = matches!(
        name,
        "lo_get"
            | "lo_open"
            | "lo_close"
            | "lo_lseek"
            | "lo_lseek64"
            | "lo_tell"
            | "lo_tell64"
            | "loread"
    );
    runs_text(name)
        || (is_large_object(name) && !large_object_reader)
        || name.starts_with("binary_upgrade_")
        || name.starts_with("brin_summarize")
        || name.starts_with("pg_logical_")
        || matches!(
            name,
            "brin_desummarize_range"
                | "pg_import_system_collations"
                | "pg_extension_config_dump"
                | "pg_nextoid"
                | "pg_promote"
                | "pg_reload_conf"
                | "pg_stop_making_pinned_objects"
        )
}

/// Built-ins that change the catalogue or what settings sessions begin with.
pub(crate) fn changes_catalogue(name: &str) -> bool {
    name.starts_with("binary_upgrade_")
        || matches!(
            name,
            "pg_import_system_collations" | "pg_extension_config_dump" | "pg_reload_conf"
        )
}

/// What a call of a built-in leaves behind on its connection.
pub(crate) fn effects(name: &str) -> Effects {
    match name {
        "set_config" | "setseed" => Effects::SETTINGS,
        "nextval" | "setval" => Effects::SEQUENCE,
        "pg_advisory_lock"
        | "pg_advisory_lock_shared"
        | "pg_try_advisory_lock"
        | "pg_try_advisory_lock_shared"
        | "pg_advisory_unlock"
        | "pg_advisory_unlock_shared"
        | "pg_advisory_unlock_all" => Effects::ADVISORY_LOCKS,
        "pg_backup_start" | "pg_backup_stop" | "pg_start_backup" | "pg_stop_backup" => Effects::ALL,
        _ if name.starts_with("pg_replication_origin_")
            || name.starts_with("pg_create_")
            || name.starts_with("pg_copy_")
            // A large object that is only written leaves nothing on the connection.
            || (writes_unseen(name) && !is_large_object(name)) =>
        {
            Effects::ALL
        }
        _ => Effects::NONE,
    }
}

/// Extensions whose functions are known to write nothing and to leave nothing behind,
/// volatile ones included.
const QUIET_EXTENSIONS: &[&str] = &[
    "address_standardizer",
    "amcheck",
    "bloom",
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "fuzzystrmatch",
    "h3",
    "hll",
    "hstore",
    "intarray",
    "ip4r",
    "isn",
    "ltree",
    "old_snapshot",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_trgm",
    "pg_uuidv7",
    "pg_visibility",
    "pg_walinspect",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "prefix",
    "rum",
    "seg",
    "semver",
    "sslinfo",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "unit",
    "uuid-ossp",
    "vector",
];

pub(crate) fn is_quiet_extension(name: &str) -> bool {
    QUIET_EXTENSIONS.contains(&name)
}

/// Types whose text form follows the catalogue, the session or both.
pub(crate) fn is_unsafe_type(name: &str) -> bool {
    matches!(
        name,
        "aclitem"
            | "regclass"
            | "regcollation"
            | "regconfig"
            | "regdictionary"
            | "regnamespace"
            | "regoper"
            | "regoperator"
            | "regproc"
            | "regprocedure"
            | "regrole"
            | "regtype"
    )
}

pub(crate) fn is_datetime_type(name: &str) -> bool {
    DATETIME_NAMES.contains(&name) || matches!(name, "abstime" | "tinterval")
}

pub(crate) fn is_datetime_range(name: &str) -> bool {
    matches!(
        name,
        "daterange"
            | "tsrange"
            | "tstzrange"
            | "datemultirange"
            | "tsmultirange"
            | "tstzmultirange"
    )
}

/// The name in `pg_type` of a type that the grammar knows under another.
pub(crate) fn type_alias(name: &str) -> &str {
    match name {
        "int" | "integer" => "int4",
        "smallint" => "int2",
        "bigint" => "int8",
        "real" => "float4",
        "float" | "double precision" | "double" => "float8",
        "decimal" | "dec" => "numeric",
        "boolean" => "bool",
        "char" | "character" | "nchar" | "national character" => "bpchar",
        "character varying" | "char varying" | "nvarchar" | "national character varying" => {
            "varchar"
        }
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        "time without time zone" => "time",
        "time with time zone" => "timetz",
        "bit varying" => "varbit",
        other => other,
    }
}

/// `pg_type.oid` of types whose output follows more than the value, and of their arrays.
pub(crate) fn is_unsafe_type_oid(oid: u32) -> bool {
    matches!(
        oid,
        24 | 2202
            | 2203
            | 2204
            | 2205
            | 2206
            | 3734
            | 3769
            | 4089
            | 4096
            | 4191
            | 1033
            | 1008
            | 2207
            | 2208
            | 2209
            | 2210
            | 2211
            | 3735
            | 3770
            | 4090
            | 4097
            | 4192
            | 1034
    )
}

/// Dates, times, their arrays, ranges, multiranges and arrays of those.
pub(crate) fn is_datetime_oid(oid: u32) -> bool {
    matches!(
        oid,
        1082 | 1083 | 1114 | 1184 | 1266 | 1182 | 1183 | 1115 | 1185 | 1270 | 3908..=3913
            | 4533..=4535 | 6152 | 6153 | 6155
    )
}

/// Columns that every table has and no catalogue query lists.
pub(crate) fn is_system_column(name: &str) -> bool {
    matches!(
        name,
        "ctid" | "xmin" | "xmax" | "cmin" | "cmax" | "tableoid"
    )
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
    fn text_may_become_a_date_by_a_functions_name() {
        assert_eq!(bypass("date", 1, false, true), Some(Bypass::DatetimeText));
        assert_eq!(bypass("timestamptz", 2, false, true), None);
    }
}
