//! The chunk index: where every chunk of the vault is. Sorted tables; all but the smallest lie in files of the index
//! directory, of which about 1.4 bytes a chunk are in memory. Without a directory, all of it is: 44 bytes a chunk.

mod file_table;
mod filter;
mod frozen;
mod merge;
mod packs;
mod record;
mod scratch;
mod segment;
mod state;
mod table;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, RwLock},
};

pub(crate) use frozen::{Frozen, Marks, Ordinal};
pub(crate) use packs::{ListedPack, PackNumber};
pub(crate) use segment::{ChunkPlace, SEGMENT_BYTES_MAX, Segment};

use crate::{ChunkId, Digest, Result, frame::FrameHead, pack::Salt, sync};
use record::Record;
use scratch::Scratch;
pub(crate) use state::Pages;
use state::{Chosen, Listed, State};
use table::{Cursor, Table};

/// Records from which on a table goes into a file.
const FILE_RECORDS: usize = 64 << 10;

/// Where a frame is, and how to open it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FramePlace {
    /// The frame's number in the index; never changes, nor becomes another's, while the vault is open.
    pub(crate) number: u32,
    pub(crate) head: FrameHead,
    pub(crate) pack: Digest,
    pub(crate) salt: Salt,
    /// The frame's number in its pack.
    pub(crate) number_in_pack: u32,
    /// The frame's first byte in its pack.
    pub(crate) offset_bytes: u32,
}

/// The index. Packs that turn out to be lost are marked, and what is only in them counts as absent.
///
/// Lookups read at most a page or two of a local file and are made wherever they are needed. What says so reads or writes
/// whole tables, and belongs on a blocking thread; lookups go on meanwhile. An error of the index directory is an
/// error of the call, never an answer; the index is then as it was.
#[derive(Debug)]
pub(crate) struct Index {
    state: RwLock<State>,
    /// Held by whoever changes the tables. That is done beside the state, which is locked only to put them in.
    changing: Mutex<()>,
    scratch: Mutex<Option<Scratch>>,
    file_records: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            state: RwLock::default(),
            changing: Mutex::default(),
            scratch: Mutex::default(),
            file_records: FILE_RECORDS,
        }
    }
}

impl Index {
    /// An index that takes tables for large from so many records on.
    #[cfg(test)]
    pub(crate) fn with_file_records(file_records: usize) -> Self {
        Self { file_records, ..Self::default() }
    }

    /// Puts tables that are made from now on into files of a directory, which is created when the first is written.
    pub(crate) fn use_directory(&self, directory: &Path) {
        *sync::lock(&self.scratch) = Some(Scratch::in_directory(directory));
    }

    /// An empty index that uses the same directory.
    pub(crate) fn afresh(&self) -> Self {
        let scratch = Mutex::new(sync::lock(&self.scratch).clone());
        Self { scratch, file_records: self.file_records, ..Self::default() }
    }

    /// Whether a segment is in the index already.
    pub(crate) fn holds_segment(&self, digest: &Digest) -> bool {
        sync::read(&self.state).packs.holds_segment(digest)
    }

    /// Takes a segment in; does nothing when it is in already. Merges tables: call it on a blocking thread.
    pub(crate) fn add(&self, digest: Digest, segment: Segment) -> Result<()> {
        let _changing = sync::lock(&self.changing);
        let (mut tables, frames) = {
            let state = sync::read(&self.state);
            if state.packs.holds_segment(&digest) {
                return Ok(());
            }
            (state.tables.clone(), state.packs.numbers_for(&segment.packs)?)
        };
        let Segment { packs, chunks } = segment;
        let in_index = |place: ChunkPlace| ChunkPlace { frame: frames.start + place.frame, ..place };
        let mut records: Vec<Record> =
            chunks.into_iter().map(|(id, place)| record::encode(&id, &in_index(place))).collect();
        if !records.is_empty() {
            records.sort_unstable();
            let table = Arc::new(Table::Memory(records));
            tables.push(Listed { table, filter: None, frames: frames.clone(), has_dead: false });
        }
        self.tidy(&mut tables, frames.start)?;
        let mut state = sync::write(&self.state);
        state.packs.add(digest, &packs);
        state.tables = tables;
        Ok(())
    }

    /// Lets go of all segments but these, and with them of everything that no other lists. Whoever looks something up sees
    /// all of it or nothing, even when the files cannot be rewritten and an error is returned. Rewrites tables: call it on a
    /// blocking thread.
    pub(crate) fn retain_segments(&self, kept: &BTreeSet<Digest>) -> Result<()> {
        let _changing = sync::lock(&self.changing);
        let (mut tables, next_frame) = {
            let mut state = sync::write(&self.state);
            let gone = state.packs.retain_segments(kept);
            for listed in &mut state.tables {
                let overlaps =
                    |gone: &Range<u32>| gone.start < listed.frames.end && listed.frames.start < gone.end;
                listed.has_dead |= gone.iter().any(overlaps);
            }
            (state.tables.clone(), state.packs.next_frame())
        };
        self.tidy(&mut tables, next_frame)?;
        sync::write(&self.state).tables = tables;
        Ok(())
    }

    /// Whether a chunk is in a pack that is not lost.
    pub(crate) fn holds(&self, id: &ChunkId) -> Result<bool> {
        Ok(sync::read(&self.state).choose(id)?.is_some_and(|chosen| !chosen.is_lost))
    }

