//! Reads composed of what the catalogue holds: templates, as if they stood in a file.

use super::catalogue::{Catalogue, Column, Kind, Relation};
use super::sources::Source;
use crate::soak::random::Random;

/// The blank for a value of a column.
pub fn blank(column: &Column) -> &'static str {
    match column.kind {
        Kind::Text if column.partitions => "{region}",
        Kind::Text => "{text}",
        Kind::Int | Kind::Numeric | Kind::Float => "{int}",
        Kind::Bool => "{bool}",
        Kind::Uuid => "{uuid}",
        Kind::Mood => "{mood}",
        Kind::Time => "{time}",
        Kind::IntArray => "{intarr}",
        Kind::Json => "{json}",
        Kind::Pair => "{pair}",
        Kind::Other => "NULL",
    }
}

/// A column of the answer.
struct Output {
    expression: String,
    kind: Kind,
}

/// A read that is being composed.
pub struct Composer<'a> {
    pub(super) catalogue: &'a Catalogue,
    pub(super) random: &'a mut Random,
    /// `name AS (…)`.
    pub(super) ctes: Vec<String>,
    names: usize,
}

impl<'a> Composer<'a> {
    pub fn new(catalogue: &'a Catalogue, random: &'a mut Random) -> Self {
        Self {
            catalogue,
            random,
            ctes: Vec::new(),
            names: 0,
        }
    }

    /// A read; whether its rows have one order.
    pub fn read(mut self) -> (String, bool) {
        let (query, outputs) = if self.random.one_in(8) {
            self.set_operation()
        } else if self.random.one_in(6) {
            self.wrapped()
        } else {
            self.body()
        };
        let with = if self.ctes.is_empty() {
            String::new()
        } else {
            format!("WITH {} ", self.ctes.join(", "))
        };
        // Rows that are equal in all columns may change places.
        let sortable = outputs.iter().all(|output| output.kind.plain());
        if sortable && self.random.one_in(3) {
            let places: Vec<String> = (1..=outputs.len()).map(|n| n.to_string()).collect();
            let limit = match self.random.below(4) {
                0 => " LIMIT 2",
                1 => " LIMIT 3 OFFSET 1",
                2 => " FETCH FIRST ROW ONLY",
                _ => "",
            };
            let order = places.join(", ");
            return (format!("{with}{query} ORDER BY {order}{limit}"), true);
        }
        (format!("{with}{query}"), false)
    }

    pub(super) fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    pub(super) fn relation(&mut self) -> usize {
        self.random.below(self.catalogue.relations.len())
    }

