//! SELECT, VALUES, set operations, WITH.

use sqlparser::ast::{
    Cte, CteAsMaterialized, Distinct, GroupByExpr, LimitClause, NamedWindowExpr, OrderBy,
    OrderByExpr, OrderByKind, OrderBySort, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier,
    WildcardAdditionalOptions, With,
};

use super::Walker;
use super::rows::{Common, Rows, united};
use crate::sql::Bypass;
use crate::sql::facts::Access;

impl Walker {
    pub(super) fn query(&mut self, query: &Query) -> Rows {
        let mut rows = None;
        self.deeper(|walker| rows = walker.query_here(query));
        rows
    }

    fn query_here(&mut self, query: &Query) -> Rows {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        self.doubt |= for_clause.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || !pipe_operators.is_empty();
        if let Some(with) = with {
            self.with(with);
        }
        let rows = self.body(body);
        let windows = self.windows;
        if let Some(order_by) = order_by {
            self.order_by(order_by);
        }
        if let Some(limit) = limit_clause {
            self.limit(limit);
        }
        if let Some(fetch) = fetch {
            self.limited = true;
            self.doubt |= fetch.percent;
            self.optional(fetch.quantity.as_ref());
        }
        for lock in locks {
            self.locks = true;
            self.raise(Bypass::Locking);
            if let Some(of) = &lock.of {
                self.parts(of);
            }
        }
        if with.is_some() {
            self.scopes.pop();
        }
        let apart = limit_clause.is_some() || fetch.is_some() || !locks.is_empty();
        rows.filter(|_| !apart && self.windows == windows)
    }

    /// Opens a scope. Without RECURSIVE an expression sees those before it, with RECURSIVE all of them.
    fn with(&mut self, with: &With) {
        let With {
            with_token: _,
            recursive,
            cte_tables,
        } = with;
        let names: Vec<String> = cte_tables
            .iter()
            .map(|cte| self.define(&cte.alias.name))
            .collect();
        let unknown = |name: &String| Common {
            name: name.clone(),
            derived: None,
        };
        self.scopes.push(if *recursive {
            names.iter().map(unknown).collect()
        } else {
            Vec::new()
        });
        for (cte, name) in cte_tables.iter().zip(names) {
            let Cte {
                alias,
                query,
                from,
                materialized,
                closing_paren_token: _,
            } = cte;
            self.doubt |= from.is_some();
            self.alias_columns(alias);
            let rows = self.query(query);
            if *recursive {
                continue;
            }
            // What is materialized is computed whole, and whatever goes wrong in any row of it is an error.
            let followed =
                *materialized != Some(CteAsMaterialized::Materialized) && alias.columns.is_empty();
            let derived = self.note_derived(rows.filter(|_| followed), 0);
            if let Some(scope) = self.scopes.last_mut() {
                scope.push(Common { name, derived });
            }
        }
    }

    /// Chains of set operations lean to the left and are long where queries are generated: their spine is a loop.
    fn body(&mut self, body: &SetExpr) -> Rows {
        let mut body = body;
        let mut others = Vec::new();
        let mut united_only = true;
        while let SetExpr::SetOperation {
            left,
            op,
            set_quantifier,
            right,
        } = body
        {
            match (op, set_quantifier) {
                (
                    SetOperator::Union | SetOperator::Except | SetOperator::Intersect,
                    SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None,
                ) => {}
                (SetOperator::Minus, _)
                | (
                    _,
                    SetQuantifier::ByName
                    | SetQuantifier::AllByName
                    | SetQuantifier::DistinctByName,
                ) => self.doubt = true,
            }
            united_only &= *op == SetOperator::Union;
            let mut rows = None;
            self.deeper(|walker| rows = walker.body(right));
            others.push(rows);
            body = left;
        }
        let mut rows = None;
        match body {
            SetExpr::Select(select) => self.deeper(|walker| rows = walker.select(select)),
            SetExpr::Query(query) => rows = self.query(query),
            SetExpr::Values(values) => {
                self.doubt |= values.explicit_row;
                for row in &values.rows {
                    self.expressions(&row.content);
                }
            }
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => {
                self.deeper(|walker| {
                    walker.change(statement);
                });
            }
            // TABLE never reaches the parser, and the loop has taken the set operations.
            SetExpr::Table(_) | SetExpr::SetOperation { .. } => self.doubt = true,
        }
        let all = others.into_iter().rev().fold(rows, united);
        all.filter(|_| united_only)
    }

