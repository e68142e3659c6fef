//! What sites say to one another about disks on their way.
//!
//! Disks travel by *region*, 4 MiB each. A region arrives whole or not at all, checked by the digest of what it must hold then;
//! so what a receiver has is a set of regions, and going on after an interruption is sending the others.

use image::ByteRange;
use model::DiskName;
use serde::{Deserialize, Serialize};

use crate::{Digest, Error, Result};

/// The size of a region; the last one of a disk may be shorter.
pub const REGION_SIZE_BYTES: u64 = 4 << 20;

/// The most disks that travel together, and the largest.
pub const DISKS_MAX: usize = 64;
pub(crate) const DISK_SIZE_MAX_BYTES: u64 = 64 << 40;

/// The longest description of what travels, as JSON.
pub(crate) const METADATA_MAX_BYTES: usize = 1 << 20;

/// The longest name of an image or kind.
const NAME_MAX_BYTES: usize = 1024;

/// The most runs of regions in one answer.
pub(crate) const RUNS_MAX: usize = 4096;

/// What a site wants to send: the disks of one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// What it is to become there, as in `snapshot`: the receiver takes what it knows.
    pub kind: String,
    /// What the sender calls it.
    pub name: String,
    /// What the receiver needs to know of it besides its disks: the VM's definition, when it was taken.
    pub metadata: serde_json::Value,
    /// Its disks.
    pub disks: Vec<OfferedDisk>,
}

/// A disk of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedDisk {
    /// The disk.
    pub name: DiskName,
    /// Its size: a multiple of 512.
    pub size_bytes: u64,
    /// What the sender calls this image of it, for ever: later images may be sent as changes of this one.
    pub image: String,
    /// The image of which the sender could send the changes alone.
    #[serde(default)]
    pub base: Option<String>,
}

/// How an offer was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// For each disk, whether the receiver has the base, so that the changes are enough.
    pub has_base: Vec<bool>,
    /// Whether all of it is there already.
    pub is_sealed: bool,
}

/// Regions that have not arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Runs of them: the first, and how many.
    pub runs: Vec<(u64, u64)>,
    /// Where to ask next; none at the end.
    pub next: Option<u64>,
}

/// Says that everything was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// For each disk, the digest over all regions that were sent; see [`crate::DiskDigest`].
    pub digests: Vec<Digest>,
}

/// How far the receiver is with making it its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// What the receiver calls it; none while it works on it: ask again.
    pub name: Option<String>,
}

impl Offer {
    /// Refuses what no receiver takes, whatever it is.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`].
    pub fn check(&self) -> Result<()> {
        let is_name = |text: &str| !text.is_empty() && text.len() <= NAME_MAX_BYTES;
        if self.disks.is_empty() || self.disks.len() > DISKS_MAX {
            return Err(Error::invalid(format!(
                "1 to {DISKS_MAX} disks travel together, not {}",
                self.disks.len()
            )));
        }
        for disk in &self.disks {
            if disk.size_bytes == 0
                || disk.size_bytes > DISK_SIZE_MAX_BYTES
                || !disk.size_bytes.is_multiple_of(512)
            {
                return Err(Error::invalid(format!("the disk {} has no size that a disk has", disk.name)));
            }
            if !is_name(&disk.image) || disk.base.as_deref().is_some_and(|base| !is_name(base)) {
                return Err(Error::invalid(format!(
                    "the image of {} has no name that an image has",
                    disk.name
                )));
            }
        }
        if !is_name(&self.kind) || !is_name(&self.name) {
            return Err(Error::invalid("the offer has no name that one has"));
        }
        Ok(())
    }
}

/// Regions of a disk of this size.
#[must_use]
pub(crate) fn region_count(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(REGION_SIZE_BYTES)
}

/// Where a region is on a disk of this size; none beyond its end.
pub(crate) fn region_range(size_bytes: u64, region: u64) -> Option<ByteRange> {
    let start_bytes = region.checked_mul(REGION_SIZE_BYTES).filter(|&start| start < size_bytes)?;
    Some(ByteRange::between(start_bytes, size_bytes.min(start_bytes + REGION_SIZE_BYTES)))
}
