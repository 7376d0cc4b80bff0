//! Session settings (GUCs) that differ from the login defaults, and the SQL
//! that takes a connection from one set of them to another.
//!
//! Pure: text in, text out. What is in force on a connection is known to the
//! session that read it; this file only compares and spells.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

/// The longest name that `RESET` can spell: NAMEDATALEN - 1 of each dotted part.
const NAME_PART_BYTES_MAX: usize = 63;

/// `role` and `session_authorization` change who runs the other statements, so
/// they are undone first and set last.
const ROLE: &str = "role";
const SESSION_AUTHORIZATION: &str = "session_authorization";

/// Why a setting cannot be carried from one connection to another.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    #[error("\"{0}\" is not the name of a setting")]
    Name(String),
    #[error("the value of \"{0}\" holds a zero byte")]
    Value(String),
}

/// An immutable set of settings: names in lower case, values as `SHOW` prints them.
///
/// Cloning is a reference count, comparing is a pointer or a digest in the
/// common cases.
#[derive(Clone, Default)]
pub struct Settings(Option<Arc<Inner>>);

struct Inner {
    values: BTreeMap<String, String>,
    digest: u128,
}

impl Settings {
    /// The login defaults: nothing was set.
    pub const fn none() -> Self {
        Self(None)
    }

    /// True if nothing differs from the login defaults.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// These settings and one more, which replaces an earlier value.
    ///
    /// # Errors
    /// If `name` cannot be the name of a setting, or `value` has a zero byte.
    pub fn with(&self, name: &str, value: &str) -> Result<Self, SettingsError> {
        let name = checked_name(name)?;
        if value.contains('\0') {
            return Err(SettingsError::Value(name.into_owned()));
        }
        if self.get(&name) == Some(value) {
            return Ok(self.clone());
        }
        let mut values = self.values();
        values.insert(name.into_owned(), value.to_owned());
        Ok(Self::from_values(values))
    }

    /// These settings with `name` back at its login default.
    pub fn without(&self, name: &str) -> Self {
        if self.get(name).is_none() {
            return self.clone();
        }
        let mut values = self.values();
        values.remove(name.to_ascii_lowercase().as_str());
        Self::from_values(values)
    }

    /// The value of `name` (any case), `None` if it has its login default.
    pub fn get(&self, name: &str) -> Option<&str> {
        let values = &self.0.as_ref()?.values;
        let value = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            false => values.get(name),
            true => values.get(name.to_ascii_lowercase().as_str()),
        };
        value.map(String::as_str)
    }

    /// Names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .flat_map(|inner| &inner.values)
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A number that stands for the whole set: zero for none. Equal sets have
    /// equal digests; use `==` where a collision would matter.
    pub fn digest(&self) -> u128 {
        self.0.as_ref().map_or(0, |inner| inner.digest)
    }

    fn values(&self) -> BTreeMap<String, String> {
        self.0
            .as_ref()
            .map_or_else(BTreeMap::new, |inner| inner.values.clone())
    }

    fn from_values(values: BTreeMap<String, String>) -> Self {
        if values.is_empty() {
            return Self(None);
        }
        let digest = digest(&values);
        Self(Some(Arc::new(Inner { values, digest })))
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(left), Some(right)) => {
                Arc::ptr_eq(left, right)
                    // A digest is not proof: applications choose the values.
                    || (left.digest == right.digest && left.values == right.values)
            }
            _ => false,
        }
    }
}

impl Eq for Settings {}

impl Hash for Settings {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest().hash(state);
    }
}

/// Prints names only: values may be secrets of the application.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

/// One simple-query string that takes a connection from `from` to `to`; `None`
/// if they are the same.
///
/// The string is ASCII whatever `client_encoding` is, so that no multi-byte
/// encoding can swallow a quote, and does not depend on
/// `standard_conforming_strings`, `backslash_quote` or `search_path`.
pub fn restore_sql(from: &Settings, to: &Settings) -> Option<String> {
    if from == to {
        return None;
    }
    let mut sql = String::with_capacity(128);
    push_reset_of_user(&mut sql, from);
    for (name, _) in from.iter().filter(|(name, _)| !changes_user(name)) {
        if to.get(name).is_none() {
            sql.push_str("RESET ");
            push_name(&mut sql, name);
            sql.push(';');
        }
    }
    let others = to.iter().filter(|(name, _)| !changes_user(name));
    let new = others.filter(|(name, value)| from.get(name) != Some(*value));
    push_set(&mut sql, new.map(|(name, value)| (name, value, false)));
    if let Some(user) = to.get(SESSION_AUTHORIZATION) {
        sql.push_str("SET SESSION AUTHORIZATION ");
        push_literal(&mut sql, user);
        sql.push(';');
    }
    if let Some(role) = to.get(ROLE) {
        sql.push_str("SET ROLE ");
        push_literal(&mut sql, role);
        sql.push(';');
    }
    Some(sql)
}

