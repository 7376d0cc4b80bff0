//! What the sources of a query block are, and which of their columns its conditions confine: tables and views by their
//! columns, subqueries and common table expressions by what they show.
//!
//! A condition on a column of a subquery or view is one on the column that it shows, in the block that it is made of,
//! as if it stood in the WHERE there ([`Derived`] says when).

use std::collections::HashMap;

use smallvec::SmallVec;

use super::Catalog;
use super::keys::{PlannedColumn, PlannedValue};
use super::names::{Meaning, NameScope};
use super::picture::{Relation, TypeOid};
use super::region::ColumnNumber;
use super::value::{Given, KeyType, Role};
use crate::sql::{
    ArrayOf, Block, Constant, Derived, Equal, Facts, ObjectName, Seen, Shown, Source,
};

/// A statement, or the query of a view.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) blocks: &'a [Block],
    pub(super) derived: &'a [Derived],
    pub(super) scope: &'a NameScope,
    /// Of a view: its constants, which are known before the statement has any.
    pub(super) literals: Option<&'a Given<'a>>,
}

impl<'a> Text<'a> {
    pub(super) fn of(facts: &'a Facts, scope: &'a NameScope) -> Self {
        Self {
            blocks: &facts.blocks,
            derived: &facts.derived,
            scope,
            literals: None,
        }
    }

    pub(super) fn block(&self, number: usize) -> Option<&'a Block> {
        self.blocks.get(number)
    }

    /// The subquery that a source is, if nothing else has its rows.
    pub(super) fn single(&self, derived: Option<usize>) -> Option<&'a Derived> {
        let found = self.derived.get(derived?)?;
        (found.uses == 1).then_some(found)
    }
}

/// A column of one of a block's sources.
type Node = (usize, ColumnNumber);

/// What a source is, where its columns are known and have their own names.
pub(super) enum Rows<'a> {
    Unknown,
    Relation(&'a Relation),
    Derived(Shows<'a>),
}

/// The columns of a subquery or view in order.
pub(super) struct Shows<'a> {
    /// The number of a column is its place, from 1.
    pub(super) columns: Vec<ShownColumn<'a>>,
    /// These are all of its columns.
    pub(super) exact: bool,
}

pub(super) struct ShownColumn<'a> {
    /// `None`: PostgreSQL finds one.
    pub(super) name: Option<&'a str>,
    /// `None`: rows are not told apart by it.
    pub(super) told: Option<Told>,
}

/// A column that is shown as it is.
pub(super) struct Told {
    pub(super) type_oid: TypeOid,
    key: KeyType,
    /// What it is in each of the blocks.
    nodes: SmallVec<[Node; 1]>,
}

/// The column of a source has one of these values in all rows of its block that matter.
pub(super) struct Asked {
    node: Node,
    key: KeyType,
    values: SmallVec<[PlannedValue; 1]>,
}

impl Rows<'_> {
    /// `None`: there is none of that name, or rows are not told apart by it.
    fn column(&self, catalog: &Catalog, name: &str) -> Option<(ColumnNumber, TypeOid, KeyType)> {
        match self {
            Rows::Unknown => None,
            Rows::Relation(relation) => {
                let column = relation.column(name)?;
                Some((column.number, column.type_oid, catalog.key_type(column)?))
            }
            Rows::Derived(shows) => {
                let called = |(_, column): &(_, &ShownColumn<'_>)| column.name == Some(name);
                let (number, column) = single((1..).zip(&shows.columns).filter(called))?;
                let told = column.told.as_ref()?;
                Some((number, told.type_oid, told.key))
            }
        }
    }

    fn has_column(&self, name: &str) -> bool {
        match self {
            Rows::Unknown => false,
            Rows::Relation(relation) => relation.has_column(name),
            Rows::Derived(shows) => shows.columns.iter().any(|c| c.name == Some(name)),
        }
    }
}

impl Catalog {
    /// The one relation that a name can mean.
    pub(super) fn only_meaning(&self, name: &ObjectName, scope: &NameScope) -> Option<&Relation> {
        match self.meaning(name, scope) {
            Meaning::Relations(oids) if oids.len() == 1 => self.index.relation(oids[0]),
            _ => None,
        }
    }

