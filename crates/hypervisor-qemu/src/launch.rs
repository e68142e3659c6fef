//! VMs that Holdfast starts itself. A QEMU outlives the Holdfast that started it.

mod accelerator;
mod arguments;
mod disks;
mod firmware;
mod networks;
mod start;

pub(crate) use accelerator::Accelerator;
pub(crate) use disks::device_ids;
pub(crate) use firmware::{find_images as find_firmware, with_existing_variables};
pub(crate) use networks::with_stable_macs;
pub(crate) use start::{is_socket_alive, serial_log, start};

#[cfg(test)]
mod tests;
