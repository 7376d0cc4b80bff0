//! The kinds of value: how each is read from TOML or bare text, and written as TOML.

use std::path::PathBuf;

use super::nearest::nearest;
use super::words::Word;

/// A value as a layer gives it, before anyone knows what it is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    /// Text from the environment or a flag: its kind is the key's.
    Bare(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Raw>),
    /// A table or a date, which no key takes.
    Other(&'static str),
}

impl Raw {
    /// The text, where there is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Bare(text) | Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_empty_text(&self) -> bool {
        self.text() == Some("")
    }

    fn describe(&self) -> String {
        match self {
            Self::Bare(text) | Self::Text(text) => quoted(text),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::List(_) => "a list".into(),
            Self::Other(kind) => (*kind).into(),
        }
    }

    pub(super) fn expected(&self, what: impl std::fmt::Display) -> String {
        format!("expected {what}, got {}", self.describe())
    }
}

/// A TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// How a `T` is read and written. Errors are sentences for the operator, without the key's name.
pub(crate) trait Kind<T> {
    fn read(&self, raw: &Raw) -> Result<T, String>;
    fn show(&self, value: &T) -> String;
    /// What may be given, with the unit or the range, in words for users.
    fn takes(&self) -> String;
    /// Whether two values of this key are one, as a reload sees it.
    fn same(&self, a: &T, b: &T) -> bool
    where
        T: PartialEq,
    {
        a == b
    }
}

/// [`Kind::takes`] of the kind of a value's type.
pub(crate) fn takes<T>(kind: &impl Kind<T>, _value: &T) -> String {
    kind.takes()
}

pub(crate) struct Text;

impl Kind<String> for Text {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        let text = raw.text().ok_or_else(|| raw.expected("text in quotes"))?;
        if text.contains('\0') {
            return Err("a zero byte cannot be sent to PostgreSQL".into());
        }
        Ok(text.to_owned())
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }

    fn takes(&self) -> String {
        "text".into()
    }
}

/// As [`Text`], and not empty.
pub(crate) struct Name;

impl Kind<String> for Name {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        let text = Text.read(raw)?;
        match text.is_empty() {
            true => Err("must not be empty".into()),
            false => Ok(text),
        }
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }

    fn takes(&self) -> String {
        "text".into()
    }
}

pub(crate) struct Path;

impl Kind<PathBuf> for Path {
    fn read(&self, raw: &Raw) -> Result<PathBuf, String> {
        Name.read(raw).map(PathBuf::from)
    }

    fn show(&self, value: &PathBuf) -> String {
        quoted(&value.to_string_lossy())
    }

    fn takes(&self) -> String {
        "path".into()
    }
}

/// A list of texts; in the environment and in flags they are separated by commas.
pub(crate) struct Names;