    fn select(&mut self, select: &Select) -> Rows {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        let windows = self.windows;
        self.selects += 1;
        self.doubt |= !optimizer_hints.is_empty()
            || select_modifiers.is_some()
            || top.is_some()
            || exclude.is_some()
            || into.is_some()
            || !lateral_views.is_empty()
            || prewhere.is_some()
            || !connect_by.is_empty()
            || !cluster_by.is_empty()
            || !distribute_by.is_empty()
            || !sort_by.is_empty()
            || qualify.is_some()
            || value_table_mode.is_some()
            || !matches!(flavor, SelectFlavor::Standard);
        match distinct {
            None | Some(Distinct::All | Distinct::Distinct) => {}
            Some(Distinct::On(expressions)) => {
                self.limited = true;
                self.expressions(expressions);
            }
        }
        self.out_of_block(|walker| {
            for item in projection {
                walker.select_item(item);
            }
        });
        let block = self.in_block(|walker| {
            for table in from {
                walker.table(table, Access::Read);
            }
            walker.confine_where(selection.as_ref());
        });
        self.out_of_block(|walker| walker.optional(selection.as_ref()));
        match group_by {
            GroupByExpr::All(_) => self.doubt = true,
            GroupByExpr::Expressions(expressions, modifiers) => {
                self.doubt |= !modifiers.is_empty();
                self.expressions(expressions);
            }
        }
        self.optional(having.as_ref());
        for window in named_window {
            self.define(&window.0);
            match &window.1 {
                NamedWindowExpr::NamedWindow(name) => {
                    self.name(name);
                }
                NamedWindowExpr::WindowSpec(window) => self.window(window),
            }
        }
        self.note_shown(block, select, windows)
    }

    pub(super) fn select_item(&mut self, item: &SelectItem) {
        match item {
            SelectItem::UnnamedExpr(expression) => self.expression(expression),
            SelectItem::ExprWithAlias { expr, alias } => {
                self.define(alias);
                self.expression(expr);
            }
            SelectItem::ExprWithAliases { .. } => self.doubt = true,
            SelectItem::QualifiedWildcard(kind, options) => {
                self.wildcard(options);
                match kind {
                    SelectItemQualifiedWildcardKind::ObjectName(name) => {
                        self.parts(name);
                    }
                    SelectItemQualifiedWildcardKind::Expr(expression) => {
                        self.expression(expression)
                    }
                }
            }
            SelectItem::Wildcard(options) => self.wildcard(options),
        }
    }

    pub(super) fn wildcard(&mut self, options: &WildcardAdditionalOptions) {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        self.wildcard = true;
        self.doubt |= opt_ilike.is_some()
            || opt_exclude.is_some()
            || opt_except.is_some()
            || opt_replace.is_some()
            || opt_rename.is_some();
        if let Some(alias) = opt_alias {
            self.define(alias);
        }
    }

    fn order_by(&mut self, order_by: &OrderBy) {
        self.doubt |= order_by.interpolate.is_some();
        match &order_by.kind {
            OrderByKind::All(_) => self.doubt = true,
            OrderByKind::Expressions(expressions) => self.sorted(expressions),
        }
    }

    pub(super) fn sorted(&mut self, expressions: &[OrderByExpr]) {
        for OrderByExpr {
            expr,
            options,
            with_fill,
        } in expressions
        {
            self.doubt |= with_fill.is_some();
            self.expression(expr);
            match &options.sort {
                None | Some(OrderBySort::Asc | OrderBySort::Desc) => {}
                Some(OrderBySort::Using(_)) => self.doubt = true,
            }
        }
    }

    fn limit(&mut self, limit: &LimitClause) {
        self.limited = true;
        match limit {
            LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            } => {
                self.doubt |= !limit_by.is_empty();
                self.optional(limit.as_ref());
                self.optional(offset.as_ref().map(|offset| &offset.value));
            }
            LimitClause::OffsetCommaLimit { .. } => self.doubt = true,
        }
    }
}
