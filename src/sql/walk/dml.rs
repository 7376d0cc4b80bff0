//! INSERT, UPDATE, DELETE, MERGE.

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, FromTable, Insert, Merge, MergeAction,
    MergeClause, MergeInsertExpr, MergeInsertKind, MergeUpdateExpr, MergeUpdateKind, OnConflict,
    OnConflictAction, OnInsert, OutputClause, SelectItem, Statement, TableFactor, TableObject,
    TableWithJoins, Update, UpdateTableFromKind,
};

use super::Walker;
use crate::sql::facts::Access;

impl Walker {
    /// The block of an UPDATE or DELETE.
    pub(super) fn change(&mut self, statement: &Statement) -> Option<usize> {
        self.changes += 1;
        let mut block = None;
        match statement {
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => block = Some(self.update(update)),
            Statement::Delete(delete) => block = Some(self.delete(delete)),
            Statement::Merge(merge) => self.out_of_block(|walker| walker.merge(merge)),
            _ => self.doubt = true,
        }
        block
    }

    fn insert(&mut self, insert: &Insert) {
        let Insert {
            insert_token: _,
            optimizer_hints,
            or,
            ignore,
            into,
            table,
            table_alias,
            columns,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        self.doubt |= !optimizer_hints.is_empty()
            || or.is_some()
            || *ignore
            || !*into
            || *overwrite
            || !assignments.is_empty()
            || partitioned.is_some()
            || !after_columns.is_empty()
            || *has_table_keyword
            || output.is_some()
            || *replace_into
            || priority.is_some()
            || insert_alias.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || multi_table_insert_type.is_some()
            || !multi_table_into_clauses.is_empty()
            || !multi_table_when_clauses.is_empty()
            || multi_table_else_clause.is_some();
        let alias = table_alias.as_ref().map(|alias| self.define(&alias.alias));
        match table {
            TableObject::TableName(name) => {
                self.relation(name, Access::Write, alias);
                // ON CONFLICT and RETURNING call the target by its own name.
                if let Some(sqlparser::ast::ObjectNamePart::Identifier(ident)) = name.0.last() {
                    self.define(ident);
                }
            }
            _ => self.doubt = true,
        }
        for column in columns {
            self.target(column);
        }
        if let Some(source) = source {
            self.query(source);
        }
        match on {
            None => {}
            Some(OnInsert::OnConflict(conflict)) => self.conflict(conflict),
            Some(_) => self.doubt = true,
        }
        self.returning(returning.as_deref());
    }

    fn conflict(&mut self, conflict: &OnConflict) {
        match &conflict.conflict_target {
            None => {}
            Some(ConflictTarget::Columns(columns)) => {
                for column in columns {
                    let name = self.name(column);
                    self.column(Vec::new(), name);
                }
            }
            Some(ConflictTarget::OnConstraint(name)) => {
                self.parts(name);
            }
        }
        match &conflict.action {
            OnConflictAction::DoNothing => {}
            OnConflictAction::DoUpdate(update) => {
                self.defined.push("excluded".to_owned());
                self.assignments(&update.assignments);
                self.optional(update.selection.as_ref());
            }
        }
    }

    fn update(&mut self, update: &Update) -> usize {
        let Update {
            update_token: _,
            optimizer_hints,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        self.doubt |= !optimizer_hints.is_empty()
            || output.is_some()
            || or.is_some()
            || !order_by.is_empty()
            || limit.is_some();
        let block = self.in_block(|walker| {
            walker.changed(table);
            walker.out_of_block(|walker| walker.assignments(assignments));
            match from {
                None => {}
                Some(UpdateTableFromKind::AfterSet(tables)) => {
                    for table in tables {
                        walker.table(table, Access::Read);
                    }
                }
                Some(UpdateTableFromKind::BeforeSet(_)) => walker.doubt = true,
            }
            walker.confine_where(selection.as_ref());
        });
        self.out_of_block(|walker| {
            walker.optional(selection.as_ref());
            walker.returning(returning.as_deref());
        });
        block
    }

    fn delete(&mut self, delete: &Delete) -> usize {
        let Delete {
            delete_token: _,
            optimizer_hints,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        self.doubt |= !optimizer_hints.is_empty()
            || !tables.is_empty()
            || output.is_some()
            || !order_by.is_empty()
            || limit.is_some();
        let block = self.in_block(|walker| {
            match from {
                FromTable::WithFromKeyword(from) => match from.as_slice() {
                    [target] => walker.changed(target),
                    _ => walker.doubt = true,
                },
                FromTable::WithoutKeyword(_) => walker.doubt = true,
            }
            for table in using.iter().flatten() {
                walker.table(table, Access::Read);
            }
            walker.confine_where(selection.as_ref());
        });
        self.out_of_block(|walker| {
            walker.optional(selection.as_ref());
            walker.returning(returning.as_deref());
        });
        block
    }

    fn merge(&mut self, merge: &Merge) {
        let Merge {
            merge_token: _,
            optimizer_hints,
            into,
            table,
            source,
            on,
            clauses,
            output,
        } = merge;
        self.doubt |= !optimizer_hints.is_empty() || !*into;
        self.changed_factor(table);
        self.factor(source, Access::Read);
        self.expression(on);
        for MergeClause {
            when_token: _,
            clause_kind: _,
            predicate,
            action,
        } in clauses
        {
            self.optional(predicate.as_ref());
            match action {
                MergeAction::Insert(MergeInsertExpr {
                    insert_token: _,
                    columns,
                    kind_token: _,
                    kind,
                    insert_predicate,
                }) => {
                    self.doubt |= insert_predicate.is_some();
                    for column in columns {
                        self.target(column);
                    }
                    match kind {
                        MergeInsertKind::Values(values) => {
                            for row in &values.rows {
                                self.expressions(&row.content);
                            }
                        }
                        MergeInsertKind::Row | MergeInsertKind::Wildcard => self.doubt = true,
                    }
                }
                MergeAction::Update(MergeUpdateExpr {
                    update_token: _,
                    kind,
                    update_predicate,
                    delete_predicate,
                }) => {
                    self.doubt |= update_predicate.is_some() || delete_predicate.is_some();
                    match kind {
                        MergeUpdateKind::Set(assignments) => self.assignments(assignments),
                        MergeUpdateKind::Wildcard => self.doubt = true,
                    }
                }
                MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => {}
            }
        }
        match output {
            None => {}
            Some(OutputClause::Returning {
                returning_token: _,
                select_items,
            }) => self.returning(Some(select_items)),
            Some(OutputClause::Output { .. }) => self.doubt = true,
        }
    }

    /// The target of UPDATE or DELETE, which is also read.
    fn changed(&mut self, table: &TableWithJoins) {
        self.doubt |= !table.joins.is_empty();
        self.changed_factor(&table.relation);
    }

    fn changed_factor(&mut self, target: &TableFactor) {
        self.doubt |= !matches!(target, TableFactor::Table { .. });
        self.factor(target, Access::Write);
        if let TableFactor::Table { name, alias, .. } = target {
            let alias = alias.as_ref().map(|alias| self.define(&alias.name));
            // By the name of a common table expression too, it is the table that is changed.
            let scopes = std::mem::take(&mut self.scopes);
            self.relation(name, Access::Read, alias);
            self.scopes = scopes;
        }
    }

    fn assignments(&mut self, assignments: &[Assignment]) {
        for Assignment { target, value } in assignments {
            match target {
                AssignmentTarget::ColumnName(name) => self.target(name),
                AssignmentTarget::Tuple(names) => names.iter().for_each(|name| self.target(name)),
            }
            self.expression(value);
        }
    }

    /// A column that is assigned to, or a field of one.
    fn target(&mut self, name: &sqlparser::ast::ObjectName) {
        if let Some(column) = self.parts(name).into_iter().next() {
            self.column(Vec::new(), column);
        }
    }

    fn returning(&mut self, items: Option<&[SelectItem]>) {
        for item in items.unwrap_or_default() {
            self.select_item(item);
        }
    }
}
