//! Moments with names, and moments by time.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use model::{Timestamp, VmId};

use super::{Replica, view::Place};
use crate::{
    Checkpoint, CheckpointKind, Error, ErrorKind, Mark, MarkRecord, Result, Sequence,
    segment::{SealedSegment, blocks::Blocks},
};

/// A checkpoint at which a VM can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePoint {
    /// The moment.
    pub sequence: Sequence,
    /// When it was marked, by the source's clock.
    pub time: Timestamp,
    /// What was marked.
    pub checkpoint: Checkpoint,
}

/// How many checkpoints are shown that the clock alone made: the older, the fewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// Up to that age, counted from the newest, one in so much time; of those older than all of these, none.
    pub steps: Vec<(Duration, Duration)>,
}

impl Grid {
    /// Every one for ten minutes, then one a minute for two hours, then one in fifteen minutes.
    #[must_use]
    pub fn default_steps() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let steps = vec![
            (minutes(10), Duration::ZERO),
            (minutes(120), minutes(1)),
            (minutes(60 * 24 * 30), minutes(15)),
        ];
        Self { steps }
    }

    fn spacing(&self, age: Duration) -> Option<Duration> {
        self.steps.iter().find(|(until, _)| age <= *until).map(|(_, spacing)| *spacing)
    }
}

/// Leaves out checkpoints that the clock alone made and that the grid has no place for: of each step the newest stays. What
/// people and applications marked stays. The points are in order and stay so.
#[must_use]
pub fn thin(points: &[RestorePoint], grid: &Grid) -> Vec<RestorePoint> {
    let Some(newest) = points.iter().map(|point| point.time).max() else { return Vec::new() };
    let mut last_cell = None;
    let mut kept: Vec<RestorePoint> = Vec::new();
    for point in points.iter().rev() {
        if point.checkpoint.kind != CheckpointKind::Crash {
            kept.push(point.clone());
            continue;
        }
        let age = Duration::from_micros(newest.microseconds_since(point.time).unsigned_abs());
        let Some(spacing) = grid.spacing(age) else { continue };
        let cell = match spacing.as_micros() {
            0 => None,
            spacing_us => Some((spacing, point.time.as_microseconds().div_euclid(spacing_us as i64))),
        };
        if cell.is_none() || cell != last_cell {
            kept.push(point.clone());
            last_cell = cell;
        }
    }
    kept.reverse();
    kept
}

/// Whether the clock alone made both, in the same second.
fn is_beside(one: &RestorePoint, other: &RestorePoint) -> bool {
    let second = |point: &RestorePoint| point.time.as_microseconds().div_euclid(1_000_000);
    let is_of_the_clock = |point: &RestorePoint| point.checkpoint.kind == CheckpointKind::Crash;
    is_of_the_clock(one) && is_of_the_clock(other) && second(one) == second(other)
}

impl Replica {
    /// The checkpoints of a VM that were marked within these times and at which it is whole, oldest first. Of those that the clock
    /// alone made in one second, the newest: the moments between are found by their time.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming the segment whose marks are damaged, and those of the file system.
    pub fn checkpoints(&self, vm: VmId, times: RangeInclusive<Timestamp>) -> Result<Vec<RestorePoint>> {
        let mut points = Vec::new();
        let reach = self.shared.ledger().state.as_ref().map_or(Sequence(0), super::state::State::reach);
        let view = self.shared.view();
        let mut add = |marks: &[MarkRecord]| {
            for record in marks {
                let Mark::Checkpoint(checkpoint) = &record.mark else { continue };
                let is_meant = checkpoint.vm.is_none_or(|of| of == vm)
                    && times.contains(&record.time)
                    && (reach..=view.durable).contains(&record.sequence);
                if is_meant && view.disks_at(record.sequence).is_whole(vm) {
                    let (sequence, time) = (record.sequence, record.time);
                    let point = RestorePoint { sequence, time, checkpoint: checkpoint.clone() };
                    points.pop_if(|last: &mut RestorePoint| is_beside(last, &point));
                    points.push(point);
                }
            }
        };
        let from = view.sealed.partition_point(|segment| segment.last_time < *times.start());
        for segment in view.sealed.iter().skip(from) {
            if segment.first_time > *times.end() {
                break;
            }
            match self.marks_of(segment) {
                Ok(marks) => add(&marks),
                // Folded since.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(active) = &view.active {
            add(&active.marks);
        }
        Ok(points)
    }

    fn marks_of(&self, segment: &Arc<SealedSegment>) -> Result<Vec<MarkRecord>> {
        let name = segment.name();
        let file = self.shared.folder.open(&name);
        let file = file.map_err(|error| Error::from_io(format!("opening {name}"), error))?;
        segment.marks(&*file)
    }

    /// The last record that was taken in by then.
    ///
    /// # Errors
    /// [`ErrorKind::Folded`] for a time before the replica begins, [`ErrorKind::Corrupt`], and those of the file system.
    pub fn sequence_at(&self, time: Timestamp) -> Result<Sequence> {
        let view = self.shared.view();
        let behind = view.sealed.partition_point(|segment| segment.last_time <= time);
        let place = match view.sealed.get(behind) {
            Some(segment) => Some(Place::Sealed(Arc::clone(segment))),
            None => view.active.clone().map(Place::Active),
        };
        let before = behind.checked_sub(1).and_then(|place| view.sealed.get(place));
        let mut found = before.map(|segment| segment.last);
        if let Some(place) = place {
            let name = place.name();
            let file = self.shared.folder.open(&name);
            let file = file.map_err(|error| Error::from_io(format!("opening {name}"), error))?;
            let mut blocks = match &place {
                Place::Sealed(segment) => Blocks::of_sealed(&*file, segment),
                Place::Active(active) => Blocks::of_open(&*file, &active.header, active.end_bytes),
            };
            while let Some(block) = blocks.next()? {
                if block.head.first_time > time {
                    break;
                }
                let records = block.records().map_err(|error| error.of_file(&name))?;
                found =
                    records.iter().rev().find(|record| record.time <= time).map(|it| it.sequence).or(found);
            }
        }
        found.ok_or_else(|| {
            Error::new(ErrorKind::Folded, format!("{time} is before the first record of the replica"))
                .with_guidance("choose a later moment")
        })
    }
}
