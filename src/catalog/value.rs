//! Constants as values: equal values have equal hashes, whatever they were written like.
//!
//! What is hashed is the canonical value of a column's type. A text of which it is not
//! certain that PostgreSQL reads it as we do has none.

use std::borrow::Cow;

use smallvec::smallvec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::array;
use super::region::Values;

use crate::sql::{ArrayOf, Constant, Literal, Literals};

/// Types whose values can be told apart here. Not among them: numeric, floats, bpchar, dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// int2, int4, int8: one family, compared by value.
    Integer,
    Boolean,
    Uuid,
    /// text and varchar(n) under a deterministic collation, in UTF-8.
    Text {
        characters_max: Option<usize>,
    },
}

impl KeyType {
    /// `=` between columns of these types compares canonical values.
    pub fn compares_with(self, other: KeyType) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// How a value comes to its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Compared,
    /// It becomes a value of the column's type, cut to its length.
    Stored,
    /// It is stored unless a unique index, whose idea of equality is its own, finds its equal.
    Conflicting,
}

/// The constants and parameters of one execution of a statement.
#[derive(Debug)]
pub struct Given<'a> {
    pub literals: Literals<'a>,
    /// As declared; 0 or nothing where the server is to find out.
    pub parameter_types: &'a [u32],
    /// The server found out in a catalogue in which the statement has the same plan.
    pub inferred_now: bool,
    pub parameters: &'a [Option<&'a [u8]>],
    /// As in Bind: none, one for all, or one each.
    pub formats: &'a [i16],
    /// The client speaks UTF-8.
    pub utf8: bool,
}

const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const UNKNOWN: u32 = 705;

/// How far the type is known that a parameter was given.
enum Certainty {
    /// It is one whose values compare as the column's.
    Type,
    /// It is one that compares with the column's.
    Comparable,
}

