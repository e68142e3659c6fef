//! A file system that loses what was not made durable.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use image::{ByteRange, Extent, ExtentKind};
use journal::{Folder, FolderFile};

use crate::dice::Dice;

/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A folder on a host, through all its lives.
pub(crate) struct SimDisk {
    state: Mutex<State>,
}

struct State {
    dice: Dice,
    files: BTreeMap<u64, File>,
    created: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending_names: Vec<NameChange>,
    /// Handles of earlier lives do nothing more.
    life: u64,
    /// Changes until the host dies.
    steps_left: Option<u64>,
    is_full: bool,
    /// How often in a thousand making something durable fails.
    sync_fails: u32,
}

#[derive(Default)]
struct File {
    content: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

#[derive(Clone)]
enum NameChange {
    Link(String, u64),
    Unlink(String),
    Remove(String),
}

impl SimDisk {
    pub(crate) fn new(dice: Dice) -> Arc<Self> {
        let state = State {
            dice,
            files: BTreeMap::new(),
            created: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            life: 0,
            steps_left: None,
            is_full: false,
            sync_fails: 0,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// The folder as a process sees it that starts now; those before are dead.
    pub(crate) fn folder(self: &Arc<Self>) -> Arc<dyn Folder> {
        let mut state = self.lock();
        state.life += 1;
        state.steps_left = None;
        Arc::new(SimFolder { disk: Arc::clone(self), life: state.life })
    }

    /// Lets the host die after so many changes.
    pub(crate) fn die_after(&self, steps: u64) {
        self.lock().steps_left = Some(steps);
    }

    /// Whether the host has died.
    pub(crate) fn is_dead(&self) -> bool {
        self.lock().steps_left == Some(0)
    }

    pub(crate) fn set_weather(&self, is_full: bool, sync_fails: u32) {
        let mut state = self.lock();
        (state.is_full, state.sync_fails) = (is_full, sync_fails);
    }

    /// The host crashes: what was not durable is there in part.
    pub(crate) fn crash(&self) {
        let mut state = self.lock();
        let State { dice, files, names, durable_names, pending_names, .. } = &mut *state;
        for file in files.values_mut() {
            for change in std::mem::take(&mut file.pending) {
                change.apply_in_part(&mut file.durable, dice);
            }
            file.content.clone_from(&file.durable);
        }
        let survived = dice.number(0..pending_names.len() as u64 + 1) as usize;
        for change in pending_names.drain(..).take(survived) {
            // A removal may come later than what was done after it.
            if !matches!(change, NameChange::Remove(_)) || dice.chance(500) {
                change.apply(durable_names);
            }
        }
        names.clone_from(durable_names);
        files.retain(|number, _| names.values().any(|other| other == number));
        state.life += 1;
        state.steps_left = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state for a process of that life; one that changes something comes nearer to its death.
    fn enter(&self, life: u64, changes: bool) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if state.life != life || state.steps_left == Some(0) {
            return Err(io::Error::other("the host is dead"));
        }
        if changes && let Some(steps) = &mut state.steps_left {
            *steps -= 1;
            if *steps == 0 {
                return Err(io::Error::other("the host dies"));
            }
        }
        Ok(state)
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                bytes.resize(bytes.len().max(offset + data.len()), 0);
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// All of it, nothing, or some sectors.
    fn apply_in_part(&self, bytes: &mut Vec<u8>, dice: &Dice) {
        match (dice.number(0..3), self) {
            (0, _) => {}
            (1, Self::Write { offset, data }) => {
                let end = offset + data.len();
                let mut start = *offset;
                while start < end {
                    let next = ((start / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
                    if dice.chance(500) {
                        let data = data[start - offset..next - offset].to_vec();
                        Self::Write { offset: start, data }.apply(bytes);
                    }
                    start = next;
                }
            }
            _ => self.apply(bytes),
        }
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link(name, file) => drop(names.insert(name, file)),
            Self::Unlink(name) | Self::Remove(name) => drop(names.remove(&name)),
        }
    }
}

struct SimFolder {
    disk: Arc<SimDisk>,
    life: u64,
}

impl SimFolder {
    fn handle(&self, number: u64) -> Arc<dyn FolderFile> {
        Arc::new(SimFile { disk: Arc::clone(&self.disk), life: self.life, number })
    }
}

impl State {
    fn change_name(&mut self, change: &NameChange) {
        change.clone().apply(&mut self.names);
        self.pending_names.push(change.clone());
    }
}

impl Folder for SimFolder {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.enter(self.life, false)?.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn FolderFile>> {
        let mut state = self.disk.enter(self.life, true)?;
        if state.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.created += 1;
        let number = state.created;
        state.files.insert(number, File::default());
        state.change_name(&NameChange::Link(name.to_owned(), number));
        drop(state);
        Ok(self.handle(number))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn FolderFile>> {
        let number = self.disk.enter(self.life, false)?.names.get(name).copied();
        number.map(|number| self.handle(number)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.disk.enter(self.life, true)?;
        let number = state.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        state.change_name(&NameChange::Link(to.to_owned(), number));
        state.change_name(&NameChange::Unlink(from.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.disk.enter(self.life, true)?;
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(&NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.enter(self.life, true)?;
        let State { pending_names, durable_names, .. } = &mut *state;
        for change in pending_names.drain(..) {
            change.apply(durable_names);
        }
        Ok(())
    }
}

struct SimFile {
    disk: Arc<SimDisk>,
    life: u64,
    number: u64,
}

impl SimFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.disk.enter(self.life, true)?;
        let (is_full, number) = (state.is_full, self.number);
        let file = state.files.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        let change = match change {
            // A full disk takes the start of what is written.
            Change::Write { offset, mut data } if is_full => {
                data.truncate(data.len() / 2 / SECTOR_BYTES * SECTOR_BYTES);
                Change::Write { offset, data }
            }
            change => change,
        };
        change.apply(&mut file.content);
        let refused = is_full && matches!(change, Change::Write { .. });
        file.pending.push(change);
        if refused { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read<T>(&self, read: impl FnOnce(&[u8]) -> io::Result<T>) -> io::Result<T> {
        let state = self.disk.enter(self.life, false)?;
        read(&state.files.get(&self.number).ok_or(io::ErrorKind::NotFound)?.content)
    }
}

impl FolderFile for SimFile {
    fn length_bytes(&self) -> io::Result<u64> {
        self.read(|content| Ok(content.len() as u64))
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read(|content| {
            let start = usize::try_from(offset_bytes).map_err(io::Error::other)?;
            let bytes = content.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn write_at(&self, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write { offset: offset_bytes as usize, data: data.to_vec() })
    }

    fn zero(&self, range: ByteRange) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let data = vec![0; range.length_bytes as usize];
        self.change(Change::Write { offset: range.offset_bytes as usize, data })
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        self.change(Change::Length(length_bytes as usize))
    }

    fn extents(&self, range: ByteRange) -> io::Result<Vec<Extent>> {
        Ok(vec![Extent { range, kind: ExtentKind::Data }])
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.enter(self.life, true)?;
        let fails = state.sync_fails > 0 && state.dice.chance(state.sync_fails);
        let number = self.number;
        let file = state.files.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        let pending = std::mem::take(&mut file.pending);
        if fails {
            // As Linux does it: what could not be written counts as clean, is still read, and is never written.
            return Err(io::Error::other("what was written is lost"));
        }
        for change in pending {
            change.apply(&mut file.durable);
        }
        Ok(())
    }
}