    pub(super) fn column(&mut self, relation: &'a Relation) -> &'a Column {
        if self.random.one_in(2)
            && let Some(key) = relation.keys.first()
            && let Some(column) = relation.column(self.random.pick::<String>(key))
        {
            return column;
        }
        self.random.pick(&relation.columns)
    }

    pub(super) fn column_of(&mut self, relation: &'a Relation, kind: Kind) -> Option<&'a Column> {
        let same: Vec<&Column> = relation
            .columns
            .iter()
            .filter(|column| column.kind == kind)
            .collect();
        (!same.is_empty()).then(|| *self.random.pick(&same))
    }

    fn outputs(&mut self, sources: &[Source<'a>], plain: bool) -> Vec<Output> {
        let mut outputs = Vec::new();
        for _ in 0..=self.random.below(3) {
            let source = self.random.pick(sources).clone();
            let column = self.column(source.relation);
            if !plain || column.kind.plain() {
                outputs.push(Output {
                    expression: format!("{}.{}", source.alias, column.name),
                    kind: column.kind,
                });
            }
        }
        if outputs.is_empty() {
            outputs.push(Output {
                expression: "1".to_owned(),
                kind: Kind::Int,
            });
        }
        outputs
    }

    fn sum(&mut self, sources: &[Source<'a>]) -> Output {
        let source = self.random.pick(sources).clone();
        let expression = match self.column_of(source.relation, Kind::Int) {
            Some(column) => format!("sum({}.{})", source.alias, column.name),
            None => "count(*)".to_owned(),
        };
        Output {
            expression,
            kind: Kind::Int,
        }
    }

    /// `SELECT … FROM … WHERE …`, its columns named `o1` and on.
    fn body(&mut self) -> (String, Vec<Output>) {
        let (from, sources, mut conditions) = self.from();
        for _ in 0..*self.random.pick(&[0, 1, 1, 1, 2]) {
            let source = self.random.pick(&sources).clone();
            conditions.push(self.any_condition(&source));
        }
        let count = || Output {
            expression: "count(*)".to_owned(),
            kind: Kind::Int,
        };
        let mut distinct = "";
        let mut tail = String::new();
        let outputs = match self.random.below(12) {
            0 => vec![count(), self.sum(&sources)],
            1 | 2 => {
                let mut outputs = self.outputs(&sources, true);
                let mut groups: Vec<String> = outputs
                    .iter()
                    .filter(|output| output.expression != "1")
                    .map(|output| output.expression.clone())
                    .collect();
                groups.dedup();
                if groups.is_empty() {
                    groups.push("()".to_owned());
                }
                let list = groups.join(", ");
                tail = match self.random.below(5) {
                    0 if list != "()" => format!(" GROUP BY ROLLUP ({list})"),
                    1 if list != "()" => format!(" GROUP BY GROUPING SETS (({list}), ())"),
                    _ => format!(" GROUP BY {list}"),
                };
                if self.random.one_in(3) {
                    tail.push_str(" HAVING count(*) > 1");
                }
                outputs.push(count());
                outputs.push(self.sum(&sources));
                outputs
            }
            3 => {
                distinct = "DISTINCT ";
                self.outputs(&sources, true)
            }
            4 | 5 => {
                let mut outputs = self.outputs(&sources, false);
                outputs.push(self.window(&sources));
                outputs
            }
            6 => {
                let mut outputs = self.outputs(&sources, false);
                let one = self.random.pick(&sources).clone();
                let other = self.partner(&one);
                if let Some(equality) = self.equality(&one, &other) {
                    let (name, alias) = (&other.relation.name, &other.alias);
                    let expression =
                        format!("(SELECT count(*) FROM {name} {alias} WHERE {equality})");
                    outputs.push(Output {
                        expression,
                        kind: Kind::Int,
                    });
                }
                outputs
            }
            _ => self.outputs(&sources, false),
        };
        let list: Vec<String> = outputs
            .iter()
            .enumerate()
            .map(|(n, output)| format!("{} AS o{}", output.expression, n + 1))
            .collect();
        let list = list.join(", ");
        let conditions = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        (
            format!("SELECT {distinct}{list} FROM {from}{conditions}{tail}"),
            outputs,
        )
    }

    /// A window function that gives equal rows the same.
    fn window(&mut self, sources: &[Source<'a>]) -> Output {
        let source = self.random.pick(sources).clone();
        let plain = |column: &&Column| column.kind.plain();
        let columns: Vec<&Column> = source.relation.columns.iter().filter(plain).collect();
        let expression = if columns.is_empty() {
            "count(*) OVER ()".to_owned()
        } else {
            let by = &self.random.pick(&columns).name;
            let order = &self.random.pick(&columns).name;
            let alias = &source.alias;
            match self.random.below(4) {
                0 => format!("count(*) OVER (PARTITION BY {alias}.{by})"),
                1 => format!("rank() OVER (ORDER BY {alias}.{order})"),
                2 => format!(
                    "dense_rank() OVER (PARTITION BY {alias}.{by} ORDER BY {alias}.{order})"
                ),
                _ => "count(*) OVER ()".to_owned(),
            }
        };
        Output {
            expression,
            kind: Kind::Int,
        }
    }

    /// A query in FROM, confined by one of its columns.
    fn wrapped(&mut self) -> (String, Vec<Output>) {
        let (inner, outputs) = self.body();
        let alias = self.name("q");
        let n = self.random.below(outputs.len());
        let value = match outputs[n].kind {
            Kind::Int | Kind::Numeric | Kind::Float => "{int}",
            Kind::Text => "{text}",
            Kind::Bool => "{bool}",
            Kind::Uuid => "{uuid}",
            Kind::Mood => "{mood}",
            Kind::Time => "{time}",
            _ => return (inner, outputs),
        };
        let query = format!(
            "SELECT * FROM ({inner}) {alias} WHERE {alias}.o{} = {value}",
            n + 1
        );
        (query, outputs)
    }

    fn set_operation(&mut self) -> (String, Vec<Output>) {
        let kind = *self
            .random
            .pick(&[Kind::Int, Kind::Int, Kind::Int, Kind::Text]);
        let mut query = String::new();
        for n in 0..2 + self.random.below(2) {
            if n > 0 {
                let operation =
                    *self
                        .random
                        .pick(&[" UNION ", " UNION ALL ", " INTERSECT ", " EXCEPT "]);
                query.push_str(operation);
            }
            let (column, source) = loop {
                let number = self.relation();
                let source = self.source(number);
                if let Some(column) = self.column_of(source.relation, kind) {
                    break (column, source);
                }
            };
            let condition = self.any_condition(&source);
            let (name, alias) = (&source.relation.name, &source.alias);
            query.push_str(&format!(
                "SELECT {alias}.{} FROM {name} {alias} WHERE {condition}",
                column.name
            ));
        }
        let output = Output {
            expression: String::new(),
            kind,
        };
        (query, vec![output])
    }
}
