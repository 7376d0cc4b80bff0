//! Expressions.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, Ident, Subscript,
    UnaryOperator, Value,
};

use super::Walker;
use crate::sql::lexer::fold;
use crate::sql::vocabulary::names_current_value;

impl Walker {
    pub(super) fn optional(&mut self, expression: Option<&Expr>) {
        if let Some(expression) = expression {
            self.expression(expression);
        }
    }

    pub(super) fn expressions(&mut self, expressions: &[Expr]) {
        for expression in expressions {
            self.expression(expression);
        }
    }

    /// Chains of operators lean to the left, and long ones (`a OR b OR …`) are common: their spine is a loop.
    pub(super) fn expression(&mut self, expression: &Expr) {
        let mut expression = expression;
        while let Expr::BinaryOp { left, op, right } = expression {
            self.binary(op);
            self.deeper(|walker| walker.expression(right));
            expression = left;
        }
        self.deeper(|walker| walker.operand(expression));
    }

    fn operand(&mut self, expression: &Expr) {
        match expression {
            Expr::Identifier(ident) => self.identifier(ident),
            Expr::CompoundIdentifier(idents) => {
                let mut parts: Vec<String> = idents.iter().map(|ident| self.name(ident)).collect();
                if let Some(name) = parts.pop() {
                    self.column(parts, name);
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.expression(root);
                for access in access_chain {
                    self.access(access);
                }
            }
            Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner)
            | Expr::Nested(inner) => self.expression(inner),
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.operator("=");
                self.pair(left, right);
            }
            Expr::InList {
                expr,
                list,
                negated,
            } => {
                self.operator(if *negated { "<>" } else { "=" });
                self.expression(expr);
                self.expressions(list);
            }
            Expr::InSubquery {
                expr,
                subquery,
                negated,
            } => {
                self.operator(if *negated { "<>" } else { "=" });
                self.operator("=");
                self.expression(expr);
                self.query(subquery);
            }
            Expr::Between {
                expr,
                negated,
                low,
                high,
            } => {
                self.operator(if *negated { "<" } else { ">=" });
                self.operator(if *negated { ">" } else { "<=" });
                self.expression(expr);
                self.pair(low, high);
            }
            Expr::AnyOp {
                left,
                compare_op,
                right,
                is_some: _,
            }
            | Expr::AllOp {
                left,
                compare_op,
                right,
            } => {
                self.binary(compare_op);
                self.pair(left, right);
            }
            Expr::UnaryOp { op, expr } => {
                self.unary(op);
                self.expression(expr);
            }
            Expr::Exists {
                subquery,
                negated: _,
            }
            | Expr::Subquery(subquery) => {
                self.query(subquery);
            }
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                for set in sets {
                    self.expressions(set);
                }
            }
            Expr::Tuple(expressions) => self.expressions(expressions),
            Expr::Array(array) => self.expressions(&array.elem),
            Expr::Value(value) => self.value(&value.value),
            Expr::Function(function) => self.function(function),
            Expr::Case { .. } => self.case(expression),
            Expr::Wildcard(_) => self.wildcard = true,
            Expr::QualifiedWildcard(name, _) => {
                self.wildcard = true;
                self.parts(name);
            }
            Expr::Like { .. } | Expr::ILike { .. } | Expr::SimilarTo { .. } => {
                self.pattern(expression)
            }
            Expr::Cast { .. }
            | Expr::TypedString(_)
            | Expr::Interval(_)
            | Expr::AtTimeZone { .. }
            | Expr::Collate { .. } => self.typed(expression),
            Expr::IsJson { .. }
            | Expr::IsNormalized { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. } => self.call_in_disguise(expression),
            // The spine is taken above, and the rest is not of PostgreSQL.
            Expr::BinaryOp { .. }
            | Expr::JsonAccess { .. }
            | Expr::InUnnest { .. }
            | Expr::RLike { .. }
            | Expr::Convert { .. }
            | Expr::Prefixed { .. }
            | Expr::Struct { .. }
            | Expr::Named { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::MatchAgainst { .. }
            | Expr::OuterJoin(_)
            | Expr::Prior(_)
            | Expr::Lambda(_)
            | Expr::MemberOf(_) => self.doubt = true,
        }
    }

    pub(super) fn pair(&mut self, left: &Expr, right: &Expr) {
        self.expression(left);
        self.expression(right);
    }

    fn identifier(&mut self, ident: &Ident) {
        let name = self.name(ident);
        let word = ident.quote_style.is_none() && (name == "default" || names_current_value(&name));
        if !word {
            self.column(Vec::new(), name);
        }
    }

    fn access(&mut self, access: &AccessExpr) {
        match access {
            AccessExpr::Dot(Expr::Identifier(ident)) => {
                let name = self.name(ident);
                self.field(name);
            }
            AccessExpr::Dot(Expr::Wildcard(_)) => self.wildcard = true,
            AccessExpr::Dot(_) => self.doubt = true,
            AccessExpr::Subscript(Subscript::Index { index }) => self.expression(index),
            AccessExpr::Subscript(Subscript::Slice {
                lower_bound,
                upper_bound,
                stride,
            }) => {
                self.doubt |= stride.is_some();
                self.optional(lower_bound.as_ref());
                self.optional(upper_bound.as_ref());
            }
        }
    }

    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Number(..)
            | Value::SingleQuotedString(_)
            | Value::HexStringLiteral(_)
            | Value::Boolean(_)
            | Value::Null
            | Value::Placeholder(_) => {}
            // `N'…'` is a constant of type bpchar.
            Value::NationalStringLiteral(_) => {
                self.data_type(&sqlparser::ast::DataType::Char(None));
            }
            // No token for these is ever given to the parser.
            _ => self.doubt = true,
        }
    }

    fn case(&mut self, expression: &Expr) {
        let Expr::Case {
            case_token: _,
            end_token: _,
            operand,
            conditions,
            else_result,
        } = expression
        else {
            return;
        };
        if let Some(operand) = operand {
            self.operator("=");
            self.expression(operand);
        }
        for branch in conditions {
            self.pair(&branch.condition, &branch.result);
        }
        self.optional(else_result.as_deref());
    }

    fn unary(&mut self, operator: &UnaryOperator) {
        match operator {
            UnaryOperator::Not => {}
            UnaryOperator::BangNot | UnaryOperator::Hash => self.doubt = true,
            UnaryOperator::AtDashAt
            | UnaryOperator::BitwiseNot
            | UnaryOperator::DoubleAt
            | UnaryOperator::Plus
            | UnaryOperator::Minus
            | UnaryOperator::PGAbs
            | UnaryOperator::PGCubeRoot
            | UnaryOperator::PGPostfixFactorial
            | UnaryOperator::PGPrefixFactorial
            | UnaryOperator::PGSquareRoot
            | UnaryOperator::QuestionDash
            | UnaryOperator::QuestionPipe => self.operator(&operator.to_string()),
        }
    }

    fn binary(&mut self, operator: &BinaryOperator) {
        match operator {
            BinaryOperator::And | BinaryOperator::Or => {}
            BinaryOperator::Overlaps => self.call("overlaps", 4),
            BinaryOperator::PGCustomBinaryOperator(parts) => match parts.as_slice() {
                [operator] => self.operator(operator),
                [schema, operator] if fold(schema) == "pg_catalog" => {
                    self.met.insert("pg_catalog".to_owned());
                    self.operator(operator);
                }
                _ => self.doubt = true,
            },
            BinaryOperator::Xor
            | BinaryOperator::DuckIntegerDivide
            | BinaryOperator::MyIntegerDivide
            | BinaryOperator::Match
            | BinaryOperator::Regexp
            | BinaryOperator::Glob
            | BinaryOperator::Assignment => self.doubt = true,
            other => self.operator(&other.to_string()),
        }
    }

    pub(super) fn argument(&mut self, argument: &FunctionArg) {
        let argument = match argument {
            FunctionArg::Unnamed(argument) => argument,
            FunctionArg::Named {
                name,
                arg,
                operator: _,
            } => {
                self.name(name);
                arg
            }
            FunctionArg::ExprNamed {
                name,
                arg,
                operator: _,
            } => {
                self.expression(name);
                arg
            }
        };
        match argument {
            FunctionArgExpr::Expr(expression) => self.expression(expression),
            FunctionArgExpr::QualifiedWildcard(name) => {
                self.wildcard = true;
                self.parts(name);
            }
            FunctionArgExpr::Wildcard => {}
            FunctionArgExpr::WildcardWithOptions(options) => self.wildcard(options),
        }
    }
}
