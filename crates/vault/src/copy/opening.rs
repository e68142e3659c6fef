//! The place of a copy: whether it may be one, its config, its key slots.

use std::collections::BTreeSet;

use super::Copy;
use crate::{
    Digest, Error, ErrorKind, Result, StoreLocation,
    config::Config,
    keys::slot::SLOT_BYTES,
    log::ENTRIES,
    store::{ObjectKind, Store},
    vault::Shared,
};

/// Whether there is a copy of this vault; none when there is nothing, or what a first run left behind.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] where there is another vault.
pub(super) async fn holds_copy(source: &Shared, target: &Store) -> Result<bool> {
    let found = match target.read_config().await {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if found == source.config.encode(&source.keys) {
        return Ok(true);
    }
    let (config, _) = Config::decode(&found)?;
    let place = target.place();
    if config.vault_id == source.config.vault_id {
        return Err(Error::corrupt(format!("the config of the copy in {place} was altered")).with_guidance(
            "heal the copy: open it as a vault, and run holdfast vault repair from this vault",
        ));
    }
    Err(Error::new(ErrorKind::AlreadyExists, format!("there is another vault in {place}"))
        .with_guidance("choose an empty place for the copy"))
}

/// The store of a copy that was made before. One that has lost its config alone gets it again.
///
/// # Errors
/// [`ErrorKind::NotFound`] where nothing of the copy is there.
pub(super) async fn existing(source: &Shared, location: &StoreLocation) -> Result<Store> {
    let gone = || {
        Error::new(ErrorKind::NotFound, format!("the copy in {location} is gone: the place is empty"))
            .with_guidance(
                "mount its disk or share if it is not mounted; if the copy is lost, make it anew: holdfast vault copy \
                 remove, then holdfast vault copy add",
            )
    };
    let target = match Store::open(location, &source.env).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(gone().with_source(error)),
        opened => opened?,
    };
    holds_copy(source, &target).await?;
    if target.list_named(ENTRIES).await?.is_empty() { Err(gone()) } else { Ok(target) }
}

impl Copy<'_> {
    /// Written after the first state: without it there is no vault.
    pub(super) async fn write_config(&self) -> Result<()> {
        let config = self.source.config.encode(&self.source.keys);
        match self.target.create_config(config).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                holds_copy(self.source, &self.target).await.map(|_| ())
            }
            created => created,
        }
    }

    /// Gives the copy the vault's key slots, and takes from it those that the vault no longer has.
    pub(super) async fn mirror_slots(&self) -> Result<()> {
        let ours = slots(&self.source.store).await?;
        let theirs = slots(&self.target).await?;
        if ours.is_empty() {
            // A listing may leave some out; a vault that opened has one.
            return if theirs.is_empty() { Err(no_slots()) } else { Ok(()) };
        }
        for slot in ours.difference(&theirs) {
            match self.source.store.get(ObjectKind::KeySlot, slot, SLOT_BYTES as u64).await {
                Ok(bytes) => drop(self.target.put(ObjectKind::KeySlot, bytes).await?),
                Err(error) if error.is_damage() => tracing::warn!(%error, "a key slot is not copied"),
                Err(error) => return Err(error),
            }
        }
        for slot in theirs.difference(&ours) {
            if self.source.store.head(ObjectKind::KeySlot, slot).await?.is_none() {
                self.target.delete(ObjectKind::KeySlot, slot).await?;
            }
        }
        Ok(())
    }
}

fn no_slots() -> Error {
    Error::new(ErrorKind::Unreachable, "the store shows no key slot of the vault")
        .with_guidance("try again; if it stays so, prove the store with: holdfast vault doctor")
}

async fn slots(store: &Store) -> Result<BTreeSet<Digest>> {
    Ok(store.list(ObjectKind::KeySlot).await?.into_iter().map(|(slot, _)| slot).collect())
}
