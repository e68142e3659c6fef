//! The mirrors that hand writes on.

use std::{fs, os::unix::fs::MetadataExt, path::Path, pin::pin, time::Duration};

use hypervisor::{Error, ErrorKind, Result, TapRequest, TrackingEpoch};
use model::JournalId;
use serde_json::{Value, json};
use tokio::time;

use super::{plan::PlannedTap, standstill::standing_still};
use crate::{
    capture::{cancel_jobs, remove_exports, remove_nodes},
    export_server,
    launch::is_socket_alive,
    monitor::Monitor,
    names::{self, TapJob},
    qmp,
    session::Session,
};

/// The unit in which a mirror makes writes wait for each other. QEMU's own choice of 64 KiB makes sequential small writes take
/// turns.
const GRANULARITY_BYTES: u32 = 4096;
/// How long QEMU's main loop may wait for a tap that accepts a connection and says nothing.
const CONNECT_TIMEOUT_S: u32 = 1;
/// How long mirrors that have nothing to copy may take until they hand everything on.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often is looked whether QEMU's main loop is alive.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(500);
/// How long the guest may wait for a tap that stalls while it begins or is taken down, before it is cut off.
const STALL_PATIENCE: Duration = Duration::from_secs(2);

/// The journals that have mirrors in a VM.
pub(super) async fn journals(monitor: &Monitor) -> Result<Vec<JournalId>> {
    let jobs = monitor.query("query-block-jobs").await?;
    let ids = jobs.as_array().into_iter().flatten().filter_map(|job| job["device"].as_str());
    Ok(ids.filter_map(names::journal_of).collect())
}

/// What tells a listener from any other that had or will have the same path: each makes the file anew.
pub(super) fn listener(socket: &Path) -> Result<u64> {
    let file = fs::metadata(socket).map_err(|source| {
        let context = format!("nobody listens on {} to take writes", socket.display());
        Error::new(ErrorKind::Failed, context).with_guidance("start the tap first").with_source(source)
    })?;
    let identity = format!("{} {} {} {}", file.dev(), file.ino(), file.ctime(), file.ctime_nsec());
    Ok(names::digest(&identity))
}

/// The mirrors that run already, when all disks have one that goes to the same place.
///
/// The listener must be the same too: one that has died takes along what it had taken and not kept, and QEMU does not notice
/// before the next write.
pub(super) async fn find(
    monitor: &Monitor,
    request: &TapRequest,
    disks: &[PlannedTap],
) -> Result<Option<TapJob>> {
    let listener = listener(&request.socket)?;
    let jobs = monitor.query("query-block-jobs").await?;
    let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await?;
    let ours = |job: &&Value| job["device"].as_str().is_some_and(names::is_of_tap);
    let ready: Vec<&str> =
        entries(&jobs).filter(ours).filter(is_sound).filter_map(|job| job["device"].as_str()).collect();
    let Some(first) = ready.first().and_then(|name| names::first_epoch_of_job(name)) else { return Ok(None) };
    let tap = TapJob { journal_id: request.journal_id, first, listener };
    let is_tapped = |planned: &PlannedTap| {
        let name = &planned.disk.name;
        let target = entries(&nodes).find(|node| node["node-name"] == names::tap_target(name).as_str());
        ready.contains(&tap.name(name).as_str())
            && planned.disk.root_node == names::tap_filter(name)
            && target.is_some_and(|node| node["file"] == address(&request.socket, &planned.export).as_str())
    };
    let all = entries(&jobs).filter(ours).count() == disks.len() && disks.iter().all(is_tapped);
    Ok(all.then_some(tap))
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
) -> Result<TapJob> {
    let tap = TapJob { journal_id: request.journal_id, first, listener: listener(&request.socket)? };
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
            "job-id": tap.name(name),
            "device": planned.disk.root_node,
            "target": names::tap_target(name),
            "sync": "none",
            "copy-mode": "write-blocking",
            "granularity": GRANULARITY_BYTES,
            // A mirror that ends by itself ("report") frees what writes in flight still use, and QEMU dies; "ignore" floods the
            // monitor. One that is stopped takes nothing, and waits until it is taken down.
            "on-target-error": "stop",
            "on-source-error": "stop",
            "filter-node-name": names::tap_filter(name),
        });
        monitor.execute("blockdev-mirror", mirror).await?;
    }
    wait_until_ready(monitor, disks.len()).await?;
    if listener(&request.socket)? != tap.listener {
        let context = format!("another tap has begun to listen on {} meanwhile", request.socket.display());
        return Err(Error::new(ErrorKind::Busy, context).with_guidance("begin the tap again"));
    }
    Ok(tap)
}

