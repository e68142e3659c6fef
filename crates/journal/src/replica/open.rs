//! Taking a replica up, whatever a dead process left.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, RwLock},
};

use env::Threads;

use super::{
    BLOCKS_KEPT, FILES_KEPT, Ledger, PAGES_KEPT, Replica, Shared, base_name, fold,
    merging::read_trailer,
    receive::{Receiver, active_of, push_tables},
    state::State,
    view::{MergedKey, View},
};
use crate::{
    Error, Result,
    flaw::Flaws,
    folder::{self, Folder},
    recent::Recent,
    segment::{
        self, SealedSegment,
        builder::{SegmentBuilder, Tail},
    },
};

impl Replica {
    /// Opens the replica in a folder; an empty folder becomes one with the first segment of a journal that is received.
    ///
    /// A fold that a dead process began is finished.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] naming what is damaged, [`crate::ErrorKind::UnsupportedVersion`], and those of the
    /// file system.
    pub fn open(folder: Arc<dyn Folder>, threads: Threads) -> Result<Self> {
        Self::open_making(folder, threads, Flaws::default())
    }

    /// Makes one mistake from now on.
    ///
    /// # Errors
    /// As [`Replica::open`].
    #[cfg(feature = "flaws")]
    #[doc(hidden)]
    pub fn open_with_flaw(folder: Arc<dyn Folder>, threads: Threads, flaw: crate::Flaw) -> Result<Self> {
        Self::open_making(folder, threads, Flaws { made: Some(flaw) })
    }

    fn open_making(folder: Arc<dyn Folder>, threads: Threads, flaws: Flaws) -> Result<Self> {
        let failed = |error| Error::from_io("tidying a replica", error);
        folder::remove_unfinished(&*folder).map_err(failed)?;
        let mut state = State::load(&*folder)?;
        if let Some(state) = &mut state {
            fold::finish(&*folder, state, flaws)?;
            remove_folded(&*folder, state).map_err(failed)?;
        }
        let (view, receiver) = match &state {
            Some(state) => load(&folder, state)?,
            None if segment::numbers(&*folder)?.is_empty() => (View::default(), Receiver::new()),
            None => return Err(Error::corrupt("a replica has segments but no state")),
        };
        let shared = Shared {
            folder,
            threads,
            receiver: Mutex::new(receiver),
            folding: Mutex::new(()),
            ledger: Mutex::new(Ledger { state, ..Ledger::default() }),
            view: RwLock::new(Arc::new(view)),
            files: Recent::new(FILES_KEPT),
            blocks: Recent::new(BLOCKS_KEPT),
            pages: Recent::new(PAGES_KEPT),
            flaws,
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// Removes what the bases have made superfluous.
pub(super) fn remove_folded(folder: &dyn Folder, state: &State) -> std::io::Result<()> {
    let disks = state.disks.iter().map(|(disk, _)| disk).chain(state.seeds.iter().copied());
    let bases: Vec<String> = disks.map(base_name).collect();
    for name in folder.names()? {
        let number = name.strip_prefix("segment-").and_then(|digits| digits.parse::<u64>().ok());
        let is_folded = number.is_some_and(|number| number <= state.folded.segment.0)
            || MergedKey::parse(&name).is_some_and(|key| key.last() <= state.folded.segment)
            || (name.starts_with("base-") && !bases.contains(&name));
        if is_folded {
            folder.remove(&name)?;
        }
    }
    Ok(())
}

/// Reads what there is of each segment's start and end, and takes up the last.
fn load(folder: &Arc<dyn Folder>, state: &State) -> Result<(View, Receiver)> {
    let mut view = View {
        journal: Some(state.journal),
        folded: state.folded,
        durable: state.folded.sequence,
        tables: Arc::new(vec![(state.folded.sequence, Arc::new(state.disks.clone()))]),
        ..View::default()
    };
    for disk in state.disks.iter().map(|(disk, _)| disk).chain(state.seeds.iter().copied()) {
        let name = base_name(disk);
        folder.open(&name).map_err(|error| Error::from_io(format!("opening {name}"), error))?;
    }
    let mut receiver = Receiver::new();
    receiver.expect_after(state.folded, &state.disks, state.journal);
    let numbers = segment::numbers(&**folder)?;
    let last = numbers.last().copied();
    let mut sealed: Vec<Arc<SealedSegment>> = Vec::with_capacity(numbers.len());
    for number in numbers {
        let name = segment::file_name(number);
        let file = folder.open(&name).map_err(|error| Error::from_io(format!("opening {name}"), error))?;
        let (header, whole) = match Some(number) == last {
            true => segment::open_last(&*file, number)?,
            false => segment::open(&*file, number)?,
        };
        receiver.check(&header.header)?;
        let Some(whole) = whole else {
            if Some(number) != last {
                return Err(Error::corrupt(format!("{name} is not sealed, and not the last")));
            }
            let builder = SegmentBuilder::resume(file, header, Tail::HadAgain)?;
            push_tables(&mut view, builder.marks());
            view.durable = builder.next().previous();
            view.active = Some(active_of(&builder));
            receiver.go_on_with(builder);
            break;
        };
        if Some(number) == last {
            segment::write_again(&*file, whole.length_bytes)?;
        }
        if whole.changes_disks {
            push_tables(&mut view, &whole.marks(&*file)?);
        }
        view.durable = whole.last;
        receiver.expect_after_segment(&whole, &view.disks_at(whole.last), state.journal);
        sealed.push(Arc::new(whole));
    }
    view.sealed = Arc::new(sealed);
    view.merged = Arc::new(load_merged(&**folder, state, &view)?);
    Ok((view, receiver))
}

/// Reads the trailers of merged indexes. One that is not what it should be is removed: it will be made again.
fn load_merged(
    folder: &dyn Folder,
    state: &State,
    view: &View,
) -> Result<BTreeMap<MergedKey, super::view::MergedIndex>> {
    let failed = |error| Error::from_io("tidying a replica's indexes", error);
    let mut merged = BTreeMap::new();
    for name in folder.names().map_err(failed)? {
        let Some(key) = MergedKey::parse(&name) else { continue };
        match read_trailer(folder, key, state.journal, view) {
            Ok(index) => {
                merged.insert(key, index);
            }
            Err(error) if error.kind() == crate::ErrorKind::Corrupt => {
                folder.remove(&name).map_err(failed)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(merged)
}
