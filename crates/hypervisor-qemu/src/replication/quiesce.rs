//! Freezes a guest, under a guard that thaws it when its time is over or everybody who knows is dead.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use hypervisor::{Error, ErrorKind, Quiet, Result, VmAccess};

use crate::{
    config::QemuConfig,
    guard::{Guard, Setup},
    ledger::Ledger,
    monitor::Monitors,
    session::Session,
};

/// Freezes a guest; see [`hypervisor::Hypervisor::quiesce`].
pub(crate) async fn quiesce(
    config: &Arc<QemuConfig>,
    monitors: &Monitors,
    vm: &VmAccess,
    limit: Duration,
) -> Result<Box<dyn Quiet>> {
    let refused = |reason: &str| {
        let context = format!("the guest of {} cannot be frozen: {reason}", vm.name);
        Error::new(ErrorKind::Consistency, context)
            .with_guidance("make its guest agent and its freeze hook work")
    };
    let session = Session::open(config, monitors, vm).await?;
    let session = session.ok_or_else(|| refused("the VM does not run"))?;
    if session.sockets.agent.is_none() {
        return Err(refused("it has no channel for a guest agent"));
    }
    let _turn = session.monitor.turn().await;
    if session.monitor.status().await? != "running" {
        return Err(refused("it stands still"));
    }
    let path = session.ledger()?;
    note_frozen(&path, true)?;
    let setup = Setup {
        agent: session.sockets.agent.clone(),
        monitors: session.sockets.monitors_for_others(),
        ledger: path.clone(),
    };
    let guard = Guard::start(&config.guard_command, &setup).await?;
    let mut quiet = QemuQuiet { guard, ledger: path, vm: vm.clone() };
    match quiet.guard.freeze(limit).await {
        Ok(0) => {
            quiet.guard.thaw().await;
            quiet.settle()?;
            Err(refused("its agent found no file system to freeze"))
        }
        Ok(_) => Ok(Box::new(quiet)),
        Err(reason) => {
            quiet.settle()?;
            Err(refused(&reason))
        }
    }
}

/// Writes down that the guest may be frozen, before it is; or that it is not.
fn note_frozen(path: &Path, frozen: bool) -> Result<()> {
    Ledger::note(path, |ledger| ledger.frozen = frozen)
        .map_err(|source| Error::new(ErrorKind::Failed, "cannot write the ledger").with_source(source))
}

/// A frozen guest. Dropped, it leaves the thaw to the guard, which loses its server then.
struct QemuQuiet {
    guard: Guard,
    ledger: PathBuf,
    vm: VmAccess,
}

impl QemuQuiet {
    fn settle(&self) -> Result<()> {
        note_frozen(&self.ledger, self.guard.owes_thaw())
    }
}

#[async_trait]
impl Quiet for QemuQuiet {
    async fn end(mut self: Box<Self>) -> Result<()> {
        let thaw = self.guard.thaw().await;
        self.settle()?;
        match thaw.early {
            None => Ok(()),
            Some(reason) => {
                let context = format!("the guest of {} may have gone on too early: {reason}", self.vm.name);
                Err(Error::new(ErrorKind::Consistency, context)
                    .with_guidance("try again, with more time for the freeze"))
            }
        }
    }
}
