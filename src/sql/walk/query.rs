//! SELECT, VALUES, set operations, WITH, FROM.

use sqlparser::ast::{
    Cte, Distinct, GroupByExpr, Join, JoinConstraint, JoinOperator, LimitClause, NamedWindowExpr,
    OrderBy, OrderByExpr, OrderByKind, OrderBySort, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor,
    TableFunctionArgs, TableSample, TableSampleKind, TableSampleMethod, TableWithJoins,
    WildcardAdditionalOptions, With,
};

use super::Walker;
use crate::sql::Bypass;
use crate::sql::facts::Access;

impl Walker {
    pub(super) fn query(&mut self, query: &Query) {
        self.deeper(|walker| walker.query_here(query));
    }

    fn query_here(&mut self, query: &Query) {
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
        self.body(body);
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
        self.scopes.push(if *recursive {
            names.clone()
        } else {
            Vec::new()
        });
        for (cte, name) in cte_tables.iter().zip(names) {
            let Cte {
                alias,
                query,
                from,
                materialized: _,
                closing_paren_token: _,
            } = cte;
            self.doubt |= from.is_some();
            self.alias_columns(alias);
            self.query(query);
            if let Some(scope) = self.scopes.last_mut().filter(|_| !recursive) {
                scope.push(name);
            }
        }
    }

    /// Chains of set operations lean to the left and are long where queries are generated: their spine is a loop.
    fn body(&mut self, body: &SetExpr) {
        let mut body = body;
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
            self.deeper(|walker| walker.body(right));
            body = left;
        }
        match body {
            SetExpr::Select(select) => self.deeper(|walker| walker.select(select)),
            SetExpr::Query(query) => self.query(query),
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
                self.deeper(|walker| walker.change(statement));
            }
            // TABLE never reaches the parser, and the loop has taken the set operations.
            SetExpr::Table(_) | SetExpr::SetOperation { .. } => self.doubt = true,
        }
    }

    fn select(&mut self, select: &Select) {
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
        for item in projection {
            self.select_item(item);
        }
        for table in from {
            self.table(table, Access::Read);
        }
        self.optional(selection.as_ref());
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

    pub(super) fn table(&mut self, table: &TableWithJoins, access: Access) {
        let TableWithJoins { relation, joins } = table;
        self.deeper(|walker| walker.factor(relation, access));
        for join in joins {
            self.deeper(|walker| walker.join(join));
        }
    }

    fn join(&mut self, join: &Join) {
        let Join {
            relation,
            global,
            join_operator,
        } = join;
        self.doubt |= *global;
        self.factor(relation, Access::Read);
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
        match constraint {
            JoinConstraint::On(condition) => self.expression(condition),
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
                let alias = alias.as_ref().map(|alias| self.table_alias(alias));
                match args {
                    None => self.relation(name, access, alias),
                    Some(TableFunctionArgs { args, settings }) => {
                        self.doubt |= settings.is_some() || access == Access::Write;
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
                if let Some(alias) = alias {
                    self.table_alias(alias);
                }
                self.query(subquery);
            }
            TableFactor::Function {
                lateral: _,
                name,
                args,
                with_ordinality,
                alias,
            } => {
                self.ordinality(*with_ordinality);
                if let Some(alias) = alias {
                    self.table_alias(alias);
                }
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
                if let Some(alias) = alias {
                    self.table_alias(alias);
                }
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

    fn alias_columns(&mut self, alias: &TableAlias) {
        self.doubt |= alias.at.is_some();
        for column in &alias.columns {
            self.define(&column.name);
            if let Some(data_type) = &column.data_type {
                // A value of a record or of JSON becomes one of this type.
                if self
                    .data_type(data_type)
                    .is_some_and(|name| super::types::is_datetime(&name))
                {
                    self.clock_conversion();
                }
            }
        }
    }
}
