//! PostgreSQL's own types.

use super::DATETIME_NAMES;

/// Types whose text form follows the catalogue, the session or both; and `timetz`, which a time or a text becomes,
/// unwritten too, by the offset that the session's time zone has today.
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
            | "timetz"
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

/// Numbers, truth values and texts, and arrays of them: no value of these is read for a date or time.
pub(crate) fn is_plain_type(written: &str) -> bool {
    let lower = written.to_ascii_lowercase();
    let plain = lower.split(['(', '[']).next().unwrap_or_default().trim();
    matches!(
        type_alias(plain.trim_start_matches('_')),
        "bool"
            | "bytea"
            | "bpchar"
            | "float4"
            | "float8"
            | "int2"
            | "int4"
            | "int8"
            | "json"
            | "jsonb"
            | "numeric"
            | "text"
            | "uuid"
            | "varchar"
    )
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
            | 1266
            | 1270
    )
}

/// `time` and its array. With AT TIME ZONE it becomes a `timetz`.
pub(crate) fn is_time_oid(oid: u32) -> bool {
    matches!(oid, 1083 | 1183)
}

/// Dates, times, their arrays, ranges, multiranges and arrays of those.
pub(crate) fn is_datetime_oid(oid: u32) -> bool {
    matches!(
        oid,
        1082 | 1083 | 1114 | 1184 | 1266 | 1182 | 1183 | 1115 | 1185 | 1270 | 3908..=3913
            | 4533..=4535 | 6152 | 6153 | 6155
    )
}

/// Types that become a date or time without being read as text, and cannot be one.
pub(crate) fn converts_without_text(oid: u32) -> bool {
    // date, timestamp, timestamptz, timetz, interval and numbers. Not time: to become a
    // timetz it asks for today's offset.
    matches!(
        oid,
        1082 | 1114 | 1184 | 1266 | 1186 | 20 | 21 | 23 | 700 | 701 | 1700
    )
}
