//! A capture of a VM that runs, from its start to its end.

use async_trait::async_trait;
use hypervisor::{
    Baseline, Capture, CaptureFacts, CaptureOutcome, CapturePhase, CaptureRequest, CapturedDisk, Chain,
    Error, ErrorKind, Result,
};
use model::{CaptureCost, CaptureId};

use super::{
    dismantle,
    export::{self, Exports},
    hold, latency, moment,
    plan::{self, Method, PlannedDisk, Reading},
    recover::recover_running,
    scratch_watch::{self, GivenUp, ScratchWatch},
};
use crate::{
    hydrate::{self, Pause},
    inspect,
    ledger::Ledger,
    session::Session,
    topology::Topology,
};

/// A running VM held at one moment.
struct RunningCapture {
    session: Session,
    chain: Chain,
    capture_id: CaptureId,
    baseline: Baseline,
    disks: Vec<PlannedDisk>,
    exports: Exports,
    _scratch_watch: Option<ScratchWatch>,
    /// Given up when everything is taken down.
    _hydration_pause: Pause,
    facts: CaptureFacts,
    /// As far as it is known at the moment.
    cost: CaptureCost,
}

/// Captures a VM that answers.
pub(super) async fn capture(session: Session, request: CaptureRequest) -> Result<Box<dyn Capture>> {
    (request.on_phase)(CapturePhase::CleaningUp);
    recover_running(&session, request.chain, &request.baseline).await?;
    (request.on_phase)(CapturePhase::Preparing);
    let pause = hydrate::pause(&session).await?;
    let topology = Topology::read(&session.monitor, &session.vm).await?;
    let disks = plan::plan(&session, &topology, &request).await?;
    match Box::pin(make(&session, &request, &topology, disks, pause)).await {
        Ok(capture) => Ok(Box::new(capture)),
        Err(error) => {
            if error.kind() != ErrorKind::Gone
                && let Err(second) = recover_running(&session, request.chain, &request.baseline).await
            {
                tracing::warn!(error = %second, vm = %session.vm.name, "cleaning up after a failed capture failed too");
            }
            Err(error)
        }
    }
}

async fn make(
    session: &Session,
    request: &CaptureRequest,
    topology: &Topology,
    disks: Vec<PlannedDisk>,
    pause: Pause,
) -> Result<RunningCapture> {
    let definition = inspect::discover_definition(&session.monitor, &session.vm, topology).await?;
    let ledger = open_ledger(session, request.capture_id, &disks)?;
    for (index, planned) in disks.iter().enumerate() {
        let scratch = session.config.scratch_file(session.vm.vm_id, request.capture_id, index);
        hold::prepare(session, index, planned, &scratch).await?;
    }
    scratch_watch::require_space(&session.config.scratch_dir)?;
    let write_p99_before_us = latency::write_p99_us(&session.monitor).await?;
    latency::arm(&session.monitor, disks.iter().map(|planned| &planned.disk)).await?;
    let server = export::start(session, &disks).await?;
    let moment = moment::fix(session, request, &disks, ledger).await?;
    let given_up = GivenUp::default();
    let watched = disks.iter().any(|planned| planned.method == Method::Filter); // a job's scratch does not grow
    let exports = Exports::open(session, &disks, given_up.clone(), server).await?;
    Ok(RunningCapture {
        _scratch_watch: watched.then(|| ScratchWatch::start(session.clone(), given_up)),
        _hydration_pause: pause,
        session: session.clone(),
        chain: request.chain,
        capture_id: request.capture_id,
        baseline: request.baseline.clone(),
        disks,
        exports,
        facts: CaptureFacts {
            captured_at: moment.captured_at,
            consistency: moment.consistency,
            definition,
            omitted: topology.omissions.iter().map(ToString::to_string).collect(),
        },
        cost: CaptureCost {
            pause_us: moment.pause_us,
            freeze_us: moment.freeze_us,
            write_p99_before_us,
            write_p99_during_us: None,
        },
    })
}

/// Writes down which files the capture will make, before it makes them.
fn open_ledger(session: &Session, capture_id: CaptureId, disks: &[PlannedDisk]) -> Result<Ledger> {
    let mut files = hold::scratch_files(session, capture_id, disks);
    let fuse = disks.iter().enumerate().filter(|(_, planned)| planned.reading == Reading::Fuse);
    files.extend(fuse.flat_map(|(index, _)| export::fuse_files(session, index)));
    let path = session.ledger()?;
    let frozen = Ledger::read(&path).is_some_and(|earlier| earlier.frozen); // a thaw that is still owed
    let ledger = Ledger { capture_id: Some(capture_id), frozen, paused: false, files };
    let written = ledger.write(&path);
    written.map_err(|source| Error::new(ErrorKind::Failed, "cannot write the ledger").with_source(source))?;
    Ok(ledger)
}

#[async_trait]
impl Capture for RunningCapture {
    fn facts(&self) -> &CaptureFacts {
        &self.facts
    }

    fn disks(&self) -> &[CapturedDisk] {
        &self.exports.disks
    }

    async fn cost(&self) -> CaptureCost {
        let during = latency::write_p99_us(&self.session.monitor).await;
        CaptureCost { write_p99_during_us: during.ok().flatten(), ..self.cost.clone() }
    }

    async fn finish(mut self: Box<Self>, outcome: CaptureOutcome) -> Result<()> {
        self.exports.close().await;
        let mut committed = self.baseline.clone();
        if outcome == CaptureOutcome::Kept {
            self.disks.iter().for_each(|planned| committed.set(planned.disk.name.clone(), self.capture_id));
        }
        match Box::pin(self.let_go(&committed)).await {
            // The VM has ended: what it held went with it, and change tracking is settled in its images.
            Err(error) if error.kind() == ErrorKind::Gone => {
                dismantle::remove_files(&self.session.config, &self.session.vm)?;
                Ledger::remove(&self.session.config.ledger(self.session.vm.vm_id));
                Ok(())
            }
            other => other,
        }
    }
}

impl RunningCapture {
    async fn let_go(&self, committed: &Baseline) -> Result<()> {
        recover_running(&self.session, self.chain, committed).await?;
        latency::arm(&self.session.monitor, self.disks.iter().map(|planned| &planned.disk)).await
    }
}
