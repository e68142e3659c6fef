//! The key slots of a vault: opening it by one, and managing them. Nothing here touches data: every slot wraps the same
//! master key.

use std::{fmt, sync::Arc};

use env::Threads;
use futures::{StreamExt, stream};
use model::{Timestamp, VaultId};

use crate::{
    Digest, Error, ErrorKind, KeyKind, KeyLabel, NewKey, NewSlot, Result, Unlock, Vault,
    config::Config,
    keys::{
        Keys, open_slot,
        slot::{SLOT_BYTES, Slot},
    },
    store::{ObjectKind, Store},
};

/// Slots that are read; a stranger who can write to the store could add any number.
const SLOTS_MAX: usize = 4096;

/// Slots that are read side by side.
const SLOTS_AT_ONCE: usize = 16;

/// A way to open a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlot {
    /// The slot's object, which is what names it.
    pub id: Digest,
    /// What opens it.
    pub kind: KeyKind,
    /// What people call it.
    pub label: KeyLabel,
    /// When it was made, by its maker's clock.
    pub created_at: Timestamp,
}

impl fmt::Display for KeySlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} \"{}\" ({})", self.kind, self.label, self.id)
    }
}

/// The key slots of a vault.
#[derive(Debug, Default)]
pub struct KeySlotList {
    /// Those that a holder of the master key made, oldest first.
    pub slots: Vec<KeySlot>,
    /// Those that are damaged or that a stranger planted, and why; they open nothing, and may be removed.
    pub unusable: Vec<(Digest, Error)>,
}

/// What there is below `keys/`.
#[derive(Default)]
struct FoundSlots {
    slots: Vec<(Digest, Slot)>,
    unusable: Vec<(Digest, Error)>,
    /// There are more than were read.
    more: bool,
}

impl Vault {
    /// All key slots.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] when this handle can only write.
    pub async fn key_slots(&self) -> Result<KeySlotList> {
        let keys = &self.shared.keys;
        keys.check_can_read()?;
        let found = read_slots(&self.shared.store, self.id()).await?;
        let mut list = KeySlotList { unusable: found.unusable, ..KeySlotList::default() };
        for (id, slot) in found.slots {
            match slot.open_label(keys) {
                Ok(label) => list.slots.push(described(id, &slot, label)),
                Err(error) => list.unusable.push((id, error)),
            }
        }
        list.slots.sort_by_key(|slot| (slot.created_at, slot.id));
        list.unusable.sort_by_key(|(id, _)| *id);
        Ok(list)
    }

    /// Gives the vault another key, and reads its slot back to see that it opens. Durable when it returns. Data is not
    /// touched. Takes a moment for a passphrase.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] when this handle can only write; [`ErrorKind::Invalid`] for a recipient without an owner.
    pub async fn add_key(&self, new: &NewSlot) -> Result<KeySlot> {
        let (keys, env, made) = (Arc::clone(&self.shared.keys), self.shared.env.clone(), new.clone());
        let threads = env.threads;
        let slot = threads.run(move || Slot::wrap(&keys, &made, &env)).await??;
        let id = self.shared.store.put(ObjectKind::KeySlot, slot.encode()).await?;
        let stored = self.shared.store.get(ObjectKind::KeySlot, &id, SLOT_BYTES as u64).await?;
        let stored = Slot::decode(&stored)?;
        let label = stored.open_label(&self.shared.keys)?;
        let unlock = match new.key.clone() {
            NewKey::Passphrase(passphrase) => Some(Unlock::Passphrase(passphrase)),
            NewKey::KeyFile(key_file) => Some(Unlock::KeyFile(key_file)),
            // Only the recipient's owner can try it; the seal of the label covers the whole slot.
            NewKey::Recipient(_) => None,
        };
        let added = described(id, &stored, label);
        if let Some(unlock) = unlock {
            let (config, keys) = (self.shared.config.clone(), Arc::clone(&self.shared.keys));
            let opened =
                threads.run(move || open_slot(&[stored], &unlock, &config, &keys.config_proof(&config)));
            if opened.await??.is_none() {
                return Err(Error::corrupt(format!("the new key slot {id} does not open the vault")));
            }
        }
        Ok(added)
    }

    /// Removes a key slot, or what passes for one. Who has a copy of the slot and its key still opens the vault: to keep
    /// them out, keep them from the store. Two that remove at the same time can each leave what the other takes; whoever
    /// finds nothing left puts its own back.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of this id; [`ErrorKind::Invalid`] when it is the last that opens the
    /// vault; [`ErrorKind::WrongKey`] when this handle can only write.
    pub async fn remove_key(&self, id: &Digest) -> Result<()> {
        let list = self.key_slots().await?;
        let Some(slot) = list.slots.iter().find(|slot| slot.id == *id) else {
            if list.unusable.iter().any(|(unusable, _)| unusable == id) {
                return self.shared.store.delete(ObjectKind::KeySlot, id).await;
            }
            return Err(no_such_slot(id));
        };
        let last = || {
            let error = format!("the {slot} is the last key that opens this vault");
            Error::invalid(error).with_guidance("add another key first")
        };
        if list.slots.len() == 1 {
            return Err(last());
        }
        let store = &self.shared.store;
        let bytes = store.get(ObjectKind::KeySlot, id, SLOT_BYTES as u64).await?;
        store.delete(ObjectKind::KeySlot, id).await?;
        if self.key_slots().await?.slots.is_empty() {
            store.put(ObjectKind::KeySlot, bytes).await?;
            return Err(last());
        }
        Ok(())
    }

