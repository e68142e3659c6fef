//! Cleans up after a capture, whoever made it and however it ended.

use std::{sync::Arc, time::Duration};

use hypervisor::{Baseline, Chain, Error, ErrorKind, Result, VmAccess};

use super::{bitmaps, dismantle, stopped};
use crate::{
    config::QemuConfig, guard, inspect::known_definition, ledger::Ledger, monitor::Monitors,
    session::Session, topology::Topology,
};

/// How long to wait for an agent that must thaw.
const THAW_PATIENCE: Duration = Duration::from_secs(5);

/// Frees a guest, in a running VM or a stopped one; see [`hypervisor::Hypervisor::free`].
pub(crate) async fn free(
    config: &Arc<QemuConfig>,
    monitors: &Monitors,
    vm: &VmAccess,
) -> Result<Vec<String>> {
    match Session::open(config, monitors, vm).await? {
        Some(session) => {
            let _turn = session.monitor.turn().await;
            free_running(&session).await
        }
        None => free_stopped(config, vm),
    }
}

/// Cleans up, in a running VM or a stopped one; see [`hypervisor::Hypervisor::recover`].
pub(crate) async fn recover(
    config: &Arc<QemuConfig>,
    monitors: &Monitors,
    vm: &VmAccess,
    chain: Chain,
    committed: &Baseline,
) -> Result<Vec<String>> {
    match Session::open(config, monitors, vm).await? {
        Some(session) => recover_running(&session, chain, committed).await,
        None => {
            let mut done = free_stopped(config, vm)?;
            if let Some(definition) = known_definition(vm) {
                done.extend(stopped::settle(definition, chain, committed).await);
            }
            Ok(done)
        }
    }
}

/// Takes a held moment down before its end; change tracking is settled at that end.
pub(super) async fn give_up(session: &Session) -> Result<()> {
    let _turn = session.monitor.turn().await;
    free_running(session).await.map(|_| ())
}

/// Cleans up in a VM that answers. Also the end of every capture: a second time there is nothing left to do.
pub(super) async fn recover_running(
    session: &Session,
    chain: Chain,
    committed: &Baseline,
) -> Result<Vec<String>> {
    let _turn = session.monitor.turn().await;
    let mut done = free_running(session).await?;
    let topology = Topology::read(&session.monitor, &session.vm).await?;
    done.extend(bitmaps::settle(&session.monitor, &topology, chain, committed).await?);
    Ok(done)
}

async fn free_running(session: &Session) -> Result<Vec<String>> {
    let path = session.config.ledger(session.vm.vm_id);
    let mut done = Vec::new();
    let ledger = Ledger::read(&path);
    let owed = match &ledger {
        Some(ledger) => release(session, ledger, &mut done).await?,
        None => None,
    };
    done.extend(dismantle::dismantle(session).await?);
    done.extend(dismantle::remove_files(&session.config, &session.vm)?);
    match owed {
        None => Ledger::remove(&path),
        Some(owed) => owed
            .write(&path)
            .map_err(|source| Error::new(ErrorKind::Failed, "cannot write the ledger").with_source(source))?,
    }
    Ok(done)
}

fn free_stopped(config: &Arc<QemuConfig>, vm: &VmAccess) -> Result<Vec<String>> {
    let done = dismantle::remove_files(config, vm)?;
    Ledger::remove(&config.ledger(vm.vm_id));
    Ok(done)
}

/// Resumes and thaws what the ledger says that we may have paused and frozen, and nothing else: a VM that its owner has
/// paused stays so. In this order, because a guest that stands still cannot thaw. Returns what is still owed to it.
async fn release(session: &Session, ledger: &Ledger, done: &mut Vec<String>) -> Result<Option<Ledger>> {
    if ledger.paused && session.monitor.status().await? == "paused" {
        session.monitor.query("cont").await?;
        done.push("resumed the VM, which an interrupted capture had paused".to_owned());
    }
    let Some(agent) = session.sockets.agent.as_ref().filter(|_| ledger.frozen) else { return Ok(None) };
    match guard::thaw(agent, THAW_PATIENCE).await {
        Ok(true) => done.push("thawed the guest, which an interrupted capture had frozen".to_owned()),
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(%error, vm = %session.vm.name, "cannot tell whether the guest is frozen");
            return Ok(Some(Ledger { paused: false, files: Vec::new(), ..ledger.clone() }));
        }
    }
    Ok(None)
}
