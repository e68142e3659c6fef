//! What a replica must know beside its segments: one small file, replaced whole.

use std::collections::{BTreeMap, BTreeSet};

use model::JournalId;

use crate::{
    DiskNumber, DiskTable, Error, Generation, Result, SegmentNumber, Sequence,
    codec::{Reader, preamble, put_text, seal},
    folder::{self, Folder},
};

const MAGIC: [u8; 6] = *b"HFJREP";
/// Version 1 knew no seeds.
const VERSION: u16 = 2;

/// The name of the file.
const NAME: &str = "state";

/// The largest file that is read.
const STATE_BYTES_MAX: u64 = 8 << 20;

/// The longest name of a pin, in bytes.
pub(crate) const PIN_NAME_BYTES_MAX: usize = 255;

/// Bytes that a pin takes at least.
const PIN_BYTES: usize = 10;

/// Bytes that a seed takes.
const SEED_BYTES: usize = 4;

/// The end of a segment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) segment: SegmentNumber,
    /// The last record.
    pub(crate) sequence: Sequence,
}

/// The state of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) journal: JournalId,
    pub(crate) generation: Generation,
    /// What the bases show.
    pub(crate) folded: Edge,
    /// What they will show: some of what comes between may be in them already.
    pub(crate) folding: Option<Edge>,
    /// The disks after the last folded record, and which of them are whole.
    pub(crate) disks: DiskTable,
    pub(crate) pins: BTreeMap<String, Sequence>,
    /// Disks that were added after the last folded record and have a base all the same: it was made from a seed.
    pub(crate) seeds: BTreeSet<DiskNumber>,
}

impl State {
    /// The oldest moment that can still be shown.
    pub(crate) fn reach(&self) -> Sequence {
        self.folding.unwrap_or(self.folded).sequence
    }

    pub(crate) fn load(folder: &dyn Folder) -> Result<Option<Self>> {
        let file = match folder.open(NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::from_io("opening a replica's state", error)),
        };
        let bytes = folder::read_whole(&*file, STATE_BYTES_MAX);
        let bytes = bytes.map_err(|error| Error::from_io("reading a replica's state", error))?;
        Self::decode(&bytes).map(Some)
    }

    /// Makes this the state, durably.
    pub(crate) fn save(&self, folder: &dyn Folder) -> Result<()> {
        let saved = folder::replace(folder, NAME, &self.encode());
        saved.map(drop).map_err(|error| Error::from_io("writing a replica's state", error))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = preamble(MAGIC, VERSION);
        bytes.extend(self.journal.as_str().as_bytes());
        bytes.extend(self.generation.0.to_le_bytes());
        let folding = self.folding.unwrap_or_default();
        for edge in [self.folded, folding] {
            bytes.extend(edge.segment.0.to_le_bytes());
            bytes.extend(edge.sequence.0.to_le_bytes());
        }
        self.disks.encode(&mut bytes);
        bytes.extend((self.pins.len() as u32).to_le_bytes());
        for (name, sequence) in &self.pins {
            put_text(&mut bytes, name);
            bytes.extend(sequence.0.to_le_bytes());
        }
        bytes.extend((self.seeds.len() as u32).to_le_bytes());
        for disk in &self.seeds {
            bytes.extend(disk.0.to_le_bytes());
        }
        seal(&mut bytes);
        bytes
    }

    /// Whether a disk has a base.
    pub(crate) fn has_base(&self, disk: DiskNumber) -> bool {
        self.disks.get(disk).is_some() || self.seeds.contains(&disk)
    }

    /// Forgets the seeds of disks that the bases have come to know.
    pub(crate) fn settle_seeds(&mut self) {
        let next = self.disks.next_number();
        self.seeds.retain(|disk| *disk >= next);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let what = "a replica's state";
        Reader::new(bytes, what).preamble_up_to(MAGIC, 1..=VERSION)?;
        let (mut reader, _) = Reader::sealed(bytes, what)?;
        Self::decode_content(&mut reader)
    }

    pub(crate) fn decode_content(reader: &mut Reader<'_>) -> Result<Self> {
        let version = reader.preamble_up_to(MAGIC, 1..=VERSION)?;
        let (journal, generation) = (reader.id()?, Generation(reader.u64()?));
        let folded = edge(reader)?;
        let folding = Some(edge(reader)?).filter(|edge| *edge != Edge::default());
        if folding.is_some_and(|folding| folding.sequence <= folded.sequence) {
            return Err(reader.error("folds backwards"));
        }
        let disks = DiskTable::decode(reader)?;
        let mut pins = BTreeMap::new();
        for _ in 0..reader.count(PIN_BYTES)? {
            let name: String = reader.text()?;
            pins.insert(name, Sequence(reader.u64()?));
        }
        let mut seeds = BTreeSet::new();
        if version >= 2 {
            for _ in 0..reader.count(SEED_BYTES)? {
                seeds.insert(DiskNumber(reader.u32()?));
            }
        }
        if reader.rest_bytes() != 0 {
            return Err(reader.error("goes on after its end"));
        }
        Ok(Self { journal, generation, folded, folding, disks, pins, seeds })
    }
}

fn edge(reader: &mut Reader<'_>) -> Result<Edge> {
    Ok(Edge { segment: SegmentNumber(reader.u64()?), sequence: Sequence(reader.u64()?) })
}
