//! Folding: the oldest segments become part of the bases, and go.
//!
//! A fold goes from the end of one segment to the end of a later one. Its order:
//! 1. the state says how far it will go: from here on nothing before that can be shown;
//! 2. all records up to there are written to the bases, in order, and made durable;
//! 3. the state says that the bases show that moment;
//! 4. segments, indexes and bases that nothing needs are removed.
//!
//! A crash after 1 repeats 2 from its start, which ends in the same bytes. A crash after 3 repeats 4. Meanwhile every moment
//! from there on is shown right: what the fold changes in a base, later moments find in a segment and not in the base.

mod plan;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, PoisonError},
};

use image::ByteRange;

use super::{
    Replica, Shared, base_name,
    open::remove_folded,
    state::{Edge, State},
};
use crate::{
    DiskNumber, Error, Flaw, Mark, Result, SegmentNumber, Sequence,
    flaw::Flaws,
    folder::{Folder, FolderFile},
    record::{Body, SECTOR_BYTES},
    segment::{self, blocks::Blocks},
};
pub use plan::{FoldPlan, Retention};

/// What a fold did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folded {
    /// The oldest moment that can be shown now.
    pub reaches_back_to: Sequence,
    /// Segments that went.
    pub segments: u64,
    /// Bytes that they took.
    pub bytes: u64,
}

impl Replica {
    /// What should be folded to keep to the retention; nothing is changed.
    #[must_use]
    pub fn plan_fold(&self, retention: &Retention) -> FoldPlan {
        let pinned = match self.shared.flaws.has(Flaw::FoldIgnoresPins) {
            true => None,
            false => self.shared.ledger().oldest_pin(),
        };
        plan::plan(&self.shared.view(), pinned, retention)
    }

    /// Folds what was planned, as far as nobody has pinned it since.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] naming the segment that is damaged, [`crate::ErrorKind::NoSpace`], and those of the file
    /// system. The fold is then continued by the next, or when the replica is opened again.
    pub fn fold(&self, plan: &FoldPlan) -> Result<Folded> {
        let shared = &self.shared;
        let _one = shared.folding.lock().unwrap_or_else(PoisonError::into_inner);
        let view = shared.view();
        let mut state = {
            let mut ledger = shared.ledger();
            let Some(mut state) = ledger.state.clone() else { return Ok(nothing(view.folded)) };
            let pinned = match shared.flaws.has(Flaw::FoldIgnoresPins) {
                true => None,
                false => ledger.oldest_pin(),
            };
            let mut planned = view.sealed.iter().filter(|segment| segment.number <= plan.through);
            let to = planned.rfind(|segment| pinned.is_none_or(|pinned| segment.last <= pinned));
            let to = to.map(|segment| Edge { segment: segment.number, sequence: segment.last });
            // One that was begun is finished first: it was allowed when it began.
            let Some(to) = state.folding.or(to) else { return Ok(nothing(view.folded)) };
            state.folding = Some(to);
            if !shared.flaws.has(Flaw::FoldUnannounced) {
                state.save(&*shared.folder)?;
            }
            ledger.state = Some(state.clone());
            state
        };
        finish_in(shared, &mut state)?;
        let gone: Vec<_> =
            view.sealed.iter().filter(|segment| segment.number <= state.folded.segment).collect();
        Ok(Folded {
            reaches_back_to: state.folded.sequence,
            segments: gone.len() as u64,
            bytes: gone.iter().map(|segment| segment.length_bytes).sum(),
        })
    }
}

fn nothing(folded: Edge) -> Folded {
    Folded { reaches_back_to: folded.sequence, segments: 0, bytes: 0 }
}

/// Finishes a fold under the eyes of readers.
fn finish_in(shared: &Shared, begun: &mut State) -> Result<()> {
    apply(&*shared.folder, begun, shared.flaws)?;
    let mut ledger = shared.ledger();
    // Pins may have come meanwhile, or a generation.
    let mut state = ledger.state.clone().unwrap_or_else(|| begun.clone());
    (state.folded, state.folding, state.disks) = (begun.folded, None, begun.disks.clone());
    state.settle_seeds();
    state.save(&*shared.folder)?;
    ledger.state = Some(state.clone());
    drop(ledger);
    shared.change_view(|view| {
        view.folded = state.folded;
        Arc::make_mut(&mut view.sealed).retain(|segment| segment.number > state.folded.segment);
        Arc::make_mut(&mut view.merged).retain(|key, _| key.last() > state.folded.segment);
        let tables = Arc::make_mut(&mut view.tables);
        tables.retain(|(from, _)| *from > state.folded.sequence);
        tables.insert(0, (state.folded.sequence, Arc::new(state.disks.clone())));
    });
    // Else what is removed would keep its room for as long as it is open.
    shared.files.clear();
    shared.pages.clear();
    let removed = remove_folded(&*shared.folder, &state);
    removed.map_err(|error| Error::from_io("removing what was folded", error))
}

