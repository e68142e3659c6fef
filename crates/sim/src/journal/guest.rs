//! The guest: its disks, what they held after every record, and what of them the journal lacks.

use std::{collections::BTreeMap, sync::Arc};

use journal::{DiskNumber, Sequence};
use model::VmId;

use crate::dice::Dice;

pub(crate) const SECTOR_BYTES: usize = 512;

/// Sectors of the largest disk.
pub(crate) const SECTORS_MAX: usize = 48;

/// Disks as bytes.
pub(crate) type Disks = BTreeMap<DiskNumber, Vec<u8>>;

/// Sectors of a disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) disk: DiskNumber,
    pub(crate) start: usize,
    pub(crate) count: usize,
}

/// A VM that writes.
pub(crate) struct Guest {
    pub(crate) vm: VmId,
    pub(crate) disks: Disks,
    /// What the disks held after a record, where all of them were whole.
    pub(crate) shown: BTreeMap<Sequence, Arc<Disks>>,
    /// What was written, with its record where it has one; what is in the journal for good is left out.
    written: Vec<(Span, Option<Sequence>)>,
    /// Disks that are not whole.
    pub(crate) torn: Vec<DiskNumber>,
}

impl Guest {
    pub(crate) fn new(vm: VmId) -> Self {
        Self { vm, disks: BTreeMap::new(), shown: BTreeMap::new(), written: Vec::new(), torn: Vec::new() }
    }

    /// Draws a span of a disk; none while there is no disk.
    pub(crate) fn draw_span(&self, dice: &Dice) -> Option<Span> {
        let disks: Vec<DiskNumber> = self.disks.keys().copied().collect();
        let disk = *dice.pick(&disks)?;
        let sectors = (self.disks.get(&disk)?.len() / SECTOR_BYTES) as u64;
        let start = dice.number(0..sectors);
        let count = dice.number(1..(sectors - start).min(9) + 1);
        Some(Span { disk, start: start as usize, count: count as usize })
    }

    /// The bytes of a span.
    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        let start = span.start * SECTOR_BYTES;
        self.disks.get(&span.disk).map_or(&[], |bytes| &bytes[start..start + span.count * SECTOR_BYTES])
    }

    /// Writes to the disk; the record comes afterwards.
    pub(crate) fn write(&mut self, span: Span, fill: u8) {
        let start = span.start * SECTOR_BYTES;
        if let Some(bytes) = self.disks.get_mut(&span.disk) {
            bytes[start..start + span.count * SECTOR_BYTES].fill(fill);
        }
    }

    /// The write has this record, or none.
    pub(crate) fn note(&mut self, span: Span, record: Option<Sequence>) {
        self.written.push((span, record));
        if let Some(record) = record {
            self.note_moment(record);
        }
    }

    /// The disks hold now what they held after this record.
    pub(crate) fn note_moment(&mut self, record: Sequence) {
        if self.torn.is_empty() && !self.disks.is_empty() {
            self.shown.insert(record, Arc::new(self.disks.clone()));
        }
    }

    /// The journal ends with this record: what came after has none any more.
    pub(crate) fn cut(&mut self, last: Sequence) {
        self.shown.retain(|record, _| *record <= last);
        for (_, record) in &mut self.written {
            *record = record.filter(|record| *record <= last);
        }
    }

    /// Only these disks are left: the journal has lost the others when it had just got them. Those that are left are torn.
    pub(crate) fn keep(&mut self, known: &[DiskNumber]) {
        self.disks.retain(|disk, _| known.contains(disk));
        self.written.retain(|(span, _)| known.contains(&span.disk));
        self.torn = self.disks.keys().copied().collect();
    }

    /// What the journal lacks of a disk.
    pub(crate) fn missed(&self, disk: DiskNumber) -> Vec<Span> {
        let missed = self.written.iter().filter(|(span, record)| span.disk == disk && record.is_none());
        missed.map(|(span, _)| *span).collect()
    }

    /// What was missed of the disk is in the journal now, up to this record.
    pub(crate) fn copied(&mut self, disk: DiskNumber, record: Sequence) {
        for (span, place) in &mut self.written {
            if span.disk == disk && place.is_none() {
                *place = Some(record);
            }
        }
    }
}
