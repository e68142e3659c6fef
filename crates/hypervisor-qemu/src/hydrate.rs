//! A disk that reads from an image below it takes all of it into its own file, while the guest runs: QEMU's block-stream.

use std::{sync::Arc, time::Duration};

use hypervisor::{Error, ErrorKind, Hydration, HydrationListener, Result, VmAccess};
use serde_json::{Value, json};
use tokio::{sync::broadcast, time};

use crate::{
    config::QemuConfig,
    monitor::{Monitor, Monitors},
    names,
    qmp::Event,
    session::Session,
    topology::Topology,
};

/// How often progress is asked for while nothing happens.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Hydrates a disk; see [`hypervisor::Hypervisor::hydrate`].
pub(crate) async fn hydrate(
    config: &Arc<QemuConfig>,
    monitors: &Monitors,
    vm: &VmAccess,
    hydration: &Hydration,
    listener: &HydrationListener,
) -> Result<()> {
    let stopped = || Error::new(ErrorKind::Gone, format!("the VM {} does not run", vm.name));
    let session = Session::open(config, monitors, vm).await?.ok_or_else(stopped)?;
    let monitor = &session.monitor;
    let stream = Stream::find(monitor, vm, hydration).await?;
    // A guest that ran out of space for its disk stands still; whoever asks has made room.
    if monitor.status().await? == "io-error" {
        monitor.query("cont").await?;
    }
    let mut events = monitor.qmp().events();
    loop {
        match stream.look(monitor).await? {
            Some(job) if job["status"] == "concluded" => {
                monitor.execute("job-dismiss", json!({"id": stream.job})).await?;
                // One that was cancelled says so; it begins anew.
                if let Some(reason) = job["error"].as_str().filter(|reason| *reason != "Operation canceled") {
                    return Err(stream.failed(reason));
                }
            }
            Some(job) => {
                let bytes = |key: &str| job[key].as_u64().unwrap_or_default();
                listener(bytes("current-progress"), bytes("total-progress"));
                let _ = time::timeout(LOOK_INTERVAL, stream.changes(&mut events)).await; // or a while
            }
            None if !stream.stands_on_another(monitor).await? => return Ok(()),
            None => stream.begin(monitor, hydration.rate_limit_bytes_per_second).await?,
        }
    }
}

/// Ends all hydration of a VM; see [`hypervisor::Hypervisor::stop_hydration`].
pub(crate) async fn stop(config: &Arc<QemuConfig>, monitors: &Monitors, vm: &VmAccess) -> Result<()> {
    let Some(session) = Session::open(config, monitors, vm).await? else { return Ok(()) };
    let jobs = session.monitor.query("query-jobs").await?;
    let ours = jobs.as_array().into_iter().flatten().filter_map(|job| job["id"].as_str());
    for job in ours.filter(|id| names::is(names::stream, id)) {
        // One that has ended meanwhile is dismissed by whoever asks for the disk again.
        match session.monitor.execute("job-cancel", json!({"id": job})).await {
            Err(error) if error.kind() != ErrorKind::Failed => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The copying of one disk.
struct Stream<'a> {
    vm: &'a VmAccess,
    hydration: &'a Hydration,
    job: String,
    /// The node of the disk's own file.
    node: String,
}

impl<'a> Stream<'a> {
    async fn find(monitor: &Monitor, vm: &'a VmAccess, hydration: &'a Hydration) -> Result<Self> {
        let topology = Topology::read(monitor, vm).await?;
        let found = topology.disks.iter().enumerate().find(|(_, disk)| disk.name == hydration.disk);
        let (index, disk) = found.ok_or_else(|| {
            Error::new(ErrorKind::Failed, format!("the VM {} has no disk {}", vm.name, hydration.disk))
        })?;
        Ok(Self { vm, hydration, job: names::stream(index), node: disk.format_node.clone() })
    }

    /// The job as it is now; none where there is none.
    async fn look(&self, monitor: &Monitor) -> Result<Option<Value>> {
        let jobs = monitor.query("query-jobs").await?;
        Ok(jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == self.job.as_str())).cloned())
    }

    /// Whether the disk's file still needs another image.
    async fn stands_on_another(&self, monitor: &Monitor) -> Result<bool> {
        let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await?;
        let mut nodes = nodes.as_array().into_iter().flatten();
        let node = nodes.find(|node| node["node-name"] == self.node.as_str());
        Ok(node.is_some_and(|node| node["backing_file_depth"].as_u64().unwrap_or_default() > 0))
    }

    /// Waits until QEMU tells of a change of the job, or has told too much to follow.
    async fn changes(&self, events: &mut broadcast::Receiver<Event>) {
        while let Ok(event) = events.recv().await {
            if event.name == "JOB_STATUS_CHANGE" && event.data["id"] == self.job.as_str() {
                return;
            }
        }
    }

    async fn begin(&self, monitor: &Monitor, rate_limit: Option<u64>) -> Result<()> {
        let arguments = json!({
            "job-id": self.job,
            "device": self.node,
            "speed": rate_limit.unwrap_or(0),
            // The end must be there for whoever asks after it.
            "auto-dismiss": false,
        });
        monitor.execute("block-stream", arguments).await.map(drop)
    }

    fn failed(&self, reason: &str) -> Error {
        let context = format!("the disk {} of the VM {}: {reason}", self.hydration.disk, self.vm.name);
        if reason.contains("No space left on device") {
            return Error::new(ErrorKind::NoSpace, context).with_guidance("make room where the disk lies");
        }
        Error::new(ErrorKind::Failed, context)
    }
}
