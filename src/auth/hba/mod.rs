//! Who may come from where, and how they prove who they are: `pg_hba.conf` and `pg_ident.conf`,
//! in PostgreSQL's syntax. Without I/O: the caller reads the files and knows the addresses.

mod address;
mod ident;
mod line;
mod rule;
mod source;

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

pub use address::Network;
pub use ident::IdentMaps;
pub use rule::{ClientCert, Method, Rule};
pub use source::Files;

use source::Text;

/// A mistake in a file, by its line; line zero is the file itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: line {line}: {why}", file.display())]
pub struct HbaError {
    pub file: PathBuf,
    pub line: usize,
    pub why: String,
}

/// The rules in their order: the first that matches decides.
#[derive(Debug, Default)]
pub struct Hba {
    rules: Vec<Rule>,
    files: Vec<PathBuf>,
}

/// What the rules ask about a client.
pub struct Visit<'a> {
    /// `None` on a Unix socket.
    pub address: Option<IpAddr>,
    pub encrypted: bool,
    pub user: &'a str,
    pub database: &'a str,
    /// Physical replication, which is of no database.
    pub is_physical: bool,
    /// The roles that the user is a member of, directly or not, itself included.
    pub roles: Option<&'a HashSet<String>>,
    /// Whether an address is this machine's own, and the networks that it is part of: asked for
    /// only where a rule says samehost or samenet.
    pub is_own: &'a dyn Fn(IpAddr) -> bool,
    pub own_networks: &'a dyn Fn() -> Vec<Network>,
}

/// Which rule decides depends on the user's roles, and [`Visit::roles`] are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeedsRoles;

impl Hba {
    /// # Errors
    /// The first mistake: half a list of rules would let in whom the other half keeps out.
    pub fn read(path: &Path, files: &Files<'_>) -> Result<Self, HbaError> {
        let text = Text::read(path, files)?;
        let mut rules = Vec::new();
        for line in &text.lines {
            rules.push(Rule::read(line).map_err(|why| HbaError {
                file: line.file.to_path_buf(),
                line: line.number,
                why,
            })?);
        }
        Ok(Self {
            rules,
            files: text.seen,
        })
    }

    /// The rule that decides; `None` keeps the client out.
    ///
    /// # Errors
    /// Only if no roles are given, and only where they matter.
    pub fn decide(&self, visit: &Visit<'_>) -> Result<Option<&Rule>, NeedsRoles> {
        for rule in &self.rules {
            if rule.matches(visit).ok_or(NeedsRoles)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The files that say all this: when one changes, read again.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

#[cfg(test)]
mod tests;
