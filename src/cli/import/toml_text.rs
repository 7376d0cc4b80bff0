//! The output: sections in their usual order, values as they are written.

use std::fmt;

use crate::config::keys;

/// Tables of `name = value` lines; the values are TOML already.
#[derive(Default)]
pub(super) struct Document {
    settings: Vec<(&'static str, &'static str, String)>,
    arrays: Vec<(&'static str, Vec<(&'static str, String)>)>,
}

impl Document {
    /// Sets a key from `text` as a flag would.
    ///
    /// # Errors
    /// A sentence when the value is not one of ours.
    pub(super) fn set(&mut self, full: &str, text: &str) -> Result<(), String> {
        let key = keys::find(full).ok_or("no such key")?;
        let value = key.to_toml(text)?;
        self.settings
            .retain(|(section, name, _)| (*section, *name) != (key.section, key.name));
        self.settings.push((key.section, key.name, value));
        Ok(())
    }

    pub(super) fn has(&self, full: &str) -> bool {
        self.settings
            .iter()
            .any(|(section, name, _)| full.split_once('.') == Some((*section, *name)))
    }

    /// Adds one element of an array of tables.
    pub(super) fn push(&mut self, array: &'static str, lines: Vec<(&'static str, String)>) {
        self.arrays.push((array, lines));
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Made from a pgbouncer.ini. Every other option has its default."
        )?;
        for (section, _) in keys::SECTIONS {
            let mut lines = self
                .settings
                .iter()
                .filter(|(of, _, _)| of == section)
                .peekable();
            if lines.peek().is_some() {
                writeln!(f, "\n[{section}]")?;
            }
            for (_, name, value) in lines {
                writeln!(f, "{name} = {value}")?;
            }
        }
        for (array, lines) in &self.arrays {
            writeln!(f, "\n[[{array}]]")?;
            for (name, value) in lines {
                writeln!(f, "{name} = {value}")?;
            }
        }
        Ok(())
    }
}
