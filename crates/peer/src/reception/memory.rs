//! A reception in memory: the reference implementation.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use image::{DiskImage, MemoryImage};
use model::{SiteId, TransferId};

use super::{Delivery, Reception};
use crate::{Error, Result, transfer::Offer};

/// The one kind that it takes.
const KIND: &str = "snapshot";

/// Keeps what it takes in memory.
#[derive(Debug, Default)]
pub struct MemoryReception {
    taken: Mutex<BTreeMap<(SiteId, TransferId), Taken>>,
}

/// What was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// What it is.
    pub offer: Offer,
    /// The bytes of its disks.
    pub disks: Vec<Vec<u8>>,
}

impl MemoryReception {
    /// What came by a transfer.
    #[must_use]
    pub fn taken(&self, from: SiteId, id: TransferId) -> Option<Taken> {
        self.lock().get(&(from, id)).cloned()
    }

    /// Forgets everything, as a site does that deletes what it was sent.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(SiteId, TransferId), Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Reception for MemoryReception {
    async fn accepts(&self, _: SiteId, offer: &Offer) -> Result<()> {
        if offer.kind == KIND {
            return Ok(());
        }
        Err(Error::invalid(format!("this site takes a {KIND} and no {}", offer.kind)))
    }

    async fn base(&self, from: SiteId, image: &str) -> Result<Option<Arc<dyn DiskImage>>> {
        let taken = self.lock();
        let of_sender = taken.iter().filter(|((sender, _), _)| *sender == from);
        let mut disks = of_sender.flat_map(|(_, taken)| taken.offer.disks.iter().zip(&taken.disks));
        let found = disks.find(|(disk, _)| disk.image == image);
        Ok(found.map(|(_, bytes)| Arc::new(MemoryImage::new(bytes.clone())) as Arc<dyn DiskImage>))
    }

    async fn take(&self, delivery: Delivery) -> Result<String> {
        let mut disks = Vec::new();
        for delivered in &delivery.disks {
            let mut bytes = vec![0; delivered.image.size_bytes() as usize];
            delivered.image.read_at(0, &mut bytes).await?;
            disks.push(bytes);
        }
        let Delivery { from, id, offer, .. } = delivery;
        let mut taken = self.lock();
        let taken = taken.entry((from, id)).or_insert(Taken { offer, disks });
        Ok(taken.offer.name.clone())
    }
}
