//! What composed statements read from: relations, how they are joined, and conditions on their columns.

use super::catalogue::{Kind, Reference, Relation};
use super::compose::{Composer, blank};

/// A relation in a FROM list, and the name by which its columns are told.
#[derive(Clone)]
pub(super) struct Source<'a> {
    pub alias: String,
    pub number: usize,
    pub relation: &'a Relation,
}

impl<'a> Composer<'a> {
    pub(super) fn source(&mut self, number: usize) -> Source<'a> {
        Source {
            alias: self.name("t"),
            number,
            relation: &self.catalogue.relations[number],
        }
    }

    /// The source as FROM writes it: by its name, or behind a query.
    fn item(&mut self, source: &Source<'a>) -> String {
        let Source {
            alias, relation, ..
        } = source;
        let name = &relation.name;
        match self.random.below(20) {
            0 | 1 => {
                let query = self.all_of(source);
                format!("({query}) {alias}")
            }
            2 | 3 => {
                let query = self.all_of(source);
                let cte = self.name("c");
                let materialized = match self.random.below(3) {
                    0 => "MATERIALIZED ",
                    1 => "NOT MATERIALIZED ",
                    _ => "",
                };
                self.ctes.push(format!("{cte} AS {materialized}({query})"));
                format!("{cte} {alias}")
            }
            4 if relation.is_table => format!("ONLY {name} {alias}"),
            _ => format!("{name} {alias}"),
        }
    }

    fn all_of(&mut self, source: &Source<'a>) -> String {
        let name = &source.relation.name;
        let inner = self.source(source.number);
        let condition = if self.random.one_in(2) {
            format!(" WHERE {}", self.simple_condition(&inner))
        } else {
            String::new()
        };
        format!("SELECT * FROM {name} {}{condition}", inner.alias)
    }

    /// What two sources have in common: a foreign key, or columns of one kind.
    pub(super) fn equality(&mut self, one: &Source<'a>, other: &Source<'a>) -> Option<String> {
        let between = |from: usize, to: usize| {
            let mut all = self.catalogue.references.iter();
            all.find(|reference| reference.from == from && reference.to == to)
        };
        let pairs = |from: &Source, to: &Source, reference: &Reference| {
            let columns = reference.columns.iter().zip(&reference.keys);
            let pairs: Vec<String> = columns
                .map(|(column, key)| format!("{}.{column} = {}.{key}", from.alias, to.alias))
                .collect();
            pairs.join(" AND ")
        };
        if let Some(reference) = between(one.number, other.number) {
            return Some(pairs(one, other, reference));
        }
        if let Some(reference) = between(other.number, one.number) {
            return Some(pairs(other, one, reference));
        }
        let column = self.column(one.relation);
        let same = self.column_of(other.relation, column.kind)?;
        Some(format!(
            "{}.{} = {}.{}",
            one.alias, column.name, other.alias, same.name
        ))
    }

    /// A relation that goes with `source`: along a foreign key, or whichever.
    pub(super) fn partner(&mut self, source: &Source<'a>) -> Source<'a> {
        let ends: Vec<usize> = self
            .catalogue
            .references
            .iter()
            .filter_map(|reference| {
                if reference.from == source.number {
                    Some(reference.to)
                } else {
                    (reference.to == source.number).then_some(reference.from)
                }
            })
            .collect();
        let number = if ends.is_empty() || self.random.one_in(3) {
            self.relation()
        } else {
            *self.random.pick(&ends)
        };
        self.source(number)
    }

    /// FROM and what it adds to WHERE.
    pub(super) fn from(&mut self) -> (String, Vec<Source<'a>>, Vec<String>) {
        let number = self.relation();
        let mut sources = vec![self.source(number)];
        let mut conditions = Vec::new();
        let mut text = self.item(&sources[0].clone());
        for _ in 0..*self.random.pick(&[0, 0, 0, 1, 1, 2]) {
            let one = self.random.pick(&sources).clone();
            let other = self.partner(&one);
            let Some(equality) = self.equality(&one, &other) else {
                continue;
            };
            let item = self.item(&other);
            let more = if self.random.one_in(4) {
                format!(" AND {}", self.simple_condition(&other))
            } else {
                String::new()
            };
            match self.random.below(9) {
                0..4 => text = format!("{text} JOIN {item} ON {equality}{more}"),
                4..6 => text = format!("{text} LEFT JOIN {item} ON {equality}{more}"),
                6 => text = format!("{text} RIGHT JOIN {item} ON {equality}{more}"),
                7 => text = format!("{text} FULL JOIN {item} ON {equality}"),
                _ => {
                    text = format!("{text} CROSS JOIN {item}");
                    conditions.push(equality);
                }
            }
            sources.push(other);
        }
        (text, sources, conditions)
    }

    /// By one value of one column.
    fn simple_condition(&mut self, source: &Source<'a>) -> String {
        let column = self.column(source.relation);
        let value = blank(column);
        let column = format!("{}.{}", source.alias, column.name);
        match self.random.below(10) {
            0..6 => format!("{column} = {value}"),
            6 => format!("{value} = {column}"),
            7 => format!("{column} IN ({value}, {value}, {value})"),
            8 => format!("{column} IS NOT NULL"),
            _ => format!("{column} >= {value}"),
        }
    }

    pub fn condition(&mut self, alias: &str, number: usize) -> String {
        let source = Source {
            alias: alias.to_owned(),
            number,
            relation: &self.catalogue.relations[number],
        };
        self.any_condition(&source)
    }

    pub(super) fn any_condition(&mut self, source: &Source<'a>) -> String {
        match self.random.below(16) {
            0 => {
                let (one, other) = (self.simple_condition(source), self.simple_condition(source));
                format!("({one} OR {other})")
            }
            1 => format!("NOT ({})", self.simple_condition(source)),
            2 => {
                let column = self.column(source.relation);
                format!("{}.{} IS NULL", source.alias, column.name)
            }
            3 | 4 => {
                let other = self.partner(source);
                let Some(equality) = self.equality(source, &other) else {
                    return self.simple_condition(source);
                };
                let not = if self.random.one_in(4) { "NOT " } else { "" };
                let more = self.perhaps_and(&other);
                let (name, alias) = (&other.relation.name, &other.alias);
                format!("{not}EXISTS (SELECT FROM {name} {alias} WHERE {equality}{more})")
            }
            5 | 6 => {
                let other = self.partner(source);
                let column = self.column(source.relation);
                let Some(same) = self.column_of(other.relation, column.kind) else {
                    return self.simple_condition(source);
                };
                let (name, alias) = (&other.relation.name, &other.alias);
                let condition = self.simple_condition(&other);
                let (left, right) = (&column.name, &same.name);
                let max = matches!(column.kind, Kind::Int | Kind::Time) && self.random.one_in(2);
                if max {
                    format!(
                        "{}.{left} = (SELECT max({alias}.{right}) FROM {name} {alias} WHERE {condition})",
                        source.alias
                    )
                } else {
                    format!(
                        "{}.{left} IN (SELECT {alias}.{right} FROM {name} {alias} WHERE {condition})",
                        source.alias
                    )
                }
            }
            _ => self.simple_condition(source),
        }
    }

    fn perhaps_and(&mut self, source: &Source<'a>) -> String {
        if self.random.one_in(2) {
            format!(" AND {}", self.simple_condition(source))
        } else {
            String::new()
        }
    }
}
