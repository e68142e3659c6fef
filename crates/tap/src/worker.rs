//! A tap at work: its journal, its sockets, its thread.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use env::Env;
use journal::{Checkpoint, CheckpointKind, Directory, Folder, Journal, JournalOptions, Sequence};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::{
    task::JoinSet,
    time::{self, Instant, MissedTickBehavior},
};

use crate::{Error, ErrorKind, Result, TapOptions, control, doors, flusher, pulse::BEAT, tap::Tap};

/// How long a tap that ends may take to let go of its journal.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// A tap at work, until this is dropped.
pub(crate) struct Worker {
    pub(crate) tap: Arc<Tap>,
    _tasks: JoinSet<()>,
    flusher: Option<JoinHandle<()>>,
}

impl Worker {
    /// Opens the journal or makes one, and lets everybody in.
    pub(crate) async fn start(options: TapOptions, env: Env) -> Result<Self> {
        make_private_dir(&options.folder)?;
        let path = options.journal_folder();
        let directory = Directory::open(&path)
            .map_err(|error| Error::from_io(format!("opening the folder {}", path.display()), error))?;
        Self::start_in(Arc::new(directory), options, env).await
    }

    /// The same, with the segments anywhere.
    pub(crate) async fn start_in(segments: Arc<dyn Folder>, options: TapOptions, env: Env) -> Result<Self> {
        options.check()?;
        make_private_dir(&options.sockets)?;
        let lock = lock(&options.folder.join("lock")).await?;
        let journal = open_journal(segments, &options, &env)?;
        let listener = control::bind(&options.control_socket())?;
        let tap = Tap::new(options, journal, env.clock, lock);
        let flusher = flusher::start(&tap)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(doors::keep(Arc::clone(&tap)));
        tasks.spawn(control::listen(Arc::clone(&tap), listener));
        tasks.spawn(mark_time(Arc::clone(&tap)));
        tasks.spawn(turn(Arc::clone(&tap)));
        let worker = Self { tap, _tasks: tasks, flusher: Some(flusher) };
        worker.tap.doors_are_open().await?;
        Ok(worker)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tap.close();
        self.tap.begin_to_end();
        // Whoever takes up the journal next must find it let go. A thread that has panicked has let it go.
        let _ = self.flusher.take().map(JoinHandle::join);
        // A socket that nobody listens on says as much.
        let _ = fs::remove_file(self.tap.options.control_socket());
    }
}

impl Tap {
    fn begin_to_end(&self) {
        self.ending.send_replace(true);
        self.wake_flusher();
    }

    /// Ends in order: nothing more is taken, and what was is durable.
    pub(crate) async fn end(&self) -> Result<()> {
        self.close();
        self.begin_to_end();
        let mut ended = self.ended.subscribe();
        // The sender lives as long as the tap.
        match ended.wait_for(Option::is_some).await.map(|ended| *ended) {
            Ok(Some(true)) => Ok(()),
            _ => Err(Error::new(ErrorKind::Broken, "not everything that was taken is durable")),
        }
    }
}

/// How many intervals may pass without a mark while nothing is written.
const IDLE_INTERVALS: u32 = 2;

/// Marks a moment at every interval, and at every other one where nothing was written: the newest says how far back a failure now
/// would throw its VM, and what that costs an idle guest's host is a block and an `fsync` for each.
async fn mark_time(tap: Arc<Tap>) {
    let interval = Duration::from_millis(tap.options.checkpoint_interval_ms);
    let mut ticks = time::interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut marked, mut idle) = (Sequence(0), 0);
    loop {
        ticks.tick().await;
        idle = if tap.journal.usage().taken_through == marked { idle + 1 } else { IDLE_INTERVALS };
        // A moment that is held is marked by who holds it, once.
        if idle < IDLE_INTERVALS || tap.journal.stands() || !tap.has_whole_vm() {
            continue;
        }
        let checkpoint = Checkpoint { kind: CheckpointKind::Crash, vm: None, name: String::new() };
        match tap.checkpoint(checkpoint) {
            Ok(sequence) => (marked, idle) = (sequence, 0),
            Err(error) => tracing::debug!(%error, "no checkpoint was made"),
        }
    }
}

/// Shows that the runtime turns.
async fn turn(tap: Arc<Tap>) {
    loop {
        tap.pulse.turn();
        time::sleep(BEAT).await;
    }
}

/// Makes a folder for its owner alone, where there is none.
pub(crate) fn make_private_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Error::from_io(format!("making the folder {}", path.display()), error))
}

/// Locks a file as long as it is open; fails when somebody else has it, and does not let go of it in a moment.
async fn lock(path: &Path) -> Result<File> {
    let failed = |error| Error::from_io(format!("locking {}", path.display()), error);
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    let file = opened.map_err(failed)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            // A process that ends closes its sockets before its files, or after.
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => time::sleep(LOCK_INTERVAL).await,
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::new(ErrorKind::AlreadyExists, "another tap has this journal"));
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
}

fn open_journal(folder: Arc<dyn Folder>, options: &TapOptions, env: &Env) -> Result<Journal> {
    let limits = JournalOptions {
        memory_bytes: options.memory_bytes,
        disk_bytes: options.disk_bytes,
        segment_age: Duration::from_millis(options.segment_age_ms),
    };
    let clock = Arc::clone(&env.clock);
    match Journal::open(Arc::clone(&folder), limits, Arc::clone(&clock)) {
        Ok(journal) => check_identity(journal, options),
        Err(error) if error.kind() == journal::ErrorKind::NotFound => {
            Ok(Journal::create(folder, options.journal_id, options.generation, limits, clock)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn check_identity(journal: Journal, options: &TapOptions) -> Result<Journal> {
    crate::options::check_identity(options, journal.id(), journal.generation())?;
    Ok(journal)
}
