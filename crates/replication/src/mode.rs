//! How the journal gets what a VM writes.

use std::time::Duration;

/// How the journal gets what a VM writes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The hypervisor hands it every write.
    #[default]
    Tap,
    /// So often what was written since is copied, from a moment of all disks that is held for it.
    Interval(Duration),
}
