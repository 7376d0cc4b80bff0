//! Aggregates and window functions that leave their result open.

/// Aggregates and window functions whose result may depend on an order that is not given.
pub(crate) fn depends_on_order(name: &str) -> bool {
    name.ends_with("_agg")
        || name.contains("_agg_")
        || matches!(
            name,
            "any_value"
                | "first_value"
                | "lag"
                | "last_value"
                | "lead"
                | "mode"
                | "nth_value"
                | "ntile"
                | "row_number"
                | "xmlagg"
        )
}

/// Aggregates that round as they go when they are given floats.
pub(crate) fn sums(name: &str) -> bool {
    matches!(
        name,
        "sum"
            | "avg"
            | "corr"
            | "stddev"
            | "stddev_pop"
            | "stddev_samp"
            | "variance"
            | "var_pop"
            | "var_samp"
    ) || name.starts_with("regr_")
        || name.starts_with("covar_")
}
