//! Copies of a vault: the same log, with the objects that it needs, shipped in order.
//!
//! # Invariants
//!
//! 1. At every moment a copy is an earlier state of the vault, whole: objects come before the entry that needs them, and go
//!    after the one that no longer does.
//! 2. Where a collection lies ahead, what is in between may be gone at the primary. Then the copy takes a leap: all that the
//!    newest state needs, then that state, then its entry, which is the moment from which on the state counts.
//! 3. Nothing of a copy is overwritten. A copy that has an entry of its own is somebody's vault by now.

mod objects;
mod opening;
mod step;

use std::sync::Arc;

use model::{ByteCount, Timestamp};

use crate::{
    Digest, Error, Monitor, Result, Sequence, StoreLocation, Vault,
    log::{ENTRY_BYTES_MAX, Log, State, marks},
    store::Store,
    vault::Shared,
};

/// What a run of a copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Changes of the vault that the copy took in.
    pub entries: u64,
    /// Recovery points that came to the copy.
    pub points: u64,
    /// Packs that were sent.
    pub packs: u64,
    /// Bytes of them.
    pub bytes: ByteCount,
    /// Objects that are damaged or lost in the vault, and so could not be sent.
    pub damaged: u64,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyStatus {
    /// The last change that the copy has.
    pub copied: Sequence,
    /// The last change of the vault.
    pub head: Sequence,
    /// Recovery points that the copy does not have.
    pub points_behind: u64,
    /// When the first of them was committed.
    pub behind_since: Option<Timestamp>,
}

/// One run of a copy.
struct Copy<'a> {
    source: &'a Shared,
    target: Store,
    /// The target's log. It has the vault's keys.
    log: Log,
    monitor: &'a Monitor,
    report: CopyReport,
}

impl Vault {
    /// Brings the copy at a place up to what the vault is at this moment, or later. Makes the copy where the place is empty,
    /// and goes on where an earlier run ended, however it ended. Progress counts bytes of packs; their number grows as more
    /// of them are found. Needs no key that reads data.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) where there is another vault, or a copy that somebody
    /// has written to; nothing is changed there. [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when the log of either is
    /// damaged.
    pub async fn copy_to(&self, location: &StoreLocation, monitor: &Monitor) -> Result<CopyReport> {
        let run = async {
            let target = Store::create(location, &self.shared.env).await?;
            self.run_copy(target, monitor).await
        };
        monitor.unless_cancelled(Box::pin(run)).await
    }

    /// As [`Vault::copy_to`], for a copy that was made before: one that is gone is not made anew.
    ///
    /// # Errors
    /// As [`Vault::copy_to`]; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) where nothing of the copy is there, and then
    /// nothing is written.
    pub async fn update_copy(&self, location: &StoreLocation, monitor: &Monitor) -> Result<CopyReport> {
        let run = async {
            let target = opening::existing(&self.shared, location).await?;
            self.run_copy(target, monitor).await
        };
        monitor.unless_cancelled(Box::pin(run)).await
    }

    /// The last change of the vault at this moment.
    ///
    /// # Errors
    /// Whatever keeps the log from being read; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when the vault is gone.
    pub async fn head(&self) -> Result<Sequence> {
        Ok(self.shared.log.refresh().await?.sequence)
    }

    /// How far the copy at a place is.
    ///
    /// # Errors
    /// As [`Vault::copy_to`].
    pub async fn copy_status(&self, location: &StoreLocation) -> Result<CopyStatus> {
        let head = self.shared.log.refresh().await?;
        let copied = match Store::open(location, &self.shared.env).await {
            Ok(target) if opening::holds_copy(&self.shared, &target).await? => {
                self.shared.log_of(&target).refresh().await?
            }
            Ok(_) => Arc::new(State::empty()),
            Err(error) if error.kind() == crate::ErrorKind::NotFound => Arc::new(State::empty()),
            Err(error) => return Err(error),
        };
        let behind = head.body.points.iter().filter(|(id, _)| !copied.body.points.contains_key(id));
        let committed: Vec<Timestamp> = behind.map(|(_, point)| point.committed_at).collect();
        Ok(CopyStatus {
            copied: copied.sequence,
            head: head.sequence,
            points_behind: committed.len() as u64,
            behind_since: committed.into_iter().min(),
        })
    }

    async fn run_copy(&self, target: Store, monitor: &Monitor) -> Result<CopyReport> {
        let mut is_open = opening::holds_copy(&self.shared, &target).await?;
        let log = self.shared.log_of(&target);
        let mut copy = Copy { source: &self.shared, target, log, monitor, report: CopyReport::default() };
        monitor.begin(0)?;
        let mut goal = self.shared.log.refresh().await?;
        // A copy that has a config has a log, whatever a listing says.
        let mut state = if is_open { copy.log.refresh().await? } else { copy.log.refresh_or_empty().await? };
        copy.check_descent(&state, &goal).await?;
        copy.mirror_slots().await?;
        loop {
            copy.check_descent(&state, &goal).await?;
            if state.sequence >= goal.sequence {
                break;
            }
            match copy.advance(&state, &goal).await? {
                Some(next) => {
                    state = next;
                    if !is_open {
                        copy.write_config().await?;
                        is_open = true;
                    }
                }
                // Packs that are gone were collected meanwhile: what they were needed for is to be seen anew.
                None => goal = self.shared.log.refresh().await?,
            }
        }
        if !is_open {
            copy.write_config().await?;
        }
        Ok(copy.report)
    }
}

impl Shared {
    /// The log of a copy.
    pub(crate) fn log_of(&self, copy: &Store) -> Log {
        Log::new(copy.clone(), Arc::clone(&self.keys), self.env.clone())
    }
}

impl Copy<'_> {
    /// Makes sure that what the copy has is what the vault was.
    async fn check_descent(&self, state: &State, goal: &State) -> Result<()> {
        if state.sequence > goal.sequence {
            return Err(self.diverged(state.sequence));
        }
        let name = state.sequence.entry_name();
        let entry = self.source.store.get_named(&name, ENTRY_BYTES_MAX).await?;
        let is_ours = match entry {
            Some(bytes) => Digest::of(&bytes) == state.head,
            None if state.sequence == Sequence(0) => true,
            // The vault has no such old entries any more: the copy's mark tells whether a copier made its last.
            None => marks::is_marked(&self.target, state.sequence, state.head).await?,
        };
        if is_ours { Ok(()) } else { Err(self.diverged(state.sequence)) }
    }

    fn diverged(&self, sequence: Sequence) -> Error {
        let place = self.target.place();
        Error::new(
            crate::ErrorKind::AlreadyExists,
            format!("entry {} of the copy in {place} is not the vault's: somebody has written to it", sequence.0),
        )
        .with_guidance(
            "keep it as a vault of its own, and make the copy in an empty place; or, if the copy replaced the vault, use it \
             as the vault from now on",
        )
    }
}

#[cfg(test)]
mod tests;
