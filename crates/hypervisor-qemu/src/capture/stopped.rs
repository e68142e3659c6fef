//! A VM that does not run: its images at rest. Where their file system has clones that share their blocks, clones are read, and
//! the VM may start at once; elsewhere they are locked against writers while they are read.
//!
//! The new bitmap is added *before* the images are read, and both go on recording when the VM starts: whatever happens in
//! between, nothing is written that the next backup does not know of.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use hypervisor::{
    Baseline, Capture, CaptureFacts, CaptureOutcome, CapturePhase, CaptureRequest, CapturedDisk, Chain,
    DiskChanges, Error, ErrorKind, Result,
};
use image::DiskImage;
use image_formats::{QemuNbdImage, RawImage, UnnamedClone, Usage, bitmap};
use model::{
    CaptureCost, CaptureId, Consistency, ConsistencyReached, DiskDefinition, DiskFormat, DiskName,
    VmDefinition,
};

use super::{
    bitmaps::{self, Settlement},
    consistency, dismantle,
};
use crate::{config::QemuConfig, inspect, launch, ledger::Ledger, names, power, topology::Bitmap};

/// A stopped VM held by clones of its images, or by the locks on them.
struct StoppedCapture {
    definition: VmDefinition,
    chain: Chain,
    capture_id: CaptureId,
    baseline: Baseline,
    disks: Vec<CapturedDisk>,
    /// Those of the images that a process of their own serves.
    served: Vec<Arc<QemuNbdImage>>,
    facts: CaptureFacts,
}

/// Captures a VM without a process.
pub(super) async fn capture(config: &Arc<QemuConfig>, request: CaptureRequest) -> Result<Box<dyn Capture>> {
    let definition = launch::with_stable_macs(request.vm.vm_id, inspect::require_definition(&request.vm)?);
    let definition = launch::with_existing_variables(definition);
    let consistency = what_is_known(config, &request);
    consistency::insist(request.strict, &consistency, &request.vm.name)?;
    (request.on_phase)(CapturePhase::CleaningUp);
    dismantle::remove_files(config, &request.vm)?;
    Ledger::remove(&config.ledger(request.vm.vm_id));
    settle(&definition, request.chain, &request.baseline).await;
    (request.on_phase)(CapturePhase::Preparing);
    let mut capture = StoppedCapture {
        chain: request.chain,
        capture_id: request.capture_id,
        baseline: request.baseline,
        disks: Vec::new(),
        served: Vec::new(),
        facts: CaptureFacts {
            captured_at: config.env.clock.now(),
            consistency,
            definition: definition.clone(),
            omitted: Vec::new(),
        },
        definition,
    };
    match capture.open(request.disk.as_ref()).await {
        Ok(()) => Ok(Box::new(capture)),
        Err(error) => {
            let baseline = capture.baseline.clone();
            capture.let_go(&baseline).await;
            Err(error)
        }
    }
}

/// A guest that was seen to shut itself down has stopped its applications and unmounted its file systems. Of any other, only
/// the disks are known.
fn what_is_known(config: &QemuConfig, request: &CaptureRequest) -> ConsistencyReached {
    let asked = request.consistency;
    if asked == Consistency::Crash || power::was_shut_down_cleanly(&config.vm_dir(request.vm.vm_id)) {
        return ConsistencyReached { asked, reached: asked, shortfall: None };
    }
    let shortfall = "the VM is powered off, and nobody saw its guest shut down".to_owned();
    ConsistencyReached { asked, reached: Consistency::Crash, shortfall: Some(shortfall) }
}