    /// Puts a new key in the place of an old one, which goes when the new one is known to open the vault. Data is not
    /// encrypted anew.
    ///
    /// # Errors
    /// As of [`Vault::add_key`]; [`ErrorKind::NotFound`] when there is no slot with the old id, and then nothing is added.
    pub async fn rotate_key(&self, old: &Digest, new: &NewSlot) -> Result<KeySlot> {
        if !self.key_slots().await?.slots.iter().any(|slot| slot.id == *old) {
            return Err(no_such_slot(old));
        }
        let added = self.add_key(new).await?;
        self.remove_key(old).await?;
        Ok(added)
    }
}

/// The keys that this opens, proven by the config.
pub(super) async fn unlock(
    store: &Store,
    config: &Config,
    proof: &[u8; 32],
    unlock: &Unlock,
    threads: Threads,
) -> Result<Keys> {
    let kept = match unlock {
        Unlock::MasterKey(key) => Some(Keys::full(key.clone(), config.vault_id)),
        Unlock::WriterKey(key) => Some(Keys::write_only(key.clone(), config.vault_id)),
        Unlock::Passphrase(_) | Unlock::KeyFile(_) | Unlock::Identity(_) => None,
    };
    if let Some(keys) = kept {
        if keys.prove(config, proof) {
            return Ok(keys);
        }
        if keys.config_proof(config) != *proof {
            return Err(wrong_key(store, false));
        }
        // Somebody who has the writer key made himself the reader of what is stored from now on.
        return Err(Error::corrupt(format!(
            "the config of the vault in {} was altered: it makes somebody else the reader",
            store.place()
        ))
        .with_guidance("see who can write to the store; heal the config with: holdfast vault repair"));
    }
    let found = read_slots(store, config.vault_id).await?;
    for (digest, error) in found.unusable {
        tracing::warn!(%digest, %error, "a key slot cannot be used");
    }
    let slots: Vec<Slot> = found.slots.into_iter().map(|(_, slot)| slot).collect();
    let (unlock, config, proof) = (unlock.clone(), config.clone(), *proof);
    let opened = threads.run(move || open_slot(&slots, &unlock, &config, &proof)).await?;
    opened?.ok_or_else(|| wrong_key(store, found.more))
}

/// Reads the vault's slots, ordered by name. Slots of other vaults are left out.
async fn read_slots(store: &Store, vault_id: VaultId) -> Result<FoundSlots> {
    let mut found = FoundSlots::default();
    let mut listed = store.list(ObjectKind::KeySlot).await?;
    listed.sort_unstable();
    let (mut sized, odd): (Vec<_>, Vec<_>) =
        listed.into_iter().partition(|(_, size_bytes)| *size_bytes == SLOT_BYTES as u64);
    found.unusable.extend(odd.into_iter().take(SLOTS_MAX).map(|(id, size_bytes)| {
        (id, Error::corrupt(format!("key slot {id} has {size_bytes} bytes, and not {SLOT_BYTES}")))
    }));
    found.more = sized.len() > SLOTS_MAX;
    sized.truncate(SLOTS_MAX);
    let mut reads = stream::iter(sized)
        .map(|(id, _)| async move { (id, store.get(ObjectKind::KeySlot, &id, SLOT_BYTES as u64).await) })
        .buffered(SLOTS_AT_ONCE);
    while let Some((id, bytes)) = reads.next().await {
        match bytes.and_then(|bytes| Slot::decode(&bytes)) {
            Ok(slot) if slot.vault_id() == vault_id => found.slots.push((id, slot)),
            Ok(_) => {
                found.unusable.push((id, Error::corrupt(format!("key slot {id} is of another vault"))));
            }
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedVersion) => {
                found.unusable.push((id, error));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn described(id: Digest, slot: &Slot, label: KeyLabel) -> KeySlot {
    KeySlot { id, kind: slot.kind(), label, created_at: slot.created_at() }
}

fn no_such_slot(id: &Digest) -> Error {
    Error::new(ErrorKind::NotFound, format!("this vault has no key slot {id}"))
}

fn wrong_key(store: &Store, more: bool) -> Error {
    let error =
        Error::new(ErrorKind::WrongKey, format!("this key does not open the vault in {}", store.place()));
    if more {
        return error.with_guidance(format!(
            "the store has more than {SLOTS_MAX} key slots, and only so many are tried: remove those that a stranger \
             planted; a server that backs up to the vault still knows its key"
        ));
    }
    error.with_guidance(
        "use a key that was given to the vault: its passphrase, key file, identity file or recovery kit",
    )
}

#[cfg(test)]
mod tests;
