//! A disk that reads from an image below it takes all of it into its own file: QEMU's block-stream, while the guest runs or in a
//! process of its own.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hypervisor::{Error, ErrorKind, Hydration, HydrationListener, Result, VmAccess};
use serde_json::{Value, json};
use tokio::{
    sync::broadcast::{self, error::TryRecvError},
    time,
};

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
/// How long a job may take to end that is told to: one request of it at most.
const END_TIMEOUT: Duration = Duration::from_secs(30);

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
    forget_ends(monitor).await?;
    let stream = Stream::find(monitor, vm, hydration).await?;
    // A guest that ran out of space for its disk stands still; whoever asks has made room.
    if monitor.status().await? == "io-error" {
        monitor.query("cont").await?;
    }
    stream.follow(monitor, listener).await
}

/// Ends all hydration of a VM; see [`hypervisor::Hypervisor::stop_hydration`].
pub(crate) async fn stop(config: &Arc<QemuConfig>, monitors: &Monitors, vm: &VmAccess) -> Result<()> {
    match Session::open(config, monitors, vm).await? {
        Some(session) => end_streams(&session.monitor).await,
        None => Ok(()),
    }
}

/// While this lives, no disk of the VM is hydrated: block jobs change the graph that a capture works on.
pub(crate) struct Pause(Arc<Monitor>);

/// Pauses all hydration of a VM. What was copied stays; the rest follows when the pause is over.
pub(crate) async fn pause(session: &Session) -> Result<Pause> {
    session.monitor.hydration_pauses().fetch_add(1, Ordering::SeqCst);
    let pause = Pause(session.monitor.clone());
    let _turn = session.monitor.turn().await;
    end_streams(&session.monitor).await?;
    Ok(pause)
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.hydration_pauses().fetch_sub(1, Ordering::SeqCst);
    }
}

/// Forgets how copying ended that nobody has waited for: it begins anew, and fails anew where it must. Before anything else is
/// asked: a job that has ended and is not dismissed keeps a node without children, and QEMU dies of telling its name.
async fn forget_ends(monitor: &Monitor) -> Result<()> {
    let jobs = monitor.query("query-jobs").await?;
    let is_left = |job: &&Value| is_ours(job) && job["status"] == "concluded";
    for job in jobs.as_array().into_iter().flatten().filter(is_left) {
        monitor.execute("job-dismiss", json!({"id": job["id"]})).await?;
    }
    Ok(())
}

fn is_ours(job: &Value) -> bool {
    job["id"].as_str().is_some_and(|id| names::is(names::stream, id))
}

/// Cancels our streams and waits until they have let go of the disks.
async fn end_streams(monitor: &Monitor) -> Result<()> {
    let mut wait = monitor.wait(END_TIMEOUT);
    loop {
        let jobs = monitor.query("query-jobs").await?;
        let ours: Vec<&Value> = jobs.as_array().into_iter().flatten().filter(|job| is_ours(job)).collect();
        if ours.is_empty() {
            return Ok(());
        }
        for job in ours {
            // How it ended is seen by whoever asks for the disk again: its file says what it still needs.
            let command = if job["status"] == "concluded" { "job-dismiss" } else { "job-cancel" };
            match monitor.execute(command, json!({"id": job["id"]})).await {
                Err(error) if error.kind() != ErrorKind::Failed => return Err(error),
                _ => {} // else it has moved on meanwhile
            }
        }
        if !wait.again().await {
            return Err(Error::new(ErrorKind::Busy, "QEMU does not stop copying into a disk")
                .with_guidance("try again when the image that the VM runs from can be read"));
        }
    }
}

/// The ends of the copying of one disk, as QEMU tells them.
struct Ends {
    events: broadcast::Receiver<Event>,
    job: String,
    failure: Option<String>,
}

impl Ends {
    /// Why the copying has failed, as far as that was told.
    fn failure(&mut self) -> Option<String> {
        loop {
            match self.events.try_recv() {
                Ok(event) => {
                    self.take(&event);
                }
                // Who has missed an end looks at what came of it.
                Err(TryRecvError::Lagged(_)) => {}
                Err(_) => return self.failure.take(),
            }
        }
    }

    /// Waits until the copying has ended, or too much was told to follow.
    async fn next(&mut self) {
        while let Ok(event) = self.events.recv().await {
            if self.take(&event) {
                return;
            }
        }
    }

