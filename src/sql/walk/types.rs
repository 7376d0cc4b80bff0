//! Type names, by the names that pg_type has for them, and conversions to dates and times.

use sqlparser::ast::{
    ArrayElemTypeDef, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, GeometricTypeKind, ObjectNamePart, TimezoneInfo,
};

use super::Walker;
use crate::sql::Bypass;
use crate::sql::facts::{ColumnUse, ObjectName};
use crate::sql::lexer::fold;

/// How deep it is looked for where a converted value comes from.
const SOURCE_DEPTH_MAX: usize = 16;

/// Types whose input may read the clock.
pub(super) fn is_datetime(name: &str) -> bool {
    matches!(
        name,
        "date"
            | "time"
            | "timetz"
            | "timestamp"
            | "timestamptz"
            | "daterange"
            | "tsrange"
            | "tstzrange"
            | "datemultirange"
            | "tsmultirange"
            | "tstzmultirange"
    )
}

/// Built-in functions whose result is a date or time and never a text, whatever they are given.
fn returns_datetime(name: &str) -> bool {
    matches!(
        name,
        "date_trunc"
            | "date_bin"
            | "to_date"
            | "to_timestamp"
            | "make_date"
            | "make_time"
            | "make_timestamp"
            | "make_timestamptz"
            | "timezone"
            | "now"
    )
}

impl Walker {
    /// Notes a type; its name if it is one of PostgreSQL's grammar or catalogue, for an array that of its elements.
    pub(super) fn data_type(&mut self, data_type: &DataType) -> Option<String> {
        let mut data_type = data_type;
        while let DataType::Array(element) = data_type {
            data_type = match element {
                ArrayElemTypeDef::SquareBracket(inner, _)
                | ArrayElemTypeDef::Qualified(inner, _) => inner,
                ArrayElemTypeDef::None
                | ArrayElemTypeDef::AngleBracket(_)
                | ArrayElemTypeDef::Parenthesis(_) => {
                    self.doubt = true;
                    return None;
                }
            };
        }
        let name = match data_type {
            DataType::Custom(name, _) => {
                let object = self.object(name);
                let quoted = matches!(name.0.last(), Some(ObjectNamePart::Identifier(ident)) if ident.quote_style.is_some());
                let known = if object.schema.is_none() && !quoted {
                    by_another_name(&object.name)
                } else {
                    None
                };
                known.map_or(object, |name| ObjectName {
                    schema: None,
                    name: name.to_owned(),
                })
            }
            other => {
                let Some(name) = built_in(other) else {
                    self.doubt = true;
                    return None;
                };
                // Which of its spellings was used is not kept; all the words of this one are met.
                for word in other
                    .to_string()
                    .split(|character: char| !character.is_alphanumeric() && character != '_')
                {
                    self.met.insert(fold(word));
                }
                for word in spellings(name) {
                    self.met.insert((*word).to_owned());
                }
                ObjectName {
                    schema: None,
                    name: name.to_owned(),
                }
            }
        };
        if matches!(data_type, DataType::Float(ExactNumberInfo::Precision(_))) {
            // Which of the two it is depends on a literal, and facts hold for a shape.
            self.typed_as(ObjectName {
                schema: None,
                name: "float4".to_owned(),
            });
        }
        if name.name == "timetz" {
            self.clock_conversion();
        }
        let known =
            matches!(name.schema.as_deref(), None | Some("pg_catalog")).then(|| name.name.clone());
        self.typed_as(name);
        known
    }

    fn typed_as(&mut self, name: ObjectName) {
        if !self.types.contains(&name) {
            self.types.push(name);
        }
    }

    /// A conversion of `expression` to the type `name`.
    pub(super) fn conversion(&mut self, expression: &Expr, name: &str) {
        if !is_datetime(name) {
            return;
        }
        let mut columns = Vec::new();
        if !self.datetime_source(expression, &mut columns, 0) {
            self.clock_conversion();
        } else if !columns.is_empty() {
            self.raise(Bypass::DatetimeText);
            if !self.datetime_fixed {
                self.datetime_columns
                    .get_or_insert_with(Vec::new)
                    .append(&mut columns);
            }
        }
    }

    /// A text may be converted to a date or time, whatever the types of the columns.
    pub(super) fn clock_conversion(&mut self) {
        self.raise(Bypass::DatetimeText);
        self.datetime_columns = None;
        self.datetime_fixed = true;
    }

