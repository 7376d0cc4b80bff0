//! The known name that a mistyped one was probably meant to be.

/// The candidate with the smallest edit distance to `word`, if it is near enough to be a likely slip.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let (distance, candidate) = candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    // Half of the word may be wrong: a hint that misses costs less than none.
    (distance <= word.chars().count().max(candidate.len()).div_ceil(2)).then_some(candidate)
}

/// Optimal string alignment: insert, delete, replace, and swap of neighbours cost one each; case is free.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().map(|c| c.to_ascii_lowercase()).take(80).collect();
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).take(80).collect();
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if swapped {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_found_by_edit_distance() {
        let names = ["default_pool_size", "min_pool_size", "pool_mode"];
        for (typed, meant) in [
            ("default_pool_siz", Some("default_pool_size")),
            ("Default_Pool_Size", Some("default_pool_size")),
            ("pool_mdoe", Some("pool_mode")),
            ("max_pool_size", Some("min_pool_size")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
    }

    #[test]
    fn distance_counts_a_swap_as_one() {
        assert_eq!(distance("modes", "mdoes"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
