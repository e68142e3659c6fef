//! The disks of the VM, and what they held after each record of a journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use image::ByteRange;
use journal::{Journal, Sequence};

use crate::dice::Dice;

pub(crate) const SECTOR_BYTES: usize = 512;
pub(crate) const DISK_NAMES: [&str; 2] = ["root", "data"];
pub(crate) const SECTORS: usize = 10;

/// What the VM's disks hold, in the order of their names above.
pub(crate) type Disks = Vec<Vec<u8>>;

/// A sector of a disk, by its place in the list of disks.
pub(crate) type Sector = (usize, usize);

/// Disks of which nobody has written a byte.
pub(crate) fn blank() -> Disks {
    vec![vec![0; SECTORS * SECTOR_BYTES]; DISK_NAMES.len()]
}

pub(crate) fn all_sectors() -> BTreeSet<Sector> {
    (0..DISK_NAMES.len()).flat_map(|disk| (0..SECTORS).map(move |sector| (disk, sector))).collect()
}

/// Sectors of a disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) disk: usize,
    pub(crate) start: usize,
    pub(crate) count: usize,
}

impl Span {
    pub(crate) fn draw(dice: &Dice) -> Self {
        let start = dice.number(0..SECTORS as u64) as usize;
        let count = dice.number(1..(SECTORS - start).min(4) as u64 + 1) as usize;
        Self { disk: dice.number(0..DISK_NAMES.len() as u64) as usize, start, count }
    }

    /// Runs of neighbouring sectors, in order.
    pub(crate) fn of_sectors(sectors: &BTreeSet<Sector>) -> Vec<Self> {
        let mut spans: Vec<Self> = Vec::new();
        for &(disk, sector) in sectors {
            match spans.last_mut() {
                Some(last) if last.disk == disk && last.start + last.count == sector && last.count < 4 => {
                    last.count += 1;
                }
                _ => spans.push(Self { disk, start: sector, count: 1 }),
            }
        }
        spans
    }

    pub(crate) fn range(self) -> ByteRange {
        ByteRange::new((self.start * SECTOR_BYTES) as u64, (self.count * SECTOR_BYTES) as u64)
    }

    pub(crate) fn bytes(self, disks: &Disks) -> &[u8] {
        let start = self.start * SECTOR_BYTES;
        disks
            .get(self.disk)
            .and_then(|disk| disk.get(start..start + self.count * SECTOR_BYTES))
            .unwrap_or(&[])
    }

    pub(crate) fn fill(self, disks: &mut Disks, fill: u8) {
        let start = self.start * SECTOR_BYTES;
        if let Some(disk) = disks.get_mut(self.disk) {
            disk[start..start + self.count * SECTOR_BYTES].fill(fill);
        }
    }

    pub(crate) fn sectors(self) -> impl Iterator<Item = Sector> {
        (self.start..self.start + self.count).map(move |sector| (self.disk, sector))
    }
}

/// What is known of a journal: what the disks held when each record was taken, and what was called durable.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) shown: BTreeMap<Sequence, Arc<Disks>>,
    noted: Sequence,
    /// At the source.
    pub(crate) durable_here: Sequence,
    /// At the target, as the source was told.
    pub(crate) durable_there: Sequence,
}

impl History {
    /// The journal may have taken records just now, while the disks hold this.
    pub(crate) fn note(&mut self, journal: &Journal, disks: &Arc<Disks>) {
        let taken = journal.usage().taken_through;
        while self.noted < taken {
            self.noted = self.noted.next();
            self.shown.insert(self.noted, Arc::clone(disks));
        }
    }

    /// A journal was taken up that ends with this record: what came after it was lost.
    pub(crate) fn cut(&mut self, last: Sequence) {
        self.shown.retain(|record, _| *record <= last);
        self.noted = self.noted.min(last);
    }
}
