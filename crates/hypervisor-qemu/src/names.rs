//! What Holdfast's things inside a QEMU are called, so that they are found again by name alone.
//!
//! Node names have at most 31 bytes, so they carry the number of a disk and nothing else: a VM has one capture at a time.

use model::CaptureId;

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

/// The job that formats a scratch file.
pub(crate) fn creation(index: usize) -> String {
    format!("{PREFIX}creation-{index}")
}

/// The dirty bitmap that starts at a capture.
pub(crate) fn bitmap(capture_id: CaptureId) -> String {
    format!("{PREFIX}{capture_id}")
}

/// The capture at which a bitmap starts; none when the bitmap is not one of ours.
pub(crate) fn capture_of_bitmap(name: &str) -> Option<CaptureId> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// Whether a node is the kind of ours that `name` makes.
pub(crate) fn is(name: fn(usize) -> String, candidate: &str) -> bool {
    let kind = name(0);
    candidate
        .strip_prefix(kind.trim_end_matches('0'))
        .is_some_and(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
}
