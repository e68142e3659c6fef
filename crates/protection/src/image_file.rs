//! An image file at rest, held as if it were a VM of one disk.
//!
//! Where the file system has clones that share their blocks, a clone is held, and the file itself may be written to or go at
//! once. Elsewhere the file is locked until it is copied.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use hypervisor::{Capture, CaptureFacts, CaptureOutcome, CapturedDisk, DiskChanges};
use image::DiskImage;
use image_formats::{UnnamedClone, Usage, file_format, info, open_image};
use model::{
    ByteCount, CaptureCost, Consistency, ConsistencyReached, DiskBus, DiskDefinition, DiskFormat, Firmware,
    ImageFormat, Timestamp, VmDefinition, VmName,
};

use crate::{Error, ErrorKind, Result, error::Context as _};

/// What an image file's only disk is called.
const DISK: &str = "disk";

/// An image file at one moment.
pub(crate) struct FileCapture {
    facts: CaptureFacts,
    disks: Vec<CapturedDisk>,
}

impl FileCapture {
    /// Holds the file, through a clone if it can.
    pub(crate) async fn open(path: &Path, name: &VmName, now: Timestamp) -> Result<Self> {
        let shown = path.display();
        let image = hold(path).await.context(format!("the image file {shown} cannot be held"))?;
        let disk = DISK.parse().map_err(|_| Error::new(ErrorKind::Failed, "a disk has no name"))?;
        let changes =
            DiskChanges::Unknown { reason: "nobody tracks what is written to an image file".to_owned() };
        let consistency =
            ConsistencyReached { asked: Consistency::Crash, reached: Consistency::Crash, shortfall: None };
        let facts =
            CaptureFacts { captured_at: now, consistency, definition: definition(name), omitted: Vec::new() };
        Ok(Self { facts, disks: vec![CapturedDisk { name: disk, image: Arc::clone(&image), changes }] })
    }
}

/// Opens a clone of the file, or the file itself.
async fn hold(path: &Path) -> image_formats::Result<Arc<dyn DiskImage>> {
    let format = file_format(path).await?;
    // It is locked until it is cloned.
    let image = open_image(path, Some(format)).await?;
    // The name of a file below may be meant from where the overlay is.
    let stands_alone =
        format != ImageFormat::Qcow2 || info(path, DiskFormat::Qcow2, Usage::Live).await?.backing.is_none();
    // Where there is none for whatever reason, the file itself will do.
    let clone = if stands_alone { UnnamedClone::of(path).await.ok().flatten() } else { None };
    match clone {
        Some(clone) => Ok(open_image(&clone.path(), Some(format)).await.unwrap_or(image)),
        None => Ok(image),
    }
}

/// A VM that would have the file for its disk.
fn definition(name: &VmName) -> VmDefinition {
    let disk = DISK.parse().ok().map(|name| DiskDefinition {
        name,
        path: None,
        format: None,
        bus: DiskBus::default(),
        serial: None,
        iothread: false,
    });
    VmDefinition {
        name: name.clone(),
        uuid: None,
        cpus: 1,
        memory: ByteCount(1 << 30),
        machine: "q35".to_owned(),
        firmware: Firmware::Bios,
        disks: disk.into_iter().collect(),
        networks: Vec::new(),
        agent: true,
    }
}

#[async_trait]
impl Capture for FileCapture {
    fn facts(&self) -> &CaptureFacts {
        &self.facts
    }

    fn disks(&self) -> &[CapturedDisk] {
        &self.disks
    }

    async fn cost(&self) -> CaptureCost {
        CaptureCost::default()
    }

    async fn finish(self: Box<Self>, _: CaptureOutcome) -> hypervisor::Result<()> {
        Ok(())
    }
}