    /// Where a chunk is: in the pack that was added last of those that have it. In a lost pack only when it is nowhere else:
    /// what is left of the pack may still hold it.
    pub(crate) fn find(&self, id: &ChunkId) -> Result<Option<(ChunkPlace, FramePlace)>> {
        let state = sync::read(&self.state);
        let chosen = state.choose(id)?;
        Ok(chosen.and_then(|Chosen { place, .. }| Some((place, state.packs.frame(place.frame)?))))
    }

    /// The frame with this number.
    pub(crate) fn frame(&self, number: u32) -> Option<FramePlace> {
        sync::read(&self.state).packs.frame(number)
    }

    /// The pack of a frame.
    pub(crate) fn pack_of(&self, frame: u32) -> Option<PackNumber> {
        sync::read(&self.state).packs.pack_of(frame)
    }

    /// The packs that the index knows, each as often as segments list it, by number.
    pub(crate) fn packs(&self) -> Vec<ListedPack> {
        sync::read(&self.state).packs.list()
    }

    /// The packs that the index knows, each with a segment that lists it.
    pub(crate) fn listings(&self) -> Vec<(Digest, Digest)> {
        self.packs().iter().map(|pack| (pack.digest, pack.segment)).collect()
    }

    /// The number that the next frame to be added will have.
    pub(crate) fn next_frame(&self) -> u32 {
        sync::read(&self.state).packs.next_frame()
    }

    /// Compares the packs whose frames come before `next_frame` with what the store has: their sizes in bytes. Packs that
    /// were added after the store was listed are no concern of that list.
    pub(crate) fn mark_missing(&self, next_frame: u32, stored: &HashMap<Digest, u64>) {
        sync::write(&self.state).packs.mark_missing(next_frame, stored);
    }

    /// Marks the packs that a check found damaged, and those of segments that it could not read; all others are sound.
    pub(crate) fn mark_damaged(&self, packs: &HashSet<Digest>, segments: &HashSet<Digest>) {
        sync::write(&self.state).packs.mark_damaged(packs, segments);
    }

    /// Marks the pack of a frame that could not be read.
    pub(crate) fn mark_pack_damaged(&self, frame: u32) {
        sync::write(&self.state).packs.mark_pack_damaged(frame);
    }

    /// Lost packs with at least one chunk that is nowhere else. Looks at every chunk when any pack is lost: call it on a
    /// blocking thread.
    pub(crate) fn lost_pack_count(&self) -> Result<usize> {
        let tables = {
            let state = sync::read(&self.state);
            if state.packs.any_lost() { state.tables() } else { Vec::new() }
        };
        let mut packs = BTreeSet::new();
        for table in tables {
            let mut cursor = Cursor::new(table)?;
            while let Some(record) = cursor.record() {
                let frame = record::place_of(record).frame;
                let state = sync::read(&self.state);
                if state.packs.is_lost(frame) == Some(true)
                    && state.choose(&record::id_of(record))?.is_some_and(|chosen| chosen.is_lost)
                {
                    packs.extend(state.packs.pack_of(frame));
                }
                drop(state);
                cursor.advance()?;
            }
        }
        Ok(packs.len())
    }

    /// Merges and rewrites tables until nothing is left to do, and only moves those into files that are too long while the
    /// index is frozen. Frames from `new_frame` on are about to be added.
    fn tidy(&self, tables: &mut Vec<Listed>, new_frame: u32) -> Result<()> {
        let scratch = sync::lock(&self.scratch).clone();
        let is_frozen = sync::read(&self.state).freezes > 0;
        let is_dead = |record: &Record| {
            let frame = record::place_of(record).frame;
            frame < new_frame && self.pack_of(frame).is_none()
        };
        while let Some(range) = self.next_change(tables, scratch.is_some(), is_frozen) {
            let sources: Vec<Arc<Table>> =
                tables[range.clone()].iter().map(|listed| Arc::clone(&listed.table)).collect();
            let frames = tables[range.start].frames.start..tables[range.end - 1].frames.end;
            let has_dead = tables[range.clone()].iter().any(|listed| listed.has_dead);
            tables[range.clone()].iter_mut().for_each(|listed| listed.filter = None);
            sync::write(&self.state).drop_filters(&sources);
            let length: usize = sources.iter().map(|table| table.len()).sum();
            let scratch = scratch.as_ref().filter(|_| length >= self.file_records);
            let is_wanted = |record: &Record| is_frozen || !has_dead || !is_dead(record);
            let (table, filter) = merge::merge(&sources, scratch, is_wanted)?;
            let has_dead = has_dead && is_frozen;
            let merged = Listed { table: Arc::new(table), filter: filter.map(Arc::new), frames, has_dead };
            tables.splice(range, (merged.table.len() > 0).then_some(merged));
        }
        Ok(())
    }

    /// The tables that are to be made into one: several to be merged, or one to be written anew.
    fn next_change(&self, tables: &[Listed], may_spill: bool, is_frozen: bool) -> Option<Range<usize>> {
        let too_long = |table: &Table| {
            may_spill && matches!(table, Table::Memory(records) if records.len() >= self.file_records)
        };
        let anew = |listed: &Listed| listed.has_dead && !is_frozen || too_long(&listed.table);
        let lengths: Vec<usize> = tables.iter().map(|listed| listed.table.len()).collect();
        let merge = if is_frozen { None } else { merge::next(&lengths) };
        merge.or_else(|| tables.iter().position(anew).map(|place| place..place + 1))
    }
}

#[cfg(test)]
mod tests;
