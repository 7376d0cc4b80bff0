//! What a statement tells about the rows that it reads or changes: which columns have
//! which constants. Facts hold for a shape, so all here are plans: where each value
//! stands. [`Given`] has the values.

use smallvec::SmallVec;

use super::names::NameScope;
use super::picture::{Column, Relation, RelationKind, TypeOid};
use super::region::{ColumnNumber, Columns, Dependency, Region, Values};
use super::returned::{Returnable, Returned};
use super::sources::{Rows, Text};
use super::value::{Given, KeyType, Role};
use super::{Catalog, RelationOid};
use crate::sql::{Assigned, Change, Conflict, Constant, Facts};

/// Columns by which one region is told.
const COLUMNS_MAX: usize = 4;

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
    pub(super) values: SmallVec<[PlannedValue; 1]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlannedValue {
    /// Where it stands in the statement.
    Stated(Constant),
    /// The hash of a constant of a view's query.
    Known(u64),
}

impl RegionPlan {
    /// Of a column whose value is not certain nothing is known.
    fn region(&self, given: &Given<'_>) -> Region {
        let known = self.columns.iter().filter_map(|column| {
            let mut values = Values::new();
            for value in &column.values {
                match value {
                    PlannedValue::Stated(constant) => {
                        values.extend(given.hashes(*constant, column.key, column.role)?);
                    }
                    PlannedValue::Known(hash) => values.push(*hash),
                }
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
    pub(super) confined: Vec<(RelationOid, Vec<RegionPlan>)>,
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
    pub(super) fn keyed_table(&self, oid: RelationOid) -> Option<&Relation> {
        self.index.relation(oid).filter(|relation| {
            relation.kind == RelationKind::Table
                && !relation.is_system()
                && self.index.children(oid).is_empty()
                && self.index.parents(oid).is_empty()
        })
    }

    /// The columns by which reads that are confined in all of these are told apart: a
    /// unique key where they hold one, since writes name those; else what keys are made of.
    pub(super) fn class(&self, relation: &Relation, confined: &[ColumnNumber]) -> Columns {
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

    /// What a change tells of the rows of its target, which is touched in no other way.
    pub(super) fn plan_write(
        &self,
        facts: &Facts,
        scope: &NameScope,
        oid: RelationOid,
    ) -> Option<WritePlan> {
        let relation = self.keyed_table(oid)?;
        if !scope.temporaries.is_none()
            || self.index.has_rules(oid)
            || self.index.has_early_triggers(oid)
        {
            return None;
        }
        let text = Text::of(facts, scope);
        let regions = match facts.change.as_ref()? {
            Change::Insert {
                columns,
                rows,
                conflict,
            } => self.inserted(relation, columns.as_deref(), rows, conflict)?,
            Change::Update { block, assigned } => {
                let old = self.target(text, *block, relation)?;
                let new = self.assigned(&old, relation, assigned)?;
                vec![old, new]
            }
            Change::Delete { block } => {
                vec![self.target(text, *block, relation)?]
            }
        };
        Some(WritePlan {
            relation: oid,
            regions,
            returned: self.plan_returned(facts, relation),
            returnable: None,
        })
    }

    fn target(&self, text: Text<'_>, block: usize, relation: &Relation) -> Option<RegionPlan> {
        let block = text.block(block)?;
        let sources = self.sources(text, block);
        let Rows::Relation(target) = sources.first()? else {
            return None;
        };
        (target.oid == relation.oid).then(|| RegionPlan {
            relation: relation.oid,
            columns: self.confined(text, block, &sources, 0).into(),
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
            values: [PlannedValue::Stated(value?)].into_iter().collect(),
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