    /// Notes an event; whether it is an end.
    fn take(&mut self, event: &Event) -> bool {
        let is_end = matches!(event.name.as_str(), "BLOCK_JOB_COMPLETED" | "BLOCK_JOB_CANCELLED")
            && event.data["device"] == self.job.as_str();
        if is_end && let Some(reason) = event.data["error"].as_str() {
            self.failure = Some(reason.to_owned());
        }
        is_end
    }
}

/// The copying of one disk.
pub(crate) struct Stream {
    /// The disk in words, for errors.
    disk: String,
    job: String,
    /// The node of the disk's own file.
    node: String,
    /// Bytes in a second; 0 means all that can be had.
    pace: u64,
}

impl Stream {
    /// The copying into the node of a disk, which nobody else has.
    pub(crate) fn into_node(disk: String, node: &str, rate_limit_bytes_per_second: Option<u64>) -> Self {
        let pace = rate_limit_bytes_per_second.unwrap_or(0);
        Self { disk, job: names::stream(0), node: node.to_owned(), pace }
    }

    async fn find(monitor: &Monitor, vm: &VmAccess, hydration: &Hydration) -> Result<Self> {
        let topology = Topology::read(monitor, vm).await?;
        let found = topology.disks.iter().enumerate().find(|(_, disk)| disk.name == hydration.disk);
        let (index, disk) = found.ok_or_else(|| {
            Error::new(ErrorKind::Failed, format!("the VM {} has no disk {}", vm.name, hydration.disk))
        })?;
        Ok(Self {
            disk: format!("the disk {} of the VM {}", hydration.disk, vm.name),
            job: names::stream(index),
            node: disk.format_node.clone(),
            pace: hydration.rate_limit_bytes_per_second.unwrap_or(0),
        })
    }

    /// Copies, or joins copying that goes on, until the disk's file needs no other.
    pub(crate) async fn follow(&self, monitor: &Monitor, listener: &HydrationListener) -> Result<()> {
        self.set_pace(monitor).await?;
        let mut ends = Ends { events: monitor.qmp().events(), job: self.job.clone(), failure: None };
        loop {
            let job = self.look(monitor).await?;
            // What happened before this answer was told before it. One that was cancelled made room for a capture.
            if let Some(reason) = ends.failure() {
                return Err(self.failed(&reason));
            }
            match job {
                Some(job) => {
                    let bytes = |key: &str| job[key].as_u64().unwrap_or_default();
                    listener(bytes("current-progress"), bytes("total-progress"));
                }
                None if !self.stands_on_another(monitor).await? => return Ok(()),
                None => self.begin(monitor).await?,
            }
            let _ = time::timeout(LOOK_INTERVAL, ends.next()).await; // an end, or a while
        }
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
        let node = node.ok_or_else(|| self.failed("QEMU does not know its file"))?;
        // Where the layers are not told in depth, backing_file_depth is 0 whatever they are.
        Ok(node["backing_file"].as_str().is_some_and(|below| !below.is_empty()))
    }

    /// Gives copying that goes on already the pace that is wanted now.
    async fn set_pace(&self, monitor: &Monitor) -> Result<()> {
        let paced =
            monitor.execute("block-job-set-speed", json!({"device": self.job, "speed": self.pace})).await;
        match paced {
            // There is none.
            Err(error) if error.kind() == ErrorKind::Failed => Ok(()),
            paced => paced.map(drop),
        }
    }

    /// Begins to copy, unless a capture has the disk.
    async fn begin(&self, monitor: &Monitor) -> Result<()> {
        let _turn = monitor.turn().await;
        if monitor.hydration_pauses().load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        self.refuse_tapped(monitor).await?;
        let arguments = json!({
            "job-id": self.job,
            "device": self.node,
            "speed": self.pace,
        });
        monitor.execute("block-stream", arguments).await.map(drop)
    }

    /// A tap and a job that changes what a disk stands on cannot have the same disk.
    async fn refuse_tapped(&self, monitor: &Monitor) -> Result<()> {
        let jobs = monitor.query("query-jobs").await?;
        let mut ids = jobs.as_array().into_iter().flatten().filter_map(|job| job["id"].as_str());
        if !ids.any(names::is_of_tap) {
            return Ok(());
        }
        let context = format!("{} cannot be made whole while it is replicated", self.disk);
        Err(Error::new(ErrorKind::Busy, context)
            .with_guidance("stop the VM or pause its replication until the disk is whole"))
    }

    fn failed(&self, reason: &str) -> Error {
        let context = format!("{}: {reason}", self.disk);
        if reason.contains("No space left on device") {
            return Error::new(ErrorKind::NoSpace, context).with_guidance("make room where the disk lies");
        }
        Error::new(ErrorKind::Failed, context)
    }
}
