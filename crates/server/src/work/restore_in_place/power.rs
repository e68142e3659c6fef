//! A VM that runs is stopped for a restore in place, and runs again after it.

use std::sync::Arc;

use api::{JobResult, RestoredInPlaceView};
use catalog::Job;
use hypervisor::ErrorKind;
use protection::Monitor;

use super::InPlace;
use crate::{
    failure::{Failure, Result},
    jobs::{JobMonitor, Outcome, WorkFailure},
    site::Site,
    vms,
};

/// How a VM that runs is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::work) enum Stop {
    /// Its guest shuts down, or nothing comes of the restore.
    ByGuest,
    /// Its guest shuts down; where it does not in time, the power is cut.
    ByGuestOrForce,
}

impl Stop {
    /// As a request says it.
    pub(in crate::work) fn wanted(stop: bool, force: bool) -> Option<Self> {
        stop.then_some(if force { Self::ByGuestOrForce } else { Self::ByGuest })
    }
}

/// Whether this is a restore in place that stops its VM.
pub(crate) fn stops_its_vm(job: &Job) -> bool {
    job.request["stop"] == true
}

impl InPlace {
    /// Stops the VM where it runs and that is wanted; whether it ran.
    pub(super) async fn stop_vm(&self, site: &Site, monitor: &JobMonitor) -> Result<bool> {
        let Some(stop) = self.stop else { return Ok(false) };
        if !vms::is_running(site, &self.vm).await? {
            return Ok(false);
        }
        let access = vms::access(&self.vm);
        monitor.phase("waiting until the guest has shut down");
        match site.hypervisor.stop(&access, false).await {
            Err(error) if stop == Stop::ByGuestOrForce && error.kind() == ErrorKind::Busy => {
                monitor.warn(format!("{error}; the power was cut"));
                monitor.phase("powering the VM off");
                site.hypervisor.stop(&access, true).await?;
            }
            stopped => stopped.map_err(|error| Failure::from(error).during("nothing is overwritten"))?,
        }
        tracing::info!(vm = %self.vm.name, "stopped, to be restored");
        Ok(true)
    }

    /// Starts the VM that is restored.
    pub(super) async fn start_vm(
        &self,
        site: &Site,
        mut view: RestoredInPlaceView,
        monitor: &Arc<JobMonitor>,
    ) -> Outcome {
        monitor.phase("starting the VM");
        let vm = vms::find(site, self.vm.id.as_str()).await?;
        if let Err(failure) = vms::run(site, &vm).await {
            let failure = failure.during("the VM is restored but did not start");
            let result = Some(Box::new(JobResult::RestoredInPlace(view)));
            return Err(WorkFailure { failure, result });
        }
        view.started = true;
        Ok(JobResult::RestoredInPlace(view))
    }

    /// Lets a VM run on that was stopped for nothing. The failure stays what it was.
    pub(super) async fn after_failure(&self, site: &Site, failure: Failure, monitor: &JobMonitor) -> Failure {
        let name = &self.vm.name;
        let started = async {
            let vm = vms::find(site, self.vm.id.as_str()).await?;
            if vm.half_restored.is_some() {
                monitor.warn(format!("the VM {name} ran before; it stays stopped until it is whole"));
                return Ok(());
            }
            monitor.phase("starting the VM again");
            vms::run(site, &vm).await?;
            monitor.warn(format!("the VM {name} runs again as it was"));
            Ok::<_, Failure>(())
        };
        if let Err(problem) = started.await {
            monitor.warn(format!("the VM {name} was stopped and did not start again: {}", problem.detail()));
        }
        failure
    }
}
