//! What a statement tells about the rows that it reads or changes: which columns have
//! which constants. Facts hold for a shape, so all here are plans: where each value
//! stands. [`Given`] has the values.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::names::{Meaning, NameScope};
use super::picture::{Column, Relation, RelationKind, TypeOid};
use super::region::{ColumnNumber, Columns, Dependency, Region, Values};
use super::returned::{Returnable, Returned};
use super::value::{Given, KeyType, Role};
use super::{Catalog, RelationOid};
use crate::sql::{ArrayOf, Assigned, Block, Change, Conflict, Constant, Equal, Facts, Seen};

/// Columns by which one region is told.
const COLUMNS_MAX: usize = 4;

/// Places of one statement that name one relation; beyond that it is read as a whole.
const PLACES_MAX: usize = 4;

/// Where the values of a region stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionPlan {
    pub(super) relation: RelationOid,
    pub(super) columns: SmallVec<[PlannedColumn; 2]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedColumn {
    pub(super) number: ColumnNumber,
    pub(super) key: KeyType,
    pub(super) role: Role,
    /// It has one of these.
    pub(super) values: SmallVec<[Constant; 1]>,
}

impl RegionPlan {
    /// Of a column whose value is not certain nothing is known.
    fn region(&self, given: &Given<'_>) -> Region {
        let known = self.columns.iter().filter_map(|column| {
            let mut values = Values::new();
            for constant in &column.values {
                values.extend(given.hashes(*constant, column.key, column.role)?);
            }
            Some((column.number, values))
        });
        Region::new(self.relation, known)
    }

    fn set(&mut self, column: PlannedColumn) {
        self.unset(column.number);
        self.columns.push(column);
    }

    fn unset(&mut self, number: ColumnNumber) {
        self.columns.retain(|column| column.number != number);
    }
}

/// The relations of a read that are confined to regions, each with a region for every place that names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadPlan {
    confined: Vec<(RelationOid, Vec<RegionPlan>)>,
}

impl ReadPlan {
    pub fn is_empty(&self) -> bool {
        self.confined.is_empty()
    }

    /// The regions to which the reading of a relation is confined.
    pub(super) fn of(&self, oid: RelationOid) -> Option<&[RegionPlan]> {
        let (_, plans) = self
            .confined
            .iter()
            .find(|(relation, _)| *relation == oid)?;
        Some(plans)
    }

    /// What the read depends on, of all the relations that it reads.
    pub fn dependencies(
        &self,
        relations: &[RelationOid],
        given: &Given<'_>,
    ) -> SmallVec<[Dependency; 4]> {
        let mut dependencies = SmallVec::new();
        for &oid in relations {
            let regions: Option<Vec<Region>> = self.of(oid).and_then(|plans| {
                let all = plans.iter().map(|plan| {
                    let region = plan.region(given);
                    (region.columns().len() == plan.columns.len()).then_some(region)
                });
                all.collect()
            });
            match regions {
                Some(regions) => {
                    dependencies.extend(regions.into_iter().map(Dependency::Region));
                }
                None => dependencies.push(Dependency::Relation(oid)),
            }
        }
        dependencies
    }
}

/// The regions of its target that a change touches, as its rows were and as they become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritePlan {
    pub relation: RelationOid,
    regions: Vec<RegionPlan>,
    /// What its rows tell when they are returned.
    pub returned: Option<Returned>,
    /// What they could tell, if it returned them.
    pub returnable: Option<Returnable>,
}

impl WritePlan {
    pub(super) fn plans(&self) -> &[RegionPlan] {
        &self.regions
    }

    /// Its values stand beside the same columns, of the same types.
    pub fn is_beside_the_same(&self, other: &WritePlan) -> bool {
        self.relation == other.relation && self.regions == other.regions
    }

    pub fn regions(&self, given: &Given<'_>) -> Vec<Region> {
        self.regions.iter().map(|plan| plan.region(given)).collect()
    }
}

/// A column of one of a block's sources.
type Node = (usize, ColumnNumber);

impl Catalog {
    /// How values of a column are told apart; `None` if they are not.
    pub(super) fn key_type(&self, column: &Column) -> Option<KeyType> {
        let own = |types: &[TypeOid]| {
            !types
                .iter()
                .any(|oid| self.index.picture.compared_by_users.contains(oid))
        };
        if column.generated {
            return None;
        }
        match column.type_oid {
            20 | 21 | 23 if own(&[20, 21, 23]) => Some(KeyType::Integer),
            16 if own(&[16]) => Some(KeyType::Boolean),
            2950 if own(&[2950]) => Some(KeyType::Uuid),
            25 | 1043 if own(&[25, 1043]) && column.deterministic && self.index.picture.is_utf8 => {
                let length = usize::try_from(column.modifier - 4).ok();
                Some(KeyType::Text {
                    characters_max: length.filter(|_| column.type_oid == 1043),
                })
            }
            _ => None,
        }
    }