impl StoppedCapture {
    async fn open(&mut self, only: Option<&DiskName>) -> Result<()> {
        let wanted = |disk: &DiskDefinition| only.is_none_or(|name| disk.name == *name);
        let disks: Vec<_> = self.definition.disks.iter().filter(|disk| wanted(disk)).cloned().collect();
        if disks.is_empty() {
            let vm = &self.definition.name;
            let what = only.map_or_else(|| "disk".to_owned(), |name| format!("disk {name}"));
            return Err(Error::new(ErrorKind::Unsupported, format!("the VM {vm} has no {what} to capture")));
        }
        for disk in disks {
            let (path, format) = place(&disk)?;
            let known = image_formats::info(path, format, Usage::AtRest)
                .await
                .map_err(|error| of_image(&disk, error))?;
            let found = bitmaps_of(&known);
            let baseline = (self.chain, self.baseline.of(&disk.name));
            let baseline = bitmaps::usable(&found, &disk.name, format == DiskFormat::Qcow2, baseline);
            if format == DiskFormat::Qcow2 {
                let name = names::bitmap(self.chain, self.capture_id, &disk.name);
                if let Err(error) = bitmap::add(path, &name, bitmaps::GRANULARITY_BYTES).await {
                    tracing::warn!(%error, disk = %disk.name, "the changes of a disk cannot be tracked");
                }
            }
            let opened = self.hold_image(path, format, known.backing.is_none(), baseline).await;
            let (image, changes) = opened.map_err(|error| of_image(&disk, error))?;
            self.disks.push(CapturedDisk { name: disk.name.clone(), image, changes });
        }
        Ok(())
    }

    /// Opens a clone of an image that stands alone, or the image itself.
    async fn hold_image(
        &mut self,
        path: &Path,
        format: DiskFormat,
        stands_alone: bool,
        baseline: std::result::Result<String, String>,
    ) -> image_formats::Result<(Arc<dyn DiskImage>, DiskChanges)> {
        // The name of a file below may be meant from where the overlay is.
        if stands_alone {
            match self.open_clone(path, format, baseline.clone()).await {
                Ok(Some(opened)) => return Ok(opened),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "an image is read itself, and not a clone of it"),
            }
        }
        self.open_image(path, format, baseline).await
    }

    /// Opens a clone of an image, where its file system makes one.
    async fn open_clone(
        &mut self,
        path: &Path,
        format: DiskFormat,
        baseline: std::result::Result<String, String>,
    ) -> image_formats::Result<Option<(Arc<dyn DiskImage>, DiskChanges)>> {
        let locked = RawImage::open_locked(path).await?;
        let clone = UnnamedClone::of(path).await?;
        drop(locked);
        match clone {
            Some(clone) => self.open_image(&clone.path(), format, baseline).await.map(Some),
            None => Ok(None),
        }
    }

    /// Opens and locks an image, and finds what changed in it since the baseline, or why that is not known.
    async fn open_image(
        &mut self,
        path: &Path,
        format: DiskFormat,
        baseline: std::result::Result<String, String>,
    ) -> image_formats::Result<(Arc<dyn DiskImage>, DiskChanges)> {
        let unknown = |reason| DiskChanges::Unknown { reason };
        match (format, baseline) {
            (DiskFormat::Raw, Err(reason)) => {
                Ok((Arc::new(RawImage::open_locked(path).await?), unknown(reason)))
            }
            (_, baseline) => {
                let contexts: Vec<String> = baseline.iter().cloned().collect();
                let image = Arc::new(QemuNbdImage::open(path, format, &contexts).await?);
                self.served.push(Arc::clone(&image));
                let changes = baseline.and_then(|name| {
                    image.changes(&name).ok_or_else(|| "qemu-nbd does not show the bitmap".to_owned())
                });
                Ok((image, changes.map_or_else(unknown, DiskChanges::Since)))
            }
        }
    }

    async fn let_go(&mut self, committed: &Baseline) {
        self.disks.clear();
        for image in self.served.drain(..) {
            // A reader that still holds an image keeps its lock; the bitmaps are then settled by the next capture.
            if let Some(image) = Arc::into_inner(image)
                && let Err(error) = image.close().await
            {
                tracing::warn!(%error, "an image does not close");
            }
        }
        settle(&self.definition, self.chain, committed).await;
    }
}

#[async_trait]
impl Capture for StoppedCapture {
    fn facts(&self) -> &CaptureFacts {
        &self.facts
    }

