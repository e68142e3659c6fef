//! A tap that runs, as its caller holds it.

use async_trait::async_trait;
use hypervisor::{Error, ErrorKind, Result, Tap, TapDisk, TapEnd, TapRequest, TrackingEpoch};
use tokio::sync::Mutex;

use super::{
    epochs::Epochs,
    mirrors,
    plan::{self, PlannedTap},
    reading::Reading,
    watch::{self, Breaks, Watch},
};
use crate::{capture::remove_exports, export_server, names, session::Session, topology::Topology};

/// A VM whose writes are all taken.
pub(super) struct QemuTap {
    session: Session,
    request: TapRequest,
    planned: Vec<PlannedTap>,
    disks: Vec<TapDisk>,
    /// The reading of the live disks, until it is taken back.
    reading: Mutex<Option<Reading>>,
    epochs: Mutex<Begun>,
    watch: Watch,
}

/// What has begun.
struct Begun {
    newest: TrackingEpoch,
    breaks: Breaks,
}

/// Begins a tap, or goes on with the one that runs. The caller cleans up after an error.
pub(super) async fn begin(session: &Session, request: &TapRequest) -> Result<QemuTap> {
    let monitor = &session.monitor;
    let mut planned = plan(session, request).await?;
    remove_exports(monitor, names::is_of_tap).await?;
    let mut reading = Reading::new(export_server::join(session).await?);
    let sizes = watch::disk_sizes(monitor).await?;
    let before = Epochs::read(monitor, request.journal_id, &planned).await?;
    let next = before.next(request.trusted);
    let mut events = [monitor.qmp().events(), monitor.qmp().events()];
    let job = match mirrors::find(monitor, request, &planned).await? {
        Some(job) => job,
        None => {
            mirrors::take_down(session).await?;
            planned = plan(session, request).await?; // what they stand on has changed
            // What was told before is about mirrors that are gone.
            events = [monitor.qmp().events(), monitor.qmp().events()];
            mirrors::put(monitor, request, &planned, next).await?
        }
    };
    let jobs: Vec<String> = planned.iter().map(|planned| job.name(&planned.disk.name)).collect();
    let [watched, breaks] = events;
    let watch = Watch::start(session, watched, jobs.clone(), sizes);
    let newest = next.max(job.first);
    before.begin(monitor, newest).await?;
    let mut disks = Vec::with_capacity(planned.len());
    for (planned, epochs) in planned.iter().zip(&before.disks) {
        let covering = epochs.covering(request.journal_id, request.trusted, job.first);
        disks.push(reading.open(session, planned, covering).await?);
    }
    before.drop_before(monitor, request.trusted.unwrap_or(newest)).await?;
    let mut begun = Begun { newest, breaks: Breaks::new(breaks, jobs) };
    begun.insist(session).await?;
    Ok(QemuTap {
        session: session.clone(),
        request: request.clone(),
        planned,
        disks,
        reading: Mutex::new(Some(reading)),
        epochs: Mutex::new(begun),
        watch,
    })
}

impl Begun {
    /// Fails unless every write until now was handed on: one that was not was told of before the guest was.
    async fn insist(&mut self, session: &Session) -> Result<()> {
        match self.breaks.look(&session.monitor).await? {
            None => Ok(()),
            Some(reason) => {
                let context = format!("the writes of {} are not all taken: {reason}", session.vm.name);
                Err(Error::new(ErrorKind::Failed, context).with_guidance("begin the tap again"))
            }
        }
    }
}

async fn plan(session: &Session, request: &TapRequest) -> Result<Vec<PlannedTap>> {
    let topology = Topology::read(&session.monitor, &session.vm).await?;
    plan::plan(session, &topology, request).await
}

impl QemuTap {
    async fn known_epochs(&self) -> Result<Epochs> {
        Epochs::read(&self.session.monitor, self.request.journal_id, &self.planned).await
    }
}

#[async_trait]
impl Tap for QemuTap {
    fn disks(&self) -> &[TapDisk] {
        &self.disks
    }

    async fn begin_epoch(&self) -> Result<TrackingEpoch> {
        let monitor = &self.session.monitor;
        let mut begun = self.epochs.lock().await;
        let epochs = self.known_epochs().await?;
        let epoch = epochs.next([begun.newest]);
        epochs.begin(monitor, epoch).await?;
        begun.newest = epoch;
        begun.insist(&self.session).await?;
        Ok(epoch)
    }

    async fn trust(&self, epoch: TrackingEpoch) -> Result<()> {
        let _begun = self.epochs.lock().await;
        self.known_epochs().await?.drop_before(&self.session.monitor, epoch).await
    }

    async fn insist(&self) -> Result<()> {
        self.epochs.lock().await.insist(&self.session).await
    }

    async fn end_reading(&self) -> Result<()> {
        match self.reading.lock().await.take() {
            Some(reading) => reading.end(&self.session).await,
            None => Ok(()),
        }
    }

    async fn ended(&self) -> TapEnd {
        self.watch.ended().await
    }

    async fn cut(&self) {
        let targets: Vec<String> =
            self.planned.iter().map(|planned| names::tap_target(&planned.disk.name)).collect();
        let is_ours = |node: &str| targets.iter().any(|target| target == node);
        if let Err(error) = self.session.monitor.cut_nodes(is_ours).await {
            tracing::warn!(%error, vm = %self.session.vm.name, "a tap cannot be cut off");
        }
    }
}
