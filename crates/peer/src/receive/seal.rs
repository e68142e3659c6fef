//! Making the site's own what has arrived.

use std::{sync::Arc, time::Duration};

use image::ByteRange;
use model::{SiteId, TransferId};

use super::{
    Receiver,
    finished::FinishedImage,
    staging::{self, Key, Transfer},
};
use crate::{
    Digest, DiskDigest, Error, ErrorKind, Result,
    reception::{DeliveredDisk, Delivery},
    transfer::{Seal, Sealed, region_range},
};

/// How long the sender waits for an answer; then it asks again.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

impl Receiver {
    /// Checks that all has arrived, and hands it to the reception. The answer is that it works on it, as long as it does: the
    /// sender asks again. Asked again after the end, it answers the same.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when something is not here that was sent: ask which regions are missing, and send them.
    pub async fn seal(&self, from: SiteId, id: TransferId, seal: Seal) -> Result<Sealed> {
        let key = Key { from, id };
        if let Some(sealed) = staging::sealed(&self.shared.directory, key)? {
            return Ok(Sealed { name: Some(sealed.name) });
        }
        let transfer = self.transfer(key)?;
        let mut sealing = transfer.sealing.lock().await;
        let work = sealing.get_or_insert_with(|| {
            let (receiver, transfer) = (self.clone(), Arc::clone(&transfer));
            tokio::spawn(async move { receiver.finish(key, transfer, seal).await })
        });
        let Ok(ended) = tokio::time::timeout(ANSWER_WITHIN, work).await else {
            return Ok(Sealed { name: None });
        };
        *sealing = None;
        let broken_off = |error| Error::new(ErrorKind::Failed, "the work was broken off").with_source(error);
        Ok(Sealed { name: Some(ended.map_err(broken_off)??) })
    }

    async fn finish(&self, key: Key, transfer: Arc<Transfer>, seal: Seal) -> Result<String> {
        let count = transfer.offer.disks.len();
        if seal.digests.len() != count {
            return Err(Error::invalid(format!(
                "there are {count} disks and {} digests",
                seal.digests.len()
            )));
        }
        let _no_writes = transfer.writes.write().await;
        let mut disks = Vec::with_capacity(count);
        for (place, digest) in seal.digests.into_iter().enumerate() {
            let checked = Arc::clone(&transfer);
            self.blocking(move || verify(&checked, place, digest)).await?;
            disks.push(self.delivered(key, &transfer, place).await?);
        }
        let delivery = Delivery { from: key.from, id: key.id, offer: transfer.offer.clone(), disks };
        let name = self.shared.reception.take(delivery).await?;
        let _admission = self.shared.admission.lock().await;
        staging::seal(&self.shared.directory, key, &name)?;
        self.opened().remove(&key);
        tracing::info!(peer = %key.from, transfer = %key.id, name, "disks of a peer have arrived");
        Ok(name)
    }

    async fn delivered(&self, key: Key, transfer: &Arc<Transfer>, place: usize) -> Result<DeliveredDisk> {
        let staged = transfer.disk(place)?;
        let base = transfer.base(&*self.shared.reception, key.from, place).await?;
        let changed = base.is_some().then(|| {
            let arrived =
                std::iter::successors(staged.next_arrived(0), |&last| staged.next_arrived(last + 1));
            image::coalesce(
                arrived
                    .filter_map(|region| region_range(staged.size_bytes(), region))
                    .collect::<Vec<ByteRange>>(),
            )
        });
        let image = FinishedImage {
            transfer: Arc::clone(transfer),
            place,
            size_bytes: staged.size_bytes(),
            base,
            threads: self.shared.env.threads,
        };
        Ok(DeliveredDisk { disk: transfer.offer.disks[place].clone(), image: Arc::new(image), changed })
    }
}

/// Reads all that has arrived of a disk. What is damaged here counts as not arrived from then on.
fn verify(transfer: &Transfer, place: usize, expected: Digest) -> Result<()> {
    let disk = transfer.disk(place)?;
    disk.sync()?;
    let (mut digest, mut damaged, mut from) = (DiskDigest::new(disk.size_bytes()), 0, 0);
    while let Some(region) = disk.next_arrived(from) {
        match disk.verify(region)? {
            Some(found) => digest.add(region, found),
            None => {
                disk.forget(region)?;
                damaged += 1;
            }
        }
        from = region + 1;
    }
    let name = &transfer.offer.disks[place].name;
    if damaged > 0 {
        let detail =
            format!("{damaged} regions of {name} were damaged after they had arrived; they must come again");
        return Err(Error::new(ErrorKind::Damaged, detail));
    }
    if digest.finish() != expected {
        let detail = format!("what has arrived of {name} is not all that was sent, or more");
        return Err(Error::new(ErrorKind::Damaged, detail));
    }
    Ok(())
}
