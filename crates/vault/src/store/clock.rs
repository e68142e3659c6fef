//! The store's own clock, by which objects are young or old.

use futures::TryStreamExt;
use model::Timestamp;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::Store;
use crate::Result;

/// Where objects are written to see what time it is.
pub(crate) const CLOCK_FOLDER: &str = "clock";

impl Store {
    /// The time by the store's own clock, to the second or better.
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        let name = format!("{CLOCK_FOLDER}/{:016x}", u64::from_le_bytes(env::random(&*self.env.entropy)));
        self.put_named(&name, b"now".to_vec()).await?;
        let path = self.named_path(&name);
        let read =
            self.persist(|| "the store's clock cannot be read".into(), || self.inner.head(&path)).await;
        self.delete_named(&name).await?;
        Ok(last_modified(&read?))
    }

    /// Removes what was left by those who died while they asked for the time, once it is a day old.
    pub(crate) async fn sweep_clock(&self, now: Timestamp) -> Result<()> {
        const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
        let folder = self.named_path(CLOCK_FOLDER);
        let what = || "the store's clock cannot be listed".into();
        let left: Vec<ObjectMeta> =
            self.persist(what, || self.inner.list(Some(&folder)).try_collect()).await?;
        for meta in left.iter().filter(|meta| now.microseconds_since(last_modified(meta)) > DAY_US) {
            self.delete_path(&meta.location, CLOCK_FOLDER).await?;
        }
        Ok(())
    }
}

pub(super) fn last_modified(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_microseconds(meta.last_modified.timestamp_micros())
}
