//! What is marked, moved and kept by one writer.

use smallvec::smallvec;

use super::*;
use crate::cache::tags::{Fit, Stamp};
use crate::catalog::{Dependency, RelationOid};

const KEY_BYTES: u64 = 1 << 20;

fn on(oids: &[RelationOid]) -> Footprint {
    Footprint {
        relations: SmallVec::from_slice(oids),
        ..Footprint::default()
    }
}

#[test]
fn a_long_transaction_marks_only_at_its_commit() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let picture = tags.picture();
    let mut writer = tags.writer();
    writer.touch(&on(&[1]), picture);
    assert!(tags.stamp_whole(&[1], picture).is_clean());
    writer.touch(&on(&[2]), picture);
    writer.mark();
    assert!(!tags.stamp_whole(&[1], picture).is_clean());
    assert!(!tags.stamp_whole(&[2], picture).is_clean());
    writer.settle(true);
    assert!(tags.stamp_whole(&[1, 2], picture).is_clean());
}

#[test]
fn touching_more_while_marked_marks_at_once() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let picture = tags.picture();
    let mut writer = tags.mark(&on(&[1]), picture);
    writer.touch(&on(&[1, 2]), picture);
    assert_eq!(tags.reading(TagId::Table(1)).writers(), 1);
    assert_eq!(tags.reading(TagId::Table(2)).writers(), 1);
    writer.settle(true);
    assert_eq!(tags.reading(TagId::Table(2)).version(), 1);
}

#[test]
fn widening_reaches_marked_and_announced_writers() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let picture = tags.picture();
    let marked = tags.mark(&on(&[1]), picture);
    let mut announced = tags.writer();
    announced.touch(&on(&[2]), picture);
    tags.widen_in_flight();
    assert_eq!(tags.reading(TagId::Everything).writers(), 1);
    let stamp = tags.stamp_whole(&[], tags.picture());
    announced.mark();
    assert_eq!(tags.reading(TagId::Everything).writers(), 2);
    announced.settle(true);
    marked.settle(true);
    assert_eq!(tags.reading(TagId::Everything).version(), 2);
    assert_eq!(tags.fit(&stamp), Fit::Stale);
}

#[test]
fn a_footprint_from_an_older_catalogue_means_everything() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let picture = tags.picture();
    tags.widen_in_flight();
    let mut writer = tags.writer();
    writer.touch(&on(&[1]), picture);
    assert!(writer.touched().everything);
}

#[test]
fn a_released_writer_keeps_what_it_touched() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let picture = tags.picture();
    let mut writer = tags.mark(&on(&[1]), picture);
    writer.release(false);
    assert!(tags.stamp_whole(&[1], picture).is_clean());
    assert_eq!(tags.reading(TagId::Table(1)).version(), 0);
    writer.mark();
    assert!(!tags.stamp_whole(&[1], picture).is_clean());
    writer.release(true);
    assert_eq!(tags.reading(TagId::Table(1)).version(), 1);
    drop(writer);
    assert_eq!(tags.stats().writers, 0);
    assert_eq!(tags.stats().unsettled, 0);
}

#[test]
fn an_unknown_outcome_stays_marked_until_it_is_settled() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let kept = tags.mark(&on(&[1]), tags.picture()).keep();
    assert_eq!(tags.stats().kept, 1);
    tags.empty();
    assert!(!tags.stamp_whole(&[1], tags.picture()).is_clean());
    tags.widen_in_flight();
    assert!(!tags.stamp_whole(&[], tags.picture()).is_clean());
    kept.settle(true);
    assert!(tags.stamp_whole(&[1], tags.picture()).is_clean());
    assert_eq!(tags.stats().kept, 0);
}

#[test]
fn a_mark_dropped_unsettled_stays_and_is_counted() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    drop(tags.mark(&on(&[1]), tags.picture()));
    assert!(!tags.stamp_whole(&[1], tags.picture()).is_clean());
    assert_eq!(tags.stats().unsettled, 1);
    tags.widen_in_flight();
    assert!(!tags.stamp_whole(&[], tags.picture()).is_clean());
}

#[test]
fn relations_that_share_a_counter_mark_it_once_and_settle_it_once() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let slot = Tags::slot(TagId::Table(1));
    let twin = (2..)
        .find(|&oid| Tags::slot(TagId::Table(oid)) == slot)
        .unwrap();
    let writer = tags.mark(&on(&[1, twin]), tags.picture());
    assert_eq!(tags.reading(TagId::Table(1)).writers(), 1);
    writer.settle(true);
    assert_eq!(tags.reading(TagId::Table(twin)).writers(), 0);
}
const TABLE: RelationOid = 16384;

