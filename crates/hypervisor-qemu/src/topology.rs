//! The disks of a running VM as its QEMU arranges them: devices, the nodes below them, and the bitmaps on those.

mod bitmap;
mod discovery;
mod nodes;

pub(crate) use bitmap::Bitmap;
pub(crate) use discovery::{Device, GuestDisk, Topology};

#[cfg(test)]
mod tests;
