//! The files inside disk images: listed, read, found, archived and taken out, with no agent, no mount on the host and no root.
//!
//! A [`FileTree`] answers for the disks of one machine together. [`MicroVm`] is the tree that reads everything: a small
//! virtual machine with the host's own kernel and no network, in which [`appliance`] mounts what it finds. What has read hostile
//! disks is hostile itself, so each of its answers is bounded and checked, and it can reach nothing but these disks.
//!
//! Paths start with a volume: `/<disk>-<partition>/etc/fstab`. A disk without partitions is a volume of its own name, a
//! logical volume is `<group>-<volume>`, an array `md-<name>`.

pub mod appliance;
pub mod archive;
mod crc;
pub mod diff;
mod entry;
mod error;
pub mod extract;
mod limits;
mod micro_vm;
mod path;
mod pattern;
mod protocol;
mod tree;
mod walk;

pub use entry::{Attribute, Entry, Kind, Time, Volume, VolumeState};
pub use error::{Error, ErrorKind, Result};
pub use micro_vm::{
    Capability, Config, DIRECTORY_PREFIX, GrownFileSystem, MicroVm, Passphrase, capabilities,
    grow_file_system,
};
pub use path::FilePath;
pub use pattern::Pattern;
pub use tree::{Digest, FileTree, Page, ROOT_START, memory::MemoryTree};
pub use walk::{Found, Walk};
