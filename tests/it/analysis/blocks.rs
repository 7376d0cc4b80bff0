//! Which equalities hold for the rows of which source of a block, by PostgreSQL's tree, and whether our blocks claim
//! more than that.

use pgditto::sql::{ArrayOf, Constant, Equal, Facts, Filter, Literal, Literals, Seen};
use serde_json::Value;

use super::names::Names;
use super::tree::{self, Fields, column, flag, list, node, number, some, text};

/// A constant of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Fixed {
    Text(String),
    Integer(i128),
    /// A number that is no integer, or a large one.
    Number(String),
    Boolean(bool),
    Parameter(i64),
    /// The elements of a parameter, and the type that it is cast to.
    Elements(i64, Option<String>),
    /// What is cast, and the type.
    Cast(Box<Fixed>, String),
}

/// Behind the name of a column that is cast to text.
const AS_TEXT: &str = "::text";

/// A name of a column, and the sources among which it is looked up.
type Place = (Vec<String>, usize, usize);

#[derive(Debug, Clone, PartialEq)]
enum Conjunct {
    Columns(Place, Place),
    Constants(Place, Vec<Fixed>),
}

#[derive(Debug)]
struct Source {
    alias: String,
    relation: Option<(Option<String>, String)>,
    renamed: bool,
    /// What holds for its rows.
    holds: Vec<Conjunct>,
}

#[derive(Debug)]
pub struct Block {
    sources: Vec<Source>,
}

/// The block of a SELECT, UPDATE or DELETE.
pub fn block(sort: &str, fields: &Fields, names: &Names) -> Option<Block> {
    const NO_SET_OPERATION: i64 = 1;
    let mut build = Build {
        names,
        sources: Vec::new(),
    };
    let from = match sort {
        "SelectStmt" => {
            let plain =
                number(fields, "op") == NO_SET_OPERATION && list(fields, "values_lists").is_empty();
            plain.then_some(())?;
            "from_clause"
        }
        "UpdateStmt" => "from_clause",
        "DeleteStmt" => "using_clause",
        _ => return None,
    };
    if sort != "SelectStmt"
        && let Some(Value::Object(target)) = some(fields, "relation")
    {
        build.relation(target, true);
    }
    let mut all = Vec::new();
    for item in list(fields, from) {
        all.extend(build.item(item));
    }
    let end = build.sources.len();
    if let Some(condition) = some(fields, "where_clause") {
        conjuncts(condition, 0, end, &mut all);
    }
    build.hold(0, end, &all);
    Some(Block {
        sources: build.sources,
    })
}

struct Build<'a> {
    names: &'a Names,
    sources: Vec<Source>,
}