/// Rows of the table by column 1, by column 2, or by neither.
fn rows(first: Option<u64>, second: Option<u64>) -> Region {
    let known = [(1, first), (2, second)].into_iter();
    Region::new(
        TABLE,
        known.filter_map(|(column, value)| Some((column, smallvec![value?]))),
    )
}

/// What reads of rows 5 and 6 by either column, and of all, depend on.
struct Reads(Vec<Stamp>);

impl Reads {
    fn new(tags: &Tags) -> Self {
        let by_row = [
            (Some(5), None),
            (Some(6), None),
            (None, Some(5)),
            (None, Some(6)),
        ]
        .map(|(first, second)| Dependency::Region(rows(first, second)));
        let all = by_row.into_iter().chain([Dependency::Relation(TABLE)]);
        let stamps = all.map(|read| tags.stamp([read], tags.picture())).collect();
        Self(stamps)
    }

    /// `f`resh, `m`arked or `s`tale, each.
    fn fit(&self, tags: &Tags) -> String {
        let fit = |stamp| match tags.fit(stamp) {
            Fit::Fresh => 'f',
            Fit::Marked => 'm',
            Fit::Stale => 's',
        };
        self.0.iter().map(fit).collect()
    }
}

fn values(columns: &[(i16, &[u64])]) -> Learned {
    let columns = columns.iter();
    Learned::Values(
        columns
            .map(|(number, all)| (*number, SmallVec::from_slice(all)))
            .collect(),
    )
}

fn learnable(writer: &mut Writer, tags: &Tags, region: Region) -> Learnable {
    writer
        .touch_learnable(vec![region], tags.picture())
        .unwrap()
}

#[test]
fn what_is_learned_under_the_mark_leaves_other_keys_fresh() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let reads = Reads::new(&tags);
    let mut writer = tags.writer();
    let which = learnable(&mut writer, &tags, rows(None, Some(5)));
    assert_eq!(reads.fit(&tags), "fffff");
    writer.mark();
    assert_eq!(reads.fit(&tags), "mmmfm");
    assert!(writer.learn(which, &values(&[(1, &[5])])));
    // The marks stay as wide as they were.
    assert_eq!(reads.fit(&tags), "mmmfm");
    writer.settle(true);
    assert_eq!(reads.fit(&tags), "sfsfs");
    assert_eq!(Reads::new(&tags).fit(&tags), "fffff");
}

#[test]
fn what_is_learned_before_the_mark_is_all_that_is_marked() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let reads = Reads::new(&tags);
    let mut writer = tags.writer();
    let which = learnable(&mut writer, &tags, rows(None, None));
    assert!(writer.learn(which, &values(&[(1, &[5]), (2, &[6])])));
    assert!(!writer.learn(which, &Learned::Nothing));
    writer.mark();
    assert_eq!(reads.fit(&tags), "mffmm");
    writer.settle(true);
    assert_eq!(reads.fit(&tags), "sffss");
}

#[test]
fn what_is_never_learned_stays_wide() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let reads = Reads::new(&tags);
    let mut writer = tags.writer();
    // Two statements that look alike: only one of them is known.
    let which = learnable(&mut writer, &tags, rows(None, Some(5)));
    learnable(&mut writer, &tags, rows(None, Some(5)));
    assert!(writer.learn(which, &values(&[(1, &[5])])));
    writer.mark();
    assert_eq!(reads.fit(&tags), "mmmfm");
    writer.settle(true);
    assert_eq!(reads.fit(&tags), "sssfs");
}

#[test]
fn what_another_statement_touches_moves_with_it() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    for early in [true, false] {
        let reads = Reads::new(&tags);
        let mut writer = tags.writer();
        let plain = |writer: &mut Writer| {
            let regions = vec![rows(None, Some(6))];
            let footprint = Footprint {
                regions,
                ..Footprint::default()
            };
            writer.touch(&footprint, tags.picture());
        };
        if early {
            plain(&mut writer);
        }
        let which = learnable(&mut writer, &tags, rows(None, Some(5)));
        writer.mark();
        if !early {
            plain(&mut writer);
        }
        assert!(writer.learn(which, &values(&[(1, &[5])])));
        writer.settle(true);
        assert_eq!(reads.fit(&tags), "sssss");
    }
}

