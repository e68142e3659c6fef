//! What a tap is made of: a journal, and who may write to it.

mod checkpoints;
mod disks;
mod status;

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::Thread,
};

use env::Clock;
use journal::{DiskNumber, Full, Journal, Taken};
use model::{Timestamp, VmId};
use nbd::Exports;
use tokio::sync::{Semaphore, watch};

use crate::{
    Broken, Counts, Epoch, Error, ErrorKind, Result, TapOptions, error::told, hold::Hold, pulse::Pulse,
};
use checkpoints::Checkpoints;

/// A tap. Its locks are taken in this order: the state, then those of the journal.
pub(crate) struct Tap {
    pub(crate) options: TapOptions,
    pub(crate) journal: Journal,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hold: Hold,
    pub(crate) pulse: Pulse,
    /// What NBD clients may connect to.
    pub(crate) exports: Exports,
    /// The opening during which clients are let in; none while nobody is.
    pub(crate) doors: watch::Sender<Option<u64>>,
    /// The opening of which the socket is there.
    pub(crate) opened: watch::Sender<Option<u64>>,
    /// Told when the journal has more room.
    pub(crate) room: watch::Sender<()>,
    /// Told after each flush.
    pub(crate) flushed: watch::Sender<()>,
    /// Told when the tap is to end.
    pub(crate) ending: watch::Sender<bool>,
    /// Told when it has: everything is durable, or not.
    pub(crate) ended: watch::Sender<Option<bool>>,
    /// Whose turn it is to wait for room: the first that came.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Memory for the bodies of copies, and of parts.
    pub(crate) copy_memory: Semaphore,
    pub(crate) parts_memory: Semaphore,
    pub(crate) copies: Arc<Semaphore>,
    started_at: Timestamp,
    state: Mutex<State>,
    flusher: OnceLock<Thread>,
    flusher_rests: AtomicBool,
    /// Locked as long as this lives: one tap has a journal.
    _lock: File,
}

/// What changes.
struct State {
    epochs: BTreeMap<VmId, Epoch>,
    /// How often the doors were closed on everybody. Clients of an older opening write nothing more.
    opening: u64,
    broken: Option<Broken>,
    /// Why the journal takes nothing more.
    failed: Option<String>,
    clients: BTreeMap<DiskNumber, u32>,
    /// Writes that wait for room, and since when there are any.
    waiting: u64,
    stalled_since: Option<Timestamp>,
    checkpoints: Checkpoints,
    counts: Counts,
}

/// What became of a write.
pub(crate) enum Put {
    Taken,
    Full(Full),
    /// The client's opening is over.
    Shut,
    Failed(journal::Error),
}

/// How many copies may be under way at once.
const COPIES_MAX: usize = 20;

/// Bytes that wait in memory for room in the journal, and that are on their way to the target.
const COPY_MEMORY_BYTES: usize = 16 << 20;
const PARTS_MEMORY_BYTES: usize = 24 << 20;

