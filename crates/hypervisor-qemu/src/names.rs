//! What Holdfast's things inside a QEMU are called, so that they are found again by name alone.
//!
//! Node names have at most 31 bytes, so those of a capture carry the number of a disk and nothing else, and those of a tap a
//! digest of the disk's name: a VM has one capture and one tap at a time. What belongs to a tap is never taken for a capture's.

use hypervisor::{Chain, TrackingEpoch};
use std::path::Path;

use model::{CaptureId, DiskName, JournalId};

/// What every name begins with.
pub(crate) const PREFIX: &str = "holdfast-";

/// The copy-before-write filter of a disk.
pub(crate) fn filter(index: usize) -> String {
    format!("{PREFIX}filter-{index}")
}

/// The node between a capture's filter and that of a tap, which may vanish: QEMU aborts when a node goes that a
/// copy-before-write filter stands on.
pub(crate) fn shield(index: usize) -> String {
    format!("{PREFIX}shield-{index}")
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

/// The export through which a disk is flushed that has become whole.
pub(crate) fn flush(index: usize) -> String {
    format!("{PREFIX}flush-{index}")
}

/// Whether an export is such a one.
pub(crate) fn is_flush(name: &str) -> bool {
    is(flush, name)
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
        Chain::Replication => "holdfast-replication-",
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

/// What every name of a tap begins with.
const TAP_PREFIX: &str = "holdfast-tap-";

/// The node through which a tap takes the writes of a disk.
pub(crate) fn tap_target(disk: &DiskName) -> String {
    format!("{TAP_PREFIX}t{:016x}", digest(disk.as_str()))
}

/// The filter that hands the writes of a disk to that node.
pub(crate) fn tap_filter(disk: &DiskName) -> String {
    format!("{TAP_PREFIX}f{:016x}", digest(disk.as_str()))
}

/// The export through which a tapped disk is read.
pub(crate) fn tap_reading(disk: &DiskName) -> String {
    format!("{TAP_PREFIX}r{:016x}", digest(disk.as_str()))
}

/// The dirty bitmap of a disk that an epoch of tracking fills.
pub(crate) fn tap_bitmap(journal_id: JournalId, epoch: TrackingEpoch, disk: &DiskName) -> String {
    format!("{TAP_PREFIX}{journal_id}-{}-{:016x}", epoch.0, digest(disk.as_str()))
}

/// The journal and the epoch of a disk's bitmap; none when it is not one of a tap of this disk.
pub(crate) fn epoch_of_bitmap(name: &str, disk: &DiskName) -> Option<(JournalId, TrackingEpoch)> {
    let (tap, of_disk) = name.strip_prefix(TAP_PREFIX)?.rsplit_once('-')?;
    let (journal_id, epoch) = tap.split_once('-')?;
    let is_of_disk = of_disk == format!("{:016x}", digest(disk.as_str()));
    is_of_disk.then_some((journal_id.parse().ok()?, TrackingEpoch(epoch.parse().ok()?)))
}

/// What a mirror of a tap is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TapJob {
    pub(crate) journal_id: JournalId,
    /// The first epoch of which it has handed on everything.
    pub(crate) first: TrackingEpoch,
    /// A digest of what tells the listener that takes the writes from any other, earlier or later.
    pub(crate) listener: u64,
}

impl TapJob {
    /// The name of the mirror of a disk.
    pub(crate) fn name(self, disk: &DiskName) -> String {
        let Self { journal_id, first, listener } = self;
        format!("{TAP_PREFIX}{journal_id}-{}-{listener:016x}-{:016x}", first.0, digest(disk.as_str()))
    }
}

/// The journal whose tap a mirror or a bitmap belongs to, whatever its disk.
pub(crate) fn journal_of(name: &str) -> Option<JournalId> {
    name.strip_prefix(TAP_PREFIX)?.split_once('-')?.0.parse().ok()
}

/// The first epoch that a mirror has taken whole.
pub(crate) fn first_epoch_of_job(name: &str) -> Option<TrackingEpoch> {
    let (_, rest) = name.strip_prefix(TAP_PREFIX)?.split_once('-')?;
    rest.split_once('-')?.0.parse().ok().map(TrackingEpoch)
}

/// Whether a node, an export or a job belongs to a tap.
pub(crate) fn is_of_tap(name: &str) -> bool {
    name.starts_with(TAP_PREFIX)
}

/// The monitor of the process that makes a resting disk whole, by the disk's path.
pub(crate) fn resting(path: &Path) -> String {
    format!("resting-{:016x}.sock", digest(&path.to_string_lossy()))
}

/// 64-bit FNV-1a: short, and the same in every version of Holdfast. It tells names apart; it protects nothing.
pub(crate) fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether a node, an export or a job belongs to a capture: the copying into a disk, and a tap, go on whatever becomes of
/// captures.
pub(crate) fn is_of_capture(name: &str) -> bool {
    name.starts_with(PREFIX) && !is(stream, name) && !is_flush(name) && !is_of_tap(name)
}

/// Whether a node is the kind of ours that `name` makes.
pub(crate) fn is(name: fn(usize) -> String, candidate: &str) -> bool {
    let kind = name(0);
    candidate
        .strip_prefix(kind.trim_end_matches('0'))
        .is_some_and(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
