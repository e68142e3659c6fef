//! A VM without a process: what is known of it, and what its images say.

use hypervisor::{AgentState, DiskInspection, Inspection, Power, Result};
use image_formats::Usage;
use model::{ByteCount, VmDefinition};

use super::tracking;
use crate::capture::{bitmaps_of, of_image, place};

pub(super) async fn inspect(definition: &VmDefinition) -> Result<Inspection> {
    let mut disks = Vec::new();
    for disk in &definition.disks {
        let (path, format) = place(disk)?;
        let known =
            image_formats::info(path, format, Usage::Live).await.map_err(|error| of_image(disk, error))?;
        disks.push(DiskInspection {
            name: disk.name.clone(),
            path: path.to_owned(),
            format,
            size_bytes: ByteCount(known.size_bytes),
            tracking: tracking(&bitmaps_of(&known)),
        });
    }
    Ok(Inspection {
        power: Power::Stopped,
        hypervisor: "QEMU".to_owned(),
        definition: definition.clone(),
        disks,
        agent: AgentState::Silent("the VM is stopped".to_owned()),
        limits: Vec::new(),
    })
}