impl Build<'_> {
    fn hold(&mut self, from: usize, to: usize, conjuncts: &[Conjunct]) {
        for source in &mut self.sources[from..to] {
            source.holds.extend_from_slice(conjuncts);
        }
    }

    fn relation(&mut self, fields: &Fields, target: bool) {
        let name = text(fields, "relname").to_owned();
        let schema = Some(text(fields, "schemaname").to_owned()).filter(|name| !name.is_empty());
        let (alias, renamed) = alias(fields);
        let common = !target && schema.is_none() && self.names.is_common_table(&name);
        self.sources.push(Source {
            alias: alias.unwrap_or_else(|| name.clone()),
            relation: (!common).then_some((schema, name)),
            renamed,
            holds: Vec::new(),
        });
    }

    /// Adds what stands in a FROM; the conjuncts that hold for everything around it too.
    fn item(&mut self, item: &Value) -> Vec<Conjunct> {
        match node(item) {
            Some(("RangeVar", fields)) => self.relation(fields, false),
            Some(("RangeTableSample", fields)) => return self.item(&fields["relation"]),
            Some(("JoinExpr", fields)) => return self.join(fields),
            Some((_, fields)) => self.sources.push(Source {
                alias: alias(fields).0.unwrap_or_default(),
                relation: None,
                renamed: false,
                holds: Vec::new(),
            }),
            None => {}
        }
        Vec::new()
    }

    fn join(&mut self, fields: &Fields) -> Vec<Conjunct> {
        const INNER: i64 = 1;
        const LEFT: i64 = 2;
        const FULL: i64 = 3;
        const RIGHT: i64 = 4;
        let start = self.sources.len();
        let mut left = self.item(&fields["larg"]);
        let middle = self.sources.len();
        let mut right = self.item(&fields["rarg"]);
        let end = self.sources.len();
        let mut condition = Vec::new();
        if let Some(on) = some(fields, "quals") {
            conjuncts(on, start, end, &mut condition);
        }
        for name in tree::parts(list(fields, "using_clause")).unwrap_or_default() {
            condition.push(Conjunct::Columns(
                (vec![name.clone()], start, middle),
                (vec![name], middle, end),
            ));
        }
        // The alias of a join hides what is within: nothing that is said by name holds.
        let hidden = some(fields, "alias").is_some();
        let open = match number(fields, "jointype") {
            INNER => [left, right, condition].concat(),
            LEFT => {
                right.extend(condition);
                self.hold(middle, end, &right);
                left
            }
            RIGHT => {
                left.extend(condition);
                self.hold(start, middle, &left);
                right
            }
            FULL => {
                self.hold(start, middle, &left);
                self.hold(middle, end, &right);
                Vec::new()
            }
            other => panic!("a join of sort {other}"),
        };
        if hidden { Vec::new() } else { open }
    }
}

fn alias(fields: &Fields) -> (Option<String>, bool) {
    match some(fields, "alias") {
        Some(Value::Object(alias)) => (
            Some(text(alias, "aliasname").to_owned()),
            !list(alias, "colnames").is_empty(),
        ),
        _ => (None, false),
    }
}

fn conjuncts(condition: &Value, from: usize, to: usize, found: &mut Vec<Conjunct>) {
    const AND: i64 = 1;
    const OPERATOR: i64 = 1;
    const ANY: i64 = 2;
    const IN: i64 = 7;
    let place = |value: &Value| {
        let (named, as_text) = match node(value) {
            Some(("TypeCast", fields)) if cast_to(fields).as_deref() == Some("text") => {
                (&fields["arg"], true)
            }
            _ => (value, false),
        };
        column(named)
            .filter(|parts| parts.len() <= 2 && parts.iter().all(|part| part != "*"))
            .map(|parts| {
                let cast = as_text.then(|| AS_TEXT.to_owned());
                (parts.into_iter().chain(cast).collect(), from, to)
            })
    };
    match node(condition) {
        Some(("BoolExpr", fields)) if number(fields, "boolop") == AND => {
            for part in list(fields, "args") {
                conjuncts(part, from, to, found);
            }
        }
        Some(("AExpr", fields)) if tree::parts(list(fields, "name")) == Some(vec!["=".into()]) => {
            let (left, right) = (&fields["lexpr"], &fields["rexpr"]);
            match (number(fields, "kind"), place(left), place(right)) {
                (OPERATOR, Some(left), Some(right)) => {
                    found.push(Conjunct::Columns(left, right));
                }
                (OPERATOR, Some(place), None) => {
                    found.extend(fixed(right).map(|value| Conjunct::Constants(place, vec![value])));
                }
                (OPERATOR, None, Some(place)) => {
                    found.extend(fixed(left).map(|value| Conjunct::Constants(place, vec![value])));
                }
                (ANY, Some(place), _) => {
                    found.extend(any(right).map(|values| Conjunct::Constants(place, values)));
                }
                (IN, Some(place), _) => {
                    let values = tree::fields(right, "List").and_then(|items| {
                        list(items, "items")
                            .iter()
                            .map(fixed)
                            .collect::<Option<Vec<_>>>()
                    });
                    found.extend(values.map(|values| Conjunct::Constants(place, values)));
                }
                _ => {}
            }
        }
        _ => {}
    }
}

