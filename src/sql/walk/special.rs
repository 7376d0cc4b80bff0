//! Expressions with a syntax of their own: patterns, casts and constants of a type, and function calls that do not look it.

use sqlparser::ast::{
    CeilFloorKind, DataType, DateTimeField, Expr, Interval, TrimWhereField, TypedString,
};

use super::Walker;
use crate::sql::lexer::fold;

impl Walker {
    pub(super) fn pattern(&mut self, expression: &Expr) {
        let (negated, any, operators, expr, pattern, escape) = match expression {
            Expr::Like {
                negated,
                any,
                expr,
                pattern,
                escape_char,
            } => (*negated, *any, ["~~", "!~~"], expr, pattern, escape_char),
            Expr::ILike {
                negated,
                any,
                expr,
                pattern,
                escape_char,
            } => (*negated, *any, ["~~*", "!~~*"], expr, pattern, escape_char),
            Expr::SimilarTo {
                negated,
                expr,
                pattern,
                escape_char,
            } => {
                self.call("similar_to_escape", 1 + usize::from(escape_char.is_some()));
                (*negated, false, ["~", "!~"], expr, pattern, escape_char)
            }
            _ => return,
        };
        self.doubt |= any;
        self.operator(operators[usize::from(negated)]);
        self.pair(expr, pattern);
        if let Some(escape) = escape {
            if operators[0] != "~" {
                self.call("like_escape", 2);
            }
            self.expression(escape);
        }
    }

    pub(super) fn typed(&mut self, expression: &Expr) {
        match expression {
            Expr::Cast {
                kind: _,
                expr,
                data_type,
                format,
            } => {
                self.doubt |= format.is_some();
                if let Some(name) = self.data_type(data_type) {
                    self.conversion(expr, &name);
                }
                self.expression(expr);
            }
            Expr::TypedString(TypedString {
                data_type,
                value,
                uses_odbc_syntax,
            }) => {
                self.doubt |= *uses_odbc_syntax;
                self.data_type(data_type);
                self.value(&value.value);
            }
            Expr::Interval(Interval {
                value,
                leading_field: _,
                leading_precision: _,
                last_field: _,
                fractional_seconds_precision: _,
            }) => {
                self.met.insert("interval".to_owned());
                // Only a constant may follow; another expression means that INTERVAL was a name.
                match value.as_ref() {
                    Expr::Value(value) => self.value(&value.value),
                    _ => self.doubt = true,
                }
            }
            Expr::AtTimeZone {
                timestamp,
                time_zone,
            } => {
                self.call("timezone", 2);
                self.pair(timestamp, time_zone);
            }
            Expr::Collate { expr, collation } => {
                self.object(collation);
                self.expression(expr);
            }
            _ => {}
        }
    }

    /// Functions that have a syntax of their own.
    pub(super) fn call_in_disguise(&mut self, expression: &Expr) {
        match expression {
            Expr::IsJson {
                expr,
                kind: _,
                unique_keys: _,
                negated: _,
            } => {
                for word in ["json", "scalar", "keys", "unique", "value", "object"] {
                    self.met.insert(word.to_owned());
                }
                self.expression(expr);
            }
            Expr::IsNormalized {
                expr,
                form,
                negated: _,
            } => {
                for word in ["normalized", "nfc", "nfd", "nfkc", "nfkd"] {
                    self.met.insert(word.to_owned());
                }
                self.call("is_normalized", 1 + usize::from(form.is_some()));
                self.expression(expr);
            }
            Expr::Extract {
                field,
                syntax: _,
                expr,
            } => {
                for word in field
                    .to_string()
                    .split(|character: char| !character.is_alphanumeric() && character != '_')
                {
                    self.met.insert(fold(word));
                }
                self.call("extract", 2);
                self.expression(expr);
            }
            Expr::Ceil { expr, field } | Expr::Floor { expr, field } => {
                let name = if matches!(expression, Expr::Ceil { .. }) {
                    "ceil"
                } else {
                    "floor"
                };
                let plain = CeilFloorKind::DateTimeField(DateTimeField::NoDateTime);
                self.doubt |= *field != plain;
                self.call(name, 1);
                self.expression(expr);
            }
            Expr::Position { expr, r#in } => {
                self.call("position", 2);
                self.pair(expr, r#in);
            }
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                special: _,
                shorthand,
            } => {
                let name = if *shorthand { "substr" } else { "substring" };
                self.met.insert(name.to_owned());
                // `FOR n` alone is `substring(x, 1, n::int4)`.
                let from = substring_from.is_some() || substring_for.is_some();
                self.call(
                    name,
                    1 + usize::from(from) + usize::from(substring_for.is_some()),
                );
                if substring_from.is_none() && substring_for.is_some() {
                    self.data_type(&DataType::Integer(None));
                }
                self.expression(expr);
                self.optional(substring_from.as_deref());
                self.optional(substring_for.as_deref());
            }
            Expr::Trim {
                trim_where,
                trim_what,
                expr,
                trim_characters,
            } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "btrim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                let characters = trim_characters.as_deref().unwrap_or_default();
                self.call(
                    name,
                    1 + usize::from(trim_what.is_some()) + characters.len(),
                );
                self.expression(expr);
                self.optional(trim_what.as_deref());
                self.expressions(characters);
            }
            Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                self.call("overlay", 3 + usize::from(overlay_for.is_some()));
                self.pair(expr, overlay_what);
                self.expression(overlay_from);
                self.optional(overlay_for.as_deref());
            }
            _ => {}
        }
    }
}
