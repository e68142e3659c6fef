//! How far to fold: a pure function.

use std::time::Duration;

use crate::{SegmentNumber, Sequence, replica::view::View, segment::SealedSegment};

/// What a replica keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Every moment that is no older than this, counted from the newest record and not from the clock: while nothing comes,
    /// nothing goes.
    pub window: Duration,
    /// But no more bytes of segments than this, if it can be helped.
    pub segment_bytes: Option<u64>,
}

/// How far to fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldPlan {
    /// The last segment that goes; 0 for none.
    pub through: SegmentNumber,
    /// The oldest moment that can be shown afterwards.
    pub reaches_back_to: Sequence,
    /// Segments that go.
    pub segments: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Bytes of sealed segments that stay although there are too many: something pinned needs them, or no later moment
    /// is whole.
    pub excess_bytes: u64,
}

/// Plans a fold. Of every VM the newest moment at which it is whole stays, and so do pinned moments.
pub(super) fn plan(view: &View, pinned: Option<Sequence>, retention: &Retention) -> FoldPlan {
    let newest = view.disks_at(view.durable);
    let whole = newest.vms().into_iter().filter_map(|vm| view.newest_whole(vm)).min();
    // Before any VM was whole there is no moment to keep.
    let horizon = match whole {
        Some(_) => view.newest_time().map(|newest| newest.as_microseconds()),
        None => None,
    };
    let window_us = i64::try_from(retention.window.as_micros()).unwrap_or(i64::MAX);
    let is_old = |segment: &SealedSegment| {
        horizon.is_none_or(|now| segment.last_time.as_microseconds() < now.saturating_sub(window_us))
    };
    let mut kept_bytes: u64 = view.sealed.iter().map(|segment| segment.length_bytes).sum();
    let limit_bytes = retention.segment_bytes.unwrap_or(u64::MAX);
    let mut plan = FoldPlan {
        through: SegmentNumber(0),
        reaches_back_to: view.folded.sequence,
        segments: 0,
        bytes: 0,
        excess_bytes: 0,
    };
    for segment in view.sealed.iter() {
        let is_needed = [pinned, whole].into_iter().flatten().any(|moment| segment.last > moment);
        if is_needed || !(is_old(segment) || kept_bytes > limit_bytes) {
            break;
        }
        kept_bytes -= segment.length_bytes;
        plan.through = segment.number;
        plan.reaches_back_to = segment.last;
        plan.segments += 1;
        plan.bytes += segment.length_bytes;
    }
    plan.excess_bytes = kept_bytes.saturating_sub(limit_bytes);
    plan
}

#[cfg(test)]
mod tests;
