//! Columns and constants as they stand in conditions.

use sqlparser::ast::{ArrayElemTypeDef, CastKind, DataType, Expr, Ident, UnaryOperator, Value};

use super::blocks::plain;
use crate::sql::blocks::{ArrayOf, Constant, Seen};
use crate::sql::facts::ColumnUse;
use crate::sql::vocabulary::names_current_value;

/// Constants of one IN list. What is more is not noted.
pub(super) const LIST_MAX: usize = 16;

/// A column, looked up among these sources of its block.
pub(super) fn column(expression: &Expr, from: usize, to: usize) -> Option<Seen> {
    let word = |ident: &Ident| {
        ident.quote_style.is_none() && names_current_value(&ident.value.to_ascii_lowercase())
    };
    let (qualifier, name) = match bare(expression) {
        // CURRENT_USER and its like are no columns, whatever columns there are.
        Expr::Identifier(ident) if !word(ident) => (Vec::new(), ident),
        Expr::CompoundIdentifier(idents) => match idents.as_slice() {
            [qualifier, name] => (vec![plain(qualifier)], name),
            _ => return None,
        },
        _ => return None,
    };
    let column = ColumnUse {
        qualifier,
        name: plain(name),
    };
    Some(Seen {
        column,
        from,
        to,
        as_text: false,
    })
}

/// A column as it is compared: by itself, or as a text, as PostgreSQL writes the comparison of a varchar.
pub(super) fn compared(expression: &Expr, from: usize, to: usize) -> Option<Seen> {
    match cast(expression) {
        Some((inner, DataType::Text)) => Some(Seen {
            as_text: true,
            ..column(inner, from, to)?
        }),
        Some(_) => None,
        None => column(expression, from, to),
    }
}

/// A constant that is compared, by itself or cast.
pub(super) fn compared_constant(expression: &Expr) -> Option<Constant> {
    match cast(expression) {
        Some((inner, to)) => typed(compared_constant(inner)?, family(to)?),
        None => constant(expression),
    }
}

/// The tokens are numbered by the columns of their spans.
pub(super) fn constant(expression: &Expr) -> Option<Constant> {
    let (value, negative) = match bare(expression) {
        Expr::Value(value) => (value, false),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match expr.as_ref() {
            Expr::Value(value) if matches!(value.value, Value::Number(..)) => (value, true),
            _ => return None,
        },
        _ => return None,
    };
    let token = usize::try_from(value.span.start.column).ok()?;
    match &value.value {
        Value::SingleQuotedString(_) => Some(Constant::Text(token)),
        Value::Number(..) => Some(Constant::Number { token, negative }),
        Value::Boolean(value) => Some(Constant::Boolean(*value)),
        Value::Placeholder(name) => Some(Constant::Parameter {
            number: name.strip_prefix('$')?.parse().ok()?,
            repeated: true,
        }),
        _ => None,
    }
}

/// What is in the array of `= ANY (array)`: `$1`, `$1::int[]`, `ARRAY['a'::varchar, 'b'::varchar]::text[]` and their like.
pub(super) fn array(expression: &Expr) -> Option<Vec<Constant>> {
    let (array, to) = match cast(expression) {
        Some((array, DataType::Array(ArrayElemTypeDef::SquareBracket(of, None)))) => {
            (bare(array), Some(array_of(of)?))
        }
        Some(_) => return None,
        None => (bare(expression), None),
    };
    if let Expr::Array(list) = array {
        let fits = (1..=LIST_MAX).contains(&list.elem.len());
        let elements = list.elem.iter().map(|element| match to {
            Some(to) => typed(compared_constant(element)?, to),
            None => compared_constant(element),
        });
        return fits.then(|| elements.collect()).flatten();
    }
    match constant(array)? {
        Constant::Parameter { number, repeated } => Some(vec![Constant::Elements {
            number,
            repeated,
            cast: to,
        }]),
        _ => None,
    }
}

fn bare(expression: &Expr) -> &Expr {
    match expression {
        Expr::Nested(inner) => bare(inner),
        _ => expression,
    }
}

/// What is cast, and to what.
fn cast(expression: &Expr) -> Option<(&Expr, &DataType)> {
    match bare(expression) {
        Expr::Cast {
            kind: CastKind::DoubleColon | CastKind::Cast,
            expr,
            data_type,
            ..
        } => Some((bare(expr), data_type)),
        _ => None,
    }
}

/// A constant that is cast, where its value is the same as one of that family. A parameter takes its type from the cast.
fn typed(constant: Constant, to: ArrayOf) -> Option<Constant> {
    let (token, negative, quoted) = match constant {
        Constant::Text(token) => (token, false, true),
        Constant::Number { token, negative } if to == ArrayOf::Integers => (token, negative, false),
        Constant::Typed {
            token,
            negative,
            quoted,
            cast,
        } if cast == to => (token, negative, quoted),
        _ => return None,
    };
    Some(Constant::Typed {
        token,
        negative,
        quoted,
        cast: to,
    })
}

fn family(to: &DataType) -> Option<ArrayOf> {
    match to {
        DataType::Varchar(None)
        | DataType::CharVarying(None)
        | DataType::CharacterVarying(None) => Some(ArrayOf::Texts),
        other => array_of(other),
    }
}

fn array_of(element: &DataType) -> Option<ArrayOf> {
    match element {
        DataType::Int(None)
        | DataType::Integer(None)
        | DataType::BigInt(None)
        | DataType::SmallInt(None) => Some(ArrayOf::Integers),
        DataType::Text => Some(ArrayOf::Texts),
        DataType::Uuid => Some(ArrayOf::Uuids),
        _ => None,
    }
}
