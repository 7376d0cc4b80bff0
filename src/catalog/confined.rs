//! What a statement is confined to, in words: columns and where their values stand, never the values.

use super::judge::Judgement;
use super::keys::{PlannedValue, RegionPlan};
use super::read::ReadFacts;
use super::region::{ColumnNumber, KEYS_MAX};
use super::returned::Returned;
use super::value::Given;
use super::{Catalog, RelationOid};
use crate::sql::Constant;

impl Catalog {
    /// What the answer of a read depends on: each relation with the keys to which it is confined, as far as
    /// constants of the statement tell; values that are bound are taken to be of their column's type.
    pub fn describe_dependencies(&self, read: &ReadFacts, given: &Given<'_>) -> Vec<String> {
        let of = |oid: &RelationOid| {
            let name = self.name_of(*oid);
            let plans = read.keys.of(*oid)?;
            let keys: Option<Vec<String>> = plans
                .iter()
                .map(|plan| self.describe_read(plan, given))
                .collect();
            Some(format!("{name} ({})", either(keys?)))
        };
        let whole = |oid: &RelationOid| format!("{} (all rows)", self.name_of(*oid));
        let relations = read.dependencies.iter();
        relations
            .map(|oid| of(oid).unwrap_or_else(|| whole(oid)))
            .collect()
    }

    /// What a statement may touch, with the keys of the rows of its target as far as they are known.
    pub fn describe_footprint(&self, judgement: &Judgement, given: &Given<'_>) -> Vec<String> {
        let footprint = &judgement.footprint;
        if footprint.catalogue {
            return vec!["the catalogue, and with it everything".into()];
        }
        if footprint.everything {
            return vec!["everything".into()];
        }
        let narrow = judgement.narrow.as_ref();
        let of = |oid: &RelationOid| {
            let keys = narrow.filter(|plan| plan.relation == *oid).map(|plan| {
                let keys = plan.plans().iter();
                let returned = plan.returned.as_ref();
                keys.map(|plan| self.describe_write(plan, returned, given))
                    .collect()
            });
            match keys.map(either) {
                Some(keys) => format!("{} ({keys})", self.name_of(*oid)),
                None => format!("{} (all rows)", self.name_of(*oid)),
            }
        };
        footprint.relations.iter().map(of).collect()
    }

    /// The columns that a change could be made to return, if some answer is told by them that its text leaves open.
    pub fn describe_returnable(&self, judgement: &Judgement) -> Vec<String> {
        let Some(plan) = &judgement.narrow else {
            return Vec::new();
        };
        let open = |number: &ColumnNumber| {
            let knows = |region: &RegionPlan| region.columns.iter().any(|c| c.number == *number);
            !plan.plans().iter().all(knows)
        };
        let numbers = plan.returnable.iter().flat_map(|all| all.numbers());
        numbers
            .filter(open)
            .map(|number| self.name_of_column(plan.relation, number))
            .collect()
    }

    fn name_of(&self, oid: RelationOid) -> String {
        self.relation_name(oid).unwrap_or_else(|| oid.to_string())
    }

    /// `None`: some value does not tell rows apart.
    fn describe_read(&self, plan: &RegionPlan, given: &Given<'_>) -> Option<String> {
        let mut combinations = 1;
        let mut words = Vec::new();
        for column in &plan.columns {
            let values: Option<Vec<String>> = column
                .values
                .iter()
                .map(|value| {
                    let PlannedValue::Stated(constant) = value else {
                        return Some(OF_A_VIEW.to_owned());
                    };
                    let known = matches!(
                        constant,
                        Constant::Parameter { .. } | Constant::Elements { .. }
                    ) || given.hashes(*constant, column.key, column.role).is_some();
                    known.then(|| place(constant))
                })
                .collect();
            let values = values?;
            combinations *= values.len();
            words.push(self.equality(plan.relation, column.number, &values));
        }
        (combinations <= KEYS_MAX && !words.is_empty()).then(|| words.join(" and "))
    }

    fn describe_write(
        &self,
        plan: &RegionPlan,
        returned: Option<&Returned>,
        given: &Given<'_>,
    ) -> String {
        let one = |column| RegionPlan {
            relation: plan.relation,
            columns: [column].into_iter().collect(),
        };
        let mut numbers = Vec::new();
        let mut known = Vec::new();
        for column in &plan.columns {
            if let Some(words) = self.describe_read(&one(column.clone()), given) {
                numbers.push(column.number);
                known.push(words);
            }
        }
        for column in returned.iter().flat_map(|returned| &returned.columns) {
            if !numbers.contains(&column.number) {
                let name = self.name_of_column(plan.relation, column.number);
                known.push(format!("{name} as returned"));
            }
        }
        match known.is_empty() {
            true => "rows that are not known".into(),
            false => known.join(" and "),
        }
    }

    fn name_of_column(&self, oid: RelationOid, number: ColumnNumber) -> String {
        let columns = self.relation(oid).map(|relation| &relation.columns);
        let column = columns
            .into_iter()
            .flatten()
            .find(|column| column.number == number);
        column.map_or_else(|| number.to_string(), |column| column.name.clone())
    }

    fn equality(&self, oid: RelationOid, number: ColumnNumber, values: &[String]) -> String {
        let name = self.name_of_column(oid, number);
        match values {
            [value] => format!("{name} = {value}"),
            values => format!("{name} in {}", values.join(", ")),
        }
    }
}

/// A constant in the query of a view.
const OF_A_VIEW: &str = "?";

/// Where a value stands.
fn place(constant: &Constant) -> String {
    match constant {
        Constant::Parameter { number, .. } => format!("${number}"),
        Constant::Elements { number, .. } => format!("any of ${number}"),
        Constant::Text(_)
        | Constant::Number { .. }
        | Constant::Boolean(_)
        | Constant::Typed { .. } => "?".into(),
    }
}

fn either(mut keys: Vec<String>) -> String {
    let mut seen = Vec::new();
    keys.retain(|key| {
        let new = !seen.contains(key);
        if new {
            seen.push(key.clone());
        }
        new
    });
    keys.join(" or ")
}