    /// A table whose rows are no other relation's.
    fn keyed_table(&self, oid: RelationOid) -> Option<&Relation> {
        self.index.relation(oid).filter(|relation| {
            relation.kind == RelationKind::Table
                && !relation.is_system()
                && self.index.children(oid).is_empty()
                && self.index.parents(oid).is_empty()
        })
    }

    /// What the sources of a block are, where they are relations and it is certain which.
    fn sources<'a>(&'a self, block: &Block, scope: &NameScope) -> Vec<Option<&'a Relation>> {
        let of = |name| match self.meaning(name, scope) {
            Meaning::Relations(oids) if oids.len() == 1 => self.index.relation(oids[0]),
            _ => None,
        };
        let sources = block.sources.iter();
        sources
            .map(|source| {
                let relation = source.relation.as_ref().and_then(of)?;
                (!source.renamed).then_some(relation)
            })
            .collect()
    }

    /// The column that a name means in a block: PostgreSQL refuses names that could mean two.
    fn node(
        &self,
        seen: &Seen,
        block: &Block,
        sources: &[Option<&Relation>],
    ) -> Option<(Node, KeyType)> {
        let mut places = (seen.from..seen.to.min(sources.len())).filter(|&place| {
            match seen.column.qualifier.as_slice() {
                [] => sources[place].is_some_and(|r| r.has_column(&seen.column.name)),
                [alias] => block.sources[place].alias == *alias,
                _ => false,
            }
        });
        let place = places.next()?;
        if places.next().is_some() {
            return None;
        }
        let column = sources[place]?.column(&seen.column.name)?;
        Some(((place, column.number), self.key_type(column)?))
    }

    /// The columns of one source that have constants in all of its rows that matter.
    fn confined(
        &self,
        block: &Block,
        sources: &[Option<&Relation>],
        place: usize,
    ) -> Vec<PlannedColumn> {
        let mut known: HashMap<Node, (KeyType, Vec<Constant>)> = HashMap::new();
        let mut equal = Vec::new();
        for filter in block.filters_of(block.sources[place].level) {
            let Some((left, key)) = self.node(&filter.left, block, sources) else {
                continue;
            };
            match &filter.right {
                Equal::Constants(constants) if self.is_certain(constants, key) => {
                    known
                        .entry(left)
                        .or_insert_with(|| (key, constants.clone()));
                }
                Equal::Column(right) => match self.node(right, block, sources) {
                    Some((right, other)) if key.compares_with(other) => equal.push((left, right)),
                    _ => {}
                },
                Equal::Constants(_) => {}
            }
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
                values: values.into(),
            })
            .collect();
        columns.sort_by_key(|column| column.number);
        columns
    }

    /// An array that is cast has elements of the column's family, and its type is not one of users.
    fn is_certain(&self, constants: &[Constant], key: KeyType) -> bool {
        constants.iter().all(|constant| match constant {
            Constant::Elements {
                cast: Some(cast), ..
            } => match (cast, key) {
                (ArrayOf::Integers, KeyType::Integer) => true,
                (ArrayOf::Texts, KeyType::Text { .. }) => {
                    self.index.types_called("text").next().is_none()
                }
                (ArrayOf::Uuids, KeyType::Uuid) => self.index.types_called("uuid").next().is_none(),
                _ => false,
            },
            _ => true,
        })
    }

    /// The columns by which reads that are confined in all of these are told apart: a
    /// unique key where they hold one, since writes name those; else what keys are made of.
    fn class(&self, relation: &Relation, confined: &[ColumnNumber]) -> Columns {
        let within = |columns: &Columns| columns.iter().all(|column| confined.contains(column));
        if let Some(key) = relation.keys.iter().find(|key| within(key)) {
            return key.clone();
        }
        let is_key = |column: &ColumnNumber| {
            relation.referencing.contains(column)
                || relation.keys.iter().any(|key| key.contains(column))
        };
        let mut class: Columns = confined.iter().copied().filter(is_key).collect();
        if class.is_empty() {
            class = confined.into();
        }
        class.truncate(COLUMNS_MAX);
        class
    }

    /// How far a read is confined. `reached` has every relation that it reads, once for each way by which it
    /// was reached; only those that the statement itself names can be confined.
    pub(super) fn plan_read(
        &self,
        facts: &Facts,
        scope: &NameScope,
        reached: &[RelationOid],
    ) -> ReadPlan {
        let mut named: HashMap<RelationOid, Option<Vec<RegionPlan>>> = HashMap::new();
        for block in &facts.blocks {
            let sources = self.sources(block, scope);
            for (place, source) in block.sources.iter().enumerate() {
                let Some(name) = &source.relation else {
                    continue;
                };
                let plan = sources[place].and_then(|relation| {
                    let relation = self.keyed_table(relation.oid)?;
                    let confined = self.confined(block, &sources, place);
                    let numbers: Vec<_> = confined.iter().map(|column| column.number).collect();
                    let class = self.class(relation, &numbers);
                    let of_class = |column: &PlannedColumn| class.contains(&column.number);
                    (!class.is_empty()).then(|| RegionPlan {
                        relation: relation.oid,
                        columns: confined.into_iter().filter(of_class).collect(),
                    })
                });
                for oid in self.candidates(name, scope) {
                    let plans = named.entry(oid).or_insert_with(|| Some(Vec::new()));
                    match (plans.as_mut(), &plan) {
                        (Some(plans), Some(plan)) if plans.len() < PLACES_MAX => {
                            plans.push(plan.clone());
                        }
                        _ => *plans = None,
                    }
                }
            }
        }
        let by_name = |oid: RelationOid| {
            let uses = facts.relations.iter();
            uses.filter(|used| self.candidates(&used.name, scope).contains(&oid))
                .count()
        };
        let ways = |oid: RelationOid| reached.iter().filter(|reached| **reached == oid).count();
        let mut confined: Vec<_> = named
            .into_iter()
            .filter_map(|(oid, plans)| Some((oid, plans?)))
            .filter(|(oid, _)| ways(*oid) == by_name(*oid))
            .collect();
        confined.sort_by_key(|(oid, _)| *oid);
        ReadPlan { confined }
    }

    /// What a change tells of the rows of its target, which is touched in no other way.
    pub(super) fn plan_write(
        &self,
        facts: &Facts,
        scope: &NameScope,
        oid: RelationOid,
    ) -> Option<WritePlan> {
        let relation = self.keyed_table(oid)?;
        if scope.temporary_objects
            || self.index.has_rules(oid)
            || self.index.has_early_triggers(oid)
        {
            return None;
        }
        let regions = match facts.change.as_ref()? {
            Change::Insert {
                columns,
                rows,
                conflict,
            } => self.inserted(relation, columns.as_deref(), rows, conflict)?,
            Change::Update { block, assigned } => {
                let old = self.target(facts.blocks.get(*block)?, scope, relation)?;
                let new = self.assigned(&old, relation, assigned)?;
                vec![old, new]
            }
            Change::Delete { block } => {
                vec![self.target(facts.blocks.get(*block)?, scope, relation)?]
            }
        };
        Some(WritePlan {
            relation: oid,
            regions,
            returned: self.plan_returned(facts, relation),
            returnable: None,
        })
    }

    fn target(&self, block: &Block, scope: &NameScope, relation: &Relation) -> Option<RegionPlan> {
        let sources = self.sources(block, scope);
        let target = (*sources.first()?)?;
        (target.oid == relation.oid).then(|| RegionPlan {
            relation: relation.oid,
            columns: self.confined(block, &sources, 0).into(),
        })
    }

    /// The rows of `old` after the assignments.
    fn assigned(
        &self,
        old: &RegionPlan,
        relation: &Relation,
        assigned: &[(String, Assigned)],
    ) -> Option<RegionPlan> {
        let mut new = old.clone();
        for (name, value) in assigned {
            let column = relation.column(name)?;
            new.unset(column.number);
            if let Some(column) = self.stored(column, *value, Role::Stored) {
                new.set(column);
            }
        }
        Some(new)
    }

    fn stored(&self, column: &Column, value: Assigned, role: Role) -> Option<PlannedColumn> {
        let key = self.key_type(column)?;
        // A unique index may have a collation of its own.
        let ambiguous = role == Role::Conflicting
            && matches!(key, KeyType::Text { .. })
            && self.index.picture.has_nondeterministic_collations;
        (!ambiguous).then_some(PlannedColumn {
            number: column.number,
            key,
            role,
            values: [value?].into_iter().collect(),
        })
    }

    fn inserted(
        &self,
        relation: &Relation,
        columns: Option<&[String]>,
        rows: &[Vec<Assigned>],
        conflict: &Conflict,
    ) -> Option<Vec<RegionPlan>> {
        let columns: Vec<&Column> = match columns {
            None => relation.columns.iter().collect(),
            Some(names) => names
                .iter()
                .map(|name| relation.column(name))
                .collect::<Option<_>>()?,
        };
        let mut regions = Vec::new();
        for row in rows {
            let cells = || columns.iter().zip(row);
            let region = |cells: &mut dyn Iterator<Item = PlannedColumn>| RegionPlan {
                relation: relation.oid,
                columns: cells.collect(),
            };
            regions.push(region(
                &mut cells().filter_map(|(c, v)| self.stored(c, *v, Role::Stored)),
            ));
            match conflict {
                Conflict::Nothing => {}
                Conflict::Unknown => return None,
                Conflict::Update {
                    columns: key,
                    assigned,
                } => {
                    let old = region(
                        &mut cells()
                            .filter(|(column, _)| key.contains(&column.name))
                            .filter_map(|(c, v)| self.stored(c, *v, Role::Conflicting)),
                    );
                    regions.push(self.assigned(&old, relation, assigned)?);
                    regions.push(old);
                }
            }
        }
        Some(regions)
    }
}
