//! Every place where a read names a relation, and what confines the rows that matter there: in the statement's own
//! blocks, in subqueries and common table expressions, and in the queries of views.
//!
//! A condition on a column of a subquery or view is one on the column that it shows, in the block that it is made of,
//! as if it stood in the WHERE there ([`Derived`] says when). Where that cannot be followed, the relations are read as a
//! whole.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::keys::{PlannedColumn, PlannedValue, ReadPlan, RegionPlan};
use super::names::{Meaning, NameScope};
use super::picture::{Relation, RelationKind, TypeOid};
use super::read::Closure;
use super::region::ColumnNumber;
use super::value::{Given, KeyType, Role};
use super::{Catalog, RelationOid};
use crate::sql::{
    ArrayOf, Block, Constant, Derived, Equal, Facts, Literals, ObjectName, Seen, Shown,
};

/// Places of one statement that name one relation; beyond that it is read as a whole.
const PLACES_MAX: usize = 4;

/// Views within views, and views in all, that are followed from one statement.
const VIEW_DEPTH_MAX: usize = 8;
const VIEWS_MAX: usize = 32;

/// The query of a view.
#[derive(Debug)]
pub(super) struct Definition {
    blocks: Vec<Block>,
    derived: Vec<Derived>,
    rows: Vec<usize>,
}

impl Definition {
    pub(super) fn of(facts: Facts) -> Self {
        Self {
            blocks: facts.blocks,
            derived: facts.derived,
            rows: facts.rows,
        }
    }
}

/// A statement, or the query of a view.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    blocks: &'a [Block],
    derived: &'a [Derived],
    scope: &'a NameScope,
    /// Of a view: its constants, which are known before the statement has any.
    literals: Option<&'a Given<'a>>,
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
    fn single(&self, derived: Option<usize>) -> Option<&'a Derived> {
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
    /// `None`: one by which rows cannot be told apart. The number of a column is its place, from 1.
    columns: Vec<Option<ShownColumn<'a>>>,
    /// These are all of its columns.
    exact: bool,
}

struct ShownColumn<'a> {
    name: &'a str,
    type_oid: TypeOid,
    key: KeyType,
    /// What it is in each of the blocks.
    nodes: SmallVec<[Node; 1]>,
}

/// The column of a source has one of these values in all rows of its block that matter.
struct Asked {
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
                let mut found = (1..).zip(&shows.columns).filter_map(|(number, column)| {
                    let column = column.as_ref().filter(|column| column.name == name)?;
                    Some((number, column.type_oid, column.key))
                });
                let column = found.next()?;
                found.next().is_none().then_some(column)
            }
        }
    }
}

impl Catalog {
    /// The one relation that a name can mean.
    fn only_meaning(&self, name: &ObjectName, scope: &NameScope) -> Option<&Relation> {
        match self.meaning(name, scope) {
            Meaning::Relations(oids) if oids.len() == 1 => self.index.relation(oids[0]),
            _ => None,
        }
    }

