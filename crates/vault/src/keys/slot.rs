//! Key slots: the master key, wrapped under something that a person keeps. Immutable; rotation writes new slots.

use argon2::{Algorithm, Argon2, Params, Version};
use env::Env;
use model::{Timestamp, VaultId};
use zeroize::Zeroize;

use super::{KeyFile, MasterKey, NewSlot, Passphrase, Unlock};
use crate::{
    Error, Result,
    codec::{Magic, Reader, preamble},
    seal::{Role, Seal, TAG_BYTES},
};

const MAGIC: Magic = *b"HFSLOT";
const VERSION: u16 = 1;

/// Bytes of a slot before the wrapped key: all of them authenticated.
const HEADER_BYTES: usize = 64;

/// Bytes of a slot.
pub(crate) const SLOT_BYTES: usize = HEADER_BYTES + 32 + TAG_BYTES;

/// RFC 9106's second recommended setting: 64 MiB, three passes, four lanes.
const COST_DEFAULT: Cost = Cost { memory_kib: 64 << 10, passes: 3, lanes: 4 };

/// The dearest setting that is honoured: a slot is read before it can be authenticated, and must not exhaust the reader.
const COST_MAX: Cost = Cost { memory_kib: 1 << 20, passes: 16, lanes: 16 };

/// What it costs to try one passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotKind {
    Passphrase(Cost),
    KeyFile,
}

/// A decoded key slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    kind: SlotKind,
    vault_id: VaultId,
    created_at: Timestamp,
    salt: [u8; 16],
    wrapped: [u8; 32 + TAG_BYTES],
}

impl Slot {
    /// Wraps the master key. Takes a moment for a passphrase.
    pub(crate) fn wrap(master: &MasterKey, vault_id: VaultId, opener: &NewSlot, env: &Env) -> Result<Self> {
        let kind = match opener {
            NewSlot::Passphrase(_) => SlotKind::Passphrase(COST_DEFAULT),
            NewSlot::KeyFile(_) => SlotKind::KeyFile,
        };
        let salt = env::random(&*env.entropy);
        let mut slot =
            Self { kind, vault_id, created_at: env.clock.now(), salt, wrapped: [0; 32 + TAG_BYTES] };
        let seal = match opener {
            NewSlot::Passphrase(passphrase) => slot.seal_of_passphrase(passphrase, COST_DEFAULT)?,
            NewSlot::KeyFile(key_file) => slot.seal_of_key_file(key_file),
        };
        let mut bytes = master.as_bytes().to_vec();
        seal.close(Role::Body, 0, &mut bytes, 0);
        slot.wrapped.copy_from_slice(&bytes);
        Ok(slot)
    }

    /// Unwraps the master key; none when the slot is for something else.
    pub(crate) fn unwrap(&self, unlock: &Unlock) -> Result<Option<MasterKey>> {
        let seal = match (self.kind, unlock) {
            (SlotKind::Passphrase(cost), Unlock::Passphrase(passphrase)) => {
                self.seal_of_passphrase(passphrase, cost)?
            }
            (SlotKind::KeyFile, Unlock::KeyFile(key_file)) => self.seal_of_key_file(key_file),
            _ => return Ok(None),
        };
        let mut bytes = self.wrapped.to_vec();
        let opened = seal.open(Role::Body, 0, &mut bytes).is_ok();
        let master = bytes.first_chunk().filter(|_| opened).map(|bytes| MasterKey::from_bytes(*bytes));
        bytes.zeroize();
        Ok(master)
    }

    pub(crate) fn vault_id(&self) -> VaultId {
        self.vault_id
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.encode_header();
        bytes.extend(self.wrapped);
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
        let salt = reader.array()?;
        let wrapped = reader.array()?;
        let nothing = Cost { memory_kib: 0, passes: 0, lanes: 0 };
        let kind = match kind_code {
            0 if cost.memory_kib <= COST_MAX.memory_kib
                && cost.passes <= COST_MAX.passes
                && cost.lanes <= COST_MAX.lanes =>
            {
                SlotKind::Passphrase(cost)
            }
            1 if cost == nothing => SlotKind::KeyFile,
            _ => return Err(reader.error("is of an unknown kind or cost")),
        };
        let (Some(vault_id), [0, 0, 0]) = (vault_id, unused) else {
            return Err(reader.error("has a bad header"));
        };
        reader.finish()?;
        Ok(Self { kind, vault_id, created_at, salt, wrapped })
    }

    fn encode_header(&self) -> Vec<u8> {
        let (kind_code, cost) = match self.kind {
            SlotKind::Passphrase(cost) => (0, cost),
            SlotKind::KeyFile => (1, Cost { memory_kib: 0, passes: 0, lanes: 0 }),
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

    fn seal_of_passphrase(&self, passphrase: &Passphrase, cost: Cost) -> Result<Seal> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
            .map_err(|_| Error::corrupt("a key slot asks for an impossible cost"))?;
        let mut stretched = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.0.as_bytes(), &self.salt, &mut stretched)
            .map_err(|error| Error::corrupt(format!("a key slot cannot be tried: {error}")))?;
        let seal = self.seal_of(&stretched);
        stretched.zeroize();
        Ok(seal)
    }

    fn seal_of_key_file(&self, key_file: &KeyFile) -> Seal {
        self.seal_of(key_file.as_bytes())
    }

    /// The salt is in the header, so each slot has a key of its own and the nonce may be zero.
    fn seal_of(&self, secret: &[u8; 32]) -> Seal {
        let header = self.encode_header();
        let mut hasher = blake3::Hasher::new_derive_key("holdfast vault v1 key slot");
        hasher.update(secret).update(&header);
        Seal::new(hasher.finalize().as_bytes(), header)
    }
}
