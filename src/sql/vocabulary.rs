//! Words of PostgreSQL's grammar, as far as queries and changes are made of them.

/// In order, so that they can be searched.
#[rustfmt::skip]
const STRUCTURAL: &[&str] = &[
    "all", "and", "any", "array", "as", "asc", "asymmetric", "at",
    "between", "both", "by", "case", "cast", "ceil", "coalesce", "collate",
    "conflict", "constraint", "cross", "cube", "current", "current_catalog", "current_date", "current_role",
    "current_schema", "current_time", "current_timestamp", "current_user", "day", "default", "delete", "desc",
    "distinct", "do", "else", "end", "escape", "except", "exclude", "exists",
    "extract", "false", "fetch", "filter", "first", "floor", "following", "for",
    "from", "full", "greatest", "group", "grouping", "groups", "having", "hour",
    "ilike", "in", "inner", "insert", "intersect", "interval", "into", "is",
    "isnull", "join", "last", "lateral", "leading", "least", "left", "like",
    "limit", "local", "localtime", "localtimestamp", "locked", "matched", "materialized", "merge",
    "minute", "month", "natural", "next", "no", "not", "nothing", "notnull",
    "nowait", "null", "nullif", "nulls", "of", "offset", "on", "only",
    "operator", "or", "order", "ordinality", "others", "outer", "over", "overlaps",
    "overlay", "partition", "placing", "position", "preceding", "precision", "range", "recursive",
    "returning", "right", "rollup", "row", "rows", "second", "select", "session_user",
    "set", "sets", "share", "similar", "skip", "some", "substring", "symmetric",
    "system_user", "table", "tablesample", "then", "ties", "time", "to", "trailing",
    "trim", "true", "unbounded", "union", "unknown", "update", "user", "using",
    "values", "varying", "when", "where", "window", "with", "within", "without",
    "year", "zone",
];

/// The longest of [`STRUCTURAL`].
const LENGTH_MAX: usize = 17;

/// Whether an unquoted word may be a part of the grammar of a query or change. Any other word is a name, and a name must
/// be met again in the parsed tree. (Some of these may also be names; only then is that check weaker.)
pub(super) fn structural(word: &str) -> bool {
    let mut lower = [0_u8; LENGTH_MAX];
    let Some(lower) = lower.get_mut(..word.len()) else {
        return false;
    };
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    STRUCTURAL
        .binary_search_by(|known| known.as_bytes().cmp(lower))
        .is_ok()
}

/// Reserved words whose value depends on the clock, the session or its user.
pub(super) fn names_current_value(lower: &str) -> bool {
    matches!(
        lower,
        "current_catalog"
            | "current_date"
            | "current_role"
            | "current_schema"
            | "current_time"
            | "current_timestamp"
            | "current_user"
            | "localtime"
            | "localtimestamp"
            | "session_user"
            | "system_user"
            | "user"
    )
}

/// Of these, the words for the user: who that is stands in every cache key.
pub(super) fn names_user(lower: &str) -> bool {
    matches!(
        lower,
        "current_role" | "current_user" | "session_user" | "user"
    )
}

/// Columns that every table has and that change without a visible change of the row.
pub(super) fn names_system_column(name: &str) -> bool {
    matches!(
        name,
        "ctid" | "xmin" | "xmax" | "cmin" | "cmax" | "tableoid"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_in_order_and_found() {
        assert!(STRUCTURAL.is_sorted());
        assert_eq!(
            STRUCTURAL.iter().map(|word| word.len()).max(),
            Some(LENGTH_MAX)
        );
        assert!(
            structural("Select")
                && structural("current_timestamp")
                && !structural("users")
                && !structural("")
        );
    }
}
