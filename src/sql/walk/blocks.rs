//! The walk's notes of query blocks and of what confines their rows.

use sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, ConflictTarget, Expr, Ident, Insert,
    JoinConstraint, ObjectName as ParsedName, ObjectNamePart, OnConflict, OnConflictAction,
    OnInsert, SetExpr, Statement,
};

use super::Walker;
use super::constants::{LIST_MAX, array, compared, compared_constant, constant};
use crate::sql::blocks::{
    Assigned, Block, Change, Conflict, Constant, Equal, Filter, Seen, Source,
};
use crate::sql::facts::{ColumnUse, ObjectName};
use crate::sql::lexer::fold;
use crate::sql::tokens::Prepared;

/// Filters of one block, and rows of one INSERT. What is more is not noted.
const FILTERS_MAX: usize = 64;
const ROWS_MAX: usize = 256;

/// Where in a block the walk is.
#[derive(Debug, Clone, Copy)]
pub(in crate::sql) struct Place {
    block: usize,
    level: usize,
}

/// What a block held when a run of joins began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    sources: usize,
    filters: usize,
    levels: usize,
}

impl Walker {
    /// Runs `inner` in a new block; the block's number.
    pub(super) fn in_block(&mut self, inner: impl FnOnce(&mut Self)) -> usize {
        let block = self.blocks.len();
        self.blocks.push(Block {
            levels: vec![0],
            ..Block::default()
        });
        let around = self.place.replace(Place { block, level: 0 });
        inner(self);
        self.place = around;
        block
    }

    /// Runs `inner` outside of any block: names that it meets are no source of one.
    pub(super) fn out_of_block<R>(&mut self, inner: impl FnOnce(&mut Self) -> R) -> R {
        let around = self.place.take();
        let result = inner(self);
        self.place = around;
        result
    }

    fn here(&mut self) -> Option<(&mut Block, usize)> {
        let place = self.place?;
        Some((self.blocks.get_mut(place.block)?, place.level))
    }

    /// Its place among the sources of the current block.
    pub(super) fn source(
        &mut self,
        alias: String,
        relation: Option<ObjectName>,
        renamed: bool,
    ) -> Option<usize> {
        let (block, level) = self.here()?;
        block.sources.push(Source {
            alias,
            relation,
            derived: None,
            renamed,
            level,
        });
        Some(block.sources.len() - 1)
    }

    /// A source of the current block has these rows.
    pub(super) fn derive(&mut self, source: Option<usize>, derived: Option<usize>) {
        if let (Some(place), Some((block, _))) = (source, self.here())
            && let Some(source) = block.sources.get_mut(place)
        {
            source.derived = derived;
        }
    }

    /// Names of the current block cannot be followed.
    pub(super) fn obscure(&mut self) {
        if let Some((block, _)) = self.here() {
            block.opaque = true;
        }
    }

    pub(super) fn mark_joins(&mut self) -> Mark {
        self.here().map_or(
            Mark {
                sources: 0,
                filters: 0,
                levels: 0,
            },
            |(block, _)| Mark {
                sources: block.sources.len(),
                filters: block.filters.len(),
                levels: block.levels.len(),
            },
        )
    }

    /// Opens a level within the current one; the walk goes on in it.
    pub(super) fn enter_level(&mut self) -> Option<usize> {
        let (block, level) = self.here()?;
        let inner = block.levels.len();
        block.levels.push(level);
        self.place.as_mut()?.level = inner;
        Some(level)
    }

    pub(super) fn level(&self) -> Option<usize> {
        self.place.map(|place| place.level)
    }

    pub(super) fn leave_level(&mut self, outer: Option<usize>) {
        if let (Some(place), Some(outer)) = (&mut self.place, outer) {
            place.level = outer;
        }
    }

    /// All that was noted since `mark` turns out to be the nullable side of an outer join: its new level.
    pub(super) fn sink(&mut self, mark: Mark) -> Option<usize> {
        let (block, level) = self.here()?;
        let inner = block.levels.len();
        for around in block.levels.iter_mut().skip(mark.levels) {
            if *around == level {
                *around = inner;
            }
        }
        block.levels.push(level);
        for source in block.sources.iter_mut().skip(mark.sources) {
            if source.level == level {
                source.level = inner;
            }
        }
        for filter in block.filters.iter_mut().skip(mark.filters) {
            if filter.level == level {
                filter.level = inner;
            }
        }
        Some(inner)
    }