/// As [`restore_sql`], from a state of which `from` is perhaps not all: whatever else is set goes as well.
pub fn restore_all_sql(from: &Settings, to: &Settings) -> String {
    let mut sql = String::with_capacity(128);
    push_reset_of_user(&mut sql, from);
    // It needs no right to the single settings, and leaves the user alone.
    sql.push_str("RESET ALL;");
    sql.push_str(&restore_sql(&Settings::none(), to).unwrap_or_default());
    sql
}

/// A role that was taken on may lack the right to change the rest.
fn push_reset_of_user(sql: &mut String, from: &Settings) {
    if from.get(ROLE).is_some() {
        sql.push_str("RESET ROLE;");
    }
    if from.get(SESSION_AUTHORIZATION).is_some() {
        sql.push_str("RESET SESSION AUTHORIZATION;");
    }
}

/// One simple-query string that sets all of these: names, values, and whether for the transaction only.
pub fn set_sql<'a>(settings: impl Iterator<Item = (&'a str, &'a str, bool)>) -> String {
    let mut sql = String::new();
    push_set(&mut sql, settings);
    sql
}

fn push_set<'a>(sql: &mut String, settings: impl Iterator<Item = (&'a str, &'a str, bool)>) {
    let mut separator = "SELECT ";
    for (name, value, local) in settings {
        sql.push_str(separator);
        sql.push_str("pg_catalog.set_config(");
        push_literal(sql, name);
        sql.push_str(", ");
        push_literal(sql, value);
        // The value itself would come back in the client's encoding.
        let _ = write!(sql, ", {local}) IS NULL");
        separator = ", ";
    }
    if separator == ", " {
        sql.push(';');
    }
}

fn changes_user(name: &str) -> bool {
    name == ROLE || name == SESSION_AUTHORIZATION
}

/// The name in lower case, if it is one: dotted parts of ASCII letters, digits,
/// `_` and `$`, as PostgreSQL 14 and later demand (chapter 20.16).
fn checked_name(name: &str) -> Result<Cow<'_, str>, SettingsError> {
    let part_is_valid = |part: &str| {
        part.len() <= NAME_PART_BYTES_MAX
            && part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$')
    };
    if !name.split('.').all(part_is_valid) {
        return Err(SettingsError::Name(name.chars().take(64).collect()));
    }
    Ok(match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        false => Cow::Borrowed(name),
        true => Cow::Owned(name.to_ascii_lowercase()),
    })
}

/// A checked name, quoted because some are reserved words.
fn push_name(sql: &mut String, name: &str) {
    for (index, part) in name.split('.').enumerate() {
        if index > 0 {
            sql.push('.');
        }
        sql.push('"');
        sql.push_str(part);
        sql.push('"');
    }
}

/// `text` as an `E''` literal of ASCII characters.
fn push_literal(sql: &mut String, text: &str) {
    sql.push_str("E'");
    for character in text.chars() {
        match character {
            // Doubled, not escaped: `backslash_quote = off` refuses \'.
            '\'' => sql.push_str("''"),
            '\\' => sql.push_str("\\\\"),
            ' '..='~' => sql.push(character),
            '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(sql, "\\x{:02x}", u32::from(character));
            }
            _ if u32::from(character) <= 0xffff => {
                let _ = write!(sql, "\\u{:04x}", u32::from(character));
            }
            _ => {
                let _ = write!(sql, "\\U{:08x}", u32::from(character));
            }
        }
    }
    sql.push('\'');
}

