//! What can be wrong with a configuration, and where it stands.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// `line` counts from one.
    File {
        path: Arc<Path>,
        line: usize,
    },
    /// The name of the environment variable.
    Environment(String),
    /// The flag as it is written, such as `--set`.
    Flag(&'static str),
    /// `SET` on the console.
    Console,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Console => f.write_str("console SET"),
        }
    }
}

/// One mistake of the operator's: nothing was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub origin: Origin,
    pub problem: Problem,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            // A default is never wrong by itself: the message says what to set.
            Origin::Default => self.problem.fmt(f),
            origin => write!(f, "{origin}: {}", self.problem),
        }
    }
}

/// The kinds of mistake. No variant ever holds a secret's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("cannot read {what}: {why}")]
    Unreadable { what: String, why: String },
    #[error("not TOML: {0}")]
    Syntax(String),
    #[error("unknown section [{name}]{}", hint(.nearest.as_deref()))]
    UnknownSection {
        name: String,
        nearest: Option<String>,
    },
    #[error("unknown key {name}{}", hint(.nearest.as_deref()))]
    UnknownKey {
        name: String,
        nearest: Option<String>,
    },
    /// Planned, and refused until it exists: never silently weaker.
    #[error("{0} is not available in this version")]
    NotAvailable(String),
    #[error("{key}: {why}")]
    Invalid { key: String, why: String },
    /// Each value is fine; together they are not.
    #[error("{why}")]
    Together { key: String, why: String },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

impl Problem {
    /// The `section.key` (or `section`) that the problem is about; empty for a file as a whole.
    pub fn key(&self) -> &str {
        match self {
            Self::Unreadable { .. } | Self::Syntax(_) => "",
            Self::UnknownSection { name, .. } | Self::UnknownKey { name, .. } => name,
            Self::NotAvailable(key) | Self::Invalid { key, .. } | Self::Together { key, .. } => key,
        }
    }
}

/// Everything that is wrong: the file's mistakes by line, then the other layers'. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `Err` when there are any.
    pub(super) fn unless_empty(mut errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort_by_key(|error| match &error.origin {
            Origin::File { line, .. } => (0, *line),
            Origin::Environment(_) => (1, 0),
            Origin::Flag(_) => (2, 0),
            Origin::Console => (3, 0),
            Origin::Default => (4, 0),
        });
        Err(Self(errors))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}
