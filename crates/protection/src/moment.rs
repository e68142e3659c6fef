//! The moment that an operation is about: fixed between the host's scripts, and held until it is stored.

mod kept;
mod script;

use std::{sync::Arc, time::Duration};

use hypervisor::{
    Baseline, Capture, CaptureOutcome, CaptureRequest, CapturedDisk, Chain, DiskChanges, Hypervisor, VmAccess,
};
use image_formats::RawImage;
use model::{CaptureCost, CaptureId, DiskName};

use self::{kept::Kept, script::ScriptMoment};
use crate::{Error, Monitor, Result, Treatment, error::Context as _, uefi};

/// Which moment to fix, and how.
pub(crate) struct MomentOrder<'a> {
    /// The VM.
    pub(crate) vm: &'a VmAccess,
    /// How it is treated.
    pub(crate) treatment: &'a Treatment,
    /// What the moment is for.
    pub(crate) chain: Chain,
    pub(crate) capture_id: CaptureId,
    /// From where on changes are counted.
    pub(crate) baseline: Baseline,
    /// The only disk that is wanted; none wants all of them.
    pub(crate) disk: Option<DiskName>,
}

/// A moment that is held. It must be let go of.
pub struct Moment {
    capture: Box<dyn Capture>,
    disks: Vec<CapturedDisk>,
}

impl Moment {
    /// Fixes the moment, between the host's scripts. Cancellation is honoured before and after, never in the middle.
    pub(crate) async fn fix(
        hypervisor: &dyn Hypervisor,
        order: MomentOrder<'_>,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<Self> {
        let MomentOrder { vm, treatment, chain, capture_id, baseline, disk } = order;
        if monitor.cancellation().is_cancelled() {
            return Err(Error::cancelled());
        }
        if let Some(program) = &treatment.pre_script {
            monitor.phase("running the pre-script");
            script::run(program, ScriptMoment::Pre, vm).await?;
        }
        let listener = Arc::clone(monitor);
        let is_whole = disk.is_none();
        let captured = hypervisor
            .capture(CaptureRequest {
                vm: vm.clone(),
                chain,
                capture_id,
                baseline,
                disk,
                consistency: treatment.consistency,
                strict: treatment.strict,
                freeze_limit: Duration::from_millis(treatment.freeze_limit_ms.into()),
                on_phase: Arc::new(move |phase| listener.phase(phase.as_str())),
            })
            .await;
        if let Some(program) = &treatment.post_script {
            monitor.phase("running the post-script");
            if let Err(error) = script::run(program, ScriptMoment::Post, vm).await {
                monitor.warn(error.to_string());
            }
        }
        let capture = captured.context(format!("the VM {:?} could not be captured", vm.name.as_str()))?;
        Self::of(capture, is_whole, monitor).await
    }

    /// A moment that somebody holds, with the firmware's variables where it shows a whole VM.
    pub(crate) async fn of(
        capture: Box<dyn Capture>,
        is_whole: bool,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<Self> {
        let mut disks: Vec<CapturedDisk> = capture.disks().iter().map(shared).collect();
        if let Some((name, path)) = uefi::variable_store(&capture.facts().definition).filter(|_| is_whole) {
            let opened = RawImage::open(&path).await;
            let unreadable = format!("the UEFI variables in {} cannot be read", path.display());
            let image = match opened.context(unreadable) {
                Ok(image) => Arc::new(image),
                Err(error) => {
                    Self { capture, disks }.let_go(CaptureOutcome::Abandoned, monitor).await;
                    return Err(error);
                }
            };
            let changes = DiskChanges::Unknown { reason: "firmware has no change tracking".to_owned() };
            disks.push(CapturedDisk { name, image, changes });
        }
        Ok(Self { capture, disks })
    }

    /// A moment that is kept somewhere already, with all of its disks. It need not be let go of.
    #[must_use]
    pub fn kept(facts: hypervisor::CaptureFacts, disks: Vec<CapturedDisk>) -> Self {
        Self { capture: Box::new(Kept(facts)), disks }
    }

    /// What is known about the moment.
    #[must_use]
    pub fn facts(&self) -> &hypervisor::CaptureFacts {
        self.capture.facts()
    }

    /// All disks at that moment, the firmware's variables among them.
    #[must_use]
    pub fn disks(&self) -> &[CapturedDisk] {
        &self.disks
    }

    pub(crate) async fn cost(&self) -> CaptureCost {
        self.capture.cost().await
    }

    /// Lets go of the moment and settles change tracking. What stays behind is removed before the next capture.
    pub async fn let_go(self, outcome: CaptureOutcome, monitor: &Arc<dyn Monitor>) {
        monitor.phase("letting go of the moment");
        let Self { capture, disks } = self;
        drop(disks);
        if let Err(error) = capture.finish(outcome).await {
            // What is stored stands or falls without this.
            monitor.warn(format!("the capture was not cleaned up and will be before the next one: {error}"));
        }
    }
}

fn shared(disk: &CapturedDisk) -> CapturedDisk {
    CapturedDisk { name: disk.name.clone(), image: Arc::clone(&disk.image), changes: disk.changes.clone() }
}