    fn disks(&self) -> &[CapturedDisk] {
        &self.disks
    }

    async fn cost(&self) -> CaptureCost {
        CaptureCost::default()
    }

    async fn finish(mut self: Box<Self>, outcome: CaptureOutcome) -> Result<()> {
        let mut committed = self.baseline.clone();
        if outcome == CaptureOutcome::Kept {
            self.disks.iter().for_each(|disk| committed.set(disk.name.clone(), self.capture_id));
        }
        self.let_go(&committed).await;
        Ok(())
    }
}

/// Settles a chain's bitmaps in images at rest and returns what was done. An image that is in use, or gone, is left for later.
pub(super) async fn settle(definition: &VmDefinition, chain: Chain, committed: &Baseline) -> Vec<String> {
    let mut done = Vec::new();
    for disk in &definition.disks {
        let Ok((path, DiskFormat::Qcow2)) = place(disk) else { continue };
        match settle_image(path, &disk.name, chain, committed.of(&disk.name)).await {
            Ok(0) => {}
            Ok(removed) => done.push(format!("removed {removed} old bitmaps of the disk {}", disk.name)),
            Err(error) => {
                tracing::warn!(%error, disk = %disk.name, "the bitmaps of an image are not settled")
            }
        }
    }
    done
}

/// Each step leaves bitmaps that the same rule settles again: taken in first, then recording, and only then removed.
async fn settle_image(
    path: &Path,
    disk: &DiskName,
    chain: Chain,
    committed: Option<CaptureId>,
) -> image_formats::Result<usize> {
    let known = image_formats::info(path, DiskFormat::Qcow2, Usage::AtRest).await?;
    let settlement = Settlement::of(&bitmaps_of(&known), disk, chain, committed);
    if let Some(name) = &settlement.revived {
        for source in &settlement.retired {
            bitmap::merge(path, source, name).await?;
        }
        bitmap::enable(path, name).await?;
    }
    for name in settlement.retired.iter().chain(&settlement.discarded) {
        bitmap::remove(path, name).await?;
    }
    Ok(settlement.retired.len() + settlement.discarded.len())
}

/// Holdfast's bitmaps in an image at rest.
pub(crate) fn bitmaps_of(known: &image_formats::ImageInfo) -> Vec<Bitmap> {
    let ours = known.bitmaps.iter().filter_map(|bitmap| {
        let (chain, capture_id) = names::capture_of_bitmap(&bitmap.name)?;
        Some(Bitmap {
            name: bitmap.name.clone(),
            chain,
            capture_id,
            recording: bitmap.recording,
            inconsistent: bitmap.inconsistent,
        })
    });
    ours.collect()
}

/// Where a disk of a stopped VM is, and what it is.
pub(crate) fn place(disk: &DiskDefinition) -> Result<(&Path, DiskFormat)> {
    let unknown = |what: &str| {
        Error::new(ErrorKind::Unsupported, format!("the {what} of the disk {} is not known", disk.name))
            .with_guidance("start the VM, so that it can be found out")
    };
    let path = disk.path.as_deref().ok_or_else(|| unknown("path"))?;
    Ok((path, disk.format.ok_or_else(|| unknown("format"))?))
}

/// An error of an image, as one of its VM.
pub(crate) fn of_image(disk: &DiskDefinition, error: image_formats::Error) -> Error {
    let kind = match error.kind() {
        image_formats::ErrorKind::InUse => ErrorKind::Busy,
        image_formats::ErrorKind::NotFound => ErrorKind::Gone,
        image_formats::ErrorKind::NoSpace => ErrorKind::NoSpace,
        image_formats::ErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Failed,
    };
    let described = Error::new(kind, format!("the disk {} of the stopped VM: {error}", disk.name));
    let guidance = error.guidance().map(str::to_owned);
    let described = match guidance {
        Some(guidance) => described.with_guidance(guidance),
        None => described,
    };
    described.with_source(error)
}