async fn wait_until_ready(monitor: &Monitor, count: usize) -> Result<()> {
    let mut wait = monitor.wait(READY_TIMEOUT);
    loop {
        let jobs = monitor.query("query-block-jobs").await?;
        let ours = || entries(&jobs).filter(|job| job["device"].as_str().is_some_and(names::is_of_tap));
        if ours().filter(|job| job["ready"] == true).count() == count {
            return Ok(());
        }
        let fails = ours().any(|job| job["io-status"] != "ok");
        if fails || ours().count() < count || !wait.again().await {
            return Err(Error::new(ErrorKind::Failed, "the tap broke before it had taken a write")
                .with_guidance("look at what the journal's process says"));
        }
    }
}

/// Whether a mirror hands everything on.
pub(super) fn is_sound(job: &&Value) -> bool {
    job["ready"] == true && job["io-status"] == "ok"
}

/// Takes the taps of a VM down, whatever became of them. One that stalls is cut off, so that nothing waits for it longer than
/// [`STALL_PATIENCE`].
///
/// A sound mirror is told to end by itself, for which it waits until nothing is in flight. Any other is cancelled, which QEMU
/// survives only while the guest writes nothing: it stands still for that moment.
pub(super) async fn take_down(session: &Session) -> Result<()> {
    let monitor = &session.monitor;
    let jobs = monitor.query("query-block-jobs").await?;
    let ours = || entries(&jobs).filter(|job| job["device"].as_str().is_some_and(names::is_of_tap));
    let mut ended = ours().next().is_none();
    if !ended && ours().all(|job| is_sound(&job)) {
        let ids: Vec<Value> = ours().map(|job| job["device"].clone()).collect();
        ended = time::timeout(STALL_PATIENCE, end_sound(monitor, ids)).await.is_ok_and(|ended| ended.is_ok());
    }
    if !ended {
        if let Err(error) = monitor.cut_nodes(names::is_of_tap).await {
            tracing::warn!(%error, vm = %session.vm.name, "a tap cannot be cut off");
        }
        let stopped = monitor.clone();
        standing_still(session, async move { cancel_jobs(&stopped, names::is_of_tap).await.map(drop) })
            .await?;
    }
    remove_exports(monitor, names::is_of_tap).await?;
    export_server::stop_unused(session).await?;
    remove_nodes(monitor, names::is_of_tap).await.map(drop)
}

/// Tells mirrors to end by themselves. A tap that breaks meanwhile leaves some.
async fn end_sound(monitor: &Monitor, ids: Vec<Value>) -> Result<()> {
    for id in ids {
        monitor.execute("block-job-cancel", json!({"device": id})).await?;
    }
    let mut wait = monitor.wait(STALL_PATIENCE);
    while !journals(monitor).await?.is_empty() {
        if !wait.again().await {
            return Err(Error::new(ErrorKind::Failed, "a mirror does not end"));
        }
    }
    Ok(())
}

fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Does something to a VM with a tap, and cuts the tap off when QEMU's main loop hangs meanwhile: whoever could is not there
/// yet.
pub(super) async fn cutting_if_hung<T>(monitor: &Monitor, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        let look = async {
            time::sleep(LIVENESS_INTERVAL).await;
            let answer = monitor.qmp().execute("query-status", json!({}), STALL_PATIENCE).await;
            if answer.is_err_and(|error| error.kind() == qmp::ErrorKind::Silent)
                && let Err(error) = monitor.cut_nodes(names::is_of_tap).await
            {
                tracing::warn!(%error, "a tap that stalls cannot be cut off");
            }
        };
        tokio::select! {
            done = &mut work => return done,
            () = look => {}
        }
    }
}