/// What `= ANY` compares with.
fn any(array: &Value) -> Option<Vec<Fixed>> {
    let elements = |value: &Value, cast| match fixed(value)? {
        Fixed::Parameter(number) => Some(vec![Fixed::Elements(number, cast)]),
        _ => None,
    };
    match node(array)? {
        ("AArrayExpr", fields) => list(fields, "elements").iter().map(fixed).collect(),
        ("TypeCast", fields) => {
            let Some(Value::Object(name)) = some(fields, "type_name") else {
                return None;
            };
            let of = tree::object(list(name, "names")).1;
            (list(name, "array_bounds").len() == 1).then_some(())?;
            elements(&fields["arg"], Some(of))
        }
        _ => elements(array, None),
    }
}

/// A constant or a parameter.
pub fn fixed(value: &Value) -> Option<Fixed> {
    match node(value)? {
        ("ParamRef", fields) => Some(Fixed::Parameter(number(fields, "number"))),
        ("AConst", fields) if !flag(fields, "isnull") => {
            let (sort, value) = fields.get("val")?.as_object()?.iter().next()?;
            let value = value.as_object()?;
            Some(match sort.as_str() {
                "Sval" => Fixed::Text(text(value, "sval").to_owned()),
                "Ival" => Fixed::Integer(number(value, "ival").into()),
                "Fval" => match text(value, "fval").parse() {
                    Ok(integer) => Fixed::Integer(integer),
                    Err(_) => Fixed::Number(text(value, "fval").to_owned()),
                },
                "Boolval" => Fixed::Boolean(flag(value, "boolval")),
                _ => return None,
            })
        }
        ("TypeCast", fields) => {
            let value = fixed(&fields["arg"])?;
            Some(Fixed::Cast(Box::new(value), cast_to(fields)?))
        }
        _ => None,
    }
}

/// The type of a cast, where it is no array and has no modifier.
fn cast_to(cast: &Fields) -> Option<String> {
    let name = some(cast, "type_name")?.as_object()?;
    let plain = list(name, "array_bounds").is_empty() && list(name, "typmods").is_empty();
    plain.then(|| tree::object(list(name, "names")).1)
}

/// Whether our word for a family of types is for that type.
fn is_of(family: ArrayOf, name: &str) -> bool {
    match family {
        ArrayOf::Integers => ["int2", "int4", "int8"].contains(&name),
        ArrayOf::Texts => ["text", "varchar"].contains(&name),
        ArrayOf::Uuids => name == "uuid",
    }
}

/// Whether our constant is that one.
pub fn is_that(ours: &Constant, theirs: &Fixed, literals: &Literals<'_>) -> bool {
    match (ours, theirs) {
        // What is not certain is not decoded.
        (Constant::Text(token), Fixed::Text(text)) => match literals.get(*token) {
            Some(Literal::Text(known)) => known == text.as_str(),
            Some(Literal::Integer(_)) => false,
            None => true,
        },
        (Constant::Number { token, negative }, theirs) => match (literals.get(*token), theirs) {
            (Some(Literal::Integer(digits)), Fixed::Integer(value)) => digits
                .parse::<i128>()
                .is_ok_and(|known| if *negative { -known } else { known } == *value),
            (None, Fixed::Number(value)) => value.starts_with('-') == *negative,
            _ => false,
        },
        (Constant::Boolean(ours), Fixed::Boolean(theirs)) => ours == theirs,
        (Constant::Parameter { number, .. }, Fixed::Parameter(theirs)) => {
            i64::try_from(*number) == Ok(*theirs)
        }
        (Constant::Elements { number, cast, .. }, Fixed::Elements(theirs, of)) => {
            let same_cast = match (cast, of) {
                (None, of) => of.is_none(),
                (Some(family), of) => of.as_deref().is_some_and(|of| is_of(*family, of)),
            };
            i64::try_from(*number) == Ok(*theirs) && same_cast
        }
        (
            Constant::Typed {
                token,
                negative,
                quoted,
                cast,
            },
            Fixed::Cast(value, of),
        ) => {
            let (token, negative) = (*token, *negative);
            let plain = match quoted {
                true => Constant::Text(token),
                false => Constant::Number { token, negative },
            };
            let within = matches!(**value, Fixed::Cast(..));
            let inner = if within { ours } else { &plain };
            is_of(*cast, of) && is_that(inner, value, literals)
        }
        _ => false,
    }
}

