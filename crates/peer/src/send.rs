//! Sending disks to a peer.
//!
//! The receiver says which regions it lacks; the sender walks the disk in order, sends those of them that hold or change
//! something, and digests all that do, whether it sends them now or has sent them before. Whatever happens on the way, sending
//! the same [`Shipment`] again goes on where it stopped: the receiver knows what it has.

mod bandwidth;
mod pass;
#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use env::Env;
use image::{ChangeMap, DiskImage};
use model::{DiskName, TransferId};

pub use self::bandwidth::{Bandwidth, BandwidthWindow, Throttle};
use self::pass::Pass;
use crate::{
    Digest, Error, ErrorKind, PeerClient, Result,
    transfer::{Offer, OfferedDisk, Seal},
};

/// How often the disks are gone through, when the receiver has lost something meanwhile or the base has gone.
const ROUNDS_MAX: u32 = 5;

/// The disks of one moment, for a peer.
pub struct Shipment {
    /// The same for the same shipment, however often it is sent.
    pub id: TransferId,
    /// What it is to become there: see [`Offer::kind`].
    pub kind: String,
    /// What it is called here.
    pub name: String,
    /// What the peer needs to know of it besides its disks.
    pub metadata: serde_json::Value,
    /// Its disks.
    pub disks: Vec<ShippedDisk>,
}

/// A disk for a peer.
pub struct ShippedDisk {
    /// The disk.
    pub name: DiskName,
    /// What it holds.
    pub image: Arc<dyn DiskImage>,
    /// What this site calls the image, for ever: see [`OfferedDisk::image`].
    pub image_name: String,
    /// An earlier image of the disk that the peer may have.
    pub base: Option<ShippedBase>,
}

/// An earlier image of a disk, and what has changed since.
pub struct ShippedBase {
    /// What this site called that image.
    pub image_name: String,
    /// A superset of what has changed.
    pub changes: Arc<dyn ChangeMap>,
}

/// How to send.
#[derive(Clone)]
pub struct SendOptions {
    /// How fast.
    pub bandwidth: Bandwidth,
    /// How far it is; for others to look at.
    pub progress: Arc<SendProgress>,
    /// The clock by which the bandwidth goes.
    pub env: Env,
}

/// How far sending is.
#[derive(Debug, Default)]
pub struct SendProgress {
    /// The disks' sizes together.
    pub total_bytes: AtomicU64,
    /// How much of them was gone through, in this round.
    pub done_bytes: AtomicU64,
    /// What was sent, as it travels.
    pub sent_bytes: AtomicU64,
}

/// Sends a shipment; returns what the peer calls it.
///
/// The peer's patience is that of `peer`: calls are made again as long as it lasts. Dropping the future stops; what has arrived
/// stays there for 30 days, and the same shipment goes on from it.
///
/// # Errors
/// [`ErrorKind::Unreachable`] when the peer was away for too long; those of the images and of the receiver.
pub async fn send(peer: &PeerClient, shipment: &Shipment, options: &SendOptions) -> Result<String> {
    let (offer, throttle) = (shipment.offer(), Throttle::new(options.bandwidth.clone(), options.env.clone()));
    let total: u64 = shipment.disks.iter().map(|disk| disk.image.size_bytes()).sum();
    options.progress.total_bytes.store(total, Ordering::Relaxed);
    let mut last = None;
    for _ in 0..ROUNDS_MAX {
        match round(peer, shipment, &offer, options, &throttle).await {
            // The base was deleted there: what was sent as changes of it is worth nothing.
            Err(error) if error.kind() == ErrorKind::Gone => {
                peer.abandon_transfer(shipment.id).await?;
                last = Some(error);
            }
            Err(error) if error.kind() == ErrorKind::Damaged => last = Some(error),
            ended => return ended,
        }
        tracing::warn!(transfer = %shipment.id, error = ?last, "the disks are gone through once more");
    }
    Err(last.unwrap_or_else(|| Error::new(ErrorKind::Failed, "the disks could not be sent")))
}

async fn round(
    peer: &PeerClient,
    shipment: &Shipment,
    offer: &Offer,
    options: &SendOptions,
    throttle: &Throttle,
) -> Result<String> {
    let begun = peer.begin_transfer(shipment.id, offer).await?;
    if begun.has_base.len() != shipment.disks.len() {
        return Err(Error::invalid("the peer's answer makes no sense: it tells of other disks"));
    }
    let done_bytes = if begun.is_sealed { options.progress.total_bytes.load(Ordering::Relaxed) } else { 0 };
    options.progress.done_bytes.store(done_bytes, Ordering::Relaxed);
    let mut digests: Vec<Digest> = Vec::new();
    for (place, (disk, has_base)) in shipment.disks.iter().zip(begun.has_base).enumerate() {
        if begun.is_sealed {
            break;
        }
        let base = disk.base.as_ref().filter(|_| has_base);
        let pass = Pass { peer, id: shipment.id, place, disk, base, throttle, progress: &options.progress };
        digests.push(pass.run().await?);
    }
    loop {
        let sealed = peer.seal_transfer(shipment.id, &Seal { digests: digests.clone() }).await?;
        if let Some(name) = sealed.name {
            return Ok(name);
        }
    }
}

impl Shipment {
    fn offer(&self) -> Offer {
        let disks = self.disks.iter().map(|disk| OfferedDisk {
            name: disk.name.clone(),
            size_bytes: disk.image.size_bytes(),
            image: disk.image_name.clone(),
            base: disk.base.as_ref().map(|base| base.image_name.clone()),
        });
        Offer {
            kind: self.kind.clone(),
            name: self.name.clone(),
            metadata: self.metadata.clone(),
            disks: disks.collect(),
        }
    }
}
