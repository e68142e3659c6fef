//! What is to be done.

use crate::{Attachment, Epoch};

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell the journal that writes may have been missed; then have the hypervisor hand it all writes. At intervals: hold a moment
    /// of all disks, and tell the journal that an epoch of that moment begins.
    Attach {
        /// Which it becomes.
        attachment: Attachment,
        /// What the journal is known to have.
        trusted: Option<Epoch>,
        /// Whether this is also meant for a VM that does not run: at intervals, where the journal may lack what it wrote last.
        is_at_rest: bool,
    },
    /// Copy into the journal what it lacks.
    Copy(Attachment),
    /// Begin another epoch of tracking.
    BeginEpoch(Attachment),
    /// Tell the journal that the disks are whole, and let go of the live disks. At intervals: close the epoch.
    Declare(Attachment),
    /// Keep the trusted epoch in the catalog.
    Keep(Epoch),
    /// Tell the hypervisor that what it tracked before this epoch is needed no more. At intervals this also ends the attachment, and
    /// lets go of the moment.
    Trust(Attachment, Epoch),
    /// Cut the tap off, and tell the journal that writes are missed from here on. At intervals: let go of the moment as if it had
    /// never been.
    Detach(Attachment),
}
