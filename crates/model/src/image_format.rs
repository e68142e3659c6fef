//! Formats of image files that are exchanged with other programs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A format of image files that are read, and written by exports. VMs of Holdfast's own run from a [`crate::DiskFormat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFormat {
    /// The disk's bytes and nothing else.
    Raw,
    /// QEMU's copy-on-write format, version 3.
    Qcow2,
    /// Fixed VHD, as Azure takes it: the disk's bytes, a whole number of MiB of them, and a footer. Read, it is any VHD.
    Vhd,
    /// Dynamic VHD: takes the space of what is used.
    VhdDynamic,
    /// VHDX, of Hyper-V.
    Vhdx,
    /// VMDK in one sparse file, of VMware.
    Vmdk,
}

impl ImageFormat {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Raw, Self::Qcow2, Self::Vhd, Self::VhdDynamic, Self::Vhdx, Self::Vmdk];

    /// The format in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::VhdDynamic => "vhd-dynamic",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for ImageFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("{text:?} is not a format of image files: use one of {names}")
        })
    }
}
