//! What is to be done.

use crate::{Attachment, Epoch};

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell the journal that writes may have been missed; then have the hypervisor hand it all writes.
    Attach {
        /// Which it becomes.
        attachment: Attachment,
        /// What the journal is known to have.
        trusted: Option<Epoch>,
    },
    /// Copy into the journal what it lacks.
    Copy(Attachment),
    /// Begin another epoch of tracking.
    BeginEpoch(Attachment),
    /// Tell the journal that the disks are whole, and let go of the live disks.
    Declare(Attachment),
    /// Keep the trusted epoch in the catalog.
    Keep(Epoch),
    /// Tell the hypervisor that what it tracked before this epoch is needed no more.
    Trust(Attachment, Epoch),
    /// Cut the tap off, and tell the journal that writes are missed from here on.
    Detach(Attachment),
}
