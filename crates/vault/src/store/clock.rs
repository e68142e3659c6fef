//! The store's own clock, by which objects are young or old.

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
}

pub(super) fn last_modified(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_microseconds(meta.last_modified.timestamp_micros())
}
