//! Looks at a VM without changing anything.

mod definition;
mod limits;
mod networks;
mod running;
mod stopped;

use hypervisor::{Chain, Error, ErrorKind, Inspection, Result, Tracking, VmAccess, VmOrigin};
use model::{DiskName, VmDefinition};

use crate::{
    config::{QemuConfig, Sockets},
    launch,
    monitor::Monitors,
    names, power,
    topology::Bitmap,
};

pub(crate) use definition::discover as discover_definition;

/// How often a VM is looked at whose QEMU closes its monitor meanwhile.
const LOOKS_MAX: usize = 3;

/// Looks at a VM, running or not; see [`hypervisor::Hypervisor::inspect`].
pub(crate) async fn inspect(config: &QemuConfig, monitors: &Monitors, vm: &VmAccess) -> Result<Inspection> {
    let mut looks = 1;
    loop {
        match look(config, monitors, vm).await {
            // One that ends while it is looked at is found stopped next.
            Err(error) if error.kind() == ErrorKind::Gone && looks < LOOKS_MAX => looks += 1,
            looked => return looked,
        }
    }
}

async fn look(config: &QemuConfig, monitors: &Monitors, vm: &VmAccess) -> Result<Inspection> {
    let sockets = Sockets::of(config, vm)?;
    match monitors.attach(&sockets.monitor, &vm.name).await {
        Ok(monitor) => {
            power::forget_clean_shutdown(&config.vm_dir(vm.vm_id));
            running::inspect(&monitor, &sockets, vm).await
        }
        Err(error) if launch::is_socket_alive(&sockets.monitor).await => Err(error),
        Err(error) => match known_definition(vm) {
            Some(definition) => stopped::inspect(definition).await,
            None => Err(error),
        },
    }
}

/// What is known of a VM without asking it.
pub(crate) fn known_definition(vm: &VmAccess) -> Option<&VmDefinition> {
    match &vm.origin {
        VmOrigin::Managed { definition } => Some(definition),
        VmOrigin::External { last_seen, .. } => last_seen.as_deref(),
    }
}

/// The same, for what cannot be done without it.
pub(crate) fn require_definition(vm: &VmAccess) -> Result<&VmDefinition> {
    known_definition(vm).ok_or_else(|| {
        Error::new(ErrorKind::Unreachable, format!("the VM {} does not answer, and was never seen", vm.name))
            .with_guidance("start it, or check the path of its monitor's socket")
    })
}

/// What the bitmaps of a disk's backups say about change tracking. Those that came with an image from another disk say
/// nothing.
fn tracking(disk: &DiskName, bitmaps: &[Bitmap]) -> Tracking {
    let of_disk = |bitmap: &&Bitmap| bitmap.name == names::bitmap(Chain::Backup, bitmap.capture_id, disk);
    let bitmaps: Vec<&Bitmap> = bitmaps.iter().filter(of_disk).collect();
    if let Some(bitmap) = bitmaps.iter().rev().find(|bitmap| bitmap.recording && !bitmap.inconsistent) {
        Tracking::Since(bitmap.capture_id)
    } else if bitmaps.iter().any(|bitmap| bitmap.inconsistent) {
        Tracking::Broken("the VM was powered off without closing its disks".to_owned())
    } else if bitmaps.is_empty() {
        Tracking::Off
    } else {
        Tracking::Broken("recording was stopped".to_owned())
    }
}

#[cfg(test)]
mod tests;
