//! The file as a layer: TOML with the line of every value, and every mistake in it.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use super::error::{ConfigError, Origin, Problem};
use super::merge::{Given, Loaded, apply};
use super::nearest::nearest;
use super::table::Key;
use super::value::Raw;
use super::{Config, keys};

/// Reads `text` as the file at `path`. Arrays of tables, which no other layer has, go to `loaded` at once.
pub(super) fn read(
    path: &Arc<Path>,
    text: &str,
    loaded: &mut Loaded,
    errors: &mut Vec<ConfigError>,
) -> Vec<Given<Config>> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        path,
        text,
        loaded,
        errors,
    };
    for error in &syntax {
        let problem = Problem::Syntax(error.message().trim().replace('\n', ", "));
        reader.report(error.span().map_or(0, |span| span.start), problem);
    }
    if !syntax.is_empty() {
        // What the parser made of a broken file would only add mistakes that nobody made.
        return Vec::new();
    }
    reader.document(document.get_ref())
}

struct Reader<'a> {
    path: &'a Arc<Path>,
    text: &'a str,
    loaded: &'a mut Loaded,
    errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        Origin::File {
            path: self.path.clone(),
            line: 1 + memchr::memchr_iter(b'\n', before).count(),
        }
    }

    fn report(&mut self, offset: usize, problem: Problem) {
        self.errors.push(ConfigError {
            origin: self.origin(offset),
            problem,
        });
    }

    fn document(&mut self, document: &DeTable<'_>) -> Vec<Given<Config>> {
        let mut layer = Vec::new();
        for (name, value) in document {
            let at = name.span().start;
            let name: &str = name.get_ref();
            match (name, value.get_ref()) {
                ("databases", value) => {
                    let items = self.array(name, at, value, keys::DATABASE_KEYS);
                    self.loaded.config.databases = items;
                }
                ("users", value) => {
                    let items = self.array(name, at, value, keys::USER_KEYS);
                    self.loaded.config.users = items;
                }
                (_, value) if known_section(name) => match value {
                    DeValue::Table(table) => self.section(name, table, &mut layer),
                    _ => self.report(
                        at,
                        Problem::Invalid {
                            key: name.into(),
                            why: format!("is a section: write [{name}]"),
                        },
                    ),
                },
                _ => self.unknown_section(name, at),
            }
        }
        layer
    }

    fn unknown_section(&mut self, name: &str, at: usize) {
        if keys::NOT_AVAILABLE.contains(&name) {
            self.report(at, Problem::NotAvailable(format!("[{name}]")));
            return;
        }
        // A key without its section is more likely than a section that is spelled like a key.
        let nearest = match keys::KEYS.iter().find(|key| key.name == name) {
            Some(key) => Some(format!("{} in [{}]", key.name, key.section)),
            None => {
                let sections = keys::SECTIONS.iter().map(|(name, _)| *name);
                nearest(name, sections.chain(["databases", "users"]))
                    .map(|name| format!("[{name}]"))
            }
        };
        self.report(
            at,
            Problem::UnknownSection {
                name: name.into(),
                nearest,
            },
        );
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>, layer: &mut Vec<Given<Config>>) {
        for (name, value) in table {
            let at = name.span().start;
            let name: &str = name.get_ref();
            let full = format!("{section}.{name}");
            if let (true, DeValue::Table(part)) = (known_section(&full), value.get_ref()) {
                self.section(&full, part, layer);
            } else if full == "cache.rules" {
                let items = self.array(&full, at, value.get_ref(), keys::RULE_KEYS);
                self.loaded.config.cache.rules = items;
            } else if let Some(key) = keys::find(&full) {
                layer.push(Given {
                    key,
                    raw: raw(value.get_ref()),
                    origin: self.origin(at),
                });
            } else {
                self.report(at, unknown_key(&full));
            }
        }
    }

    fn array<T: Default>(
        &mut self,
        array: &str,
        at: usize,
        value: &DeValue<'_>,
        keys: &'static [Key<T>],
    ) -> Vec<T> {
        let tables: Option<Vec<(usize, &DeTable<'_>)>> = match value {
            DeValue::Array(items) => tables(items),
            _ => None,
        };
        let Some(tables) = tables else {
            self.report(
                at,
                Problem::Invalid {
                    key: array.into(),
                    why: format!("is a list of tables: write [[{array}]]"),
                },
            );
            return Vec::new();
        };
        let mut items = Vec::new();
        for (n, (at, table)) in tables.into_iter().enumerate() {
            let origin = self.origin(at);
            self.loaded.origins.insert(format!("{array}[{n}]"), origin);
            items.push(self.item(array, n, table, keys));
        }
        items
    }

    fn item<T: Default>(
        &mut self,
        array: &str,
        n: usize,
        table: &DeTable<'_>,
        keys: &'static [Key<T>],
    ) -> T {
        let mut layer = Vec::new();
        for (name, value) in table {
            let at = name.span().start;
            let name: &str = name.get_ref();
            match keys.iter().find(|key| key.name == name) {
                Some(key) => layer.push(Given {
                    key,
                    raw: raw(value.get_ref()),
                    origin: self.origin(at),
                }),
                None => {
                    let full = format!("{array}.{name}");
                    let problem = match keys::NOT_AVAILABLE.contains(&full.as_str()) {
                        true => Problem::NotAvailable(full),
                        false => Problem::UnknownKey {
                            nearest: nearest(name, keys.iter().map(|key| key.name))
                                .map(|name| format!("{array}.{name}")),
                            name: full,
                        },
                    };
                    self.report(at, problem);
                }
            }
        }
        let mut item = T::default();
        let origins = &mut self.loaded.origins;
        apply(
            layer,
            keys,
            Some((array, n)),
            &mut item,
            origins,
            self.errors,
        );
        item
    }
}

fn known_section(name: &str) -> bool {
    keys::SECTIONS.iter().any(|(known, _)| *known == name)
}

/// The answer to a `section.name` that is none of ours, whichever layer it came from.
pub(super) fn unknown_key(full: &str) -> Problem {
    if keys::NOT_AVAILABLE.contains(&full) {
        return Problem::NotAvailable(full.into());
    }
    let (section, name) = full.rsplit_once('.').unwrap_or(("", full));
    let all = || keys::KEYS.iter();
    let elsewhere = all().find(|key| key.name == name).map(|key| key.full);
    let near = || {
        let within = all().filter(|key| key.section == section);
        nearest(name, within.map(|key| key.name)).map(|name| format!("{section}.{name}"))
    };
    let anywhere = || nearest(full, all().map(|key| key.full)).map(str::to_owned);
    let nearest = elsewhere.map(str::to_owned).or_else(near).or_else(anywhere);
    Problem::UnknownKey {
        name: full.into(),
        nearest,
    }
}

fn tables<'a, 'i>(items: &'a DeArray<'i>) -> Option<Vec<(usize, &'a DeTable<'i>)>> {
    let table = |item: &'a Spanned<DeValue<'i>>| {
        let table = item.get_ref().as_table()?;
        Some((item.span().start, table))
    };
    items.iter().map(table).collect()
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => integer(number),
        DeValue::Float(number) => {
            let number = number.as_str().replace('_', "").parse();
            number.map_or(Raw::Other("a number out of range"), Raw::Float)
        }
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

fn integer(number: &DeInteger<'_>) -> Raw {
    i64::from_str_radix(number.as_str(), number.radix())
        .map_or(Raw::Other("a number out of range"), Raw::Integer)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
