//! The mirrors that hand writes on.

use std::{path::Path, time::Duration};

use hypervisor::{Error, ErrorKind, Result, TapRequest, TrackingEpoch};
use model::JournalId;
use serde_json::{Value, json};
use tokio::time;

use super::plan::PlannedTap;
use crate::{
    capture::{cancel_jobs, remove_exports, remove_nodes},
    export_server,
    launch::is_socket_alive,
    monitor::Monitor,
    names,
    session::Session,
};

/// The unit in which a mirror makes writes wait for each other. QEMU's own choice of 64 KiB makes sequential small writes take
/// turns.
const GRANULARITY_BYTES: u32 = 4096;
/// How long QEMU's main loop may wait for a tap that accepts a connection and says nothing.
const CONNECT_TIMEOUT_S: u32 = 1;
/// How long mirrors that have nothing to copy may take until they hand everything on.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the guest may wait for a tap that stalls while it is taken down, before it is cut off.
const CANCEL_PATIENCE: Duration = Duration::from_secs(2);

/// The journals that have mirrors in a VM.
pub(super) async fn journals(monitor: &Monitor) -> Result<Vec<JournalId>> {
    let jobs = monitor.query("query-block-jobs").await?;
    let ids = jobs.as_array().into_iter().flatten().filter_map(|job| job["device"].as_str());
    Ok(ids.filter_map(names::journal_of).collect())
}

/// The first epoch that mirrors which run already have taken whole, when all disks have one that goes to the same place.
pub(super) async fn find(
    monitor: &Monitor,
    request: &TapRequest,
    disks: &[PlannedTap],
) -> Result<Option<TrackingEpoch>> {
    let jobs = monitor.query("query-block-jobs").await?;
    let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await?;
    let jobs: Vec<&Value> =
        entries(&jobs).filter(|job| job["device"].as_str().is_some_and(names::is_of_tap)).collect();
    if jobs.len() != disks.len() {
        return Ok(None);
    }
    let first = disks.iter().map(|planned| {
        let job = jobs.iter().filter(|job| job["ready"] == true).find_map(|job| {
            let (journal_id, first) = names::tap_of(job["device"].as_str()?, &planned.disk.name)?;
            (journal_id == request.journal_id).then_some(first)
        })?;
        let target = names::tap_target(&planned.disk.name);
        let target = entries(&nodes).find(|node| node["node-name"] == target.as_str())?;
        let filter = names::tap_filter(&planned.disk.name);
        let is_same = target["file"] == address(&request.socket, &planned.export).as_str()
            && planned.disk.root_node == filter;
        is_same.then_some(job)
    });
    let first: Option<Vec<TrackingEpoch>> = first.collect();
    Ok(first
        .and_then(|epochs| epochs.first().copied().filter(|first| epochs.iter().all(|epoch| epoch == first))))
}

/// How QEMU prints where a node's writes go.
fn address(socket: &Path, export: &str) -> String {
    format!("nbd+unix:///{export}?socket={}", socket.display())
}

/// Puts mirrors in place that take whole every epoch from `first` on, and waits until they do.
pub(super) async fn put(
    monitor: &Monitor,
    request: &TapRequest,
    disks: &[PlannedTap],
    first: TrackingEpoch,
) -> Result<()> {
    if !is_socket_alive(&request.socket).await {
        // QEMU would stand still for as long as it tries to connect.
        let context = format!("nobody listens on {} to take writes", request.socket.display());
        return Err(Error::new(ErrorKind::Failed, context).with_guidance("start the tap first"));
    }
    for planned in disks {
        let name = &planned.disk.name;
        let target = json!({
            "driver": "nbd",
            "node-name": names::tap_target(name),
            "server": {"type": "unix", "path": request.socket.to_string_lossy()},
            "export": planned.export,
            "open-timeout": CONNECT_TIMEOUT_S,
        });
        monitor.execute("blockdev-add", target).await?;
        let mirror = json!({
            "job-id": names::tap_job(request.journal_id, first, name),
            "device": planned.disk.root_node,
            "target": names::tap_target(name),
            "sync": "none",
            "copy-mode": "write-blocking",
            "granularity": GRANULARITY_BYTES,
            "on-target-error": "report", // "ignore" floods the monitor, "stop" keeps a job that takes nothing
            "filter-node-name": names::tap_filter(name),
        });
        monitor.execute("blockdev-mirror", mirror).await?;
    }
    wait_until_ready(monitor, disks.len()).await
}

async fn wait_until_ready(monitor: &Monitor, count: usize) -> Result<()> {
    let mut wait = monitor.wait(READY_TIMEOUT);
    loop {
        let jobs = monitor.query("query-block-jobs").await?;
        let ours = || entries(&jobs).filter(|job| job["device"].as_str().is_some_and(names::is_of_tap));
        if ours().filter(|job| job["ready"] == true).count() == count {
            return Ok(());
        }
        if ours().count() < count || !wait.again().await {
            return Err(Error::new(ErrorKind::Failed, "the tap broke before it had taken a write")
                .with_guidance("look at what the journal's process says"));
        }
    }
}

/// Takes the taps of a VM down, whatever became of them. One that stalls is cut off, so that nothing waits for it longer than
/// [`CANCEL_PATIENCE`].
pub(super) async fn take_down(session: &Session) -> Result<()> {
    let monitor = &session.monitor;
    if let Ok(done) = time::timeout(CANCEL_PATIENCE, remove(session)).await {
        return done;
    }
    if let Err(error) = monitor.cut_nodes(names::is_of_tap).await {
        tracing::warn!(%error, vm = %session.vm.name, "a tap that stalls cannot be cut off");
    }
    remove(session).await
}

async fn remove(session: &Session) -> Result<()> {
    let monitor = &session.monitor;
    cancel_jobs(monitor, names::is_of_tap).await?;
    remove_exports(monitor, names::is_of_tap).await?;
    export_server::stop_unused(session).await?;
    remove_nodes(monitor, names::is_of_tap).await.map(drop)
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
