//! Function calls.

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator,
    FunctionArgumentClause, FunctionArguments, ObjectName as ParsedName, ObjectNamePart, Value,
    WindowFrame, WindowFrameBound, WindowSpec, WindowType,
};

use super::Walker;
use super::types::is_datetime;
use crate::sql::facts::{FunctionUse, KnownArgument};
use crate::sql::vocabulary::names_current_value;

/// Functions of which it must be known which constants they are given: which setting, which sequence, which relation.
/// Facts with a string of these hold for one text only.
fn reads_its_constants(name: &str) -> bool {
    matches!(
        name,
        "set_config"
            | "current_setting"
            | "nextval"
            | "currval"
            | "setval"
            | "pg_get_serial_sequence"
            | "query_to_xml"
            | "table_to_xml"
            | "current_schemas"
    ) || name.starts_with("to_reg")
}

impl Walker {
    pub(super) fn function(&mut self, function: &Function) {
        self.deeper(|walker| walker.function_here(function));
    }

    fn function_here(&mut self, function: &Function) {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            within_group,
            filter,
            null_treatment,
            over,
        } = function;
        self.doubt |= *uses_odbc_syntax
            || null_treatment.is_some()
            || !matches!(parameters, FunctionArguments::None);
        let arguments = match args {
            FunctionArguments::None => {
                self.bare(name);
                return;
            }
            // `ARRAY(SELECT …)` is the only one.
            FunctionArguments::Subquery(query) => {
                self.doubt |= !is_word(name, &["array"]);
                self.query(query);
                return;
            }
            FunctionArguments::List(list) => {
                match list.duplicate_treatment {
                    None | Some(DuplicateTreatment::Distinct | DuplicateTreatment::All) => {}
                }
                for clause in &list.clauses {
                    self.clause(clause);
                }
                &list.args
            }
        };
        self.named_call(name, arguments, within_group.len());
        for argument in arguments {
            self.argument(argument);
        }
        self.sorted(within_group);
        self.optional(filter.as_deref());
        self.windows += usize::from(over.is_some());
        match over {
            None => {}
            Some(WindowType::NamedWindow(window)) => {
                self.name(window);
            }
            Some(WindowType::WindowSpec(window)) => self.window(window),
        }
    }

    /// A name that the parser takes for a function although it has no parentheses.
    fn bare(&mut self, name: &ParsedName) {
        match name.0.as_slice() {
            [ObjectNamePart::Identifier(ident)]
                if ident.quote_style.is_none()
                    && names_current_value(&ident.value.to_ascii_lowercase()) => {}
            _ => self.doubt = true,
        }
    }

    pub(super) fn function_in_from(&mut self, name: &ParsedName, arguments: &[FunctionArg]) {
        self.named_call(name, arguments, 0);
        // Its result, and the column of it, go by the function's name.
        if let Some(ObjectNamePart::Identifier(ident)) = name.0.last() {
            self.define(ident);
        }
        for argument in arguments {
            self.argument(argument);
        }
    }

    fn named_call(&mut self, name: &ParsedName, arguments: &[FunctionArg], ordered_set: usize) {
        if is_word(name, &["nullif"]) {
            self.operator("=");
        }
        if is_word(
            name,
            &["coalesce", "nullif", "greatest", "least", "grouping", "row"],
        ) {
            self.parts(name);
            return;
        }
        let mut object = self.object(name);
        // These have a grammar of their own, of which the parser knows little.
        self.doubt |= object.schema.is_none() && object.name.starts_with("xml");
        let pairs = arguments.iter().any(|argument| match argument {
            FunctionArg::Named { operator, .. } | FunctionArg::ExprNamed { operator, .. } => {
                !matches!(
                    operator,
                    FunctionArgOperator::RightArrow | FunctionArgOperator::Assignment
                )
            }
            FunctionArg::Unnamed(_) => false,
        });
        if pairs {
            // `json_object('a': b)`
            self.doubt |= object.name != "json_object" || object.schema.is_some();
            object.name = "json_build_object".to_owned();
        }
        let argument_count = arguments
            .iter()
            .filter(|argument| !matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Wildcard)))
            .count();
        if is_datetime(&object.name)
            && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(expression))] = arguments
        {
            self.conversion(expression, &object.name);
            if object.name == "timetz" {
                self.clock_conversion();
            }
        }
        let keep = reads_its_constants(&object.name);
        let mut literal_arguments: Vec<Option<KnownArgument>> = arguments
            .iter()
            .filter(|argument| !matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Wildcard)))
            .map(|argument| if keep { constant(argument) } else { None })
            .collect();
        literal_arguments.resize(argument_count + ordered_set, None);
        // Strings are no part of a shape, the words of the grammar are.
        self.literal_dependent |= literal_arguments
            .iter()
            .any(|known| matches!(known, Some(KnownArgument::Text(_))));
        self.called(FunctionUse {
            name: object,
            argument_count: argument_count + ordered_set,
            literal_arguments,
            field: false,
        });
    }

    fn clause(&mut self, clause: &FunctionArgumentClause) {
        match clause {
            FunctionArgumentClause::OrderBy(expressions) => self.sorted(expressions),
            FunctionArgumentClause::JsonNullClause(_) => {
                self.met.insert("absent".to_owned());
            }
            FunctionArgumentClause::JsonReturningClause(clause) => {
                if let Some(name) = self.data_type(&clause.data_type)
                    && is_datetime(&name)
                {
                    self.clock_conversion();
                }
            }
            FunctionArgumentClause::IgnoreOrRespectNulls(_)
            | FunctionArgumentClause::Where(_)
            | FunctionArgumentClause::Limit(_)
            | FunctionArgumentClause::OnOverflow(_)
            | FunctionArgumentClause::Having(_)
            | FunctionArgumentClause::Separator(_) => self.doubt = true,
        }
    }

    pub(super) fn window(&mut self, window: &WindowSpec) {
        let WindowSpec {
            window_name,
            partition_by,
            order_by,
            window_frame,
        } = window;
        if let Some(name) = window_name {
            self.name(name);
        }
        self.expressions(partition_by);
        self.sorted(order_by);
        if let Some(WindowFrame {
            units: _,
            start_bound,
            end_bound,
        }) = window_frame
        {
            for bound in std::iter::once(start_bound).chain(end_bound) {
                match bound {
                    WindowFrameBound::CurrentRow => {}
                    WindowFrameBound::Preceding(distance)
                    | WindowFrameBound::Following(distance) => self.optional(distance.as_deref()),
                }
            }
        }
    }
}

/// Whether a name is one of these words of the grammar, unquoted and alone.
fn is_word(name: &ParsedName, words: &[&str]) -> bool {
    matches!(name.0.as_slice(), [ObjectNamePart::Identifier(ident)]
        if ident.quote_style.is_none() && words.iter().any(|word| ident.value.eq_ignore_ascii_case(word)))
}

/// The constant that an argument is, possibly behind a cast.
fn constant(argument: &FunctionArg) -> Option<KnownArgument> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) = argument else {
        return None;
    };
    let expression = match expression {
        Expr::Cast { expr, .. } => expr,
        other => other,
    };
    match expression {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(KnownArgument::Text(text.clone())),
            Value::Boolean(value) => Some(KnownArgument::Boolean(*value)),
            _ => None,
        },
        _ => None,
    }
}
