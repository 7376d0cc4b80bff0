//! FROM: tables, functions, joins, aliases.

use sqlparser::ast::{
    Join, JoinConstraint, JoinOperator, TableAlias, TableFactor, TableFunctionArgs, TableSample,
    TableSampleKind, TableSampleMethod, TableWithJoins,
};

use super::Walker;
use super::blocks::Mark;
use super::types::is_datetime;
use crate::sql::Bypass;
use crate::sql::facts::Access;

impl Walker {
    pub(super) fn table(&mut self, table: &TableWithJoins, access: Access) {
        let TableWithJoins { relation, joins } = table;
        let mark = self.mark_joins();
        self.deeper(|walker| walker.factor(relation, access));
        for join in joins {
            self.deeper(|walker| walker.join(join, mark));
        }
    }

    /// `mark`: where the left side of the join begins.
    fn join(&mut self, join: &Join, mark: Mark) {
        let Join {
            relation,
            global,
            join_operator,
        } = join;
        self.doubt |= *global;
        let right = self.join_sides(relation, join_operator, mark);
        let constraint = match join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint)
            | JoinOperator::CrossJoin(constraint) => constraint,
            JoinOperator::Semi(_)
            | JoinOperator::LeftSemi(_)
            | JoinOperator::RightSemi(_)
            | JoinOperator::Anti(_)
            | JoinOperator::LeftAnti(_)
            | JoinOperator::RightAnti(_)
            | JoinOperator::CrossApply
            | JoinOperator::OuterApply
            | JoinOperator::AsOf { .. }
            | JoinOperator::StraightJoin(_)
            | JoinOperator::ArrayJoin
            | JoinOperator::LeftArrayJoin
            | JoinOperator::InnerArrayJoin => {
                self.doubt = true;
                return;
            }
        };
        if *constraint == JoinConstraint::None
            && !matches!(join_operator, JoinOperator::CrossJoin(_))
        {
            // Its condition may have gone to another join.
            self.obscure();
        }
        self.confine_join(constraint, mark, right.0, right.1);
        match constraint {
            JoinConstraint::On(condition) => {
                self.out_of_block(|walker| walker.expression(condition));
            }
            JoinConstraint::Using(columns) => {
                self.operator("=");
                for column in columns {
                    let mut parts = self.parts(column);
                    self.doubt |= parts.len() != 1;
                    if let Some(name) = parts.pop() {
                        self.column(Vec::new(), name);
                    }
                }
            }
            JoinConstraint::Natural => self.operator("="),
            JoinConstraint::None => {}
        }
    }

    /// The right side of a join: where it begins, and the level whose rows the condition filters if that is
    /// another than the current one. Both sides of a full join keep their rows whatever the condition says, so that
    /// it filters a level of which nothing is.
    fn join_sides(
        &mut self,
        relation: &TableFactor,
        operator: &JoinOperator,
        mark: Mark,
    ) -> (Mark, Option<usize>) {
        let nullable_left = matches!(
            operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        );
        let nullable_right = matches!(
            operator,
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) | JoinOperator::FullOuter(_)
        );
        let left_level = nullable_left.then(|| self.sink(mark)).flatten();
        let right = self.mark_joins();
        let outer = nullable_right.then(|| self.enter_level()).flatten();
        let right_level = outer.and_then(|_| self.level());
        self.factor(relation, Access::Read);
        self.leave_level(outer);
        let filtered = match (left_level, right_level) {
            (Some(_), Some(_)) => {
                let outer = self.enter_level();
                let nothing = self.level();
                self.leave_level(outer);
                nothing
            }
            (left, right) => left.or(right),
        };
        (right, filtered)
    }

    /// `access` is for the relation itself, when a change is made to it.
    pub(super) fn factor(&mut self, factor: &TableFactor, access: Access) {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                self.doubt |= !with_hints.is_empty()
                    || version.is_some()
                    || !partitions.is_empty()
                    || json_path.is_some()
                    || !index_hints.is_empty();
                if let Some(sample) = sample {
                    self.sample(sample);
                }
                self.ordinality(*with_ordinality);
                let renamed = alias
                    .as_ref()
                    .is_some_and(|alias| !alias.columns.is_empty());
                let alias = alias.as_ref().map(|alias| self.table_alias(alias));
                match args {
                    None => {
                        self.relation_source(name, access, alias.as_deref(), renamed);
                        self.relation(name, access, alias);
                    }
                    Some(TableFunctionArgs { args, settings }) => {
                        self.doubt |= settings.is_some() || access == Access::Write;
                        self.source(alias.unwrap_or_default(), None, false);
                        self.function_in_from(name, args);
                    }
                }
            }
            TableFactor::Derived {
                lateral: _,
                subquery,
                alias,
                sample,
            } => {
                self.doubt |= sample.is_some();
                let renamed = alias
                    .as_ref()
                    .is_some_and(|alias| !alias.columns.is_empty());
                let alias = alias.as_ref().map(|alias| self.table_alias(alias));
                let source = self.source(alias.unwrap_or_default(), None, renamed);
                let rows = self.out_of_block(|walker| walker.query(subquery));
                let derived = self.note_derived(rows, 1);
                self.derive(source, derived);
            }
            TableFactor::Function {
                lateral: _,
                name,
                args,
                with_ordinality,
                alias,
            } => {
                self.ordinality(*with_ordinality);
                let alias = alias.as_ref().map(|alias| self.table_alias(alias));
                self.source(alias.unwrap_or_default(), None, false);
                self.function_in_from(name, args);
            }
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset,
                with_offset_alias,
                with_ordinality,
            } => {
                self.doubt |= *with_offset || with_offset_alias.is_some();
                self.ordinality(*with_ordinality);
                let alias = alias.as_ref().map(|alias| self.table_alias(alias));
                self.source(alias.unwrap_or_default(), None, false);
                self.met.insert("unnest".to_owned());
                self.defined.push("unnest".to_owned());
                self.call("unnest", 1);
                self.expressions(array_exprs);
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                if let Some(alias) = alias {
                    self.table_alias(alias);
                    // It hides the names within.
                    self.obscure();
                }
                self.table(table_with_joins, access);
            }
            TableFactor::TableFunction { .. }
            | TableFactor::JsonTable { .. }
            | TableFactor::OpenJsonTable { .. }
            | TableFactor::Pivot { .. }
            | TableFactor::Unpivot { .. }
            | TableFactor::UnpivotExpr { .. }
            | TableFactor::MatchRecognize { .. }
            | TableFactor::XmlTable { .. }
            | TableFactor::SemanticView { .. } => self.doubt = true,
        }
    }

    fn relation_source(
        &mut self,
        name: &sqlparser::ast::ObjectName,
        access: Access,
        alias: Option<&str>,
        renamed: bool,
    ) {
        let object = self.object(name);
        let common =
            access == Access::Read && object.schema.is_none() && self.is_common_table(&object.name);
        let alias = alias.unwrap_or(&object.name).to_owned();
        let derived = common.then(|| self.use_common(&object.name)).flatten();
        let source = self.source(alias, (!common).then_some(object), renamed);
        self.derive(source, derived);
    }

    fn sample(&mut self, sample: &TableSampleKind) {
        let (TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) =
            sample;
        let TableSample {
            modifier: _,
            name,
            quantity,
            seed,
            bucket,
            offset,
        } = sample.as_ref();
        self.raise(Bypass::TableSample);
        self.doubt |= bucket.is_some() || offset.is_some();
        match name {
            Some(TableSampleMethod::Bernoulli | TableSampleMethod::System) => {
                for word in ["bernoulli", "system", "repeatable"] {
                    self.met.insert(word.to_owned());
                }
            }
            Some(TableSampleMethod::Row | TableSampleMethod::Block) | None => self.doubt = true,
        }
        self.optional(quantity.as_ref().map(|quantity| &quantity.value));
        if let Some(seed) = seed {
            self.value(&seed.value.value);
        }
    }

    fn ordinality(&mut self, with: bool) {
        if with {
            self.defined.push("ordinality".to_owned());
        }
    }

    fn table_alias(&mut self, alias: &TableAlias) -> String {
        self.alias_columns(alias);
        self.define(&alias.name)
    }

    pub(super) fn alias_columns(&mut self, alias: &TableAlias) {
        self.doubt |= alias.at.is_some();
        for column in &alias.columns {
            self.define(&column.name);
            if let Some(data_type) = &column.data_type {
                // A value of a record or of JSON becomes one of this type.
                if self
                    .data_type(data_type)
                    .is_some_and(|name| is_datetime(&name))
                {
                    self.clock_conversion();
                }
            }
        }
    }
}
