//! Who may come from where, and how they prove who they are: `pg_hba.conf` and `pg_ident.conf`,
//! in PostgreSQL's syntax. Without I/O: the caller reads the files and knows the addresses.

mod address;
mod ident;
mod line;
mod rule;

use std::net::IpAddr;

pub use address::Network;
pub use ident::IdentMaps;
pub use rule::{ClientCert, Method, Rule};

/// A mistake in a file, by its line. Names no file: the caller knows which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct HbaError {
    pub line: usize,
    pub why: String,
}

/// The rules in their order: the first that matches decides.
#[derive(Debug, Default)]
pub struct Hba {
    rules: Vec<Rule>,
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
    /// Whether an address is this machine's own, and the networks that it is part of: asked for
    /// only where a rule says samehost or samenet.
    pub is_own: &'a dyn Fn(IpAddr) -> bool,
    pub own_networks: &'a dyn Fn() -> Vec<Network>,
}

impl Hba {
    /// # Errors
    /// The first mistake: half a list of rules would let in whom the other half keeps out.
    pub fn parse(text: &str) -> Result<Self, HbaError> {
        let mut rules = Vec::new();
        for line in line::lines(text)? {
            rules.push(Rule::read(&line).map_err(|why| HbaError {
                line: line.number,
                why,
            })?);
        }
        Ok(Self { rules })
    }

    /// The rule that decides; `None` keeps the client out.
    pub fn decide(&self, visit: &Visit<'_>) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches(visit))
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

#[cfg(test)]
mod tests;