    /// What the sources of a block are.
    pub(super) fn sources<'a>(&'a self, text: Text<'a>, block: &'a Block) -> Vec<Rows<'a>> {
        let of = |source: &'a Source| {
            if source.renamed {
                return Rows::Unknown;
            }
            if let Some(name) = &source.relation {
                let relation = self.only_meaning(name, text.scope);
                return relation.map_or(Rows::Unknown, Rows::Relation);
            }
            match text.single(source.derived) {
                Some(derived) => Rows::Derived(self.shows(text, &derived.branches)),
                None => Rows::Unknown,
            }
        };
        block.sources.iter().map(of).collect()
    }

    /// The columns that these blocks show together.
    pub(super) fn shows<'a>(&'a self, text: Text<'a>, branches: &[usize]) -> Shows<'a> {
        let nothing = || Shows {
            columns: Vec::new(),
            exact: false,
        };
        let mut all = branches.iter().map(|&branch| self.shows_of(text, branch));
        let Some(mut shows) = all.next() else {
            return nothing();
        };
        for next in all {
            if !(shows.exact && next.exact && shows.columns.len() == next.columns.len()) {
                return nothing();
            }
            for (column, other) in shows.columns.iter_mut().zip(next.columns) {
                // A column of two types is converted to one.
                column.told = match (column.told.take(), other.told) {
                    (Some(mut told), Some(other)) if told.type_oid == other.type_oid => {
                        told.nodes.extend(other.nodes);
                        Some(told)
                    }
                    _ => None,
                };
            }
        }
        shows
    }

    fn shows_of<'a>(&'a self, text: Text<'a>, branch: usize) -> Shows<'a> {
        let mut shows = Shows {
            columns: Vec::new(),
            exact: true,
        };
        let Some(block) = text.blocks.get(branch).filter(|block| !block.opaque) else {
            shows.exact = false;
            return shows;
        };
        let sources = self.sources(text, block);
        for shown in &block.shown {
            match shown {
                Shown::Expression { name } => shows.columns.push(ShownColumn {
                    name: name.as_deref(),
                    told: None,
                }),
                Shown::Column { name, seen } => {
                    let told = self.node(seen, block, &sources).map(Told::of);
                    shows.columns.push(ShownColumn {
                        name: Some(name),
                        told,
                    });
                }
                Shown::All(Some(alias)) => {
                    let called = |&place: &usize| block.sources[place].alias == *alias;
                    match single((0..sources.len()).filter(called)) {
                        Some(place) => self.show_all(&sources, place, &mut shows),
                        None => shows.exact = false,
                    }
                }
                Shown::All(None) => {
                    let before = shows.columns.len();
                    for place in 0..sources.len() {
                        self.show_all(&sources, place, &mut shows);
                    }
                    // Of columns that are joined under one name there is one for two.
                    shows.exact &= sources.len() == 1;
                    for column in &mut shows.columns[before..] {
                        if column.name.is_some_and(|name| block.merged.has(name)) {
                            column.told = None;
                        }
                    }
                }
            }
        }
        shows
    }

    fn show_all<'a>(&'a self, sources: &[Rows<'a>], place: usize, shows: &mut Shows<'a>) {
        let told = |number, type_oid, key| Told::of(((place, number), type_oid, key));
        match &sources[place] {
            Rows::Unknown => shows.exact = false,
            Rows::Relation(relation) => {
                let shown = relation.columns.iter().map(|column| ShownColumn {
                    name: Some(column.name.as_str()),
                    told: self
                        .key_type(column)
                        .map(|key| told(column.number, column.type_oid, key)),
                });
                shows.columns.extend(shown);
            }
            Rows::Derived(inner) => {
                shows.exact &= inner.exact;
                let shown = (1..).zip(&inner.columns).map(|(number, column)| {
                    let same = |of: &Told| told(number, of.type_oid, of.key);
                    ShownColumn {
                        name: column.name,
                        told: column.told.as_ref().map(same),
                    }
                });
                shows.columns.extend(shown);
            }
        }
    }

    /// The column that a name means in a block: PostgreSQL refuses names that could mean two.
    fn node(
        &self,
        seen: &Seen,
        block: &Block,
        sources: &[Rows<'_>],
    ) -> Option<(Node, TypeOid, KeyType)> {
        let name = seen.column.name.as_str();
        let among = seen.from..seen.to.min(sources.len());
        let place = match seen.column.qualifier.as_slice() {
            [] => {
                let has = |&place: &usize| sources[place].has_column(name);
                let is_relation = |&place: &usize| matches!(sources[place], Rows::Relation(_));
                let of_relations = among.clone().filter(is_relation).filter(has);
                let any_relation = of_relations.clone().next().is_some();
                let place = match any_relation {
                    true => single(of_relations),
                    false => single(among.clone().filter(has)),
                }?;
                if block.merged.has(name) && !self.merges_alike(name, among, sources) {
                    return None;
                }
                Some(place)
            }
            [alias] => single(among.filter(|&place| block.sources[place].alias == *alias)),
            _ => None,
        }?;
        let (number, type_oid, key) = sources[place].column(self, name)?;
        if seen.as_text && !(matches!(key, KeyType::Text { .. }) && self.is_own_name("text")) {
            return None;
        }
        Some(((place, number), type_oid, key))
    }

    /// All columns of this name, which are joined under it, are of one type.
    fn merges_alike(
        &self,
        name: &str,
        among: std::ops::Range<usize>,
        sources: &[Rows<'_>],
    ) -> bool {
        let mut types = Vec::new();
        for source in &sources[among] {
            let sure = match source {
                Rows::Unknown => false,
                Rows::Relation(_) => true,
                Rows::Derived(shows) => {
                    shows.exact && shows.columns.iter().all(|column| column.name.is_some())
                }
            };
            if !sure {
                return false;
            }
            if source.has_column(name) {
                types.push(source.column(self, name).map(|(_, type_oid, _)| type_oid));
            }
        }
        types
            .iter()
            .all(|known| known.is_some() && *known == types[0])
    }

    /// The columns of one source that have constants in all of its rows that matter.
    pub(super) fn confined(
        &self,
        text: Text<'_>,
        block: &Block,
        sources: &[Rows<'_>],
        place: usize,
    ) -> Vec<PlannedColumn> {
        self.confined_by(text, block, sources, place, &[])
    }

    /// The same where more is asked of the block's rows.
    pub(super) fn confined_by(
        &self,
        text: Text<'_>,
        block: &Block,
        sources: &[Rows<'_>],
        place: usize,
        asked: &[Asked],
    ) -> Vec<PlannedColumn> {
        let mut known: HashMap<Node, (KeyType, SmallVec<[PlannedValue; 1]>)> = HashMap::new();
        let mut equal = Vec::new();
        for filter in block.filters_of(block.sources[place].level) {
            let Some((left, _, key)) = self.node(&filter.left, block, sources) else {
                continue;
            };
            match &filter.right {
                Equal::Constants(constants) if self.is_certain(constants, key) => {
                    if let Some(values) = planned(text, constants, key) {
                        known.entry(left).or_insert_with(|| (key, values));
                    }
                }
                Equal::Column(right) => match self.node(right, block, sources) {
                    Some((right, _, other)) if key.compares_with(other) => {
                        equal.push((left, right));
                    }
                    _ => {}
                },
                Equal::Constants(_) => {}
            }
        }
        for asked in asked.iter().filter(|_| !block.opaque) {
            let values = || (asked.key, asked.values.clone());
            known.entry(asked.node).or_insert_with(values);
        }
        let mut changed = true;
        while changed {
            changed = false;
            for &(left, right) in &equal {
                for (from, to) in [(left, right), (right, left)] {
                    if let (Some(values), false) = (known.get(&from), known.contains_key(&to)) {
                        let values = values.clone();
                        known.insert(to, values);
                        changed = true;
                    }
                }
            }
        }
        let mut columns: Vec<_> = known
            .into_iter()
            .filter(|((source, _), _)| *source == place)
            .map(|((_, number), (key, values))| PlannedColumn {
                number,
                key,
                role: Role::Compared,
                values,
            })
            .collect();
        columns.sort_by_key(|column| column.number);
        columns
    }

    /// A constant that is cast is one of the column's family, and its type is not one of users.
    fn is_certain(&self, constants: &[Constant], key: KeyType) -> bool {
        constants.iter().all(|constant| match constant {
            Constant::Elements {
                cast: Some(cast), ..
            }
            | Constant::Typed { cast, .. } => match (cast, key) {
                (ArrayOf::Integers, KeyType::Integer) => true,
                (ArrayOf::Texts, KeyType::Text { .. }) => self.is_own_name("text"),
                (ArrayOf::Uuids, KeyType::Uuid) => self.is_own_name("uuid"),
                _ => false,
            },
            _ => true,
        })
    }

    /// No type of users goes by the name of this one.
    fn is_own_name(&self, name: &str) -> bool {
        self.index.types_called(name).next().is_none()
    }
}

impl Told {
    fn of((node, type_oid, key): (Node, TypeOid, KeyType)) -> Self {
        Self {
            type_oid,
            key,
            nodes: [node].into_iter().collect(),
        }
    }
}

impl Shows<'_> {
    /// What conditions on these columns ask of the rows of the block that is the branch `at`. `alike`: by this name and type
    /// the column of that number goes where the conditions stand.
    pub(super) fn asked(
        &self,
        at: usize,
        confined: &[PlannedColumn],
        alike: impl Fn(ColumnNumber, Option<&str>, TypeOid) -> bool,
    ) -> Vec<Asked> {
        let mut asked = Vec::new();
        for condition in confined {
            let place = usize::try_from(condition.number).ok();
            let shown = place.and_then(|place| self.columns.get(place.checked_sub(1)?));
            if let Some(ShownColumn {
                name,
                told: Some(told),
            }) = shown
                && alike(condition.number, *name, told.type_oid)
                && told.key.compares_with(condition.key)
                && let Some(&node) = told.nodes.get(at)
            {
                asked.push(Asked {
                    node,
                    key: told.key,
                    values: condition.values.clone(),
                });
            }
        }
        asked
    }
}

/// Where these constants stand, or what they are; `None` if it is known already that they tell no rows apart.
fn planned(
    text: Text<'_>,
    constants: &[Constant],
    key: KeyType,
) -> Option<SmallVec<[PlannedValue; 1]>> {
    let Some(literals) = text.literals else {
        return Some(
            constants
                .iter()
                .copied()
                .map(PlannedValue::Stated)
                .collect(),
        );
    };
    let mut values = SmallVec::new();
    for constant in constants {
        let hashes = literals.hashes(*constant, key, Role::Compared)?;
        values.extend(hashes.into_iter().map(PlannedValue::Known));
    }
    Some(values)
}

fn single<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}