    /// The condition of a join between what was noted since `mark` and what since `right`, which
    /// filters the rows of `level`.
    pub(super) fn confine_join(
        &mut self,
        constraint: &JoinConstraint,
        mark: Mark,
        right: Mark,
        level: Option<usize>,
    ) {
        let Some(to) = self.here().map(|(block, _)| block.sources.len()) else {
            return;
        };
        let level = level.or(self.place.map(|place| place.level)).unwrap_or(0);
        match constraint {
            JoinConstraint::On(condition) => self.confine(condition, mark.sources, to, level),
            JoinConstraint::Using(columns) => {
                for column in columns {
                    let [ObjectNamePart::Identifier(ident)] = column.0.as_slice() else {
                        continue;
                    };
                    let name = plain(ident);
                    if let Some((block, _)) = self.here() {
                        block.merged.names.push(name.clone());
                    }
                    let seen = |from, to| Seen {
                        column: ColumnUse {
                            qualifier: Vec::new(),
                            name: name.clone(),
                        },
                        from,
                        to,
                        as_text: false,
                    };
                    self.filter(
                        seen(mark.sources, right.sources),
                        Equal::Column(seen(right.sources, to)),
                        level,
                    );
                }
            }
            JoinConstraint::Natural => {
                if let Some((block, _)) = self.here() {
                    block.merged.natural = true;
                }
            }
            // A cross join, or the parser has read the joins in another order.
            JoinConstraint::None => {}
        }
    }

    /// WHERE of the current block.
    pub(super) fn confine_where(&mut self, condition: Option<&Expr>) {
        let to = self.here().map_or(0, |(block, _)| block.sources.len());
        if let Some(condition) = condition {
            self.confine(condition, 0, to, 0);
        }
    }

    /// Notes the equalities among the conjuncts of a condition.
    fn confine(&mut self, condition: &Expr, from: usize, to: usize, level: usize) {
        let seen = |expression: &Expr| compared(expression, from, to);
        let mut pending = vec![condition];
        while let Some(conjunct) = pending.pop() {
            match conjunct {
                Expr::Nested(inner) => pending.push(inner),
                Expr::BinaryOp {
                    left,
                    op: BinaryOperator::And,
                    right,
                } => pending.extend([left.as_ref(), right.as_ref()]),
                Expr::BinaryOp {
                    left,
                    op: BinaryOperator::Eq,
                    right,
                } => match (seen(left), seen(right)) {
                    (Some(left), Some(right)) => self.filter(left, Equal::Column(right), level),
                    (Some(seen), None) => self.filter_constants(seen, [right.as_ref()], level),
                    (None, Some(seen)) => self.filter_constants(seen, [left.as_ref()], level),
                    (None, None) => {}
                },
                Expr::InList {
                    expr,
                    list,
                    negated: false,
                } if list.len() <= LIST_MAX => {
                    if let Some(seen) = seen(expr) {
                        self.filter_constants(seen, list, level);
                    }
                }
                Expr::AnyOp {
                    left,
                    compare_op: BinaryOperator::Eq,
                    right,
                    is_some: _,
                } => {
                    if let (Some(seen), Some(values)) = (seen(left), array(right)) {
                        self.filter(seen, Equal::Constants(values), level);
                    }
                }
                _ => {}
            }
        }
    }

