//! What Holdfast's things inside a QEMU are called, so that they are found again by name alone.
//!
//! Node names have at most 31 bytes, so they carry the number of a disk and nothing else: a VM has one capture at a time.

use hypervisor::Chain;
use std::path::Path;

use model::{CaptureId, DiskName};

/// What every name begins with.
pub(crate) const PREFIX: &str = "holdfast-";

/// The copy-before-write filter of a disk.
pub(crate) fn filter(index: usize) -> String {
    format!("{PREFIX}filter-{index}")
}

/// The overlay that holds the old contents of overwritten blocks: through it the moment is read.
pub(crate) fn overlay(index: usize) -> String {
    format!("{PREFIX}overlay-{index}")
}

/// The scratch file below the overlay.
pub(crate) fn scratch(index: usize) -> String {
    format!("{PREFIX}scratch-{index}")
}

/// The node that can be read for as long as the moment is whole.
pub(crate) fn probe(index: usize) -> String {
    format!("{PREFIX}probe-{index}")
}

/// The block job of a disk that takes no filter.
pub(crate) fn job(index: usize) -> String {
    format!("{PREFIX}job-{index}")
}

/// The job that copies into a disk what lies below it.
pub(crate) fn stream(index: usize) -> String {
    format!("{PREFIX}stream-{index}")
}

/// The job that formats a scratch file.
pub(crate) fn creation(index: usize) -> String {
    format!("{PREFIX}creation-{index}")
}

/// What the names of a chain's bitmaps begin with.
fn bitmap_prefix(chain: Chain) -> &'static str {
    match chain {
        Chain::Backup => PREFIX,
        Chain::Snapshot => "holdfast-snapshot-",
    }
}

/// The dirty bitmap of a disk that starts at a capture. It names the disk because it travels with the image: on another
/// disk it says nothing about what that disk's last backup holds.
pub(crate) fn bitmap(chain: Chain, capture_id: CaptureId, disk: &DiskName) -> String {
    format!("{}{capture_id}-{:016x}", bitmap_prefix(chain), digest(disk.as_str()))
}

/// The capture at which a bitmap starts, and what that was made for; none when the bitmap is not one of ours.
pub(crate) fn capture_of_bitmap(name: &str) -> Option<(Chain, CaptureId)> {
    Chain::ALL.into_iter().find_map(|chain| {
        let (capture_id, _) = name.strip_prefix(bitmap_prefix(chain))?.rsplit_once('-')?;
        Some((chain, capture_id.parse().ok()?))
    })
}

/// The monitor of the process that makes a resting disk whole, by the disk's path.
pub(crate) fn resting(path: &Path) -> String {
    format!("resting-{:016x}.sock", digest(&path.to_string_lossy()))
}

/// 64-bit FNV-1a: short, and the same in every version of Holdfast. It tells names apart; it protects nothing.
fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether a node, an export or a job belongs to a capture: the copying into a disk goes on whatever becomes of captures.
pub(crate) fn is_of_capture(name: &str) -> bool {
    name.starts_with(PREFIX) && !is(stream, name)
}

/// Whether a node is the kind of ours that `name` makes.
pub(crate) fn is(name: fn(usize) -> String, candidate: &str) -> bool {
    let kind = name(0);
    candidate
        .strip_prefix(kind.trim_end_matches('0'))
        .is_some_and(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
}
