//! The keys of a vault and everything derived from them.
//!
//! The master key opens everything. Two others follow from it: the writer key, from which all is derived that a host needs
//! to back up, and the reader key, a key pair of X25519, for whose public half data is sealed. So a host that has only the
//! writer key can add to a vault and cannot read the data in it, not even what it wrote itself. It keeps the public half beside
//! its key, so that no config makes somebody else the reader.

mod agreement;
mod kept;
mod key_file;
mod label;
mod passphrase;
mod recipient;
mod secret;
pub(crate) mod slot;
mod text;
mod unlock;
mod writer_key;

use model::VaultId;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub(crate) use agreement::PrivateKey;
pub use agreement::ReaderKey;
pub use kept::KeptKey;
pub use key_file::KeyFile;
pub use label::KeyLabel;
pub use passphrase::Passphrase;
pub use recipient::{Identity, Recipient};
pub use secret::MasterKey;
pub use slot::{KeyKind, NewKey, NewSlot};
pub use unlock::Unlock;
pub(crate) use unlock::open_slot;
pub use writer_key::WriterKey;

use crate::{
    ChunkId, Error, ErrorKind, Result, chunking::CutKey, config::Config, frame::FrameKind, seal::Seal,
};

/// The keys at work in an open vault.
#[derive(ZeroizeOnDrop)]
pub(crate) struct Keys {
    writer: WriterKey,
    #[zeroize(skip)]
    vault_id: VaultId,
    /// What only a holder of the master key has.
    #[zeroize(skip)]
    full: Option<FullKeys>,
    data_ids: [u8; 32],
    tree_ids: [u8; 32],
}

struct FullKeys {
    master: MasterKey,
    reader: PrivateKey,
}

impl Keys {
    /// All keys of the vault.
    pub(crate) fn full(master: MasterKey, vault_id: VaultId) -> Self {
        let mut reader = derive("holdfast vault v1 reader key", master.as_bytes(), vault_id, &[]);
        let private = PrivateKey::from_bytes(&reader);
        reader.zeroize();
        let writer = derive("holdfast vault v1 writer key", master.as_bytes(), vault_id, &[]);
        let reader_key = ReaderKey(*private.public());
        let mut keys = Self::write_only(WriterKey::new(writer, reader_key), vault_id);
        keys.full = Some(FullKeys { master, reader: private });
        keys
    }

    /// The keys that add to the vault.
    pub(crate) fn write_only(writer: WriterKey, vault_id: VaultId) -> Self {
        let data_ids = derive("holdfast vault v1 chunk ids of data", writer.as_bytes(), vault_id, &[]);
        let tree_ids = derive("holdfast vault v1 chunk ids of tree nodes", writer.as_bytes(), vault_id, &[]);
        Self { writer, vault_id, full: None, data_ids, tree_ids }
    }

    /// The master key.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] when these keys can only write.
    pub(crate) fn master(&self) -> Result<&MasterKey> {
        self.full.as_ref().map(|full| &full.master).ok_or_else(write_only)
    }

    /// Fails with [`ErrorKind::WrongKey`] when these keys can only write.
    pub(crate) fn check_can_read(&self) -> Result<()> {
        self.master().map(|_| ())
    }

    pub(crate) fn writer(&self) -> &WriterKey {
        &self.writer
    }

    pub(crate) fn vault_id(&self) -> VaultId {
        self.vault_id
    }

    /// The public half of the reader key.
    pub(crate) fn reader_key(&self) -> ReaderKey {
        self.writer.reader_key()
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
        CutKey::from_bytes(&self.derive("holdfast vault v1 cut points", &[]))
    }

    /// The seal of an object that starts with `header`, which ends with the object's random salt.
    pub(crate) fn seal(&self, header: Vec<u8>) -> Seal {
        seal_of(self.derive("holdfast vault v1 object", &header), header)
    }

    /// The seal under which a new object is written that only readers open. The header ends with the public half of the
    /// ephemeral key, which must be used for nothing else.
    pub(crate) fn seal_for_reader(&self, ephemeral: &PrivateKey, header: Vec<u8>) -> Result<Seal> {
        let key = ephemeral.agree(&self.reader_key().0, |shared| {
            self.derive_for_reader(shared, ephemeral.public(), &header)
        });
        let key = key.ok_or_else(|| Error::corrupt("the vault's config holds an impossible reader key"))?;
        Ok(seal_of(key, header))
    }

    /// The seal of an object that only readers open, from the ephemeral key at the end of its header.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] when these keys can only write.
    pub(crate) fn seal_of_reader(&self, ephemeral: &[u8; 32], header: Vec<u8>) -> Result<Seal> {
        let FullKeys { reader, .. } = self.full.as_ref().ok_or_else(write_only)?;
        let key = reader.agree(ephemeral, |shared| self.derive_for_reader(shared, ephemeral, &header));
        let key = key.ok_or_else(|| Error::corrupt("a pack has an impossible ephemeral key"))?;
        Ok(seal_of(key, header))
    }

    /// The seal of the label of the key slot that starts with these bytes.
    pub(crate) fn label_seal(&self, slot: Vec<u8>) -> Result<Seal> {
        let key = derive("holdfast vault v1 key slot label", self.master()?.as_bytes(), self.vault_id, &slot);
        Ok(seal_of(key, slot))
    }

    /// The proof that a config was written by a holder of the writer key.
    pub(crate) fn config_proof(&self, config: &Config) -> [u8; 32] {
        let mut key = self.derive("holdfast vault v1 config", &[]);
        let proof = *blake3::keyed_hash(&key, &config.encode_fields()).as_bytes();
        key.zeroize();
        proof
    }

    /// Whether a config is the one that the vault was created with: its proof fits, and its reader key is ours.
    pub(crate) fn prove(&self, config: &Config, proof: &[u8; 32]) -> bool {
        self.config_proof(config) == *proof && config.reader_key == self.reader_key()
    }

    fn derive(&self, context: &'static str, salt: &[u8]) -> [u8; 32] {
        derive(context, self.writer.as_bytes(), self.vault_id, salt)
    }

    /// The writer key takes part: nobody without it makes a pack that opens, and data stays shut to whoever learns to
    /// undo X25519 and has only the store.
    fn derive_for_reader(&self, shared: &[u8], ephemeral: &[u8; 32], header: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("holdfast vault v1 data pack");
        hasher.update(self.writer.as_bytes()).update(self.vault_id.as_str().as_bytes());
        hasher.update(shared).update(ephemeral).update(&self.reader_key().0).update(header);
        *hasher.finalize().as_bytes()
    }
}

fn derive(context: &'static str, key: &[u8; 32], vault_id: VaultId, salt: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(key).update(vault_id.as_str().as_bytes()).update(salt);
    *hasher.finalize().as_bytes()
}

fn seal_of(mut key: [u8; 32], header: Vec<u8>) -> Seal {
    let seal = Seal::new(&key, header);
    key.zeroize();
    seal
}

/// Asked to read data or to manage keys without the master key.
fn write_only() -> Error {
    Error::new(ErrorKind::WrongKey, "this host can write to the vault, but not read the data in it")
        .with_guidance(
            "use a key that opens the vault: its passphrase, key file, identity file, or recovery kit",
        )
}

#[cfg(test)]
mod tests;