impl Tap {
    pub(crate) fn new(options: TapOptions, journal: Journal, clock: Arc<dyn Clock>, lock: File) -> Arc<Self> {
        // What was written before this process has an end; all that comes is of a new epoch.
        let epoch = Epoch(journal.usage().taken_through);
        let vms = journal.disks().vms();
        let state = State {
            epochs: vms.into_iter().map(|vm| (vm, epoch)).collect(),
            opening: 0,
            broken: None,
            failed: None,
            clients: BTreeMap::new(),
            waiting: 0,
            stalled_since: None,
            checkpoints: Checkpoints::default(),
            counts: Counts::default(),
        };
        let tap = Arc::new(Self {
            options,
            hold: Hold::default(),
            pulse: Pulse::new(),
            exports: Exports::new(),
            doors: watch::Sender::new(Some(0)),
            opened: watch::Sender::new(None),
            room: watch::Sender::new(()),
            flushed: watch::Sender::new(()),
            ending: watch::Sender::new(false),
            ended: watch::Sender::new(None),
            turn: tokio::sync::Mutex::new(()),
            copy_memory: Semaphore::new(COPY_MEMORY_BYTES),
            parts_memory: Semaphore::new(PARTS_MEMORY_BYTES),
            copies: Arc::new(Semaphore::new(COPIES_MAX)),
            started_at: clock.now(),
            journal,
            clock,
            state: Mutex::new(state),
            flusher: OnceLock::new(),
            flusher_rests: AtomicBool::new(false),
            _lock: lock,
        });
        let room = tap.room.clone();
        tap.journal.on_room(move || {
            room.send_replace(());
        });
        for (number, disk) in tap.journal.disks().iter() {
            tap.offer(number, disk);
        }
        tap
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a write of a client to the journal, unless its opening is over.
    pub(crate) fn put(
        &self,
        (vm, opening): (VmId, u64),
        length_bytes: u64,
        put: impl FnOnce(&Journal) -> journal::Result<Taken>,
    ) -> Put {
        let mut state = self.state();
        if opening != state.opening || state.is_shut_out(vm) {
            return Put::Shut;
        }
        match put(&self.journal) {
            Ok(Taken::Through(_)) => {
                state.counts.writes += 1;
                state.counts.written_bytes += length_bytes;
                drop(state);
                self.wake_flusher();
                Put::Taken
            }
            Ok(Taken::Full(full)) => Put::Full(full),
            Err(error) => Put::Failed(error),
        }
    }

    /// Whether writes wait for room.
    pub(crate) fn is_stalled(&self) -> bool {
        self.state().waiting > 0
    }

    /// A write begins to wait for room.
    pub(crate) fn begin_waiting(&self) {
        let mut state = self.state();
        state.waiting += 1;
        state.counts.waited_writes += 1;
        if state.stalled_since.is_none() {
            state.stalled_since = Some(self.clock.now());
        }
    }

    pub(crate) fn end_waiting(&self) {
        let mut state = self.state();
        state.waiting = state.waiting.saturating_sub(1);
        if state.waiting == 0 {
            state.stalled_since = None;
        }
    }

    /// Lets all guests go on without the tap, if this opening is not over already.
    pub(crate) fn give_up(&self, opening: Option<u64>, reason: &str) {
        let mut state = self.state();
        if opening.is_some_and(|opening| opening != state.opening) {
            return;
        }
        self.shut_everybody_out(&mut state);
        tracing::warn!(reason, "the guests go on without the tap");
        let (since, vms) = (self.clock.now(), self.journal.disks().vms());
        state.broken = Some(Broken { since, reason: reason.to_owned(), vms });
        drop(state);
        // Who waits for room learns that it is over.
        self.room.send_replace(());
        self.wake_flusher();
    }

    /// The journal cannot be made durable any more.
    pub(crate) fn fail(&self, error: &journal::Error) {
        let reason = format!("the journal cannot be written: {}", told(error));
        self.state().failed = Some(reason.clone());
        self.give_up(None, &reason);
        self.flushed.send_replace(());
    }

    pub(crate) fn check_sound(&self) -> Result<()> {
        match &self.state().failed {
            None => Ok(()),
            Some(reason) => Err(Error::new(ErrorKind::Broken, reason.clone())
                .with_guidance("shut the tap down and launch it again")),
        }
    }

    /// Who is told that there is something to flush.
    pub(crate) fn set_flusher(&self, thread: Thread) {
        // There is one.
        let _ = self.flusher.set(thread);
    }

    /// The flusher has nothing to do. Who puts something into the journal after this wakes it.
    pub(crate) fn flusher_rests(&self, rests: bool) {
        self.flusher_rests.store(rests, Ordering::SeqCst);
    }

    pub(crate) fn wake_flusher(&self) {
        if self.flusher_rests.swap(false, Ordering::SeqCst)
            && let Some(flusher) = self.flusher.get()
        {
            flusher.unpark();
        }
    }

    /// Everything through this record is durable, after a flush that took so long.
    pub(crate) fn note_flush(&self, took_us: u64) {
        let durable = self.journal.durable_through();
        let mut state = self.state();
        state.checkpoints.durable(durable);
        state.counts.flushes += 1;
        state.counts.flushing_us += took_us;
        state.counts.flush_us_max = state.counts.flush_us_max.max(took_us);
        drop(state);
        self.flushed.send_replace(());
    }

    /// Ends all NBD connections for good.
    pub(crate) fn close(&self) {
        self.shut_everybody_out(&mut self.state());
        self.room.send_replace(());
    }

    /// Ends all NBD connections. A new epoch begins for every VM in the same step: no record that comes later may pass for a
    /// moment at which everything was there.
    fn shut_everybody_out(&self, state: &mut State) {
        state.opening += 1;
        self.doors.send_replace(None);
        for vm in self.journal.disks().vms() {
            // A journal that takes nothing more takes no later moment either.
            if let Ok(sequence) = self.journal.begin_epoch(vm) {
                state.epochs.insert(vm, Epoch(sequence));
            }
        }
        for name in self.exports.names() {
            self.exports.remove(&name);
        }
    }
}

impl State {
    fn is_shut_out(&self, vm: VmId) -> bool {
        self.broken.as_ref().is_some_and(|broken| broken.vms.contains(&vm))
    }

    fn epoch(&self, vm: VmId) -> Epoch {
        self.epochs.get(&vm).copied().unwrap_or_default()
    }
}