impl Given<'_> {
    /// The hashes of what a constant stands for, values of a column of type `key`: one, or those of an
    /// array's elements. `None` if one of them is not certain, and where there are none or more than
    /// [`KEYS_MAX`].
    pub fn hashes(&self, constant: Constant, key: KeyType, role: Role) -> Option<Values> {
        match constant {
            Constant::Elements {
                number,
                repeated,
                cast,
            } => self.elements(number, repeated, cast.is_some(), key, role),
            _ => self.hash(constant, key, role).map(|hash| smallvec![hash]),
        }
    }

    /// The hash of a constant as a value of a column of type `key`; `None` if it is not certain, and for NULL.
    pub fn hash(&self, constant: Constant, key: KeyType, role: Role) -> Option<u64> {
        match constant {
            Constant::Boolean(value) => (key == KeyType::Boolean).then(|| boolean(value)),
            Constant::Text(token) => match self.literals.get(token)? {
                Literal::Text(text) => of_text(&text, key, role, self.utf8),
                Literal::Integer(_) => None,
            },
            Constant::Number { token, negative } => match self.literals.get(token)? {
                Literal::Integer(digits) if key == KeyType::Integer => {
                    // Larger ones are numeric, and so is a negative one of their size.
                    let value: i64 = digits.parse().ok()?;
                    Some(integer(if negative { -value } else { value }))
                }
                _ => None,
            },
            Constant::Parameter { number, repeated } => self.parameter(number, repeated, key, role),
            Constant::Typed {
                token,
                negative,
                quoted,
                cast,
            } => {
                let of_family = match cast {
                    ArrayOf::Integers => key == KeyType::Integer,
                    ArrayOf::Texts => matches!(key, KeyType::Text { .. }),
                    ArrayOf::Uuids => key == KeyType::Uuid,
                };
                let bare = match quoted {
                    true => Constant::Text(token),
                    false => Constant::Number { token, negative },
                };
                of_family.then(|| self.hash(bare, key, role)).flatten()
            }
            Constant::Elements { .. } => None,
        }
    }

    fn parameter(&self, number: usize, repeated: bool, key: KeyType, role: Role) -> Option<u64> {
        let place = number.checked_sub(1)?;
        let value = (*self.parameters.get(place)?)?;
        let declared = self.declared(place);
        let certainty = self.certainty(declared, repeated, key)?;
        self.hash_given(value, self.format(place)?, &certainty, key, role)
    }

    fn elements(
        &self,
        number: usize,
        repeated: bool,
        cast: bool,
        key: KeyType,
        role: Role,
    ) -> Option<Values> {
        let place = number.checked_sub(1)?;
        let array = (*self.parameters.get(place)?)?;
        let declared = match self.declared(place) {
            Some(oid) => Some(element_type(oid)?),
            None => None,
        };
        let certainty = match (declared, cast && !repeated) {
            (None, true) => Certainty::Type,
            _ => self.certainty(declared, repeated, key)?,
        };
        let format = self.format(place)?;
        let elements = match format {
            0 => array::of_text(std::str::from_utf8(array).ok()?)?,
            1 => array::of_binary(array, |oid| declares(key, oid))?,
            _ => return None,
        };
        let hash =
            |element: &Cow<'_, [u8]>| self.hash_given(element, format, &certainty, key, role);
        elements.iter().map(hash).collect()
    }

    fn declared(&self, place: usize) -> Option<u32> {
        match self.parameter_types.get(place) {
            None | Some(&(0 | UNKNOWN)) => None,
            Some(&oid) => Some(oid),
        }
    }

    fn format(&self, place: usize) -> Option<i16> {
        match self.formats {
            [] => Some(0),
            [all] => Some(*all),
            each => each.get(place).copied(),
        }
    }

    fn certainty(&self, declared: Option<u32>, repeated: bool, key: KeyType) -> Option<Certainty> {
        match declared {
            Some(oid) => declares(key, oid).then_some(Certainty::Type),
            // The type comes from wherever it stands first, and from what that was then.
            None if repeated || !self.inferred_now => match key {
                KeyType::Integer => Some(Certainty::Comparable),
                // Nothing else compares with them, or is stored in them.
                KeyType::Boolean | KeyType::Uuid => Some(Certainty::Type),
                KeyType::Text { .. } => None,
            },
            None => Some(Certainty::Type),
        }
    }

    fn hash_given(
        &self,
        value: &[u8],
        format: i16,
        certainty: &Certainty,
        key: KeyType,
        role: Role,
    ) -> Option<u64> {
        match (certainty, format) {
            (Certainty::Comparable, 0) => {
                let value = parse_integer(std::str::from_utf8(value).ok()?)?;
                value_of_all_numbers(value).then(|| integer(value))
            }
            (Certainty::Type, _) => of_format(value, format, key, role, self.utf8),
            (Certainty::Comparable, _) => None,
        }
    }
}

/// The hash of a value of a column, as the server gives it in this format, as [`Given::hash`] of equal constants.
pub(super) fn hash_stored(value: &[u8], format: i16, key: KeyType, utf8: bool) -> Option<u64> {
    of_format(value, format, key, Role::Compared, utf8)
}

fn of_format(value: &[u8], format: i16, key: KeyType, role: Role, utf8: bool) -> Option<u64> {
    match format {
        0 => of_text(std::str::from_utf8(value).ok()?, key, role, utf8),
        1 => of_binary(value, key, role, utf8),
        _ => None,
    }
}

fn of_text(text: &str, key: KeyType, role: Role, utf8: bool) -> Option<u64> {
    match key {
        KeyType::Integer => parse_integer(text).map(integer),
        KeyType::Boolean => parse_boolean(text).map(boolean),
        KeyType::Uuid => parse_uuid(text).map(|bytes| hash(b'u', &bytes)),
        KeyType::Text { characters_max } => {
            let fits = match role {
                Role::Compared => true,
                Role::Stored | Role::Conflicting => {
                    characters_max.is_none_or(|max| text.chars().count() <= max)
                }
            };
            // An index of another operator class may overlook spaces at the end.
            let alike = role != Role::Conflicting || !text.ends_with(' ');
            (utf8 && fits && alike).then(|| hash(b't', text.as_bytes()))
        }
    }
}

