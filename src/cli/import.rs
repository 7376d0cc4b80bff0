//! `import-pgbouncer`: pgbouncer.ini and its user list → `config.toml`.
//!
//! Equivalent means that what PgBouncer does by its own defaults is written out where ours differ. Whatever has no
//! counterpart becomes a note, and nothing becomes weaker without one.

use std::path::{Path, PathBuf};

use super::Failure;
use super::ini::{self, Entry};
use crate::config;

mod databases;
mod settings;
mod toml_text;
mod users;

use toml_text::Document;

pub(super) fn run(path: &Path, userlist: Option<&Path>) -> Result<(), Failure> {
    let import = Import::read(path, userlist)?;
    for note in &import.notes {
        eprintln!("note: {note}");
    }
    let text = import.document.to_string();
    super::print(&text)?;
    // What is missing, such as a secret that only auth_query knew, is for the operator to add.
    match config::check_text(&text) {
        Ok(_) => Ok(()),
        Err(errors) => Err(format!("the output does not pass check-config yet:\n{errors}").into()),
    }
}

struct Import {
    document: Document,
    notes: Vec<String>,
    /// Where PgBouncer's socket is, and where it looks for PostgreSQL's.
    socket_dir: String,
    auth_file: Option<PathBuf>,
    scram_only: bool,
    /// Users and passwords that stand in `[databases]`.
    forced: Vec<(String, String)>,
}

impl Import {
    fn read(path: &Path, userlist: Option<&Path>) -> Result<Self, Failure> {
        let entries = ini::read(path)?;
        let mut import = Self {
            document: Document::default(),
            notes: Vec::new(),
            socket_dir: "/tmp".into(),
            auth_file: None,
            scram_only: false,
            forced: Vec::new(),
        };
        import.settings(&of_section(&entries, "pgbouncer"));
        import.databases(&of_section(&entries, "databases"));
        let listed = match (userlist, &import.auth_file) {
            (Some(file), _) => ini::read_named(file, Path::new(""))?,
            (None, Some(file)) => {
                let base = path.parent().unwrap_or(Path::new(""));
                ini::read_named(file, base)?
            }
            (None, None) => String::new(),
        };
        import.users(&ini::userlist(&listed), &of_section(&entries, "users"));
        for entry in &entries {
            if !["pgbouncer", "databases", "users"].contains(&entry.section.as_str()) {
                import.note(entry, "is in a section that PgBouncer does not know");
            }
        }
        Ok(import)
    }

    fn note(&mut self, entry: &Entry, why: &str) {
        self.notes
            .push(format!("{}: {}: {why}", entry.at, entry.name));
    }
}

/// The entries of one section; of one name given twice the later counts, as in PgBouncer.
fn of_section<'a>(entries: &'a [Entry], section: &str) -> Vec<&'a Entry> {
    let mut found: Vec<&Entry> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.section == section) {
        match found.iter_mut().find(|other| other.name == entry.name) {
            Some(earlier) => *earlier = entry,
            None => found.push(entry),
        }
    }
    found
}

#[cfg(test)]
#[path = "import/tests.rs"]
mod tests;
