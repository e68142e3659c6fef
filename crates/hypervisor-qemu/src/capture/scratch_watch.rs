//! Gives a held moment up before its scratch fills the file system that other things on the host need too.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hypervisor::{Error, ErrorKind, Result};
use model::ByteCount;
use tokio::{
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};

use super::recover;
use crate::session::Session;

/// How often the free space is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Space that is left to others in any case, on a file system of ordinary size.
const RESERVE_BYTES: u64 = 1 << 30;
/// On a small file system the reserve is this fraction of it: one twentieth.
const RESERVE_DIVISOR: u64 = 20;

/// Whether a moment was given up for want of space.
#[derive(Debug, Clone, Default)]
pub(super) struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    /// Whether it was.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Watches the scratch directory for as long as it lives.
#[derive(Debug)]
pub(super) struct ScratchWatch(JoinHandle<()>);

impl ScratchWatch {
    /// Starts to watch: when space runs short, marks the moment as given up and takes its filters down.
    pub(super) fn start(session: Session, given_up: GivenUp) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !is_short(&session.config.scratch_dir) {
                ticks.tick().await;
            }
            given_up.set();
            tracing::warn!(vm = %session.vm.name, "scratch space runs short: a capture is given up");
            // On its own: the end of the capture must not stop it halfway.
            tokio::spawn(async move {
                if let Err(error) = recover::give_up(&session).await {
                    tracing::warn!(%error, vm = %session.vm.name, "a capture that was given up is still there");
                }
            });
        }))
    }
}

impl Drop for ScratchWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Fails where space is short before anything is written.
pub(super) fn require_space(dir: &Path) -> Result<()> {
    let Ok(space) = rustix::fs::statvfs(dir) else { return Ok(()) }; // what cannot be known is found out by writing
    let (free_bytes, reserve_bytes) = free_and_reserve(&space);
    if free_bytes >= reserve_bytes {
        return Ok(());
    }
    let (free, reserve) = (ByteCount(free_bytes), ByteCount(reserve_bytes));
    let context = format!("the scratch directory {} has {free} free", dir.display());
    Err(Error::new(ErrorKind::NoSpace, context).with_guidance(format!(
        "free some space there: a capture leaves {reserve} to others, and needs room for what the guest overwrites"
    )))
}

fn is_short(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|space| {
        let (free_bytes, reserve_bytes) = free_and_reserve(&space);
        free_bytes < reserve_bytes
    })
}

fn free_and_reserve(space: &rustix::fs::StatVfs) -> (u64, u64) {
    let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
    (bytes(space.f_bavail), reserve_bytes(bytes(space.f_blocks)))
}

/// The space that a capture leaves to others, on a file system of this size.
pub(super) fn reserve_bytes(file_system_bytes: u64) -> u64 {
    RESERVE_BYTES.min(file_system_bytes / RESERVE_DIVISOR)
}
