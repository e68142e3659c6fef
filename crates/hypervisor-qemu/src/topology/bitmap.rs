//! Dirty bitmaps: which of a disk's blocks were written since a capture.

use hypervisor::Chain;
use model::CaptureId;
use serde_json::Value;

use crate::names;

/// A dirty bitmap of Holdfast's on a disk, live in a QEMU or at rest in an image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bitmap {
    /// Its name.
    pub(crate) name: String,
    /// What it counts changes for.
    pub(crate) chain: Chain,
    /// The capture at whose moment it starts.
    pub(crate) capture_id: CaptureId,
    /// Whether writes are recorded in it; at rest, whether they will be as soon as a QEMU opens the image.
    pub(crate) recording: bool,
    /// Whether a QEMU ended without writing it back: then it says nothing, and can only be removed.
    pub(crate) inconsistent: bool,
}

impl Bitmap {
    /// Reads an entry of a node's `dirty-bitmaps`; none for bitmaps of somebody else.
    pub(crate) fn of_node(entry: &Value) -> Option<Self> {
        let name = entry["name"].as_str()?;
        let (chain, capture_id) = names::capture_of_bitmap(name)?;
        Some(Self {
            name: name.to_owned(),
            chain,
            capture_id,
            recording: entry["recording"] == true,
            inconsistent: entry["inconsistent"] == true,
        })
    }
}