    /// Whether the value is a constant (which the scan has looked at), a date or time, or made of the columns that are
    /// added to `columns`.
    fn datetime_source(
        &mut self,
        expression: &Expr,
        columns: &mut Vec<ColumnUse>,
        depth: usize,
    ) -> bool {
        if depth > SOURCE_DEPTH_MAX {
            return false;
        }
        match expression {
            Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => true,
            Expr::AtTimeZone { .. } => true,
            Expr::Nested(inner) => self.datetime_source(inner, columns, depth + 1),
            Expr::Identifier(ident) => {
                let name = self.name(ident);
                columns.push(ColumnUse {
                    qualifier: Vec::new(),
                    name,
                });
                true
            }
            Expr::CompoundIdentifier(idents) => {
                let mut parts: Vec<String> = idents.iter().map(|ident| self.name(ident)).collect();
                let name = parts.pop().unwrap_or_default();
                columns.push(ColumnUse {
                    qualifier: parts,
                    name,
                });
                true
            }
            // Its own operand is looked at where it stands.
            Expr::Cast { data_type, .. } => {
                matches!(
                    data_type,
                    DataType::Date
                        | DataType::Time(..)
                        | DataType::Timestamp(..)
                        | DataType::Interval { .. }
                )
            }
            Expr::BinaryOp { left, op, right } => {
                matches!(
                    op,
                    sqlparser::ast::BinaryOperator::Plus | sqlparser::ast::BinaryOperator::Minus
                ) && self.datetime_source(left, columns, depth + 1)
                    && self.datetime_source(right, columns, depth + 1)
            }
            Expr::Function(function) => self.function_source(function, columns, depth),
            _ => false,
        }
    }

    fn function_source(
        &mut self,
        function: &Function,
        columns: &mut Vec<ColumnUse>,
        depth: usize,
    ) -> bool {
        let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
            return false;
        };
        let name = self.name(name);
        if returns_datetime(&name) {
            return true;
        }
        if !matches!(
            name.as_str(),
            "min" | "max" | "coalesce" | "greatest" | "least"
        ) {
            return false;
        }
        let FunctionArguments::List(list) = &function.args else {
            return false;
        };
        list.args.iter().all(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => {
                self.datetime_source(expression, columns, depth + 1)
            }
            _ => false,
        })
    }
}

/// PostgreSQL's name for a type that the parser knows; `None` for other systems' types.
fn built_in(data_type: &DataType) -> Option<&'static str> {
    Some(match data_type {
        DataType::Character(_) | DataType::Char(_) => "bpchar",
        DataType::CharacterVarying(_) | DataType::CharVarying(_) | DataType::Varchar(_) => {
            "varchar"
        }
        DataType::Uuid => "uuid",
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric",
        DataType::Real | DataType::Float4 => "float4",
        DataType::Float(_) | DataType::DoublePrecision | DataType::Float8 => "float8",
        DataType::Int2(None) | DataType::SmallInt(None) => "int2",
        DataType::Int(None) | DataType::Int4(None) | DataType::Integer(None) => "int4",
        DataType::Int8(None) | DataType::BigInt(None) => "int8",
        DataType::Bool | DataType::Boolean => "bool",
        DataType::Date => "date",
        DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => "time",
        DataType::Time(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => "timetz",
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => "timestamp",
        DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => "timestamptz",
        DataType::Interval { .. } => "interval",
        DataType::JSON => "json",
        DataType::JSONB => "jsonb",
        DataType::Regclass => "regclass",
        DataType::Text => "text",
        DataType::Bytea => "bytea",
        DataType::Bit(_) => "bit",
        DataType::BitVarying(_) | DataType::VarBit(_) => "varbit",
        DataType::TsVector => "tsvector",
        DataType::TsQuery => "tsquery",
        DataType::GeometricType(kind) => match kind {
            GeometricTypeKind::Point => "point",
            GeometricTypeKind::Line => "line",
            GeometricTypeKind::LineSegment => "lseg",
            GeometricTypeKind::GeometricBox => "box",
            GeometricTypeKind::GeometricPath => "path",
            GeometricTypeKind::Polygon => "polygon",
            GeometricTypeKind::Circle => "circle",
        },
        _ => return None,
    })
}

/// Words of the grammar that the parser takes for a type's name.
fn by_another_name(name: &str) -> Option<&'static str> {
    Some(match name {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "boolean" => "bool",
        "decimal" | "dec" => "numeric",
        "real" => "float4",
        "float" => "float8",
        "char" | "character" | "nchar" => "bpchar",
        _ => return None,
    })
}

/// Words by which PostgreSQL's grammar also calls a type.
fn spellings(name: &str) -> &'static [&'static str] {
    match name {
        "bpchar" => &["char", "character", "nchar", "national"],
        "varchar" => &["varchar", "char", "character"],
        "numeric" => &["numeric", "decimal", "dec"],
        "float4" => &["float", "float4", "real"],
        "float8" => &["float", "float8", "double"],
        "int2" => &["int2", "smallint"],
        "int4" => &["int", "int4", "integer"],
        "int8" => &["int8", "bigint"],
        "bool" => &["bool", "boolean"],
        "timetz" => &["time", "timetz"],
        "timestamp" | "timestamptz" => &["timestamp", "timestamptz"],
        "varbit" => &["varbit", "bit"],
        _ => &[],
    }
}
