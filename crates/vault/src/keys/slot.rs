//! Key slots: the master key, wrapped under something that a person keeps. Immutable; rotation writes new slots.

use std::fmt;

use env::Env;
use model::{Timestamp, VaultId};
use zeroize::{Zeroize, Zeroizing};

use super::{KeyFile, KeyLabel, Keys, MasterKey, Passphrase, PrivateKey, Recipient, passphrase::Cost};
use crate::{
    Error, Result,
    codec::{Magic, Reader, preamble},
    seal::{Role, Seal, TAG_BYTES},
};

const MAGIC: Magic = *b"HFSLOT";
const VERSION: u16 = 1;

/// Bytes of a slot before the wrapped key: all of them authenticated.
const HEADER_BYTES: usize = 80;

const WRAPPED_BYTES: usize = 32 + TAG_BYTES;
const LABEL_BYTES: usize = KeyLabel::BYTES_MAX + TAG_BYTES;

/// Bytes of a slot of any kind.
pub(crate) const SLOT_BYTES: usize = HEADER_BYTES + WRAPPED_BYTES + LABEL_BYTES;

/// A way to open a vault that is given to it.
#[derive(Debug, Clone)]
pub struct NewSlot {
    /// What will open the vault.
    pub key: NewKey,
    /// What people call it. Only who can read the vault sees it.
    pub label: KeyLabel,
}

impl NewSlot {
    /// A slot without a label.
    #[must_use]
    pub fn unlabelled(key: NewKey) -> Self {
        Self { key, label: KeyLabel::default() }
    }
}

/// What will open a vault.
#[derive(Debug, Clone)]
pub enum NewKey {
    /// A passphrase.
    Passphrase(Passphrase),
    /// A key file.
    KeyFile(KeyFile),
    /// The identity that belongs to this recipient, which need not be at hand.
    Recipient(Recipient),
}

/// What opens a key slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A passphrase.
    Passphrase,
    /// A key file.
    KeyFile,
    /// The identity of a recipient.
    Recipient,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key file",
            Self::Recipient => "recipient",
        })
    }
}

/// How a slot's secret comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotKind {
    Passphrase(Cost),
    KeyFile,
    Recipient,
}

/// A decoded key slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(super) kind: SlotKind,
    vault_id: VaultId,
    created_at: Timestamp,
    /// Random; of a recipient's slot the public half of an ephemeral key.
    pub(super) salt: [u8; 32],
    wrapped: [u8; WRAPPED_BYTES],
    label: [u8; LABEL_BYTES],
}

impl Slot {
    /// Wraps the master key. Takes a moment for a passphrase: call it on a blocking thread.
    pub(crate) fn wrap(keys: &Keys, new: &NewSlot, env: &Env) -> Result<Self> {
        let master = keys.master()?;
        let vault_id = keys.vault_id();
        let mut random = Zeroizing::new(env::random(&*env.entropy));
        let (kind, secret) = match &new.key {
            NewKey::Passphrase(passphrase) => {
                (SlotKind::Passphrase(Cost::DEFAULT), Cost::DEFAULT.stretch(passphrase, vault_id)?)
            }
            NewKey::KeyFile(key_file) => (SlotKind::KeyFile, Zeroizing::new(*key_file.as_bytes())),
            NewKey::Recipient(recipient) => {
                let ephemeral = PrivateKey::from_bytes(&random);
                *random = *ephemeral.public();
                (SlotKind::Recipient, Zeroizing::new(recipient.slot_secret(&ephemeral)?))
            }
        };
        let mut slot = Self {
            kind,
            vault_id,
            created_at: env.clock.now(),
            salt: *random,
            wrapped: [0; WRAPPED_BYTES],
            label: [0; LABEL_BYTES],
        };
        let mut bytes = master.as_bytes().to_vec();
        slot.seal_of(&secret).close(Role::Body, 0, &mut bytes, 0);
        slot.wrapped.copy_from_slice(&bytes);
        let mut label = new.label.encode().to_vec();
        keys.label_seal(slot.encode_up_to_label())?.close(Role::Body, 0, &mut label, 0);
        slot.label.copy_from_slice(&label);
        Ok(slot)
    }

