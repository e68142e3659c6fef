//! The master key of a vault and everything derived from it.

mod key_file;
pub(crate) mod slot;

use std::fmt;

use model::VaultId;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use key_file::KeyFile;

use crate::{ChunkId, chunking::CutKey, config::Config, frame::FrameKind, seal::Seal};

/// A secret of 32 bytes, wiped from memory when dropped and never shown.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// The key of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a key store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey(…)")
    }
}

/// A passphrase, wiped from memory when dropped and never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Passphrase(String);

impl Passphrase {
    /// The passphrase of this text, taken as it is: no trimming, no normalisation.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passphrase(…)")
    }
}

/// What opens a vault.
#[derive(Debug, Clone)]
pub enum Unlock {
    /// A passphrase that has a key slot.
    Passphrase(Passphrase),
    /// A key file that has a key slot.
    KeyFile(KeyFile),
    /// The master key itself, kept by a server.
    MasterKey(MasterKey),
}

/// A way to open a vault that is given to it when it is created.
#[derive(Debug, Clone)]
pub enum NewSlot {
    /// A passphrase.
    Passphrase(Passphrase),
    /// A key file.
    KeyFile(KeyFile),
}

/// The keys at work in an open vault.
#[derive(ZeroizeOnDrop)]
pub(crate) struct Keys {
    master: MasterKey,
    #[zeroize(skip)]
    vault_id: VaultId,
    data_ids: [u8; 32],
    tree_ids: [u8; 32],
}

impl Keys {
    pub(crate) fn new(master: MasterKey, vault_id: VaultId) -> Self {
        let data_ids = derive("holdfast vault v1 chunk ids of data", &master, vault_id, &[]);
        let tree_ids = derive("holdfast vault v1 chunk ids of tree nodes", &master, vault_id, &[]);
        Self { master, vault_id, data_ids, tree_ids }
    }

    pub(crate) fn master(&self) -> &MasterKey {
        &self.master
    }

    /// The id of a chunk. Data and tree nodes have different keys: no disk can hold what passes for a node.
    pub(crate) fn chunk_id(&self, kind: FrameKind, bytes: &[u8]) -> ChunkId {
        let key = match kind {
            FrameKind::Data => &self.data_ids,
            FrameKind::Tree => &self.tree_ids,
        };
        ChunkId(*blake3::keyed_hash(key, bytes).as_bytes())
    }

    /// The key that decides where chunks are cut.
    pub(crate) fn cut_key(&self) -> CutKey {
        CutKey::from_bytes(&derive("holdfast vault v1 cut points", &self.master, self.vault_id, &[]))
    }

    /// The seal of an object that starts with `header`, which ends with the object's random salt.
    pub(crate) fn seal(&self, header: Vec<u8>) -> Seal {
        let mut key = derive("holdfast vault v1 object", &self.master, self.vault_id, &header);
        let seal = Seal::new(&key, header);
        key.zeroize();
        seal
    }

    /// The proof that a config was written by a holder of the master key.
    pub(crate) fn config_proof(&self, config: &Config) -> [u8; 32] {
        let key = derive("holdfast vault v1 config", &self.master, self.vault_id, &[]);
        *blake3::keyed_hash(&key, &config.encode_fields()).as_bytes()
    }
}

fn derive(context: &'static str, master: &MasterKey, vault_id: VaultId, salt: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(&master.0).update(vault_id.as_str().as_bytes()).update(salt);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests;