/// Finishes the fold that a dead process began, if it did.
pub(super) fn finish(folder: &dyn Folder, state: &mut State, flaws: Flaws) -> Result<()> {
    if state.folding.is_none() {
        return Ok(());
    }
    apply(folder, state, flaws)?;
    state.folding = None;
    state.settle_seeds();
    state.save(folder)
}

/// Brings the bases to where the fold goes, durably. Changes of the state only what the bases are.
fn apply(folder: &dyn Folder, state: &mut State, flaws: Flaws) -> Result<()> {
    let Some(to) = state.folding else { return Ok(()) };
    let mut bases = Bases { folder, state, open: BTreeMap::new() };
    for number in bases.state.folded.segment.0 + 1..=to.segment.0 {
        bases.apply_segment(SegmentNumber(number))?;
    }
    if !flaws.has(Flaw::FoldBeforeSync) {
        bases.sync()?;
    }
    state.folded = to;
    Ok(())
}

/// The bases while they are written.
struct Bases<'a> {
    folder: &'a dyn Folder,
    state: &'a mut State,
    open: BTreeMap<DiskNumber, Arc<dyn FolderFile>>,
}

impl Bases<'_> {
    fn apply_segment(&mut self, number: SegmentNumber) -> Result<()> {
        let name = segment::file_name(number);
        let file = self.folder.open(&name);
        let file = file.map_err(|error| Error::from_io(format!("opening {name}"), error))?;
        let (_, sealed) = segment::open(&*file, number)?;
        let sealed = sealed.ok_or_else(|| Error::corrupt(format!("{name} is not sealed")))?;
        let mut blocks = Blocks::of_sealed(&*file, &sealed);
        while let Some(block) = blocks.next()? {
            for record in block.records().map_err(|error| error.of_file(&name))? {
                self.apply_body(&record.body, &block.raw, &name)?;
            }
        }
        Ok(())
    }

    fn apply_body(&mut self, body: &Body, raw: &[u8], name: &str) -> Result<()> {
        match body {
            Body::Write { disk, sector, sectors, position } => {
                let start = *position as usize;
                let data = raw.get(start..start + *sectors as usize * SECTOR_BYTES as usize);
                let data = data.ok_or_else(|| Error::corrupt(format!("{name}: a write ends too early")))?;
                let offset_bytes = sector * SECTOR_BYTES;
                self.write(*disk, |base| base.write_at(offset_bytes, data))
            }
            Body::Zero { disk, sector, sectors } => {
                let range = ByteRange::new(sector * SECTOR_BYTES, sectors * SECTOR_BYTES);
                self.write(*disk, |base| {
                    // In a fold that is repeated the base may be shorter than it was here, and will be again.
                    let there = range.intersection(ByteRange::new(0, base.length_bytes()?));
                    base.zero(there)
                })
            }
            Body::Mark(mark) => self.apply_mark(mark),
        }
    }

    fn apply_mark(&mut self, mark: &Mark) -> Result<()> {
        self.state
            .disks
            .apply(mark)
            .map_err(|error| Error::corrupt("a mark makes no sense").with_source(error))?;
        match mark {
            Mark::DiskAdded { disk, size_bytes, .. } => {
                let name = base_name(*disk);
                let base = match self.folder.open(&name) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => self.folder.create(&name),
                    opened => opened,
                };
                let failed = |error| Error::from_io(format!("creating {name}"), error);
                let base = base.map_err(failed)?;
                base.set_length(*size_bytes).map_err(failed)?;
                self.open.insert(*disk, base);
            }
            Mark::DiskResized { disk, size_bytes } => {
                self.write(*disk, |base| base.set_length(*size_bytes))?;
            }
            // Removed when the state says so: until then the moments before need it.
            Mark::DiskRemoved { disk } => drop(self.open.remove(disk)),
            Mark::Checkpoint(_) | Mark::EpochBegun { .. } | Mark::DiskWhole { .. } => {}
        }
        Ok(())
    }

    fn write(
        &mut self,
        disk: DiskNumber,
        write: impl FnOnce(&dyn FolderFile) -> io::Result<()>,
    ) -> Result<()> {
        let name = base_name(disk);
        let failed = |error| Error::from_io(format!("writing {name}"), error);
        let base = match self.open.get(&disk) {
            Some(base) => base,
            None => {
                let base = self.folder.open(&name).map_err(failed)?;
                self.open.entry(disk).or_insert(base)
            }
        };
        write(&**base).map_err(failed)
    }

    fn sync(&self) -> Result<()> {
        let failed = |error| Error::from_io("making the bases durable", error);
        for base in self.open.values() {
            base.sync().map_err(failed)?;
        }
        self.folder.sync().map_err(failed)
    }
}
