//! What a database holds that statements can be composed of, read from its catalogue.

use crate::cache::wire::Wire;

/// What a column's values are like; of any other type no condition and no value is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    Text,
    Bool,
    Uuid,
    Mood,
    Time,
    Numeric,
    Float,
    IntArray,
    Json,
    Pair,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "integer" | "bigint" | "smallint" => Self::Int,
            "text" | "character varying" | "character" => Self::Text,
            "boolean" => Self::Bool,
            "uuid" => Self::Uuid,
            "mood" => Self::Mood,
            "timestamp without time zone" => Self::Time,
            "numeric" => Self::Numeric,
            "double precision" => Self::Float,
            "integer[]" => Self::IntArray,
            "jsonb" => Self::Json,
            "pair" => Self::Pair,
            _ => Self::Other,
        }
    }

    /// Values that are equal have the same bytes: 0 and -0 are equal too, and 1 and 1.0 in JSON.
    pub fn plain(self) -> bool {
        matches!(
            self,
            Self::Int | Self::Text | Self::Bool | Self::Uuid | Self::Mood | Self::Time
        )
    }
}

#[derive(Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    /// A statement may give it a value.
    pub assignable: bool,
    /// Of a key of a partitioned table.
    pub partitions: bool,
}

#[derive(Debug)]
pub struct Relation {
    pub name: String,
    pub columns: Vec<Column>,
    /// Columns that are unique together, the primary key first.
    pub keys: Vec<Vec<String>>,
    pub inserts: bool,
    pub updates: bool,
    pub deletes: bool,
    pub is_table: bool,
}

impl Relation {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub fn in_key(&self, name: &str) -> bool {
        self.keys.iter().flatten().any(|column| column == name)
    }
}

/// Columns of `from` that refer to those of `to`; both by number of the relation.
#[derive(Debug)]
pub struct Reference {
    pub from: usize,
    pub columns: Vec<String>,
    pub to: usize,
    pub keys: Vec<String>,
}

/// The schema `public`.
#[derive(Debug)]
pub struct Catalogue {
    pub relations: Vec<Relation>,
    pub references: Vec<Reference>,
    pub has_merge: bool,
}

const RELATIONS: &str = "SELECT relname, relkind IN ('r', 'p'),
        relkind <> 'm' AND pg_relation_is_updatable(oid, true) & 8 > 0,
        relkind <> 'm' AND pg_relation_is_updatable(oid, true) & 4 > 0,
        relkind <> 'm' AND pg_relation_is_updatable(oid, true) & 16 > 0
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
    ORDER BY relname COLLATE \"C\"";
const COLUMNS: &str = "SELECT relname, attname, format_type(CASE WHEN typtype = 'd' THEN typbasetype ELSE t.oid END, NULL),
        relkind <> 'm' AND attidentity <> 'a' AND attgenerated = '' AND pg_column_is_updatable(c.oid, attnum, true),
        attname IN (SELECT k.attname FROM pg_partitioned_table p JOIN pg_attribute k ON k.attrelid = partrelid AND k.attnum = ANY (partattrs))
    FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid JOIN pg_type t ON t.oid = atttypid
    WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
    ORDER BY relname COLLATE \"C\", attnum";
const KEYS: &str = "SELECT relname, (SELECT string_agg(attname, ',' ORDER BY ordinality)
        FROM unnest(indkey) WITH ORDINALITY k (n, ordinality) JOIN pg_attribute ON attrelid = indrelid AND attnum = n)
    FROM pg_index JOIN pg_class c ON c.oid = indrelid
    WHERE relnamespace = 'public'::regnamespace AND indisunique AND indpred IS NULL AND indexprs IS NULL
    ORDER BY relname COLLATE \"C\", indisprimary DESC, 2";
const REFERENCES: &str = "SELECT f.relname, (SELECT string_agg(attname, ',' ORDER BY ordinality)
        FROM unnest(conkey) WITH ORDINALITY k (n, ordinality) JOIN pg_attribute ON attrelid = conrelid AND attnum = n),
        t.relname, (SELECT string_agg(attname, ',' ORDER BY ordinality)
        FROM unnest(confkey) WITH ORDINALITY k (n, ordinality) JOIN pg_attribute ON attrelid = confrelid AND attnum = n)
    FROM pg_constraint JOIN pg_class f ON f.oid = conrelid JOIN pg_class t ON t.oid = confrelid
    WHERE contype = 'f' AND f.relnamespace = 'public'::regnamespace
    ORDER BY f.relname COLLATE \"C\", conname COLLATE \"C\"";

impl Catalogue {
    pub fn read(client: &mut Wire) -> Self {
        let mut rows = |sql: &str| -> Vec<Vec<String>> {
            let reply = client.query(sql);
            assert_eq!(reply.error(), None, "{reply:?}");
            let text = reply.text();
            let cells = |line: &str| line.split('|').map(str::to_owned).collect();
            text.lines().map(cells).collect()
        };
        let names = |list: &str| -> Vec<String> { list.split(',').map(str::to_owned).collect() };
        let is = |cell: &str| cell == "t";
        let relation = |row: &Vec<String>| Relation {
            name: row[0].clone(),
            columns: Vec::new(),
            keys: Vec::new(),
            is_table: is(&row[1]),
            inserts: is(&row[2]),
            updates: is(&row[3]),
            deletes: is(&row[4]),
        };
        let mut relations: Vec<Relation> = rows(RELATIONS).iter().map(relation).collect();
        let at = |relations: &[Relation], name: &str| {
            relations.iter().position(|known| known.name == name)
        };
        for row in rows(COLUMNS) {
            if let Some(at) = at(&relations, &row[0]) {
                relations[at].columns.push(Column {
                    name: row[1].clone(),
                    kind: Kind::of(&row[2]),
                    assignable: is(&row[3]),
                    partitions: is(&row[4]),
                });
            }
        }
        for row in rows(KEYS) {
            if let Some(at) = at(&relations, &row[0]) {
                relations[at].keys.push(names(&row[1]));
            }
        }
        let references = rows(REFERENCES);
        let references = references.iter().filter_map(|row| {
            Some(Reference {
                from: at(&relations, &row[0])?,
                columns: names(&row[1]),
                to: at(&relations, &row[2])?,
                keys: names(&row[3]),
            })
        });
        let references = references.collect();
        let version = rows("SHOW server_version_num");
        let version: u32 = version[0][0].parse().expect("a number");
        // Statements are composed of columns of known kinds only.
        for relation in &mut relations {
            relation.columns.retain(|column| column.kind != Kind::Other);
        }
        Self {
            relations,
            references,
            has_merge: version >= 150_000,
        }
    }
}