fn digest(values: &BTreeMap<String, String>) -> u128 {
    let mut hasher = Xxh3::new();
    for text in values.iter().flat_map(|(name, value)| [name, value]) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().fold(Settings::none(), |set, (name, value)| {
            set.with(name, value).unwrap()
        })
    }

    #[test]
    fn order_of_setting_does_not_matter() {
        let one = settings(&[("search_path", "a"), ("TimeZone", "UTC")]);
        let two = settings(&[("timezone", "UTC"), ("search_path", "a")]);
        assert_eq!(one, two);
        assert_eq!(one.digest(), two.digest());
        assert_eq!(one.get("TIMEZONE"), Some("UTC"));
    }

    #[test]
    fn taking_the_last_one_away_leaves_none() {
        let one = settings(&[("search_path", "a")]);
        assert_eq!(one.without("Search_Path"), Settings::none());
        assert_eq!(one.without("timezone"), one);
        assert_eq!(Settings::none().digest(), 0);
    }

    #[test]
    fn names_that_could_not_be_spelled_are_refused() {
        for name in [
            "",
            "a b",
            "a;",
            "a\"b",
            "1a",
            "a..b",
            ".a",
            "a.",
            "é",
            &"x".repeat(64),
        ] {
            assert!(Settings::none().with(name, "1").is_err(), "{name}");
        }
        for name in ["work_mem", "my.app$x", "_a.b.c"] {
            assert!(Settings::none().with(name, "1").is_ok(), "{name}");
        }
        assert!(Settings::none().with("a", "x\0y").is_err());
    }

    #[test]
    fn restoring_the_same_is_nothing() {
        let one = settings(&[("work_mem", "1MB")]);
        assert_eq!(restore_sql(&one, &one.clone()), None);
        assert_eq!(restore_sql(&Settings::none(), &Settings::none()), None);
    }

    #[test]
    fn what_vanishes_is_reset_and_the_rest_is_set() {
        let from = settings(&[("a.b", "1"), ("work_mem", "1MB"), ("timezone", "UTC")]);
        let to = settings(&[
            ("timezone", "UTC"),
            ("work_mem", "2MB"),
            ("search_path", "s"),
        ]);
        assert_eq!(
            restore_sql(&from, &to).unwrap(),
            "RESET \"a\".\"b\";SELECT pg_catalog.set_config(E'search_path', E's', false) IS NULL, \
             pg_catalog.set_config(E'work_mem', E'2MB', false) IS NULL;"
        );
    }

    #[test]
    fn role_is_reset_first_and_set_last() {
        let from = settings(&[("role", "a"), ("session_authorization", "b")]);
        let to = settings(&[
            ("role", "c'd"),
            ("session_authorization", "e"),
            ("x.y", "1"),
        ]);
        assert_eq!(
            restore_sql(&from, &to).unwrap(),
            "RESET ROLE;RESET SESSION AUTHORIZATION;\
             SELECT pg_catalog.set_config(E'x.y', E'1', false) IS NULL;\
             SET SESSION AUTHORIZATION E'e';SET ROLE E'c''d';"
        );
        assert_eq!(
            restore_sql(&from, &Settings::none()).unwrap(),
            "RESET ROLE;RESET SESSION AUTHORIZATION;"
        );
    }

    #[test]
    fn a_kept_role_is_left_while_the_rest_changes() {
        let from = settings(&[("role", "a")]);
        let to = from.with("log_statement", "all").unwrap();
        assert_eq!(
            restore_sql(&from, &to).unwrap(),
            "RESET ROLE;SELECT pg_catalog.set_config(E'log_statement', E'all', false) IS NULL;\
             SET ROLE E'a';"
        );
    }

    /// Reads an `E''` literal as PostgreSQL's scanner does; `None` unless it is
    /// exactly one literal.
    fn read_literal(sql: &str) -> Option<String> {
        let body = sql.strip_prefix("E'")?.strip_suffix('\'')?;
        let mut characters = body.chars();
        let mut text = String::new();
        while let Some(character) = characters.next() {
            match character {
                '\'' => {
                    (characters.next()? == '\'').then_some(())?;
                    text.push('\'');
                }
                '\\' => {
                    let digits = match characters.next()? {
                        '\\' => {
                            text.push('\\');
                            continue;
                        }
                        'x' => 2,
                        'u' => 4,
                        'U' => 8,
                        _ => return None,
                    };
                    let number: String = characters.by_ref().take(digits).collect();
                    text.push(char::from_u32(u32::from_str_radix(&number, 16).ok()?)?);
                }
                other => text.push(other),
            }
        }
        Some(text)
    }

    proptest! {
        #[test]
        fn a_literal_reads_back_as_it_was(text in any::<String>()) {
            let text = text.replace('\0', "");
            let mut sql = String::new();
            push_literal(&mut sql, &text);
            prop_assert!(sql.is_ascii());
            prop_assert_eq!(read_literal(&sql), Some(text));
        }

        #[test]
        fn equal_sets_have_equal_digests(
            pairs in proptest::collection::vec(("[a-c]", "[a-c]{0,2}"), 0..6),
        ) {
            let forward = pairs.iter().fold(Settings::none(), |set, (name, value)| {
                set.with(name, value).unwrap()
            });
            let again: BTreeMap<_, _> = pairs.into_iter().collect();
            let sorted = again.iter().fold(Settings::none(), |set, (name, value)| {
                set.with(name, value).unwrap()
            });
            prop_assert_eq!(&forward, &sorted);
            prop_assert_eq!(forward.digest(), sorted.digest());
            prop_assert_eq!(restore_sql(&forward, &sorted), None);
        }
    }
}