#[test]
fn a_statement_that_changed_no_row_moves_nothing() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let reads = Reads::new(&tags);
    let mut writer = tags.writer();
    let which = learnable(&mut writer, &tags, rows(Some(5), None));
    writer.mark();
    assert_eq!(reads.fit(&tags), "mfmmm");
    assert!(writer.learn(which, &Learned::Nothing));
    writer.settle(true);
    assert_eq!(reads.fit(&tags), "fffff");
    assert_eq!(tags.reading(TagId::Any(TABLE)).writers(), 0);
}

#[test]
fn values_beyond_number_are_not_told() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let reads = Reads::new(&tags);
    let mut writer = tags.writer();
    let which = learnable(&mut writer, &tags, rows(None, Some(5)));
    writer.mark();
    let many: Vec<u64> = (100..117).collect();
    writer.learn(which, &values(&[(1, &many)]));
    writer.settle(true);
    assert_eq!(reads.fit(&tags), "sssfs");
}

#[test]
fn an_abort_after_learning_moves_nothing() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let reads = Reads::new(&tags);
    let mut writer = tags.writer();
    let which = learnable(&mut writer, &tags, rows(None, None));
    writer.mark();
    writer.learn(which, &values(&[(1, &[5])]));
    writer.settle(false);
    assert_eq!(reads.fit(&tags), "fffff");
}

#[test]
fn after_a_release_nothing_more_is_learned_and_what_was_touched_is_marked_again() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let reads = Reads::new(&tags);
    let mut writer = tags.writer();
    let known = learnable(&mut writer, &tags, rows(None, Some(5)));
    let which = learnable(&mut writer, &tags, rows(Some(6), None));
    writer.mark();
    assert!(writer.learn(known, &values(&[(1, &[5])])));
    writer.release(false);
    assert_eq!(reads.fit(&tags), "fffff");
    assert!(!writer.learn(which, &Learned::Nothing));
    writer.mark();
    assert_eq!(reads.fit(&tags), "mmmmm");
    writer.settle(true);
    assert_eq!(reads.fit(&tags), "sssss");
}

#[test]
fn what_is_kept_or_widened_before_it_is_learned_stays_wide() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let reads = Reads::new(&tags);
    let mut writer = tags.writer();
    learnable(&mut writer, &tags, rows(None, Some(5)));
    let kept = writer.keep();
    assert_eq!(reads.fit(&tags), "mmmfm");
    kept.settle(true);
    assert_eq!(reads.fit(&tags), "sssfs");

    let mut writer = tags.writer();
    let which = learnable(&mut writer, &tags, rows(None, Some(5)));
    writer.mark();
    tags.widen_in_flight();
    let reads = Reads::new(&tags);
    writer.learn(which, &values(&[(1, &[5])]));
    writer.settle(true);
    assert_eq!(reads.fit(&tags), "sssss");
    assert_eq!(Reads::new(&tags).fit(&tags), "fffff");

    let picture = tags.picture();
    tags.widen_in_flight();
    let mut writer = tags.writer();
    assert!(
        writer
            .touch_learnable(vec![rows(None, None)], picture)
            .is_none()
    );
    assert!(writer.touched().everything);
}

#[test]
fn a_class_born_under_the_mark_has_it_and_what_is_learned_of_it() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let mut writer = tags.writer();
    let which = learnable(&mut writer, &tags, rows(None, None));
    writer.mark();
    assert!(Reads::new(&tags).0.iter().all(|stamp| !stamp.is_clean()));
    writer.learn(which, &values(&[(1, &[5])]));
    assert!(Reads::new(&tags).0.iter().all(|stamp| !stamp.is_clean()));
    writer.settle(true);
    assert_eq!(Reads::new(&tags).fit(&tags), "fffff");
}

#[test]
fn a_writer_learns_of_so_many_regions_and_of_no_other_writer() {
    let tags = Tags::new(KEY_BYTES).unwrap();
    let mut writer = tags.writer();
    let mut other = tags.writer();
    let foreign = learnable(&mut other, &tags, rows(None, None));
    for value in 0..LEARNT_REGIONS_MAX as u64 {
        let which = learnable(&mut writer, &tags, rows(None, Some(value)));
        assert!(!writer.learn(foreign, &Learned::Nothing));
        assert!(writer.learn(which, &values(&[(1, &[value])])));
    }
    let more = rows(None, Some(1000));
    assert!(
        writer
            .touch_learnable(vec![more.clone()], tags.picture())
            .is_none()
    );
    let touched = writer.touched();
    assert!(touched.regions.contains(&more) && touched.relations.is_empty());
    assert!(other.touched().regions.contains(&rows(None, None)));
}
