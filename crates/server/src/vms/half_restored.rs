//! VMs whose disks a restore in place has overwritten in part. They are neither started nor backed up.

use api::{HalfRestoredView, shell_word};
use catalog::{HalfRestored, KnownVm};
use model::{DiskName, PointId, PointReference, PointSelector};

use crate::failure::{Failure, Result};

/// Fails when a VM's disks are half-overwritten.
pub(crate) fn check_whole(vm: &KnownVm) -> Result<()> {
    let Some(half) = &vm.half_restored else { return Ok(()) };
    let disks = half.disks.iter().map(DiskName::as_str).collect::<Vec<_>>().join(", ");
    let detail =
        format!("a restore has overwritten a part of {disks} of the VM {} and has not ended", vm.name);
    Err(Failure::conflict(detail).with_hint(way_out(vm, half)))
}

/// How a half-restored VM becomes whole.
pub(crate) fn way_out(vm: &KnownVm, half: &HalfRestored) -> String {
    let again = |reference: &str| {
        let name = shell_word(vm.name.as_str());
        match reference.strip_prefix("snapshot:") {
            Some(snapshot) => format!("holdfast snapshot revert {name} --to {}", shell_word(snapshot)),
            None => format!("holdfast restore vm {} --name {name} --replace", shell_word(reference)),
        }
    };
    let forward = again(&half.reference);
    match half.safety_point {
        Some(safety_point) => {
            let back = again(&safety_reference(vm, half, safety_point));
            format!("restore it again: {forward}, or as it was before: {back}")
        }
        None => format!("restore it again: {forward}"),
    }
}

/// How what a half-restored VM was before is named.
pub(crate) fn safety_reference(vm: &KnownVm, half: &HalfRestored, safety_point: PointId) -> String {
    half.safety_reference.clone().unwrap_or_else(|| reference_to(vm.name.as_str(), safety_point))
}

/// The reference to a point of a VM.
pub(crate) fn reference_to(vm_name: &str, point: PointId) -> String {
    let point = PointSelector::IdPrefix(point.to_string());
    PointReference { vm: vm_name.to_owned(), point, disk: None }.to_string()
}

/// What is told of it.
pub(super) fn view(vm: &KnownVm) -> Option<HalfRestoredView> {
    vm.half_restored.as_ref().map(|half| HalfRestoredView {
        point_id: half.point.to_string(),
        disks: half.disks.iter().map(ToString::to_string).collect(),
        safety_point_id: half.safety_point.map(|point| point.to_string()),
        begun_at: half.begun_at,
        hint: way_out(vm, half),
    })
}
