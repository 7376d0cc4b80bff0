//! Which columns of a write would be worth knowing.

use super::tags::Tags;
use crate::catalog::{ColumnNumber, Columns, Region};

impl Tags {
    /// The columns that `regions`, all of one relation, leave open, and by which some class tells its rows of which all
    /// other columns are known or could be known as well. Sorted, without duplicates.
    pub fn wanted(&self, regions: &[Region], could: impl Fn(ColumnNumber) -> bool) -> Columns {
        let mut wanted = Columns::new();
        let Some(first) = regions.first() else {
            return wanted;
        };
        self.classes.each(first.relation, usize::MAX, |columns| {
            let is_open = |column: &ColumnNumber| regions.iter().any(|r| !r.knows(*column));
            let open = || columns.iter().copied().filter(is_open);
            if open().all(&could) {
                wanted.extend(open());
            }
        });
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::catalog::Dependency;

    #[test]
    fn only_columns_that_make_a_class_known_are_wanted() {
        let tags = Tags::new(1 << 20).unwrap();
        let region = |columns: &[ColumnNumber]| {
            let known = columns.iter().map(|column| (*column, smallvec![7]));
            Region::new(16384, known)
        };
        let by_key = [region(&[1])];
        assert!(tags.wanted(&by_key, |_| true).is_empty());
        for class in [&[1][..], &[2], &[1, 3], &[4, 5]] {
            let read = Dependency::Region(region(class));
            assert!(tags.stamp([read], tags.picture()).is_clean());
        }
        assert_eq!(tags.wanted(&by_key, |_| true).as_slice(), [2, 3, 4, 5]);
        assert_eq!(
            tags.wanted(&by_key, |column| column != 5).as_slice(),
            [2, 3]
        );
        assert!(tags.wanted(&by_key, |_| false).is_empty());
        // Of each region it must be known.
        let moved = [region(&[1]), region(&[1, 2])];
        assert_eq!(tags.wanted(&moved, |column| column < 4).as_slice(), [2, 3]);
        assert!(tags.wanted(&[], |_| true).is_empty());
    }
}