/// The server refuses a value whose length is not that of its parameter's type.
fn of_binary(value: &[u8], key: KeyType, role: Role, utf8: bool) -> Option<u64> {
    match key {
        KeyType::Integer => {
            let value = match value.len() {
                2 => i64::from(i16::from_be_bytes(value.try_into().ok()?)),
                4 => i64::from(i32::from_be_bytes(value.try_into().ok()?)),
                8 => i64::from_be_bytes(value.try_into().ok()?),
                _ => return None,
            };
            Some(integer(value))
        }
        KeyType::Boolean => match value {
            [byte] => Some(boolean(*byte != 0)),
            _ => None,
        },
        KeyType::Uuid => (value.len() == 16).then(|| hash(b'u', value)),
        KeyType::Text { .. } => of_text(std::str::from_utf8(value).ok()?, key, role, utf8),
    }
}

/// It is the same number in every type that compares with an integer: float4 tells no more of them apart, and `oid` has
/// none below zero.
fn value_of_all_numbers(value: i64) -> bool {
    (0..1 << 24).contains(&value)
}

/// Of the array types of those that [`declares`] knows.
fn element_type(array: u32) -> Option<u32> {
    match array {
        1000 => Some(16),
        1005 => Some(INT2),
        1007 => Some(INT4),
        1016 => Some(INT8),
        2951 => Some(2950),
        1009 => Some(25),
        1015 => Some(1043),
        _ => None,
    }
}

/// Whether a parameter declared of this type is compared with, or stored into, a column of `key` by its value.
fn declares(key: KeyType, oid: u32) -> bool {
    match key {
        KeyType::Integer => matches!(oid, INT2 | INT4 | INT8),
        KeyType::Boolean => oid == 16,
        KeyType::Uuid => oid == 2950,
        KeyType::Text { .. } => matches!(oid, 25 | 1043),
    }
}

fn hash(family: u8, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, u64::from(family))
}

fn integer(value: i64) -> u64 {
    hash(b'i', &value.to_le_bytes())
}

fn boolean(value: bool) -> u64 {
    hash(b'b', &[u8::from(value)])
}

/// As `int8in`, of decimal digits without underscores only.
fn parse_integer(text: &str) -> Option<i64> {
    let bare = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let digits = bare.strip_prefix(['-', '+']).unwrap_or(bare);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| bare.parse().ok()).flatten()
}