    fn filter_constants<'a>(
        &mut self,
        seen: Seen,
        expressions: impl IntoIterator<Item = &'a Expr>,
        level: usize,
    ) {
        let constants: Option<Vec<Constant>> =
            expressions.into_iter().map(compared_constant).collect();
        if let Some(constants) = constants.filter(|constants| !constants.is_empty()) {
            self.filter(seen, Equal::Constants(constants), level);
        }
    }

    fn filter(&mut self, left: Seen, right: Equal, level: usize) {
        if let Some((block, _)) = self.here()
            && block.filters.len() < FILTERS_MAX
        {
            block.filters.push(Filter { left, right, level });
        }
    }

    /// What confines the rows, now that it is known which parameters stand where.
    pub fn confined(&mut self, prepared: &Prepared) -> (Vec<Block>, Option<Change>) {
        let (mut blocks, mut change) = (std::mem::take(&mut self.blocks), self.change.take());
        if prepared.overriding {
            change = None;
        }
        for constant in constants(&mut blocks, &mut change) {
            if let Constant::Parameter { number, repeated }
            | Constant::Elements {
                number, repeated, ..
            } = constant
            {
                let uses = prepared.parameters.iter().filter(|used| *used == number);
                *repeated = uses.count() != 1;
            }
        }
        (blocks, change)
    }

    /// What a change at the top of a statement knows of its rows.
    pub(super) fn note_change(&mut self, statement: &Statement, block: Option<usize>) {
        self.change = match (statement, block) {
            (Statement::Insert(insert), _) => inserted(insert),
            (Statement::Update(update), Some(block)) => Some(Change::Update {
                block,
                assigned: assigned(&update.assignments),
            }),
            (Statement::Delete(_), Some(block)) => Some(Change::Delete { block }),
            _ => None,
        };
    }
}

fn constants<'a>(
    blocks: &'a mut [Block],
    change: &'a mut Option<Change>,
) -> impl Iterator<Item = &'a mut Constant> {
    let filters = blocks.iter_mut().flat_map(|block| &mut block.filters);
    let compared = filters.filter_map(|filter| match &mut filter.right {
        Equal::Constants(constants) => Some(constants),
        Equal::Column(_) => None,
    });
    let mut assigned: Vec<&mut Constant> = Vec::new();
    match change {
        Some(Change::Insert { rows, conflict, .. }) => {
            assigned.extend(rows.iter_mut().flatten().flatten());
            if let Conflict::Update { assigned: by, .. } = conflict {
                assigned.extend(by.iter_mut().filter_map(|(_, value)| value.as_mut()));
            }
        }
        Some(Change::Update { assigned: by, .. }) => {
            assigned.extend(by.iter_mut().filter_map(|(_, value)| value.as_mut()));
        }
        Some(Change::Delete { .. }) | None => {}
    }
    compared.flatten().chain(assigned)
}

fn inserted(insert: &Insert) -> Option<Change> {
    let columns: Option<Vec<String>> = insert.columns.iter().map(single).collect();
    let query = insert.source.as_deref()?;
    let SetExpr::Values(values) = query.body.as_ref() else {
        return None;
    };
    if query.with.is_some() || values.rows.len() > ROWS_MAX {
        return None;
    }
    let rows = values
        .rows
        .iter()
        .map(|row| row.content.iter().map(constant).collect())
        .collect();
    let columns = columns?;
    Some(Change::Insert {
        columns: (!columns.is_empty()).then_some(columns),
        rows,
        conflict: match &insert.on {
            None => Conflict::Nothing,
            Some(OnInsert::OnConflict(conflict)) => conflicting(conflict),
            Some(_) => Conflict::Unknown,
        },
    })
}

fn conflicting(conflict: &OnConflict) -> Conflict {
    let update = match &conflict.action {
        OnConflictAction::DoNothing => return Conflict::Nothing,
        OnConflictAction::DoUpdate(update) => update,
    };
    match &conflict.conflict_target {
        Some(ConflictTarget::Columns(columns)) => Conflict::Update {
            columns: columns.iter().map(plain).collect(),
            assigned: assigned(&update.assignments),
        },
        _ => Conflict::Unknown,
    }
}

fn assigned(assignments: &[Assignment]) -> Vec<(String, Assigned)> {
    let mut all = Vec::new();
    for Assignment { target, value } in assignments {
        match target {
            AssignmentTarget::ColumnName(name) => match single(name) {
                Some(name) => all.push((name, constant(value))),
                // A field or an element of a column.
                None => all.extend(first(name).map(|name| (name, None))),
            },
            AssignmentTarget::Tuple(names) => {
                all.extend(names.iter().filter_map(first).map(|name| (name, None)));
            }
        }
    }
    all
}

pub(super) fn plain(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => fold(&ident.value),
    }
}

fn first(name: &ParsedName) -> Option<String> {
    match name.0.first() {
        Some(ObjectNamePart::Identifier(ident)) => Some(plain(ident)),
        _ => None,
    }
}

fn single(name: &ParsedName) -> Option<String> {
    first(name).filter(|_| name.0.len() == 1)
}
