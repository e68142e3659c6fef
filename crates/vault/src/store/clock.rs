//! The store's own clock, by which objects are young or old.

use std::time::{Duration, SystemTime};

use model::Timestamp;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::Store;
use crate::{Result, location::directory};

/// Where objects are written to see what time it is, and when the store is put to the test.
pub(crate) const CLOCK_FOLDER: &str = "clock";

/// How old the remains of a write must be before nobody can be at work on them any more, in microseconds: a day.
const REMAINS_AGE_US: i64 = 24 * 60 * 60 * 1_000_000;

impl Store {
    /// The time by the store's own clock, to the second or better.
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        let name = format!("{CLOCK_FOLDER}/{}", self.random_name());
        self.put_named(&name, &b"now"[..]).await?;
        let path = self.named_path(&name);
        let read =
            self.persist(|| "the store's clock cannot be read".into(), || self.inner.head(&path)).await;
        self.delete_named(&name).await?;
        Ok(last_modified(&read?))
    }

    /// Removes what interrupted writes left in a directory of this host, once it is older than a day; other stores keep
    /// nothing of the kind where we can see it. Returns how many files went.
    pub(crate) async fn sweep_remains(&self) -> Result<usize> {
        let Some(directory) = &self.directory else { return Ok(0) };
        let limit_us = self.now().await?.as_microseconds().saturating_sub(REMAINS_AGE_US);
        let written_before = SystemTime::UNIX_EPOCH + Duration::from_micros(limit_us.try_into().unwrap_or(0));
        directory::sweep_remains(directory.clone(), written_before).await
    }

    /// Removes a folder of a directory of this host that holds nothing; other stores have no empty folders, or keep them.
    pub(crate) async fn remove_empty_folder(&self, folder: &str) {
        if let Some(directory) = &self.directory {
            // Fails where something is in it, as it should.
            let _ = tokio::fs::remove_dir(directory.join(folder)).await;
        }
    }

    /// 16 hexadecimal digits that nobody else has.
    pub(crate) fn random_name(&self) -> String {
        format!("{:016x}", u64::from_le_bytes(env::random(&*self.env.entropy)))
    }

    /// Removes what was left by those who died while they asked for the time, once it is a day old.
    pub(crate) async fn sweep_clock(&self, now: Timestamp) -> Result<()> {
        const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
        let left = self.list_in(CLOCK_FOLDER, "the store's clock").await?;
        for meta in left.iter().filter(|meta| now.microseconds_since(last_modified(meta)) > DAY_US) {
            self.delete_at(&meta.location, CLOCK_FOLDER).await?;
        }
        Ok(())
    }
}

pub(super) fn last_modified(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_microseconds(meta.last_modified.timestamp_micros())
}
