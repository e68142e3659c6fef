//! Bringing back a log that was deleted, where the store keeps earlier versions of objects.
//!
//! Hidden are also entries that nobody needs: those that were trimmed, and those that were taken back. So what comes back must
//! be one row: each entry names the digest of the one before it, down to a state that names its entry, or to the first entry.
//! What is there and sound is never replaced: the row goes through it, or is none.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Cure, DamagedObject, Repair,
    hidden::{deleted_reason, gone},
};
use crate::{
    Digest, ErrorKind, Result, Sequence,
    location::versions::{Version, Versions},
    log::{Change, ENTRIES, ENTRY_BYTES_MAX, Entry, STATE_BYTES_MAX, STATES, State},
    store::Created,
};

/// States that a log is to have: the newest, and one to go back to.
const STATES_WANTED: usize = 2;

/// An entry as some version has it.
#[derive(Debug, Clone)]
struct Link {
    sequence: Sequence,
    digest: Digest,
    previous: Digest,
    /// The entries before this number were trimmed, by its word.
    trimmed: Sequence,
    version: Version,
}

/// Entries that follow from each other, the last one first, and states at some of them.
#[derive(Debug, Default)]
struct Row {
    entries: Vec<Link>,
    states: Vec<(Sequence, Version)>,
}

/// All versions of entries and states, by number; each newest first.
struct HiddenLog<'a> {
    repair: &'a Repair<'a>,
    versions: &'a Versions,
    entries: BTreeMap<Sequence, Vec<Version>>,
    states: BTreeMap<Sequence, Vec<Version>>,
    /// What was read of entries before: a version may be looked at for several rows.
    read: BTreeMap<Sequence, Vec<Link>>,
}

impl Repair<'_> {
    /// Brings back entries and states that were deleted, as many as the log needs. In a dry run, foresees the state that it
    /// would have then.
    pub(super) async fn uncover_log(&mut self) -> Result<()> {
        let Some(versions) = self.versions.take() else { return Ok(()) };
        let found = self.uncover_log_by(&versions).await;
        self.versions = Some(versions);
        let (entries, states, state) = found?;
        let parts = entries.into_iter().map(DamagedObject::LogEntry);
        for part in parts.chain(states.into_iter().map(DamagedObject::State)) {
            self.report.add(part, deleted_reason(), Some(Cure::Uncovered));
        }
        self.foreseen = state;
        Ok(())
    }

    async fn uncover_log_by(
        &self,
        versions: &Versions,
    ) -> Result<(Vec<Sequence>, Vec<Sequence>, Option<State>)> {
        let mut hidden = HiddenLog::list(self, versions).await?;
        if !hidden.has_any() {
            return Ok(Default::default());
        }
        match self.shared.log.refresh().await {
            Ok(state) => {
                let (entries, state) = hidden.go_on(&state).await?;
                Ok((entries, Vec::new(), state))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unreachable
                ) =>
            {
                let Some(row) = hidden.find_row().await? else { return Ok(Default::default()) };
                hidden.bring_back(row).await
            }
            Err(error) => Err(error),
        }
    }
}

impl<'a> HiddenLog<'a> {
    async fn list(repair: &'a Repair<'_>, versions: &'a Versions) -> Result<Self> {
        let mut folders = Vec::new();
        for folder in [ENTRIES, STATES] {
            let mut by_number: BTreeMap<Sequence, Vec<Version>> = BTreeMap::new();
            for version in versions.in_folder(folder).await?.into_iter().filter(|version| !version.is_marker)
            {
                if let Some(sequence) = version.name.rsplit('/').next().and_then(Sequence::of_name) {
                    by_number.entry(sequence).or_default().push(version);
                }
            }
            folders.push(by_number);
        }
        let states = folders.pop().unwrap_or_default();
        let entries = folders.pop().unwrap_or_default();
        Ok(Self { repair, versions, entries, states, read: BTreeMap::new() })
    }

    fn has_any(&self) -> bool {
        self.entries.values().chain(self.states.values()).flatten().any(|version| !version.is_latest)
    }

    /// Goes on from the end of a log that is sound: with entries that follow from its last, as if they were written now.
    async fn go_on(&mut self, state: &State) -> Result<(Vec<Sequence>, Option<State>)> {
        let mut state = state.clone();
        let mut done = Vec::new();
        loop {
            let links = self.links(state.sequence.next()).await?;
            let Some(link) = links.into_iter().find(|link| link.previous == state.head) else { break };
            let bytes = self.bytes(&link.version, ENTRY_BYTES_MAX).await?;
            let entry = Entry::decode(link.sequence, &bytes, &self.repair.shared.keys)?;
            if state.apply(&entry, link.digest).is_err() {
                break;
            }
            if !self.repair.is_dry
                && self.repair.shared.store.create_named(&link.version.name, bytes.to_vec()).await?
                    == Created::Exists
            {
                // Somebody has written another one meanwhile.
                break;
            }
            done.push(link.sequence);
        }
        let is_ahead = self.repair.is_dry && !done.is_empty();
        Ok((done, is_ahead.then_some(state)))
    }

