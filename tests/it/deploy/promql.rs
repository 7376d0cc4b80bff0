//! As much of PromQL as tells which series an expression asks for.

/// `name{label="value", …}`; only matchers with `=` and a label that we export.
#[derive(Debug, PartialEq, Eq)]
pub struct Selector {
    pub name: String,
    pub equal: Vec<(String, String)>,
}

const PREFIXES: [&str; 3] = ["pgditto_", "pgbouncer_", "process_"];

/// Every selector of one of our metrics.
pub fn selectors(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(begin) = rest.find(is_word) {
        let word = &rest[begin..];
        let end = word.find(|c| !is_word(c)).unwrap_or(word.len());
        let (name, after) = word.split_at(end);
        rest = after;
        if let Some(quoted) = after.strip_prefix('"') {
            // A word before a quote belongs to nothing; what is quoted is no metric.
            rest = quoted.split_once('"').map_or("", |(_, after)| after);
        } else if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            let matchers = after
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'));
            let equal = matchers.map_or_else(Vec::new, |(inner, _)| equal_matchers(inner));
            found.push(Selector {
                name: name.to_owned(),
                equal,
            });
            rest = matchers.map_or(after, |(_, after)| after);
        }
    }
    found
}

/// `a="b", c=~"d"` without what Prometheus adds itself. A value holds no comma and no brace here.
fn equal_matchers(inner: &str) -> Vec<(String, String)> {
    inner
        .split(',')
        .filter_map(|matcher| matcher.split_once('='))
        .filter(|(label, value)| !label.ends_with('!') && value.starts_with('"'))
        .map(|(label, value)| (label.trim().to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

/// The labels of every `by (…)`.
pub fn grouping_labels(expression: &str) -> Vec<String> {
    expression
        .split("by (")
        .skip(1)
        .filter_map(|after| after.split_once(')'))
        .flat_map(|(labels, _)| labels.split(','))
        .map(|label| label.trim().to_owned())
        .collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

#[test]
fn selectors_are_found_with_their_matchers() {
    let expression = r#"sum by (le, user) (rate(pgditto_a_bucket{x="1", y=~"2", z!="3"}[5m]))
                        and on (instance) process_b"#;
    let of = |name: &str, equal: &[(&str, &str)]| Selector {
        name: name.to_owned(),
        equal: equal
            .iter()
            .map(|&(label, value)| (label.to_owned(), value.to_owned()))
            .collect(),
    };
    assert_eq!(
        selectors(expression),
        [of("pgditto_a_bucket", &[("x", "1")]), of("process_b", &[])]
    );
    assert_eq!(grouping_labels(expression), ["le", "user"]);
}
