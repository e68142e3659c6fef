//! A site: what its catalog knows, its machine, and the server that may be alive.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use journal::{SegmentNumber, Sequence};
use model::{JournalId, VmId};
use recovery::Standing;
use tokio::sync::watch;

use super::{host::Host, server::Server};
use crate::dice::Dice;

/// Which of the two.
pub(crate) type Place = usize;

/// The VM as a catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownVm {
    /// The generation in which it runs: what its site says of it to others.
    pub(crate) generation: u64,
}

/// A replication from here.
#[derive(Debug, Clone)]
pub(crate) struct KnownReplication {
    pub(crate) journal: JournalId,
    pub(crate) generation: u64,
    pub(crate) is_paused: bool,
    /// What was written is copied now and then, and not taken.
    pub(crate) is_at_intervals: bool,
    pub(crate) trusted: Option<u64>,
    pub(crate) fenced: Option<String>,
    /// The other site may have been asked to take the VM over.
    pub(crate) is_handed_over: bool,
    /// It is being ended, and whether the replica goes as well.
    pub(crate) ends: Option<bool>,
}

/// A replica that is kept here.
#[derive(Debug, Clone)]
pub(crate) struct KnownReplica {
    pub(crate) first: SegmentNumber,
    pub(crate) standing: Standing,
}

/// A test of a replica that is not cleaned up.
#[derive(Debug, Clone)]
pub(crate) struct KnownTest {
    pub(crate) number: u64,
    pub(crate) journal: JournalId,
    pub(crate) sequence: Sequence,
}

/// What a site knows. Each change of it is durable at once, and whole or not made.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) vm: Option<KnownVm>,
    pub(crate) replication: Option<KnownReplication>,
    pub(crate) replicas: BTreeMap<JournalId, KnownReplica>,
    /// The newest generation that the VM has had here by a failover.
    pub(crate) fence: Option<u64>,
    pub(crate) tests: Vec<KnownTest>,
    pub(crate) tests_given: u64,
}

impl Catalog {
    /// Why the VM may not be started here, if it may not.
    pub(crate) fn fenced(&self) -> Option<&str> {
        self.replication.as_ref()?.fenced.as_deref()
    }

    pub(crate) fn may_run(&self) -> bool {
        self.vm.is_some() && self.fenced().is_none()
    }
}

/// What only the checker knows of a site.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// It was told that the VM was taken over, or that it took it: this generation is over here.
    pub(crate) over: Option<u64>,
    /// Somebody has said that the VM is to run here all the same.
    pub(crate) is_overridden: bool,
    /// The VM was handed over by this journal.
    pub(crate) handed: Option<JournalId>,
}

pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) vm_id: VmId,
    catalog: Mutex<Catalog>,
    host: Mutex<Host>,
    truth: Mutex<Truth>,
    server: Mutex<Option<Arc<Server>>>,
    /// Told whenever something has happened to a tap or to the VM.
    changes: watch::Sender<u64>,
}

impl Site {
    pub(crate) fn new(place: Place, name: &'static str, vm_id: VmId, dice: Dice) -> Self {
        Self {
            name,
            place,
            vm_id,
            catalog: Mutex::default(),
            host: Mutex::new(Host::new(dice, vm_id)),
            truth: Mutex::default(),
            server: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn host(&self) -> MutexGuard<'_, Host> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server, if one is alive.
    pub(crate) fn server(&self) -> Option<Arc<Server>> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.clone().filter(|server| !server.process.is_dead())
    }

    pub(crate) fn set_server(&self, server: Option<Arc<Server>>) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
    }

    /// Something has happened to a tap or to the VM.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
