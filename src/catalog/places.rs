//! Every place where a read names a relation, and what confines the rows there: in the statement's own blocks, in
//! subqueries and common table expressions, and in the queries of views. Where that cannot be followed, the relations
//! are read as a whole.

use std::collections::HashMap;

use super::keys::{PlannedColumn, ReadPlan, RegionPlan};
use super::names::NameScope;
use super::picture::{Relation, RelationKind, TypeOid};
use super::read::Closure;
use super::region::ColumnNumber;
use super::sources::{Asked, Rows, Text};
use super::value::Given;
use super::{Catalog, RelationOid};
use crate::sql::{Block, Derived, Facts, Literals};

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

impl Catalog {
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
                        Rows::Derived(shows) => shows.asked(at, &confined, |_, _, _| true),
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
        let alike = |number: ColumnNumber, name: Option<&str>, type_oid: TypeOid| {
            let own = view.columns.iter().find(|own| own.number == number);
            own.is_some_and(|own| Some(own.name.as_str()) == name && own.type_oid == type_oid)
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
