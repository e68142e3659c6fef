//! Copies of vaults, kept up to date: after each backup, when the server starts, and when somebody asks.
//!
//! At most one job works on a copy. Whoever wants the copy brought up to date meanwhile makes that job look once more before
//! it ends. A copy that fails warns, and is tried again at the next occasion that is late enough; it never fails a backup.

mod known;
mod sync;
mod view;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{CopyName, VaultId};

pub(crate) use self::{
    known::{add, find, find_anywhere, remove},
    sync::{sync, sync_behind, sync_behind_of},
    view::{glance, view},
};

/// Which copies are being brought up to date.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    /// True where somebody has asked again since.
    running: Mutex<BTreeMap<(VaultId, CopyName), bool>>,
}

/// The right to bring a copy up to date, given up when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    syncs: Arc<Syncs>,
    copy: (VaultId, CopyName),
    is_over: bool,
}

impl Syncs {
    /// Takes a copy; none when somebody has it, who then looks once more before ending.
    fn take(self: &Arc<Self>, vault_id: VaultId, name: &CopyName) -> Option<Turn> {
        let copy = (vault_id, name.clone());
        let mut running = self.lock();
        if let Some(asked_again) = running.get_mut(&copy) {
            *asked_again = true;
            return None;
        }
        running.insert(copy.clone(), false);
        Some(Turn { syncs: Arc::clone(self), copy, is_over: false })
    }

    fn has(&self, vault_id: VaultId, name: &CopyName) -> bool {
        self.lock().contains_key(&(vault_id, name.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(VaultId, CopyName), bool>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Gives the turn up. Where somebody has asked again since, it comes back: then the copy is to be looked at once more.
    pub(crate) fn end(mut self) -> Option<Self> {
        let mut running = self.syncs.lock();
        match running.get_mut(&self.copy) {
            Some(asked_again) if *asked_again => {
                *asked_again = false;
                drop(running);
                Some(self)
            }
            _ => {
                running.remove(&self.copy);
                drop(running);
                self.is_over = true;
                None
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            self.syncs.lock().remove(&self.copy);
        }
    }
}

#[cfg(test)]
mod tests;
