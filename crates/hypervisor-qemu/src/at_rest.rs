//! Disks of VMs that do not run, read as they are.

use hypervisor::{DiskAtRest, Error, ErrorKind, Result, VmAccess};
use image_formats::open_image;
use model::{DiskFormat, ImageFormat};

use crate::{
    capture::{of_image, place},
    config::QemuConfig,
    inspect,
    monitor::Monitors,
};

/// Opens all disks of a stopped VM.
pub(crate) async fn open(config: &QemuConfig, monitors: &Monitors, vm: &VmAccess) -> Result<Vec<DiskAtRest>> {
    if inspect::inspect(config, monitors, vm).await?.power != hypervisor::Power::Stopped {
        return Err(Error::new(ErrorKind::Busy, format!("the VM {} runs", vm.name)));
    }
    let definition = inspect::require_definition(vm)?;
    let mut disks = Vec::with_capacity(definition.disks.len());
    for disk in &definition.disks {
        let (path, format) = place(disk)?;
        let known = match format {
            DiskFormat::Raw => ImageFormat::Raw,
            DiskFormat::Qcow2 => ImageFormat::Qcow2,
        };
        let image = open_image(path, Some(known)).await.map_err(|error| of_image(disk, error))?;
        let raw_file = (format == DiskFormat::Raw).then(|| path.to_owned());
        disks.push(DiskAtRest { name: disk.name.clone(), image, raw_file });
    }
    Ok(disks)
}
