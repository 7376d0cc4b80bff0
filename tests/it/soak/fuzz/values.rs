//! Values with traps: texts that become the same value, values that become another, and bytes that mean another text.

use super::ask::Value;
use crate::soak::random::Random;

/// Integers with the traps of the cache's keys: texts that are 7, numbers that become 7, and what is none.
const INTS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "7",
    "5",
    "'7'",
    "'07'",
    "' +7 '",
    "'3'",
    "7.4",
    "7.0",
    "6.5",
    "-0",
    "+3",
    "'-0'",
    "3::bigint",
    "7::smallint",
    "3 + 4",
    "NULL",
    "7e0",
    "'7.4'",
    "9999999999",
    "'x'",
    "''",
    "(7)",
    "abs(-7)",
    "int '7'",
    "CAST('07' AS int)",
    "'7'::text::int",
    "E'\\x37'",
    "U&'\\0037'",
    "$q$7$q$",
    "-(-7)",
    "7::numeric",
    "'1e1'",
    "- 1",
    "(SELECT 7)",
    "true::int",
];
const TEXTS: &[&str] = &[
    "'a'",
    "'A'",
    "'abc'",
    "'abc '",
    "'abc   '",
    "'abcd'",
    "''",
    "' '",
    "NULL",
    "E'\\x61'",
    "U&'\\0061'",
    "$$a$$",
    "'a'::varchar",
    "'abc'::varchar(2)",
    "'a'::char(3)",
    "lower('A')",
    "'a' || 'bc'",
    "E'a\\'c'",
    "'a''c'",
    "'\\x61'",
    "'é'",
    "'ß'",
    "'Ã©'",
    "text 'a'",
    "'h'",
    "'b'",
];
const BOOLS: &[&str] = &[
    "true",
    "false",
    "'t'",
    "'yes'",
    "'on'",
    "'1'",
    "' TRUE '",
    "'tr'",
    "'n'",
    "'of'",
    "NULL",
    "1::bool",
    "NOT false",
    "'0'",
];
const UUIDS: &[&str] = &[
    "'00000000-0000-0000-0000-000000000007'",
    "'00000000000000000000000000000007'",
    "'{00000000-0000-0000-0000-000000000007}'",
    "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
    "'a0eebc999c0b4ef8bb6d6bb9bd380a11'",
    "'a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11'",
    "NULL",
    "'x'",
    "'00000000-0000-0000-0000-000000000003'",
    "uuid '00000000-0000-0000-0000-000000000003'",
];
const MOODS: &[&str] = &[
    "'sad'",
    "'ok'",
    "'happy'",
    "'meh'",
    "NULL",
    "'ok'::mood",
    "'OK'",
];
const REGIONS: &[&str] = &[
    "'eu'",
    "'us'",
    "'zz'",
    "'EU'",
    "'eu '",
    "NULL",
    "'eu'::text",
    "'u' || 's'",
];
const INT_ARRAYS: &[&str] = &[
    "'{7,3}'",
    "ARRAY[7, 3]",
    "'{7,NULL}'",
    "'{}'",
    "ARRAY['7']::int[]",
    "NULL",
    "'{\" 7\",3}'",
];
const TIMES: &[&str] = &[
    "'2020-01-01'",
    "'2020-01-01 00:00:00'",
    "'1.1.2020'",
    "timestamp '2020-01-01'",
    "'2020-02-03 04:05'",
    "'2020-02-30'",
    "NULL",
    "'infinity'",
];
const JSONS: &[&str] = &[
    "'{\"a\": 3}'",
    "'{\"a\":3}'",
    "'{\"a\": 3.0}'",
    "'{}'",
    "'null'",
    "NULL",
    "'{'",
];
const PAIRS: &[&str] = &[
    "'(7,x)'",
    "(7, 'x')::pair",
    "ROW(3, 'x')::pair",
    "'(3,\"x\")'",
    "'(,)'",
    "NULL",
];
pub const INT_COLUMNS: &[&str] = &["id", "id", "grp", "grp", "big", "s", "\"id\"", "ID", "k.id"];
/// The bytes of `'Ã©'` in LATIN1 are those of `'é'` in UTF-8, and so on.
pub const FOREIGN: &[&str] = &[
    "'é'",
    "'é'",
    "'Ã©'",
    "'Ã©'",
    "'ß'",
    "'Ã\u{9f}'",
    "'aé'",
    "E'\\u00e9'",
    "'e'",
];

/// The values of a blank of this name.
pub fn pool(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "int" => INTS,
        "text" => TEXTS,
        "bool" => BOOLS,
        "uuid" => UUIDS,
        "mood" => MOODS,
        "region" => REGIONS,
        "intarr" => INT_ARRAYS,
        "time" => TIMES,
        "json" => JSONS,
        "pair" => PAIRS,
        _ => return None,
    })
}

/// The same value as a parameter, where it can be one.
pub fn parameter(literal: &str, int: bool, random: &mut Random) -> Option<Value> {
    if literal == "NULL" {
        return Some(Value {
            type_oid: 0,
            binary: random.one_in(2),
            bytes: None,
        });
    }
    let text = match literal
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
    {
        Some(text) if !text.contains('\'') => text,
        _ if literal.bytes().all(|byte| byte.is_ascii_digit()) => literal,
        _ => return None,
    };
    let number: Option<i64> = text.parse().ok().filter(|_| int);
    match (number, random.below(6)) {
        (Some(n), 0) => Some(Value {
            type_oid: 20,
            binary: true,
            bytes: Some(n.to_be_bytes().to_vec()),
        }),
        (Some(n), 1) if i32::try_from(n).is_ok() => Some(Value {
            type_oid: 23,
            binary: true,
            bytes: Some((n as i32).to_be_bytes().to_vec()),
        }),
        (Some(n), 2) if i16::try_from(n).is_ok() => Some(Value {
            type_oid: 21,
            binary: true,
            bytes: Some((n as i16).to_be_bytes().to_vec()),
        }),
        (_, 3) => Some(Value {
            type_oid: *random.pick(if int {
                &[1700, 701, 20, 21, 23, 705, 25]
            } else {
                &[25, 1043, 1042, 705]
            }),
            binary: false,
            bytes: Some(text.as_bytes().to_vec()),
        }),
        _ => Some(Value {
            type_oid: 0,
            binary: false,
            bytes: Some(text.as_bytes().to_vec()),
        }),
    }
}