    /// The row that reaches furthest.
    async fn find_row(&mut self) -> Result<Option<Row>> {
        let numbers: Vec<Sequence> = self.entries.keys().rev().copied().collect();
        for top in numbers {
            for link in self.links(top).await? {
                if let Some(row) = self.row_below(link).await? {
                    return Ok(Some(row));
                }
            }
        }
        Ok(None)
    }

    /// The entries below one, to the second state or to where they were trimmed, or as far as they reach; none where no reader
    /// could start there.
    async fn row_below(&mut self, top: Link) -> Result<Option<Row>> {
        let mut row = Row::default();
        let (mut next, mut trimmed) = (Some(top), Sequence(0));
        while let Some(link) = next {
            let (sequence, previous) = (link.sequence, link.previous);
            if let Some(version) = self.state_of(&link).await? {
                row.states.push((sequence, version));
            }
            trimmed = trimmed.max(link.trimmed);
            row.entries.push(link);
            let is_trimmed = sequence <= trimmed && !row.states.is_empty();
            if row.states.len() == STATES_WANTED || is_trimmed || sequence == Sequence(1) {
                return Ok(Some(row));
            }
            next = self.links(sequence.before()).await?.into_iter().find(|below| below.digest == previous);
        }
        let Some((lowest, _)) = row.states.last() else { return Ok(None) };
        let lowest = *lowest;
        row.entries.retain(|link| link.sequence >= lowest);
        Ok(Some(row))
    }

    /// The entries with a number that can be read: the one that is there, or else those that are hidden.
    async fn links(&mut self, sequence: Sequence) -> Result<Vec<Link>> {
        if let Some(links) = self.read.get(&sequence) {
            return Ok(links.clone());
        }
        let mut links = Vec::new();
        for version in self.entries.get(&sequence).into_iter().flatten() {
            let Some(bytes) = self.versions.get(version, ENTRY_BYTES_MAX).await? else { continue };
            let Ok(entry) = Entry::decode(sequence, &bytes, &self.repair.shared.keys) else { continue };
            let (digest, previous) = (Digest::of(&bytes), entry.previous);
            let trimmed = match entry.change {
                Change::Swept { trimmed, .. } => trimmed,
                _ => Sequence(0),
            };
            let link = Link { sequence, digest, previous, trimmed, version: version.clone() };
            if version.is_latest {
                links = vec![link];
                break;
            }
            links.push(link);
        }
        self.read.insert(sequence, links.clone());
        Ok(links)
    }

    /// A version of the state after an entry.
    async fn state_of(&self, link: &Link) -> Result<Option<Version>> {
        for version in self.states.get(&link.sequence).into_iter().flatten() {
            let Some(bytes) = self.versions.get(version, STATE_BYTES_MAX).await? else { continue };
            let state = State::decode(link.sequence, &bytes, &self.repair.shared.keys);
            if state.is_ok_and(|state| state.head == link.digest) {
                return Ok(Some(version.clone()));
            }
        }
        Ok(None)
    }

    /// Entries first, the last of them first, and the newest state last: until all of it is there nobody can begin to read, and
    /// so nobody goes on from a log that is not whole.
    async fn bring_back(&self, row: Row) -> Result<(Vec<Sequence>, Vec<Sequence>, Option<State>)> {
        let (mut entries, mut states) = (Vec::new(), Vec::new());
        for link in row.entries.iter().filter(|link| !link.version.is_latest) {
            let bytes = self.bytes(&link.version, ENTRY_BYTES_MAX).await?;
            self.repair.bring_back(self.versions, &link.version, &bytes).await?;
            entries.push(link.sequence);
        }
        for (sequence, version) in row.states.iter().rev().filter(|(_, version)| !version.is_latest) {
            let bytes = self.bytes(version, STATE_BYTES_MAX).await?;
            self.repair.bring_back(self.versions, version, &bytes).await?;
            states.push(*sequence);
        }
        let is_foreseen = self.repair.is_dry && !(entries.is_empty() && states.is_empty());
        let state = if is_foreseen { Some(self.replay(&row).await?) } else { None };
        Ok((entries, states, state))
    }

    /// The state after a row.
    async fn replay(&self, row: &Row) -> Result<State> {
        let keys = &self.repair.shared.keys;
        let mut state = match row.states.first() {
            None => State::empty(),
            Some((sequence, version)) => {
                State::decode(*sequence, &self.bytes(version, STATE_BYTES_MAX).await?, keys)?
            }
        };
        for link in row.entries.iter().rev().filter(|link| link.sequence > state.sequence).collect::<Vec<_>>()
        {
            let bytes = self.bytes(&link.version, ENTRY_BYTES_MAX).await?;
            state.apply(&Entry::decode(link.sequence, &bytes, keys)?, link.digest)?;
        }
        Ok(state)
    }

    async fn bytes(&self, version: &Version, limit_bytes: u64) -> Result<Bytes> {
        self.versions.get(version, limit_bytes).await?.ok_or_else(|| gone(version))
    }
}
