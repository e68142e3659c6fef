//! VMs that are replicated to other sites, from here.
//!
//! What is done when, [`replication::Machine`] decides; a [`keeper`] carries it out, one for each VM: it has the journal's process
//! launched, the hypervisor hand it every write, and copied what is missed. Beside it [`ship`] sends the journal on, and
//! [`watch`] looks at both. Neither waits for the other: a link that is down lets the journal grow, and a guest that stands
//! still lets it be sent.
//!
//! What survives a restart is in the catalog: what is wanted, and the trusted epoch. The guest's writes go on being taken
//! while there is no server.

mod attach;
mod checkpoints;
mod command;
mod compare;
mod copying;
mod figures;
mod foresight;
mod hand_over;
mod interval;
mod keeper;
mod link;
mod proof;
mod ship;
mod taps;
mod tasks;
mod view;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use catalog::KnownReplication;
use model::{ReplicationSettings, VmId};
use tokio::{
    sync::{mpsc, watch as signal},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::attach::Attached;
pub use self::taps::Taps;
pub(crate) use self::{
    checkpoints::checkpoint,
    command::{check_may_run, edit, let_go, pause, resume, start, stop},
    foresight::foresee,
    hand_over::{check as check_hand_over, check_running, drain, give},
    proof::prove,
    taps::TapProcesses,
    view::{check, list, metrics, view},
};
use self::{figures::Figures, keeper::Told};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// How long something short waits for the end of an epoch.
const TURN_PATIENCE: Duration = Duration::from_secs(30);

/// The replications that are kept now.
#[derive(Default)]
pub(crate) struct Replications {
    running: Mutex<BTreeMap<VmId, Handle>>,
}

/// A replication that is kept. Nothing here holds the site.
struct Handle {
    told: mpsc::UnboundedSender<Told>,
    settings: signal::Sender<ReplicationSettings>,
    tap: signal::Receiver<Option<tap::Client>>,
    attached: signal::Receiver<Option<Arc<Attached>>>,
    figures: Arc<Mutex<Figures>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    lends_turn: Arc<AtomicBool>,
    holds_turn: signal::Receiver<bool>,
}

impl Replications {
    fn running(&self) -> MutexGuard<'_, BTreeMap<VmId, Handle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses what is known of a VM's replication; none where none is kept.
    fn with<T>(&self, vm_id: VmId, use_it: impl FnOnce(&Handle) -> T) -> Option<T> {
        self.running().get(&vm_id).map(use_it)
    }

    /// Through what all writes of a VM are taken, if they are and its disks are whole.
    pub(crate) fn protecting(&self, vm_id: VmId) -> Option<Arc<Attached>> {
        self.with(vm_id, |handle| {
            let figures = handle.figures.lock().unwrap_or_else(PoisonError::into_inner);
            let is_protected = figures.standing == replication::Standing::Protected;
            handle.attached.borrow().clone().filter(|attached| is_protected && attached.tap().is_some())
        })?
    }

    /// The last record that the other site durably has of a VM's journal.
    pub(crate) fn durable_there(&self, vm_id: VmId) -> Option<journal::Sequence> {
        self.with(vm_id, |handle| {
            let figures = handle.figures.lock().unwrap_or_else(PoisonError::into_inner);
            figures.progress.map(|progress| progress.durable_through)
        })?
    }

    /// Waits a while for the end of an epoch that has the VM's turn, before something short is done to it.
    pub(crate) async fn wait_for_turn(&self, vm_id: VmId) {
        let holds_turn = self.with(vm_id, |handle| handle.holds_turn.clone());
        if let Some(mut holds_turn) = holds_turn {
            let free = holds_turn.wait_for(|holds| !holds);
            // Whoever comes too early is told who has it.
            timeout(TURN_PATIENCE, free).await.ok();
        }
    }

    /// Something that the other site is told of the VM has changed.
    pub(crate) fn offer_anew(&self, vm_id: VmId) {
        self.with(vm_id, |handle| handle.settings.send_modify(|_| ()));
    }

    /// The VM may run now, or may be busy no more.
    pub(crate) fn vm_changed(&self, vm_id: VmId) {
        // One that has ended needs not be told.
        self.with(vm_id, |handle| handle.told.send(Told::Event(replication::Event::VmChanged)).ok());
    }
}

/// Keeps all replications until the server stops.
pub(crate) async fn run(site: Site) {
    match site.catalog.replications().await {
        Ok(known) => known.into_iter().for_each(|known| match known.ends_with_replica {
            None => begin(&site, known),
            Some(with_replica) => {
                let site = site.clone();
                tokio::spawn(async move {
                    let stopping = site.stopping.clone();
                    let ending = command::go_on_stopping(&site, &known, with_replica);
                    stopping.run_until_cancelled(ending).await;
                });
            }
        }),
        Err(error) => tracing::error!(%error, "what is replicated cannot be found out"),
    }
    site.stopping.cancelled().await;
    let handles = std::mem::take(&mut *site.replications.running());
    for (vm_id, handle) in handles {
        if let Err(error) = handle.task.await {
            tracing::error!(vm = %vm_id, %error, "a replication ended by a defect");
        }
    }
}

/// Keeps a replication from now on.
fn begin(site: &Site, known: KnownReplication) {
    let vm_id = known.vm_id;
    let handle = keeper::spawn(site, known);
    site.replications.running().insert(vm_id, handle);
}

/// Stops keeping a replication. The guest's writes go on being taken.
async fn end(site: &Site, vm_id: VmId) -> Option<tap::Client> {
    let handle = site.replications.running().remove(&vm_id)?;
    handle.stop.cancel();
    let tap = handle.tap.borrow().clone();
    if let Err(error) = handle.task.await {
        tracing::error!(vm = %vm_id, %error, "a replication ended by a defect");
    }
    tap
}

/// The replication of a VM.
async fn find(site: &Site, vm: &catalog::KnownVm) -> Result<KnownReplication> {
    site.catalog.replication(vm.id).await?.ok_or_else(|| {
        let start = format!("holdfast replication start {} --to SITE", api::shell_word(vm.name.as_str()));
        Failure::not_found(format!("the VM {} is not replicated", vm.name))
            .with_hint(format!("begin with: {start}"))
    })
}