    /// Unwraps the master key; none when the slot is for something else.
    pub(super) fn unwrap(&self, secret: &[u8; 32]) -> Option<MasterKey> {
        let mut bytes = self.wrapped.to_vec();
        let opened = self.seal_of(secret).open(Role::Body, 0, &mut bytes).is_ok();
        let master = bytes.first_chunk().filter(|_| opened).map(|bytes| MasterKey::from_bytes(*bytes));
        bytes.zeroize();
        master
    }

    /// The label, whose seal covers the whole slot: who has no master key cannot make a slot that passes.
    pub(crate) fn open_label(&self, keys: &Keys) -> Result<KeyLabel> {
        let mut label = self.label.to_vec();
        let opened = keys.label_seal(self.encode_up_to_label())?.open(Role::Body, 0, &mut label);
        opened
            .ok()
            .and_then(|()| KeyLabel::decode(&label))
            .ok_or_else(|| Error::corrupt("a key slot is damaged, or a stranger's"))
    }

    pub(crate) fn kind(&self) -> KeyKind {
        match self.kind {
            SlotKind::Passphrase(_) => KeyKind::Passphrase,
            SlotKind::KeyFile => KeyKind::KeyFile,
            SlotKind::Recipient => KeyKind::Recipient,
        }
    }

    pub(crate) fn vault_id(&self) -> VaultId {
        self.vault_id
    }

    pub(crate) fn created_at(&self) -> Timestamp {
        self.created_at
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.encode_up_to_label();
        bytes.extend(self.label);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "a key slot");
        reader.preamble(MAGIC, VERSION)?;
        let kind_code = reader.u8()?;
        let unused: [u8; 3] = reader.array()?;
        let cost = Cost { memory_kib: reader.u32()?, passes: reader.u32()?, lanes: reader.u32()? };
        let vault_id = std::str::from_utf8(reader.take(16)?).ok().and_then(|text| text.parse().ok());
        let created_at = Timestamp::from_microseconds(reader.u64()?.cast_signed());
        let (salt, wrapped, label) = (reader.array()?, reader.array()?, reader.array()?);
        let kind = match kind_code {
            0 if cost.is_honoured() => SlotKind::Passphrase(cost),
            1 if cost == Cost::NOTHING => SlotKind::KeyFile,
            2 if cost == Cost::NOTHING => SlotKind::Recipient,
            _ => return Err(reader.error("is of an unknown kind or cost")),
        };
        let (Some(vault_id), [0, 0, 0]) = (vault_id, unused) else {
            return Err(reader.error("has a bad header"));
        };
        reader.finish()?;
        Ok(Self { kind, vault_id, created_at, salt, wrapped, label })
    }

    fn encode_up_to_label(&self) -> Vec<u8> {
        let mut bytes = self.encode_header();
        bytes.extend(self.wrapped);
        bytes
    }

    fn encode_header(&self) -> Vec<u8> {
        let (kind_code, cost) = match self.kind {
            SlotKind::Passphrase(cost) => (0, cost),
            SlotKind::KeyFile => (1, Cost::NOTHING),
            SlotKind::Recipient => (2, Cost::NOTHING),
        };
        let mut bytes = preamble(MAGIC, VERSION);
        bytes.extend([kind_code, 0, 0, 0]);
        for number in [cost.memory_kib, cost.passes, cost.lanes] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.vault_id.as_str().as_bytes());
        bytes.extend(self.created_at.as_microseconds().to_le_bytes());
        bytes.extend(self.salt);
        bytes
    }

    /// The salt is in the header, so each slot has a key of its own and the nonce may be zero.
    fn seal_of(&self, secret: &[u8; 32]) -> Seal {
        let header = self.encode_header();
        let mut hasher = blake3::Hasher::new_derive_key("holdfast vault v1 key slot");
        hasher.update(secret).update(&header);
        Seal::new(hasher.finalize().as_bytes(), header)
    }
}
