//! Watches a tap, and says when writes may be missing.

use std::{collections::BTreeMap, time::Duration};

use hypervisor::{Result, TapEnd};
use tokio::{
    sync::{
        broadcast::{
            self,
            error::{RecvError, TryRecvError},
        },
        watch,
    },
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};

use super::mirrors;
use crate::{monitor::Monitor, qmp::Event, session::Session};

/// How often is looked at what no event tells: a disk that was added, or has grown.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The disks of a VM that can be written, by device, with their sizes in bytes.
pub(super) type DiskSizes = BTreeMap<String, u64>;

/// A watch over the mirrors of a tap.
pub(super) struct Watch {
    end: watch::Receiver<Option<TapEnd>>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Watches mirrors that run, through events that were subscribed to before they did.
    pub(super) fn start(
        session: &Session,
        events: broadcast::Receiver<Event>,
        jobs: Vec<String>,
        disks: DiskSizes,
    ) -> Self {
        let (tell, end) = watch::channel(None);
        let watching = Watching { session: session.clone(), events, jobs, disks, shutting_down: false };
        let task = tokio::spawn(async move {
            tell.send_replace(Some(watching.run().await));
        });
        Self { end, task }
    }

    /// Waits until writes may be missing.
    pub(super) async fn ended(&self) -> TapEnd {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        ended.unwrap_or_else(|| TapEnd::Broken("nobody watches it any longer".to_owned()))
    }
}

/// What has been told of mirrors that ended, for who asks in between.
pub(super) struct Breaks {
    events: broadcast::Receiver<Event>,
    jobs: Vec<String>,
}

impl Breaks {
    /// Of mirrors that run, through events that were subscribed to before they did.
    pub(super) fn new(events: broadcast::Receiver<Event>, jobs: Vec<String>) -> Self {
        Self { events, jobs }
    }

    /// Why not all mirrors have taken everything until now; none when they have.
    pub(super) async fn look(&mut self, monitor: &Monitor) -> Result<Option<String>> {
        let lost = lost_job(monitor, &self.jobs).await?;
        loop {
            match self.events.try_recv() {
                Ok(event) => {
                    if let Some(reason) = end_of_mirror(&event, &self.jobs) {
                        return Ok(Some(reason));
                    }
                }
                Err(TryRecvError::Lagged(_)) => {}
                Err(_) => return Ok(lost),
            }
        }
    }
}

/// Why a mirror does not hand everything on any longer, when that is what an event tells.
fn end_of_mirror(event: &Event, jobs: &[String]) -> Option<String> {
    let is_ours = event.data["device"].as_str().is_some_and(|job| jobs.iter().any(|ours| ours == job));
    match event.name.as_str() {
        _ if !is_ours => None,
        "BLOCK_JOB_ERROR" => Some("a write could not be handed on".to_owned()),
        "BLOCK_JOB_COMPLETED" | "BLOCK_JOB_CANCELLED" => Some(match event.data["error"].as_str() {
            Some(reason) => format!("a mirror has failed: {reason}"),
            None => "a mirror was ended".to_owned(),
        }),
        _ => None,
    }
}

/// Whether a mirror is no longer there, or hands nothing on.
async fn lost_job(monitor: &Monitor, jobs: &[String]) -> Result<Option<String>> {
    let answer = monitor.query("query-block-jobs").await?;
    let sound = answer.as_array().into_iter().flatten().filter(mirrors::is_sound);
    let running: Vec<&str> = sound.filter_map(|job| job["device"].as_str()).collect();
    let lost = jobs.iter().any(|job| !running.contains(&job.as_str()));
    Ok(lost.then(|| "a mirror takes nothing any longer".to_owned()))
}

struct Watching {
    session: Session,
    events: broadcast::Receiver<Event>,
    jobs: Vec<String>,
    disks: DiskSizes,
    /// QEMU has begun to end: it cancels its jobs then, with nothing left to hand on.
    shutting_down: bool,
}

impl Watching {
    async fn run(mut self) -> TapEnd {
        let monitor = self.session.monitor.clone();
        let mut looks = time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let end = tokio::select! {
                biased; // what was told before the monitor closed comes before that
                event = self.events.recv() => match event {
                    Ok(event) => self.note(&event),
                    Err(RecvError::Lagged(_)) => self.look().await,
                    Err(RecvError::Closed) => Some(self.closed()),
                },
                () = monitor.qmp().closed() => Some(self.closed()),
                _ = looks.tick() => self.look().await,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn closed(&self) -> TapEnd {
        if self.shutting_down {
            return TapEnd::VmEnded;
        }
        TapEnd::Broken("QEMU has ended without closing its disks, or its monitor hung up".to_owned())
    }

    fn note(&mut self, event: &Event) -> Option<TapEnd> {
        match event.name.as_str() {
            "SHUTDOWN" => self.shutting_down = true,
            // A QEMU that was told not to end with its guest goes on.
            "RESUME" | "RESET" => self.shutting_down = false,
            // Jobs are cancelled at the end, with nothing left to hand on.
            "BLOCK_JOB_CANCELLED" | "BLOCK_JOB_COMPLETED"
                if self.shutting_down && event.data["error"].is_null() => {}
            "DEVICE_DELETED" => {
                let path = event.data["path"].as_str()?;
                let of_device = |disk: &String| {
                    disk.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                let id = event.data["device"].as_str();
                if self.disks.keys().any(|disk| of_device(disk) || Some(disk.as_str()) == id) {
                    return Some(TapEnd::DisksChanged);
                }
            }
            _ => return end_of_mirror(event, &self.jobs).map(TapEnd::Broken),
        }
        None
    }

    /// Looks at everything. A monitor that does not answer tells nothing new: what happens is told when it does.
    async fn look(&self) -> Option<TapEnd> {
        if self.shutting_down {
            return None;
        }
        let monitor = &self.session.monitor;
        if disk_sizes(monitor).await.ok()? != self.disks {
            return Some(TapEnd::DisksChanged);
        }
        lost_job(monitor, &self.jobs).await.ok()?.map(TapEnd::Broken)
    }
}

/// The disks of a VM that can be written now.
pub(super) async fn disk_sizes(monitor: &Monitor) -> Result<DiskSizes> {
    let blocks = monitor.query("query-block").await?;
    let sizes = blocks.as_array().into_iter().flatten().filter_map(|block| {
        let inserted = &block["inserted"];
        let is_written = inserted["ro"] == false;
        let size_bytes = inserted["image"]["virtual-size"].as_u64().unwrap_or_default();
        is_written.then_some((block["qdev"].as_str()?.to_owned(), size_bytes))
    });
    Ok(sizes.collect())
}