impl Kind<Vec<String>> for Names {
    fn read(&self, raw: &Raw) -> Result<Vec<String>, String> {
        match raw {
            Raw::List(items) => items.iter().map(|item| Name.read(item)).collect(),
            Raw::Bare(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()),
            _ => Err(raw.expected(r#"a list such as ["a", "b"]"#)),
        }
    }

    fn show(&self, value: &Vec<String>) -> String {
        let items: Vec<String> = value.iter().map(|item| quoted(item)).collect();
        format!("[{}]", items.join(", "))
    }

    fn takes(&self) -> String {
        "list".into()
    }
}

/// A whole number within bounds, both included.
pub(crate) struct Count(pub u64, pub u64);

impl<T: Copy + TryFrom<u64> + std::fmt::Display> Kind<T> for Count {
    fn read(&self, raw: &Raw) -> Result<T, String> {
        let number = match raw {
            Raw::Integer(number) => u64::try_from(*number).ok(),
            Raw::Bare(text) => text.trim().parse().ok(),
            _ => None,
        };
        number
            .filter(|number| (self.0..=self.1).contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| match self.1 {
                u64::MAX => raw.expected(format_args!("a whole number of at least {}", self.0)),
                most => raw.expected(format_args!("a whole number from {} to {most}", self.0)),
            })
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }

    fn takes(&self) -> String {
        format!("{} to {}", self.0, self.1)
    }
}

/// A part of a whole, from 0 to 1.
pub(crate) struct Share;

impl Kind<f64> for Share {
    fn read(&self, raw: &Raw) -> Result<f64, String> {
        let share = match raw {
            Raw::Float(number) => Some(*number),
            Raw::Integer(0) => Some(0.0),
            Raw::Integer(1) => Some(1.0),
            Raw::Bare(text) => text.trim().parse().ok(),
            _ => None,
        };
        share
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| raw.expected("a number from 0 to 1"))
    }

    fn show(&self, value: &f64) -> String {
        value.to_string()
    }

    fn takes(&self) -> String {
        "0 to 1".into()
    }
}

/// One of the words of `T`.
pub(crate) struct OneOf;

impl<T: Word> Kind<T> for OneOf {
    fn read(&self, raw: &Raw) -> Result<T, String> {
        let given = match raw {
            Raw::Bool(value) => value.to_string(),
            Raw::Bare(text) => text.trim().to_owned(),
            other => other.text().unwrap_or_default().to_owned(),
        };
        if let Some((_, value)) = T::WORDS
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(&given))
        {
            return Ok(*value);
        }
        if let Some(word) = T::NOT_AVAILABLE.iter().find(|word| **word == given) {
            return Err(format!("{word:?} is not available in this version"));
        }
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        let hint = nearest(&given, words.iter().copied())
            .filter(|_| !given.is_empty())
            .map_or_else(String::new, |word| format!("; did you mean {word:?}?"));
        Err(format!(
            "{}{hint}",
            raw.expected(format_args!("one of {}", words.join(", ")))
        ))
    }

    fn show(&self, value: &T) -> String {
        let word = T::WORDS.iter().find(|(_, known)| known == value);
        match word.map_or("", |(word, _)| *word) {
            // The words of `bool` are TOML's own.
            word @ ("true" | "false") => word.to_owned(),
            word => quoted(word),
        }
    }

    fn takes(&self) -> String {
        let mut words: Vec<(&str, T)> = Vec::new();
        for (word, value) in T::WORDS {
            // The first spelling of each.
            if !words.iter().any(|(_, known)| known == value) {
                words.push((word, *value));
            }
        }
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        words.join(", ")
    }
}

/// `None` is written as the given word (empty for most keys), since TOML has no null and every key has a value.
pub(crate) struct Maybe<K>(pub &'static str, pub K);

impl<T, K: Kind<T>> Kind<Option<T>> for Maybe<K> {
    fn read(&self, raw: &Raw) -> Result<Option<T>, String> {
        match raw.text() {
            Some(text) if text == self.0 => Ok(None),
            _ => match self.1.read(raw) {
                Ok(value) => Ok(Some(value)),
                Err(why) if self.0.is_empty() => Err(why),
                Err(why) => Err(format!("{why} (or {})", quoted(self.0))),
            },
        }
    }

    fn show(&self, value: &Option<T>) -> String {
        value
            .as_ref()
            .map_or_else(|| quoted(self.0), |value| self.1.show(value))
    }

    fn takes(&self) -> String {
        match self.0 {
            "" => self.1.takes(),
            word => format!("{word}, or {}", self.1.takes()),
        }
    }
}

/// Root certificates: `system`, in libpq's words, is the same as none given.
pub(crate) struct CaFile;

impl Kind<Option<PathBuf>> for CaFile {
    fn read(&self, raw: &Raw) -> Result<Option<PathBuf>, String> {
        match raw.text() {
            Some("system") => Ok(None),
            _ => Maybe("", Path).read(raw),
        }
    }

    fn show(&self, value: &Option<PathBuf>) -> String {
        Maybe("", Path).show(value)
    }

    fn takes(&self) -> String {
        "path".into()
    }
}

/// A shape's id as logs print it.
pub(crate) struct Shape;

impl Kind<String> for Shape {
    fn read(&self, raw: &Raw) -> Result<String, String> {
        raw.text()
            .filter(|text| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()))
            .map(str::to_ascii_lowercase)
            .ok_or_else(|| raw.expected("16 hexadecimal digits"))
    }

    fn show(&self, value: &String) -> String {
        quoted(value)
    }

    fn takes(&self) -> String {
        "16 hexadecimal digits".into()
    }
}

#[cfg(test)]
#[path = "value_tests.rs"]
mod tests;
