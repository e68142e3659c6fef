//! Trying key slots. Slots can be planted by whoever can write to the store, so what a stranger's slot costs is bounded,
//! and what it holds is believed only when it proves the config.

use std::{collections::BTreeSet, str::FromStr};

use model::VaultId;

use super::{
    Identity, KeyFile, Keys, MasterKey, Passphrase, WriterKey,
    passphrase::Cost,
    slot::{Slot, SlotKind},
    text::{IDENTITY, WRITER_KEY},
};
use crate::{Error, Result, config::Config};

/// Different costs at which a passphrase is stretched. All slots that this program ever wrote have the first.
const COSTS_TRIED_MAX: usize = 8;

/// What opens a vault.
#[derive(Debug, Clone)]
pub enum Unlock {
    /// A passphrase that has a key slot.
    Passphrase(Passphrase),
    /// A key file that has a key slot.
    KeyFile(KeyFile),
    /// The identity of a recipient that has a key slot.
    Identity(Identity),
    /// The master key itself, kept by a server.
    MasterKey(MasterKey),
    /// The writer key, kept by a host that only backs up.
    WriterKey(WriterKey),
}

impl FromStr for Unlock {
    type Err = Error;

    /// Reads the text of a key file, an identity file or a writer key, as what its first words say that it is.
    fn from_str(text: &str) -> Result<Self> {
        if IDENTITY.begins(text) {
            text.parse().map(Self::Identity)
        } else if WRITER_KEY.begins(text) {
            text.parse().map(Self::WriterKey)
        } else {
            text.parse().map(Self::KeyFile)
        }
    }
}

/// The keys from the first slot that opens and whose master key proves the config; none when no slot opens. Takes a moment
/// for a passphrase: call it on a blocking thread.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when slots open and none of them fits the config.
pub(crate) fn open_slot(
    slots: &[Slot],
    unlock: &Unlock,
    config: &Config,
    proof: &[u8; 32],
) -> Result<Option<Keys>> {
    let mut opened = false;
    for master in masters(slots, unlock, config.vault_id) {
        let keys = Keys::full(master, config.vault_id);
        if keys.prove(config, proof) {
            return Ok(Some(keys));
        }
        opened = true;
    }
    if opened { Err(Error::corrupt("the vault's config was altered")) } else { Ok(None) }
}

/// What the slots hold that this key opens.
fn masters<'a>(
    slots: &'a [Slot],
    unlock: &'a Unlock,
    vault_id: VaultId,
) -> Box<dyn Iterator<Item = MasterKey> + 'a> {
    let of_kind = |kind: SlotKind| slots.iter().filter(move |slot| slot.kind == kind);
    match unlock {
        Unlock::Passphrase(passphrase) => {
            let stretched = costs(slots).into_iter().flat_map(move |cost| {
                let stretched = cost.stretch(passphrase, vault_id).inspect_err(
                    |error| tracing::warn!(%error, ?cost, "key slots of this cost cannot be tried"),
                );
                stretched.ok().map(|stretched| (cost, stretched))
            });
            Box::new(stretched.flat_map(move |(cost, stretched)| {
                of_kind(SlotKind::Passphrase(cost)).filter_map(move |slot| slot.unwrap(&stretched))
            }))
        }
        Unlock::KeyFile(key_file) => {
            Box::new(of_kind(SlotKind::KeyFile).filter_map(|slot| slot.unwrap(key_file.as_bytes())))
        }
        Unlock::Identity(identity) => Box::new(
            of_kind(SlotKind::Recipient).filter_map(|slot| slot.unwrap(&identity.slot_secret(&slot.salt)?)),
        ),
        Unlock::MasterKey(_) | Unlock::WriterKey(_) => Box::new(std::iter::empty()),
    }
}

/// The costs to try: the one that is ours first, then the cheapest.
fn costs(slots: &[Slot]) -> Vec<Cost> {
    let cost = |slot: &Slot| match slot.kind {
        SlotKind::Passphrase(cost) => Some(cost),
        SlotKind::KeyFile | SlotKind::Recipient => None,
    };
    let distinct: BTreeSet<Cost> = slots.iter().filter_map(cost).collect();
    let mut costs: Vec<Cost> = distinct.into_iter().collect();
    costs.sort_by_key(|cost| (*cost != Cost::DEFAULT, u64::from(cost.memory_kib) * u64::from(cost.passes)));
    costs.truncate(COSTS_TRIED_MAX);
    costs
}