    /// What the sources of a block are.
    pub(super) fn sources<'a>(&'a self, text: Text<'a>, block: &'a Block) -> Vec<Rows<'a>> {
        let of = |source: &'a crate::sql::Source| {
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
    fn shows<'a>(&'a self, text: Text<'a>, branches: &[usize]) -> Shows<'a> {
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
                let both = match (column.take(), other) {
                    (Some(mut column), Some(other)) if column.type_oid == other.type_oid => {
                        column.nodes.extend(other.nodes);
                        Some(column)
                    }
                    _ => None,
                };
                *column = both;
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
                Shown::Other => shows.columns.push(None),
                Shown::Column { name, seen } => {
                    let column = self.node(seen, block, &sources);
                    shows.columns.push(column.map(|(node, type_oid, key)| ShownColumn {
                        name,
                        type_oid,
                        key,
                        nodes: [node].into_iter().collect(),
                    }));
                }
                Shown::All(alias) => {
                    let named = |source: &crate::sql::Source| {
                        alias.as_ref().is_none_or(|alias| source.alias == *alias)
                    };
                    let mut places = (0..sources.len()).filter(|&at| named(&block.sources[at]));
                    let place = places.next();
                    // Of columns that are joined by USING there is one for two, and of others more than are known.
                    shows.exact &= places.next().is_none() && place.is_some();
                    for place in place.into_iter().chain(places) {
                        self.show_all(&sources, place, &mut shows);
                    }
                }
            }
        }
        shows
    }

    fn show_all<'a>(&'a self, sources: &[Rows<'a>], place: usize, shows: &mut Shows<'a>) {
        let shown = |name, number, type_oid, key| ShownColumn {
            name,
            type_oid,
            key,
            nodes: [(place, number)].into_iter().collect(),
        };
        match &sources[place] {
            Rows::Unknown => shows.exact = false,
            Rows::Relation(relation) => {
                shows.columns.extend(relation.columns.iter().map(|column| {
                    let key = self.key_type(column)?;
                    Some(shown(column.name.as_str(), column.number, column.type_oid, key))
                }));
            }
            Rows::Derived(inner) => {
                shows.exact &= inner.exact;
                shows.columns.extend((1..).zip(&inner.columns).map(|(number, column)| {
                    let column = column.as_ref()?;
                    Some(shown(column.name, number, column.type_oid, column.key))
                }));
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
                let of_relation = |&place: &usize| matches!(sources[place], Rows::Relation(r) if r.has_column(name));
                // Joined by USING, the column of a subquery may be the same: it is no other's.
                single(among.clone().filter(of_relation)).or_else(|| {
                    let none = !among.clone().any(|place| of_relation(&place));
                    let of_query = |&place: &usize| {
                        matches!(sources[place], Rows::Derived(_))
                            && sources[place].column(self, name).is_some()
                    };
                    single(among.clone().filter(of_query)).filter(|_| none)
                })
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
    fn confined_by(
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

    /// How far a read is confined: only where all ways to a relation lead over names in texts that are followed.
    pub(super) fn plan_read(
        &self,
        facts: &Facts,
        scope: &NameScope,
        closure: &Closure,
    ) -> ReadPlan {
        let mut read = Read {
            catalog: self,
            named: HashMap::new(),
            views: 0,
        };
        read.text(Text::of(facts, scope), &[], &[], 0);
        let mut confined: Vec<_> = read
            .named
            .into_iter()
            .filter_map(|(oid, plans)| Some((oid, plans?)))
            .filter(|(oid, _)| !closure.unnamed.contains(oid))
            .collect();
        confined.sort_by_key(|(oid, _)| *oid);
        ReadPlan { confined }
    }
}

/// A read on its way through the places that it names.
struct Read<'c> {
    catalog: &'c Catalog,
    /// With a region for each place; `None`: as a whole.
    named: HashMap<RelationOid, Option<Vec<RegionPlan>>>,
    /// That have been followed.
    views: usize,
}

impl Read<'_> {
    /// `asked`: for each of `branches` what is asked of its rows.
    fn text(&mut self, text: Text<'_>, branches: &[usize], asked: &[Vec<Asked>], depth: usize) {
        let sources = text.blocks.iter().flat_map(|block| &block.sources);
        let within: Vec<usize> = sources
            .filter_map(|source| text.single(source.derived))
            .flat_map(|derived| derived.branches.iter().copied())
            .collect();
        // Those within another are met with it.
        for block in (0..text.blocks.len()).filter(|block| !within.contains(block)) {
            let of = branches.iter().position(|branch| *branch == block);
            let asked = of.and_then(|at| asked.get(at));
            self.block(text, block, asked.map_or(&[], Vec::as_slice), depth);
        }
    }

    fn block(&mut self, text: Text<'_>, number: usize, asked: &[Asked], depth: usize) {
        let Some(block) = text.blocks.get(number) else {
            return;
        };
        let catalog = self.catalog;
        let sources = catalog.sources(text, block);
        for (place, source) in block.sources.iter().enumerate() {
            let confined = catalog.confined_by(text, block, &sources, place, asked);
            if let Some(name) = &source.relation {
                match catalog.only_meaning(name, text.scope) {
                    Some(relation) => self.relation(relation, confined, depth),
                    None => {
                        for oid in catalog.candidates(name, text.scope) {
                            self.whole(oid);
                        }
                    }
                }
            } else if let Some(derived) = text.single(source.derived) {
                for (at, &branch) in derived.branches.iter().enumerate() {
                    let asked = match &sources[place] {
                        Rows::Derived(shows) => shows.asked(at, &confined, |_, _| true),
                        _ => Vec::new(),
                    };
                    self.block(text, branch, &asked, depth);
                }
            }
        }
    }

    fn relation(&mut self, relation: &Relation, confined: Vec<PlannedColumn>, depth: usize) {
        if relation.kind == RelationKind::View {
            return self.view(relation, &confined, depth);
        }
        let numbers: Vec<_> = confined.iter().map(|column| column.number).collect();
        let class = self.catalog.class(relation, &numbers);
        if class.is_empty() || self.catalog.keyed_table(relation.oid).is_none() {
            return self.whole(relation.oid);
        }
        let of_class = |column: &PlannedColumn| class.contains(&column.number);
        let plan = RegionPlan {
            relation: relation.oid,
            columns: confined.into_iter().filter(of_class).collect(),
        };
        let plans = self
            .named
            .entry(relation.oid)
            .or_insert_with(|| Some(Vec::new()));
        match plans {
            Some(known) if known.len() < PLACES_MAX => known.push(plan),
            _ => *plans = None,
        }
    }

    fn view(&mut self, view: &Relation, confined: &[PlannedColumn], depth: usize) {
        let catalog = self.catalog;
        let definition = catalog.queries.get(&view.oid);
        let (Some(definition), Some(literals)) = (definition, view.definition.as_deref()) else {
            return self.whole(view.oid);
        };
        if depth == VIEW_DEPTH_MAX || self.views == VIEWS_MAX {
            return self.whole(view.oid);
        }
        self.views += 1;
        // As the loader has read it.
        let literals = Given {
            literals: Literals::of(literals),
            parameter_types: &[],
            inferred_now: false,
            parameters: &[],
            formats: &[],
            utf8: true,
        };
        let scope = NameScope::default();
        let text = Text {
            blocks: &definition.blocks,
            derived: &definition.derived,
            scope: &scope,
            literals: Some(&literals),
        };
        let shows = catalog.shows(text, &definition.rows);
        let fits = shows.exact && shows.columns.len() == view.columns.len();
        // The view was made of columns of these names and types.
        let alike = |number: ColumnNumber, column: &ShownColumn<'_>| {
            let own = view.columns.iter().find(|own| own.number == number);
            own.is_some_and(|own| own.name == column.name && own.type_oid == column.type_oid)
        };
        let asked: Vec<Vec<Asked>> = (0..definition.rows.len())
            .map(|at| match fits {
                true => shows.asked(at, confined, alike),
                false => Vec::new(),
            })
            .collect();
        self.text(text, &definition.rows, &asked, depth + 1);
    }

    /// Nothing is known of the rows of a relation, or of what a view reads.
    fn whole(&mut self, oid: RelationOid) {
        let of_view = match self.catalog.views.get(&oid) {
            Some(Ok(closure)) => closure.dependencies.as_slice(),
            _ => &[],
        };
        for &oid in of_view.iter().chain([&oid]) {
            self.named.insert(oid, None);
        }
    }
}

impl Shows<'_> {
    /// What conditions on these columns ask of the rows of the block that is the branch `at`.
    fn asked(
        &self,
        at: usize,
        confined: &[PlannedColumn],
        alike: impl Fn(ColumnNumber, &ShownColumn<'_>) -> bool,
    ) -> Vec<Asked> {
        let asked = confined.iter().filter_map(|condition| {
            let place = usize::try_from(condition.number).ok()?.checked_sub(1)?;
            let column = self.columns.get(place)?.as_ref()?;
            (alike(condition.number, column) && column.key.compares_with(condition.key)).then(
                || {
                    Some(Asked {
                        node: *column.nodes.get(at)?,
                        key: column.key,
                        values: condition.values.clone(),
                    })
                },
            )?
        });
        asked.collect()
    }
}

/// Where these constants stand, or what they are; `None` if it is known already that they tell no rows apart.
fn planned(
    text: Text<'_>,
    constants: &[Constant],
    key: KeyType,
) -> Option<SmallVec<[PlannedValue; 1]>> {
    let Some(literals) = text.literals else {
        return Some(constants.iter().copied().map(PlannedValue::Stated).collect());
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
