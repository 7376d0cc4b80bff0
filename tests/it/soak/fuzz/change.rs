//! Writes composed of what the catalogue holds: templates, as if they stood in a file.

use super::catalogue::{Catalogue, Column, Kind, Reference, Relation};
use super::compose::{Composer, blank};
use crate::soak::random::Random;

/// The name of what is written, in its own statement.
const TARGET: &str = "w";

/// A write that is being composed.
pub struct Change<'a> {
    catalogue: &'a Catalogue,
    random: &'a mut Random,
    number: usize,
}

impl<'a> Change<'a> {
    pub fn new(catalogue: &'a Catalogue, random: &'a mut Random) -> Self {
        let number = random.below(catalogue.relations.len());
        Self {
            catalogue,
            random,
            number,
        }
    }

    /// A write; `None` where the relation that was drawn takes none.
    pub fn write(mut self) -> Option<String> {
        let relation = self.relation();
        match self.random.below(11) {
            0..4 if relation.inserts => self.insert(),
            4..8 if relation.updates => self.update(),
            8 | 9 if relation.deletes => Some(self.delete()),
            10 if self.catalogue.has_merge && relation.is_table => self.merge(),
            _ => None,
        }
    }

    fn relation(&self) -> &'a Relation {
        &self.catalogue.relations[self.number]
    }

    fn assignable(&self) -> Vec<&'a Column> {
        let columns = self.relation().columns.iter();
        columns.filter(|column| column.assignable).collect()
    }

    fn condition(&mut self) -> String {
        let one = Composer::new(self.catalogue, self.random).condition(TARGET, self.number);
        if self.random.one_in(4) {
            let more = Composer::new(self.catalogue, self.random).condition(TARGET, self.number);
            return format!("{one} AND {more}");
        }
        one
    }

    fn returning(&mut self) -> String {
        match self.random.below(5) {
            0 => {
                let column = self.random.pick(&self.relation().columns);
                format!(" RETURNING {TARGET}.{}", column.name)
            }
            1 if self.random.one_in(3) => " RETURNING *".to_owned(),
            _ => String::new(),
        }
    }

    /// The columns of the keys, and some of the others.
    fn columns(&mut self) -> Vec<&'a Column> {
        let relation = self.relation();
        let all = self.assignable();
        let drawn = all.into_iter().filter(|column| {
            let needed = relation.in_key(&column.name) && !self.random.one_in(10);
            needed || self.random.one_in(3)
        });
        drawn.collect()
    }

    fn insert(&mut self) -> Option<String> {
        let columns = self.columns();
        if columns.is_empty() {
            return None;
        }
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let rows = self.rows(&columns);
        let conflict = self.conflict();
        let returning = self.returning();
        Some(format!(
            "INSERT INTO {} AS {TARGET} ({}) {rows}{conflict}{returning}",
            self.relation().name,
            names.join(", ")
        ))
    }

    fn rows(&mut self, columns: &[&'a Column]) -> String {
        if self.random.one_in(6)
            && let Some(query) = self.rows_of_another(columns)
        {
            return query;
        }
        let row = |columns: &[&Column]| {
            let values: Vec<&str> = columns.iter().map(|column| blank(column)).collect();
            format!("({})", values.join(", "))
        };
        if self.random.one_in(4) {
            return format!("VALUES {}, {}", row(columns), row(columns));
        }
        format!("VALUES {}", row(columns))
    }

    fn rows_of_another(&mut self, columns: &[&'a Column]) -> Option<String> {
        let number = self.random.below(self.catalogue.relations.len());
        let other = &self.catalogue.relations[number];
        let mut list = Vec::new();
        for column in columns {
            let same: Vec<&Column> = other
                .columns
                .iter()
                .filter(|known| known.kind == column.kind)
                .collect();
            if same.is_empty() {
                return None;
            }
            let name = &self.random.pick(&same).name;
            list.push(match column.kind {
                Kind::Int => format!("s.{name} + {{n}}"),
                _ => format!("s.{name}"),
            });
        }
        let condition = Composer::new(self.catalogue, self.random).condition("s", number);
        Some(format!(
            "SELECT {} FROM {} s WHERE {condition}",
            list.join(", "),
            other.name
        ))
    }

    fn conflict(&mut self) -> String {
        let keys = &self.relation().keys;
        if keys.is_empty() {
            return String::new();
        }
        let key = self.random.pick(keys).join(", ");
        match self.random.below(8) {
            0 => " ON CONFLICT DO NOTHING".to_owned(),
            1 => format!(" ON CONFLICT ({key}) DO NOTHING"),
            2..4 => {
                let Some(column) = self.changed() else {
                    return String::new();
                };
                let name = &column.name;
                let value = if self.random.one_in(2) {
                    format!("excluded.{name}")
                } else {
                    blank(column).to_owned()
                };
                format!(" ON CONFLICT ({key}) DO UPDATE SET {name} = {value}")
            }
            _ => String::new(),
        }
    }

    /// A column that an update changes; keys move now and then.
    fn changed(&mut self) -> Option<&'a Column> {
        let relation = self.relation();
        let moves = self.random.one_in(3);
        let columns: Vec<&Column> = self
            .assignable()
            .into_iter()
            .filter(|column| relation.in_key(&column.name) == moves)
            .collect();
        (!columns.is_empty()).then(|| *self.random.pick(&columns))
    }

    fn assignment(&mut self, column: &Column) -> String {
        let name = &column.name;
        let unique = self.relation().in_key(name);
        match self.random.below(6) {
            // Of a key it would depend on the order of the rows whether it fails.
            0 | 1 if column.kind == Kind::Int && !unique => format!("{name} = {TARGET}.{name} + 1"),
            2 => format!("{name} = DEFAULT"),
            _ => format!("{name} = {}", blank(column)),
        }
    }

    fn update(&mut self) -> Option<String> {
        let column = self.changed()?;
        let mut assignments = vec![self.assignment(column)];
        if self.random.one_in(3)
            && let Some(more) = self.changed()
            && more.name != column.name
        {
            assignments.push(self.assignment(more));
        }
        let name = &self.relation().name;
        if self.random.one_in(6)
            && let Some(update) = self.update_from_referred()
        {
            return Some(update);
        }
        let condition = if self.random.one_in(12) {
            String::new()
        } else {
            format!(" WHERE {}", self.condition())
        };
        let returning = self.returning();
        Some(format!(
            "UPDATE {name} AS {TARGET} SET {}{condition}{returning}",
            assignments.join(", ")
        ))
    }

    fn reference(&mut self) -> Option<&'a Reference> {
        let references: Vec<&Reference> = self
            .catalogue
            .references
            .iter()
            .filter(|reference| reference.from == self.number)
            .collect();
        (!references.is_empty()).then(|| *self.random.pick(&references))
    }

    /// By what a foreign key refers to, so that no row is met twice.
    fn referred(&mut self) -> Option<(&'a Relation, String)> {
        let reference = self.reference()?;
        let pairs: Vec<String> = reference
            .columns
            .iter()
            .zip(&reference.keys)
            .map(|(column, key)| format!("{TARGET}.{column} = s.{key}"))
            .collect();
        let mut condition = pairs.join(" AND ");
        let more = Composer::new(self.catalogue, self.random).condition("s", reference.to);
        condition.push_str(&format!(" AND {more}"));
        Some((&self.catalogue.relations[reference.to], condition))
    }

    fn update_from_referred(&mut self) -> Option<String> {
        let relation = self.relation();
        let (other, condition) = self.referred()?;
        let columns = self.assignable();
        let column = columns.iter().find(|column| {
            !relation.in_key(&column.name)
                && other.columns.iter().any(|same| same.kind == column.kind)
        })?;
        let same = other.columns.iter().find(|same| same.kind == column.kind)?;
        Some(format!(
            "UPDATE {} AS {TARGET} SET {} = s.{} FROM {} s WHERE {condition}",
            relation.name, column.name, same.name, other.name
        ))
    }

    fn delete(&mut self) -> String {
        let name = &self.relation().name;
        if self.random.one_in(6)
            && let Some((other, condition)) = self.referred()
        {
            return format!(
                "DELETE FROM {name} AS {TARGET} USING {} s WHERE {condition}",
                other.name
            );
        }
        let (condition, returning) = (self.condition(), self.returning());
        format!("DELETE FROM {name} AS {TARGET} WHERE {condition}{returning}")
    }

    /// By one row of values.
    fn merge(&mut self) -> Option<String> {
        let relation = self.relation();
        let key = relation.keys.first()?;
        let keys: Vec<&Column> = key
            .iter()
            .filter_map(|name| relation.column(name))
            .collect();
        let casts: Vec<String> = keys
            .iter()
            .map(|column| {
                let kind = match column.kind {
                    Kind::Int => "int",
                    Kind::Uuid => "uuid",
                    _ => "text",
                };
                format!("CAST({} AS {kind}) AS {}", blank(column), column.name)
            })
            .collect();
        let on: Vec<String> = key
            .iter()
            .map(|name| format!("{TARGET}.{name} = s.{name}"))
            .collect();
        let matched = match self.changed() {
            Some(column) if !self.random.one_in(3) => {
                format!("UPDATE SET {} = {}", column.name, blank(column))
            }
            _ => "DELETE".to_owned(),
        };
        let and = if self.random.one_in(3) {
            format!(" AND {}", self.condition())
        } else {
            String::new()
        };
        let values: Vec<String> = key.iter().map(|name| format!("s.{name}")).collect();
        let missing = match self.random.below(3) {
            0 => String::new(),
            1 => " WHEN NOT MATCHED THEN DO NOTHING".to_owned(),
            _ => format!(
                " WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
                key.join(", "),
                values.join(", ")
            ),
        };
        Some(format!(
            "MERGE INTO {} AS {TARGET} USING (SELECT {}) s ON {} WHEN MATCHED{and} THEN {matched}{missing}",
            relation.name,
            casts.join(", "),
            on.join(" AND ")
        ))
    }
}
