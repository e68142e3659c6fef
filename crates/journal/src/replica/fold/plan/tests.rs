//! What a plan keeps.

use std::{sync::Arc, time::Duration};

use model::Timestamp;

use super::{Retention, plan};
use crate::{
    DiskNumber, DiskTable, Mark, SegmentNumber, Sequence, fixture::vm, replica::view::View,
    segment::SealedSegment,
};

const SECOND_US: i64 = 1_000_000;

/// Ten segments of ten records, a second and a thousand bytes each; the disk is whole up to a record.
fn view(whole_until: Option<Sequence>) -> View {
    let segment = |number: u64| {
        Arc::new(SealedSegment {
            number: SegmentNumber(number),
            first: Sequence(number * 10 - 9),
            last: Sequence(number * 10),
            first_time: Timestamp::from_microseconds(number as i64 * SECOND_US),
            last_time: Timestamp::from_microseconds(number as i64 * SECOND_US),
            length_bytes: 1000,
            header_bytes: 100,
            blocks_end_bytes: 800,
            marks_bytes: 36,
            page_count: 0,
            changes_disks: false,
            checksum: [0; 32],
            digest: [0; 32],
        })
    };
    let mut torn = DiskTable::default();
    let name = "root".parse().unwrap();
    torn.apply(&Mark::DiskAdded { disk: DiskNumber(0), vm: vm(), name, size_bytes: 512 }).unwrap();
    let mut whole = torn.clone();
    whole.apply(&Mark::DiskWhole { disk: DiskNumber(0) }).unwrap();
    let tables = match whole_until {
        None => vec![(Sequence(0), Arc::new(torn))],
        Some(until) => vec![(Sequence(0), Arc::new(whole)), (until.next(), Arc::new(torn))],
    };
    View {
        sealed: Arc::new((1..=10).map(segment).collect()),
        durable: Sequence(100),
        tables: Arc::new(tables),
        ..View::default()
    }
}

fn keep(seconds: u64, segment_bytes: Option<u64>) -> Retention {
    Retention { window: Duration::from_secs(seconds), segment_bytes }
}

fn through(view: &View, pinned: Option<u64>, retention: &Retention) -> u64 {
    plan(view, pinned.map(Sequence), retention).through.0
}

#[test]
fn the_window_is_counted_from_the_newest_record() {
    let view = view(Some(Sequence(100)));
    assert_eq!(through(&view, None, &keep(4, None)), 5);
    assert_eq!(through(&view, None, &keep(100, None)), 0);
}

#[test]
fn bytes_beyond_the_limit_go_though_they_are_young() {
    let view = view(Some(Sequence(100)));
    let planned = plan(&view, None, &keep(100, Some(3500)));
    assert_eq!((planned.through.0, planned.segments, planned.bytes), (7, 7, 7000));
    assert_eq!((planned.reaches_back_to, planned.excess_bytes), (Sequence(70), 0));
}

#[test]
fn what_is_pinned_stays_and_so_does_the_newest_whole_moment() {
    let whole = view(Some(Sequence(100)));
    assert_eq!(through(&whole, Some(40), &keep(0, Some(0))), 4);
    assert_eq!(through(&whole, Some(39), &keep(0, Some(0))), 3);
    let outage = view(Some(Sequence(25)));
    let planned = plan(&outage, None, &keep(0, Some(0)));
    assert_eq!((planned.through.0, planned.excess_bytes), (2, 8000));
}

#[test]
fn nothing_is_kept_before_anything_was_whole() {
    assert_eq!(through(&view(None), None, &keep(100, None)), 10);
}
