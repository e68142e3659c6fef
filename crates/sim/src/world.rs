//! The world `vault`: servers that back up, restore, delete and clean up in one vault at the same time, while everything
//! fails around them.

mod backup;
mod collection;
mod copying;
mod deletion;
mod restore;
mod server;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use env::SeededEntropy;
use model::VmId;
use tokio::time::{Instant, sleep};
use vault::{KeyFile, NewSlot, StoreLocation, Unlock, Vault};

use crate::{
    broken::Broken,
    checker,
    dice::Dice,
    disk::{BLOCK_BYTES, BLOCK_KINDS, Content},
    model::{Model, Vm},
    process::{DAY, Fate, HOUR, Process},
    rot::Rot,
    store::{Connection, SimStore, Weather},
    trace::Trace,
};
use server::{Server, Work};

/// Bytes of a region of a disk's map.
const REGION_BYTES: u64 = 4 << 20;

/// A world that follows from a seed.
pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) store: Arc<SimStore>,
    pub(crate) copy: Arc<SimStore>,
    /// How often anything had changed in the stores when all of it was checked last.
    checked_changes: AtomicU64,
    pub(crate) trace: Arc<Trace>,
    pub(crate) dice: Dice,
    pub(crate) broken: Option<Broken>,
    model: Mutex<Model>,
    key_file: KeyFile,
    segment_chunks: usize,
    state_every: u64,
    fate: Fate,
    weather: Weather,
    pub(crate) rot: Rot,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Arc<Trace>, broken: Option<Broken>) -> Self {
        let (start, dice) = (Instant::now(), Dice::new(seed));
        let flaw = broken.and_then(Broken::of_store);
        let store = SimStore::new("primary", start, dice.fork(), Arc::clone(&trace), flaw);
        let copy = SimStore::new("copy", start, dice.fork(), Arc::clone(&trace), None);
        let vms = (0..dice.number(1..4)).map(|_| draw_vm(&dice)).collect();
        let fate = Fate {
            crash: dice.number(0..4) as u32,
            pause: dice.number(0..4) as u32,
            clock_jump: dice.number(0..4) as u32,
        };
        Self {
            start,
            store: Arc::new(store),
            copy: Arc::new(copy),
            checked_changes: AtomicU64::default(),
            trace,
            broken,
            model: Mutex::new(Model::new(vms)),
            key_file: KeyFile::generate(&SeededEntropy::new(dice.roll())),
            segment_chunks: dice.number(3..40) as usize,
            state_every: *dice.pick(&[1, 3, 8, 40]).unwrap_or(&8),
            fate,
            weather: Weather::drawn(&dice),
            rot: Rot::drawn(&dice),
            dice,
        }
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often anything has changed in the stores.
    pub(crate) fn changes(&self) -> u64 {
        self.store.objects().changes() + self.copy.objects().changes()
    }

    pub(crate) fn checked_changes(&self) -> u64 {
        self.checked_changes.load(Ordering::Relaxed)
    }

    pub(crate) fn note_checked(&self) {
        self.checked_changes.store(self.changes(), Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.model().violation.is_some()
    }

    /// A process to which nothing bad happens.
    pub(crate) fn sound_process(&self, name: &str) -> Arc<Process> {
        self.process(name, Fate::default())
    }

    pub(crate) fn frail_process(&self, name: &str) -> Arc<Process> {
        self.process(name, self.fate)
    }

    /// A process to which so much happens.
    pub(crate) fn process(&self, name: &str, fate: Fate) -> Arc<Process> {
        let trace = Arc::clone(&self.trace);
        Arc::new(Process::new(name.to_owned(), self.start, self.dice.fork(), fate, trace))
    }

    /// Changes a VM and backs it up by this handle.
    pub(crate) async fn back_up(&self, process: &Arc<Process>, vault: Vault) {
        let work = Work { world: self, dice: self.dice.fork(), process, vault };
        Box::pin(work.back_up()).await;
    }

    /// The vault as a process sees it that opens it now, and makes the mistakes that it is to make.
    pub(crate) async fn open(&self, process: &Arc<Process>) -> vault::Result<Vault> {
        let vault = self.open_soundly(process).await?;
        let vault = match self.broken.and_then(Broken::of_vault) {
            Some(flaw) => vault.with_flaw(flaw),
            None => vault,
        };
        Ok(vault.with_pace(self.segment_chunks, self.state_every))
    }

    /// The vault without mistakes.
    pub(crate) async fn open_soundly(&self, process: &Arc<Process>) -> vault::Result<Vault> {
        let unlock = Unlock::KeyFile(self.key_file.clone());
        Vault::open(&self.location(process), &unlock, process.env()).await
    }

    fn location(&self, process: &Arc<Process>) -> StoreLocation {
        StoreLocation::at_hand(Arc::new(Connection::new(&self.store, process)))
    }

    /// The copy as a vault of its own, without mistakes.
    pub(crate) async fn open_copy(&self, process: &Arc<Process>) -> vault::Result<Vault> {
        let unlock = Unlock::KeyFile(self.key_file.clone());
        Vault::open(&self.copy_location(process), &unlock, process.env()).await
    }

    pub(crate) fn copy_location(&self, process: &Arc<Process>) -> StoreLocation {
        StoreLocation::at_hand(Arc::new(Connection::new(&self.copy, process)))
    }

    fn set_weather(&self, weather: Weather) {
        self.store.set_weather(weather);
        self.copy.set_weather(weather);
    }

    /// Lives through the world. The model holds what went wrong, if anything did.
    pub(crate) async fn run(self: &Arc<Self>) {
        let founder = self.sound_process("founder");
        let slots = [NewSlot::unlabelled(vault::NewKey::KeyFile(self.key_file.clone()))];
        if let Err(error) = Vault::create_tiny(&self.location(&founder), &slots, founder.env()).await {
            return self.model().violated(format!("no vault could be created: {error}"));
        }
        let servers = self.dice.number(2..5);
        for round in 0..self.dice.number(1..4) {
            self.set_weather(self.weather);
            let running: Vec<_> = (0..servers)
                .map(|number| {
                    let server = Server::new(self, format!("server-{round}{number}"));
                    tokio::spawn(server.run(HOUR / 6))
                })
                .collect();
            // Who stands still at the round's end goes on in a later one.
            let deadline = Instant::now() + 2 * HOUR;
            while running.iter().any(|server| !server.is_finished()) && Instant::now() < deadline {
                sleep(Duration::from_secs(60)).await;
            }
            self.set_weather(Weather::default());
            checker::check(self).await;
            if self.is_over() {
                return;
            }
            sleep(self.dice.duration(HOUR, 3 * DAY)).await;
            if self.rot == Rot::Objects {
                for store in [&self.store, &self.store, &self.store, &self.copy] {
                    store.rot(self.dice.pick(&["packs", "packs", "index", "points"]).unwrap_or(&"packs"));
                }
            }
        }
        self.set_weather(Weather::default());
        // Until whoever still stands still has gone on, and ended.
        sleep(10 * DAY).await;
        checker::check(self).await;
        if !self.is_over() {
            checker::check_end(self).await;
        }
    }
}

fn draw_vm(dice: &Dice) -> Vm {
    let disks = (0..dice.number(1..3)).map(|_| {
        let size_bytes = dice.number(1..4) * REGION_BYTES - 512 * dice.number(0..9);
        let mut disk = Content { size_bytes, ..Content::default() };
        change(&mut disk, dice, dice.number(0..30));
        disk
    });
    Vm { id: VmId::from_random(dice.bytes()), disks: disks.collect() }
}

/// Writes to a disk, mostly where it was written before.
pub(crate) fn change(disk: &mut Content, dice: &Dice, writes: u64) {
    let places = disk.size_bytes.div_ceil(BLOCK_BYTES);
    for _ in 0..writes {
        let known: Vec<u64> = disk.blocks.keys().copied().collect();
        let place = match dice.pick(&known) {
            Some(&place) if dice.chance(800) => (place + dice.number(0..2)).min(places - 1),
            _ => dice.number(0..places),
        };
        if dice.chance(150) {
            disk.blocks.remove(&place);
        } else {
            disk.blocks.insert(place, dice.number(0..BLOCK_KINDS));
        }
    }
}
