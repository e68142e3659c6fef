//! A recovery point becomes a new VM.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use image_formats::NbdBacking;
use model::{DiskFormat, DiskName, DiskSummary, PointId, PointSummary, VmDefinition, VmName};

use super::{RestoreSource, RestoredDisk, disk::PartialDisk, source::OpenPoint};
use crate::{Monitor, Result, error::Context as _, uefi};

/// Which VM to build, and where.
#[derive(Debug, Clone)]
pub struct VmRestore {
    /// The recovery point.
    pub point_id: PointId,
    /// The new VM's name.
    pub name: VmName,
    /// The directory for its disks; made where it does not exist.
    pub directory: PathBuf,
    /// The format of its disks.
    pub format: DiskFormat,
    /// Keep the UUID and the MAC addresses, for a VM that takes the old one's place; otherwise both are new.
    pub keep_identity: bool,
    /// Whether disk files that exist may be replaced.
    pub replace: bool,
    /// Where the VM reads its disks from until they are whole; none for disks that are whole at once.
    pub backing: Option<Backing>,
}

/// A server that shows disks of the point over NBD.
#[derive(Debug, Clone)]
pub struct Backing {
    /// Its unix socket, by an absolute path.
    pub socket: PathBuf,
    /// The export of each disk. A disk without one is written whole.
    pub exports: BTreeMap<DiskName, String>,
    /// How long a read of the guest may wait while the server is away.
    pub wait_limit: Duration,
}

impl VmRestore {
    /// The disks that can read from the point until they are whole.
    #[must_use]
    pub fn dependent_disks(point: &PointSummary) -> Vec<&DiskSummary> {
        // Firmware takes no more than a file.
        point.disks.iter().filter(|disk| !uefi::is_variable_store(&disk.name)).collect()
    }

    fn export_of(&self, disk: &DiskName) -> Option<NbdBacking<'_>> {
        let backing = self.backing.as_ref()?;
        let export = backing.exports.get(disk)?;
        Some(NbdBacking { socket: &backing.socket, export, wait_limit: backing.wait_limit })
    }

    /// The files that the restore of this point makes, one for each disk of the point, in its order.
    #[must_use]
    pub fn disk_paths(&self, point: &PointSummary) -> Vec<PathBuf> {
        let path = |(place, disk): (usize, &DiskSummary)| {
            self.directory.join(file_name(place, &disk.name, self.format_of(&disk.name)))
        };
        point.disks.iter().enumerate().map(path).collect()
    }

    fn format_of(&self, disk: &DiskName) -> DiskFormat {
        if uefi::is_variable_store(disk) { DiskFormat::Raw } else { self.format }
    }
}

/// A VM that was restored; not yet known to any hypervisor.
#[derive(Debug, Clone)]
pub struct RestoredVm {
    /// Its definition, with the paths of its disks.
    pub definition: VmDefinition,
    /// Its disks.
    pub disks: Vec<RestoredDisk>,
}

/// Writes all disks of a recovery point and makes the definition of a VM that uses them. When this returns, every file is
/// durable, and whole unless it stands on an export.
///
/// # Errors
/// [`crate::ErrorKind::Exists`] before any work when a file exists and may not be replaced. No file is left after any
/// error, and none that existed was replaced, unless the error came while the finished files were given their names.
pub async fn restore_vm(
    source: &RestoreSource,
    order: &VmRestore,
    monitor: &Arc<dyn Monitor>,
) -> Result<RestoredVm> {
    let point = source.point(order.point_id).await?;
    let is_new = !order.directory.exists();
    let shown = order.directory.display();
    std::fs::create_dir_all(&order.directory).context(format!("the directory {shown} cannot be made"))?;

    let mut partials = Vec::with_capacity(point.disks.len());
    let restored = restore_disks(order, &point, &mut partials, monitor).await;
    if restored.is_err() {
        partials.iter().for_each(PartialDisk::discard);
        if is_new {
            // Fails, and rightly so, when somebody else has put something there.
            let _ = std::fs::remove_dir(&order.directory);
        }
    }
    let disks = restored?;
    Ok(RestoredVm { definition: definition_of(order, point.definition, &disks), disks })
}

/// Writes all disks beside their places, then gives all of them their names.
async fn restore_disks<'a>(
    order: &VmRestore,
    point: &OpenPoint<'a>,
    partials: &mut Vec<PartialDisk<'a>>,
    monitor: &Arc<dyn Monitor>,
) -> Result<Vec<RestoredDisk>> {
    for ((name, content), path) in point.disks.iter().zip(order.disk_paths(&point.summary)) {
        let format = order.format_of(name);
        partials.push(PartialDisk::prepare(name, content, &path, format, order.replace).await?);
    }
    let mut written = Vec::with_capacity(partials.len());
    for partial in &*partials {
        written.push(match order.export_of(partial.name()) {
            Some(backing) => partial.layer(backing).await?,
            None => partial.write(monitor).await?,
        });
    }
    let mut placed = Vec::with_capacity(partials.len());
    for (partial, written_bytes) in partials.iter().zip(written) {
        placed.push(partial.place(written_bytes).await?);
    }
    Ok(placed)
}

/// A file name for a disk: its place in the VM, and what of its name is plain.
fn file_name(place: usize, disk: &DiskName, format: DiskFormat) -> String {
    let plain = |character: char| {
        if character.is_ascii_alphanumeric() || "_-".contains(character) { character } else { '_' }
    };
    let name: String = disk.as_str().chars().map(plain).take(60).collect();
    let extension = match format {
        DiskFormat::Raw => "img",
        DiskFormat::Qcow2 => "qcow2",
    };
    format!("{place}-{name}.{extension}")
}

fn definition_of(order: &VmRestore, mut definition: VmDefinition, disks: &[RestoredDisk]) -> VmDefinition {
    definition.name = order.name.clone();
    for disk in &mut definition.disks {
        let restored = disks.iter().find(|restored| restored.name == disk.name);
        disk.path = restored.map(|restored| restored.path.clone());
        disk.format = restored.map(|restored| restored.format);
    }
    // A disk that the capture did not hold, a CD-ROM say, has no bytes to come back with.
    definition.disks.retain(|disk| disk.path.is_some());
    if let Some(store) = disks.iter().find(|restored| uefi::is_variable_store(&restored.name)) {
        uefi::set_variable_store(&mut definition, store.path.clone());
    }
    if !order.keep_identity {
        definition.uuid = None;
        definition.networks.iter_mut().for_each(|network| network.mac = None);
    }
    definition
}
