//! What of a replica can be read: never changed, but replaced by a newer view.

use std::{collections::BTreeMap, sync::Arc};

use model::{JournalId, Timestamp, VmId};

use super::state::Edge;
use crate::{
    DiskTable, SegmentNumber, Sequence,
    codec::Checksum,
    index::trailer::IndexTrailer,
    segment::{OpenHeader, SealedSegment, file_name},
};

/// Segments that are merged into an index of level 1, and indexes of one level into one of the next.
pub(crate) const FAN_OUT: u64 = 16;

/// The highest level: a million segments.
pub(crate) const LEVEL_MAX: u32 = 5;

/// A merged index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MergedIndex {
    pub(crate) first: SegmentNumber,
    pub(crate) last: SegmentNumber,
    pub(crate) page_count: u32,
}

/// The level of a merged index, and which of its level it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MergedKey {
    pub(crate) level: u32,
    pub(crate) group: u64,
}

impl MergedKey {
    pub(crate) fn file_name(self) -> String {
        format!("index-{}-{:016}", self.level, self.group)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (level, group) = name.strip_prefix("index-")?.split_once('-')?;
        let key = Self { level: level.parse().ok()?, group: group.parse().ok()? };
        (key.file_name() == name && (1..=LEVEL_MAX).contains(&key.level)).then_some(key)
    }

    /// The index of that level that ends with this segment, if one does.
    pub(crate) fn ending_with(level: u32, last: SegmentNumber) -> Option<Self> {
        let size = FAN_OUT.pow(level);
        let behind = last.0.checked_add(1)?;
        behind.is_multiple_of(size).then(|| Self { level, group: behind / size - 1 })
    }

    /// The last segment of it.
    pub(crate) fn last(self) -> SegmentNumber {
        let size = FAN_OUT.pow(self.level);
        SegmentNumber(self.group.saturating_add(1).saturating_mul(size).saturating_sub(1))
    }

    /// The first segment that it may have.
    pub(crate) fn first(self) -> SegmentNumber {
        SegmentNumber(self.group.saturating_mul(FAN_OUT.pow(self.level)))
    }
}

/// An index that is asked for what a moment shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layer {
    Segment(Arc<SealedSegment>),
    Merged(MergedKey, MergedIndex),
}

/// The segment that grows.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    pub(crate) header: Arc<OpenHeader>,
    /// What of it is durable.
    pub(crate) end_bytes: u64,
    pub(crate) last: Sequence,
    pub(crate) times: Option<(Timestamp, Timestamp)>,
    pub(crate) marks: Arc<Vec<crate::MarkRecord>>,
}

/// Where a record is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Sealed(Arc<SealedSegment>),
    Active(Active),
}

impl Place {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Sealed(segment) => segment.name(),
            Self::Active(active) => file_name(active.header.header.number),
        }
    }
}

/// What of a replica can be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// None of a replica that is empty.
    pub(crate) journal: Option<JournalId>,
    pub(crate) folded: Edge,
    pub(crate) sealed: Arc<Vec<Arc<SealedSegment>>>,
    pub(crate) merged: Arc<BTreeMap<MergedKey, MergedIndex>>,
    pub(crate) active: Option<Active>,
    /// The last record that is durable.
    pub(crate) durable: Sequence,
    /// The disks from a record on, oldest first; the first is that of the bases.
    pub(crate) tables: Arc<Vec<(Sequence, Arc<DiskTable>)>>,
}

impl View {
    /// What ties the pages of a merged index to it.
    pub(crate) fn owner_of(&self, key: MergedKey) -> Checksum {
        let owner = |journal| IndexTrailer::owner(journal, key.level, key.first());
        self.journal.map(owner).unwrap_or_default()
    }

    /// The disks after a record.
    pub(crate) fn disks_at(&self, sequence: Sequence) -> Arc<DiskTable> {
        let behind = self.tables.partition_point(|(from, _)| *from <= sequence);
        let table = behind.checked_sub(1).and_then(|place| self.tables.get(place));
        table.map(|(_, table)| Arc::clone(table)).unwrap_or_default()
    }

    /// The newest record after which a VM is whole, from the bases on.
    pub(crate) fn newest_whole(&self, vm: VmId) -> Option<Sequence> {
        let mut until = self.durable;
        for (from, table) in self.tables.iter().rev() {
            if *from <= until && table.is_whole(vm) {
                return Some(until);
            }
            until = until.min(from.previous());
        }
        None
    }

    /// When the newest record was taken in.
    pub(crate) fn newest_time(&self) -> Option<Timestamp> {
        let active = self.active.as_ref().and_then(|active| active.times).map(|(_, last)| last);
        active.or_else(|| self.sealed.last().map(|segment| segment.last_time))
    }

    /// The sealed segment of this number.
    pub(crate) fn sealed_segment(&self, number: SegmentNumber) -> Option<&Arc<SealedSegment>> {
        let place = self.sealed.binary_search_by_key(&number, |segment| segment.number).ok()?;
        self.sealed.get(place)
    }

    /// The segment that holds a record, which is not folded.
    pub(crate) fn place_of(&self, sequence: Sequence) -> Option<Place> {
        if let Some(active) = &self.active
            && (active.header.header.first..=active.last).contains(&sequence)
        {
            return Some(Place::Active(active.clone()));
        }
        let place = self.sealed.partition_point(|segment| segment.last < sequence);
        let segment = self.sealed.get(place).filter(|segment| segment.first <= sequence)?;
        Some(Place::Sealed(Arc::clone(segment)))
    }

    /// The indexes of all segments up to this one that are not folded, newest first: as few as there are.
    pub(crate) fn layers(&self, through: SegmentNumber, level_max: u32) -> Vec<Layer> {
        let mut layers = Vec::new();
        let mut last = through;
        while last > self.folded.segment {
            let merged = (1..=level_max).rev().find_map(|level| {
                let key = MergedKey::ending_with(level, last)?;
                self.merged.get(&key).map(|index| (key, *index))
            });
            let first = match merged {
                Some((key, index)) => {
                    layers.push(Layer::Merged(key, index));
                    index.first
                }
                None => {
                    layers.extend(self.sealed_segment(last).map(Arc::clone).map(Layer::Segment));
                    last
                }
            };
            last = SegmentNumber(first.0.saturating_sub(1));
        }
        layers
    }
}