/// As `boolin`.
fn parse_boolean(text: &str) -> Option<bool> {
    let bare = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    match bare.to_ascii_lowercase().as_str() {
        "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "on" | "1" => Some(true),
        "f" | "fa" | "fal" | "fals" | "false" | "n" | "no" | "of" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The usual form with or without all of its hyphens.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    let hyphened = bytes.len() == 36 && [8, 13, 18, 23].iter().all(|&at| bytes[at] == b'-');
    if !hyphened && bytes.len() != 32 {
        return None;
    }
    let mut value = [0; 16];
    let mut count = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if hyphened && matches!(at, 8 | 13 | 18 | 23) {
            continue;
        }
        let digit = u8::try_from(char::from(byte).to_digit(16)?).ok()?;
        value[count / 2] |= digit << (4 * (1 - count % 2));
        count += 1;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: KeyType = KeyType::Text {
        characters_max: Some(3),
    };

    fn given<'a>(
        sql: &'a str,
        types: &'a [u32],
        parameters: &'a [Option<&'a [u8]>],
        formats: &'a [i16],
    ) -> Given<'a> {
        Given {
            literals: Literals::of(sql),
            parameter_types: types,
            inferred_now: true,
            parameters,
            formats,
            utf8: true,
        }
    }

    fn literal(sql: &str, key: KeyType, role: Role) -> Option<u64> {
        let given = given(sql, &[], &[], &[]);
        let text = given.hash(Constant::Text(0), key, role);
        let number = |token, negative| Constant::Number { token, negative };
        text.or_else(|| given.hash(number(0, false), key, role))
            .or_else(|| given.hash(number(1, true), key, role))
    }

    fn parameter(value: &[u8], oid: u32, format: i16, key: KeyType) -> Option<u64> {
        let constant = Constant::Parameter {
            number: 1,
            repeated: false,
        };
        given("", &[oid], &[Some(value)], &[format]).hash(constant, key, Role::Compared)
    }

    #[test]
    fn seven_is_seven_in_every_dress() {
        let seven = Some(integer(7));
        for sql in [
            "7",
            "007",
            "'7'",
            "'07'",
            "' +7 '",
            "E'\\x37'",
            "$$7$$",
            "U&'\\0037'",
        ] {
            assert_eq!(
                literal(sql, KeyType::Integer, Role::Compared),
                seven,
                "{sql}"
            );
        }
        for oid in [0, UNKNOWN, INT2, INT4, INT8] {
            assert_eq!(parameter(b" 7\n", oid, 0, KeyType::Integer), seven);
        }
        assert_eq!(parameter(&[0, 7], INT2, 1, KeyType::Integer), seven);
        assert_eq!(parameter(&[0, 0, 0, 7], 0, 1, KeyType::Integer), seven);
        assert_eq!(
            parameter(&7i64.to_be_bytes(), INT8, 1, KeyType::Integer),
            seven
        );
        assert_eq!(
            literal("-7", KeyType::Integer, Role::Compared),
            Some(integer(-7))
        );
        assert_eq!(
            literal("'-7'", KeyType::Integer, Role::Compared),
            Some(integer(-7))
        );
    }

    #[test]
    fn what_is_not_certain_has_no_hash() {
        for sql in [
            "7.4",
            "7.0",
            "7e0",
            "'7.0'",
            "'0x7'",
            "'1_0'",
            "''",
            "'- 7'",
            "'--7'",
            "N'7'",
            "'７'",
            "9223372036854775808",
            "'9223372036854775808'",
            "-9223372036854775808",
        ] {
            assert_eq!(
                literal(sql, KeyType::Integer, Role::Compared),
                None,
                "{sql}"
            );
        }
        // numeric, float8, text, bpchar.
        for oid in [1700, 701, 25, 1042] {
            assert_eq!(parameter(b"7", oid, 0, KeyType::Integer), None, "{oid}");
        }
        assert_eq!(parameter(&[7], INT2, 1, KeyType::Integer), None);
        assert_eq!(parameter(b"7", INT4, 2, KeyType::Integer), None);
        assert_eq!(literal("7", TEXT, Role::Compared), None);
        assert_eq!(parameter(b"a", 1042, 0, TEXT), None);
        assert_eq!(parameter(b"\xff", 25, 0, TEXT), None);
    }

    #[test]
    fn nulls_have_no_hash_and_declared_parameters_have_one_in_all_places() {
        let constant = |repeated| Constant::Parameter {
            number: 1,
            repeated,
        };
        let null = given("", &[], &[None], &[]);
        assert_eq!(
            null.hash(constant(false), KeyType::Integer, Role::Compared),
            None
        );
        let declared = given("", &[INT4], &[Some(b"7")], &[]);
        assert!(
            declared
                .hash(constant(true), KeyType::Integer, Role::Compared)
                .is_some()
        );
        assert_eq!(
            given("", &[], &[], &[]).hash(constant(false), KeyType::Integer, Role::Compared),
            None
        );
    }

    #[test]
    fn parameters_of_uncertain_type_are_known_where_every_type_reads_them_alike() {
        let constant = |repeated| Constant::Parameter {
            number: 1,
            repeated,
        };
        for (repeated, inferred_now) in [(true, true), (false, false)] {
            let hash = |value: &[u8], formats: &[i16], key| {
                let values = [Some(value)];
                let given = Given {
                    inferred_now,
                    ..given("", &[], &values, formats)
                };
                given.hash(constant(repeated), key, Role::Compared)
            };
            assert_eq!(hash(b"7", &[], KeyType::Integer), Some(integer(7)));
            assert_eq!(
                hash(b"16777215", &[], KeyType::Integer),
                Some(integer(16_777_215))
            );
            // 4294967295 as a value of the type `oid`.
            assert_eq!(hash(b"-1", &[], KeyType::Integer), None);
            assert_eq!(hash(b"16777216", &[], KeyType::Integer), None);
            assert_eq!(hash(b"7.0", &[], KeyType::Integer), None);
            assert_eq!(hash(&[0, 0, 0, 7], &[1], KeyType::Integer), None);
            assert_eq!(hash(b"t", &[], KeyType::Boolean), Some(boolean(true)));
            assert!(hash(&[7; 16], &[1], KeyType::Uuid).is_some());
            assert_eq!(hash(b"a", &[], TEXT), None);
        }
    }

    #[test]
    fn a_stored_text_is_known_only_as_far_as_it_fits() {
        assert!(literal("'abc'", TEXT, Role::Stored).is_some());
        assert!(literal("'äöü'", TEXT, Role::Stored).is_some());
        assert_eq!(literal("'abc '", TEXT, Role::Stored), None);
        assert!(literal("'abc '", TEXT, Role::Compared).is_some());
        assert_eq!(literal("'ab '", TEXT, Role::Conflicting), None);
        assert_ne!(
            literal("'a'", TEXT, Role::Compared),
            literal("'A'", TEXT, Role::Compared)
        );
        let given = Given {
            utf8: false,
            ..given("'a'", &[], &[], &[])
        };
        assert_eq!(given.hash(Constant::Text(0), TEXT, Role::Compared), None);
    }

    #[test]
    fn booleans_and_uuids() {
        let yes = Some(boolean(true));
        for sql in ["'yes'", "'t'", "' TRUE '", "'1'", "'on'"] {
            assert_eq!(literal(sql, KeyType::Boolean, Role::Compared), yes, "{sql}");
        }
        assert_eq!(
            literal("'of'", KeyType::Boolean, Role::Compared),
            Some(boolean(false))
        );
        for sql in ["'o'", "'2'", "1", "''"] {
            assert_eq!(
                literal(sql, KeyType::Boolean, Role::Compared),
                None,
                "{sql}"
            );
        }
        assert_eq!(parameter(&[1], 16, 1, KeyType::Boolean), yes);
        let id = parameter(
            b"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            2950,
            0,
            KeyType::Uuid,
        );
        assert!(id.is_some());
        assert_eq!(
            literal(
                "'a0eebc999c0b4ef8bb6d6bb9bd380a11'",
                KeyType::Uuid,
                Role::Compared
            ),
            id
        );
        for sql in [
            "'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'",
            "'a0eebc99'",
            "'g0eebc999c0b4ef8bb6d6bb9bd380a11'",
        ] {
            assert_eq!(literal(sql, KeyType::Uuid, Role::Compared), None, "{sql}");
        }
    }

    #[test]
    fn elements_are_values_of_the_type_that_the_array_has() {
        let any = |value: &str, oid: u32, cast, inferred_now| {
            let value = [Some(value.as_bytes())];
            let types = [oid];
            let given = Given {
                inferred_now,
                ..given("", &types, &value, &[])
            };
            let constant = Constant::Elements {
                number: 1,
                repeated: false,
                cast,
            };
            let hashes = given.hashes(constant, KeyType::Integer, Role::Compared)?;
            Some(hashes.to_vec())
        };
        let some = |values: &[i64]| Some(values.iter().copied().map(integer).collect::<Vec<_>>());
        assert_eq!(any("{7, +08}", 0, None, true), some(&[7, 8]));
        assert_eq!(any("{7,NULL}", 1007, None, false), some(&[7]));
        assert_eq!(any("{16777216}", 0, None, true), some(&[1 << 24]));
        assert_eq!(any("{16777216}", 0, None, false), None);
        let cast = Some(crate::sql::ArrayOf::Integers);
        assert_eq!(any("{16777216}", 0, cast, false), some(&[1 << 24]));
        // text[] and numeric[], whatever they are cast to.
        for oid in [1009, 1231] {
            assert_eq!(any("{7}", oid, cast, true), None);
            assert_eq!(any("{7}", oid, None, true), None);
        }
        assert_eq!(any("{7.0}", 0, None, true), None);
        assert_eq!(any("7", 0, None, true), None);
    }
}
