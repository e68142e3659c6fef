//! What a tap is told when it starts.

use std::path::{Path, PathBuf};

use journal::Generation;
use model::JournalId;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result, wire::numbers::GenerationNumber};

/// The longest path of a unix socket that Linux takes, in bytes.
const SOCKET_PATH_LIMIT_BYTES: usize = 107;

/// Room for a copy beside what guests write.
const MEMORY_BYTES_MIN: u64 = 16 << 20;
const DISK_BYTES_MIN: u64 = 64 << 20;

/// Well below what the watchdog lets pass.
const PATIENCE_MS_MAX: u64 = 1000;

/// What a tap is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapOptions {
    /// Where it keeps the journal, its lock and its log. It is made where there is none, for its owner alone.
    pub folder: PathBuf,
    /// Where its two sockets are. The same folder, or one with a shorter path.
    pub sockets: PathBuf,
    /// The journal's id. A journal that is there already must have it.
    pub journal_id: JournalId,
    /// The generation of a journal that is made. One that is there already must have it.
    #[serde(with = "GenerationNumber")]
    pub generation: Generation,
    /// The most bytes of writes that wait in memory.
    pub memory_bytes: u64,
    /// The most bytes of segments that were not released.
    pub disk_bytes: u64,
    /// A segment is sealed when its first record is so old.
    pub segment_age_ms: u64,
    /// How long a write waits for room before the tap breaks: 1 s at most.
    pub patience_ms: u64,
    /// How old a record may get before it is made durable.
    pub flush_age_ms: u64,
    /// How often a checkpoint is made while a VM is whole and something is written; half as often while nothing is.
    pub checkpoint_interval_ms: u64,
}

impl TapOptions {
    /// 64 MiB of memory, 32 GiB of disk, half a second of patience, durable after 50 ms, four checkpoints a second.
    #[must_use]
    pub fn new(folder: PathBuf, sockets: PathBuf, journal_id: JournalId, generation: Generation) -> Self {
        Self {
            folder,
            sockets,
            journal_id,
            generation,
            memory_bytes: 64 << 20,
            disk_bytes: 32 << 30,
            segment_age_ms: 10_000,
            patience_ms: 500,
            flush_age_ms: 50,
            checkpoint_interval_ms: 250,
        }
    }

    /// The socket by which a tap is found and told what to do.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.sockets.join("control.sock")
    }

    /// The socket of the NBD exports.
    #[must_use]
    pub fn nbd_socket(&self) -> PathBuf {
        self.sockets.join("nbd.sock")
    }

    /// The folder of the segments.
    #[must_use]
    pub fn journal_folder(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// Whether there is enough of everything, and the sockets can have their paths.
    pub(crate) fn check(&self) -> Result<()> {
        if self.memory_bytes < MEMORY_BYTES_MIN || self.disk_bytes < DISK_BYTES_MIN {
            let context =
                format!("a tap needs {MEMORY_BYTES_MIN} bytes of memory and {DISK_BYTES_MIN} of disk");
            return Err(Error::invalid(context));
        }
        if self.patience_ms > PATIENCE_MS_MAX || self.checkpoint_interval_ms == 0 {
            let context =
                format!("a tap waits {PATIENCE_MS_MAX} ms at most, and marks moments at an interval");
            return Err(Error::invalid(context));
        }
        [self.control_socket(), self.nbd_socket()].iter().try_for_each(|path| check_socket(path))
    }
}

fn check_socket(path: &Path) -> Result<()> {
    let length_bytes = path.as_os_str().len();
    if length_bytes <= SOCKET_PATH_LIMIT_BYTES {
        return Ok(());
    }
    let context = format!(
        "the path {} is too long for a socket: {length_bytes} bytes, and {SOCKET_PATH_LIMIT_BYTES} are possible",
        path.display()
    );
    Err(Error::new(ErrorKind::Invalid, context).with_guidance("choose a shorter runtime directory"))
}

/// Whether a journal is the one that is meant.
pub(crate) fn check_identity(options: &TapOptions, id: JournalId, generation: Generation) -> Result<()> {
    let folder = options.folder.display();
    if id != options.journal_id {
        let context = format!("the journal in {folder} is {id}, and not {}", options.journal_id);
        return Err(Error::invalid(context));
    }
    if generation != options.generation {
        let wanted = options.generation;
        let context = format!("the journal in {folder} is of generation {generation}, and not of {wanted}");
        return Err(Error::new(ErrorKind::Fenced, context).with_guidance("begin another journal"));
    }
    Ok(())
}