/// What our blocks claim, and PostgreSQL's tree does not say.
pub fn claimed(facts: &Facts, names: &Names, sql: &str) -> Vec<String> {
    let literals = Literals::of(sql);
    let mut claims = Vec::new();
    let mut left: Vec<&Block> = names.blocks.iter().collect();
    // Those that claim the most find theirs first.
    let mut blocks: Vec<_> = facts.blocks.iter().collect();
    blocks.sort_by_key(|block| std::cmp::Reverse(block.filters.len()));
    for ours in blocks {
        let same: Vec<usize> = (0..left.len())
            .filter(|at| are_same(ours, left[*at]))
            .collect();
        let holds = same.iter().find(|at| {
            let sources = left[**at].sources.iter();
            ours.sources.iter().zip(sources).all(|(our, their)| {
                ours.filters_of(our.level)
                    .all(|filter| holds(filter, their, &literals))
            })
        });
        match (holds, same.first()) {
            (Some(at), _) => {
                left.remove(*at);
            }
            (None, Some(at)) => claims.push(format!("filters {ours:?} of {:?}", left[*at])),
            (None, None) => claims.push(format!("no such block: {ours:?}")),
        }
    }
    if claims.is_empty() && !left.is_empty() {
        claims.push(format!("blocks not seen: {left:?}"));
    }
    for constant in facts.blocks.iter().flat_map(constants) {
        if let Constant::Parameter { number, repeated }
        | Constant::Elements {
            number, repeated, ..
        } = constant
        {
            let uses = names.parameters.iter();
            let count = uses
                .filter(|used| i64::try_from(*number) == Ok(**used))
                .count();
            if !repeated && count != 1 {
                claims.push(format!("${number} stands there once"));
            }
        }
    }
    claims
}

fn constants(block: &pgditto::sql::Block) -> Vec<&Constant> {
    let filters = block.filters.iter();
    filters
        .filter_map(|filter| match &filter.right {
            Equal::Constants(constants) => Some(constants),
            Equal::Column(_) => None,
        })
        .flatten()
        .collect()
}

fn are_same(ours: &pgditto::sql::Block, theirs: &Block) -> bool {
    ours.sources.len() == theirs.sources.len()
        && ours
            .sources
            .iter()
            .zip(&theirs.sources)
            .all(|(our, their)| {
                let relation = our
                    .relation
                    .as_ref()
                    .map(|name| (name.schema.clone(), name.name.clone()));
                our.alias == their.alias
                    && relation == their.relation
                    && (our.renamed || !their.renamed || their.relation.is_none())
            })
}

fn holds(filter: &Filter, source: &Source, literals: &Literals<'_>) -> bool {
    let is = |seen: &Seen, place: &Place| {
        let cast = seen.as_text.then_some(AS_TEXT);
        let parts = seen.column.qualifier.iter().chain([&seen.column.name]);
        parts.map(String::as_str).chain(cast).eq(&place.0)
            && seen.from == place.1
            && seen.to == place.2
    };
    source
        .holds
        .iter()
        .any(|conjunct| match (&filter.right, conjunct) {
            (Equal::Column(right), Conjunct::Columns(a, b)) => {
                is(&filter.left, a) && is(right, b) || is(&filter.left, b) && is(right, a)
            }
            (Equal::Constants(ours), Conjunct::Constants(place, theirs)) => {
                is(&filter.left, place)
                    && ours.len() == theirs.len()
                    && ours
                        .iter()
                        .zip(theirs)
                        .all(|(our, their)| is_that(our, their, literals))
            }
            _ => false,
        })
}
