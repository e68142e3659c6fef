//! The seam behind which a site makes its own what a peer has sent.

pub mod conformance;
mod memory;

use std::sync::Arc;

use async_trait::async_trait;
use image::{ByteRange, DiskImage};
use model::{SiteId, TransferId};

pub use self::memory::MemoryReception;
use crate::{
    Result,
    transfer::{Offer, OfferedDisk},
};

/// What has arrived whole.
pub struct Delivery {
    /// Who sent it.
    pub from: SiteId,
    /// Which transfer it was.
    pub id: TransferId,
    /// What it is.
    pub offer: Offer,
    /// Its disks, as in the offer. Readable until [`Reception::take`] returns.
    pub disks: Vec<DeliveredDisk>,
}

/// A disk that has arrived: every byte is what the sender read.
pub struct DeliveredDisk {
    /// What was offered.
    pub disk: OfferedDisk,
    /// The disk, whole: also what is as in its base.
    pub image: Arc<dyn DiskImage>,
    /// A superset of what differs from the base: sorted and disjoint; none of a disk that was sent whole.
    pub changed: Option<Vec<ByteRange>>,
}

/// Takes what peers send.
///
/// Contract:
/// - `accepts` is called once for each transfer before anything arrives, and refuses what `take` could not take.
/// - `base` finds an image that `take` has taken **from this same sender**, by what the sender called it
///   ([`OfferedDisk::image`]), as long as the site keeps it; what another site has sent, and what is the site's own, is not
///   there. The image shows the same bytes for as long as it is held.
/// - `take` is durable when it returns, and all or nothing: after an error or a crash nothing of the delivery is there.
/// - `take` of a transfer that was taken changes nothing, and returns the same name: the receiver may have died in between.
/// - All methods may be called at once from many tasks. `take` may run for hours.
#[async_trait]
pub trait Reception: Send + Sync {
    /// Refuses an offer of a kind, or with metadata, that this site does not take.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] or [`crate::ErrorKind::Conflict`], with what to do about it.
    async fn accepts(&self, from: SiteId, offer: &Offer) -> Result<()>;

    /// The image that `from` calls so, if it has sent it and the site has it still.
    async fn base(&self, from: SiteId, image: &str) -> Result<Option<Arc<dyn DiskImage>>>;

    /// Makes a delivery the site's own. Returns what it is called here.
    async fn take(&self, delivery: Delivery) -> Result<String>;
}
