//! A VM without a process: what is known of it, and what its images say.

use hypervisor::{AgentState, DiskInspection, Inspection, Power, Result};
use image_formats::Usage;
use model::{ByteCount, DiskDefinition, VmDefinition};

use super::tracking;
use crate::{
    capture::{bitmaps_of, of_image, place},
    launch,
};

/// A disk that cannot be looked at, perhaps because it is lost, is a limit of the VM, which is stopped all the same.
pub(super) async fn inspect(definition: &VmDefinition) -> Result<Inspection> {
    let (mut disks, mut limits) = (Vec::new(), Vec::new());
    for disk in &definition.disks {
        match inspect_disk(disk).await {
            Ok(found) => disks.push(found),
            Err(error) => limits.push(error.to_string()),
        }
    }
    Ok(Inspection {
        power: Power::Stopped,
        hypervisor: "QEMU".to_owned(),
        definition: launch::with_existing_variables(definition.clone()),
        disks,
        agent: AgentState::Silent("the VM is stopped".to_owned()),
        limits,
    })
}

async fn inspect_disk(disk: &DiskDefinition) -> Result<DiskInspection> {
    let (path, format) = place(disk)?;
    let known =
        image_formats::info(path, format, Usage::Live).await.map_err(|error| of_image(disk, error))?;
    Ok(DiskInspection {
        name: disk.name.clone(),
        path: path.to_owned(),
        format,
        size_bytes: ByteCount(known.size_bytes),
        tracking: tracking(&disk.name, &bitmaps_of(&known)),
    })
}
