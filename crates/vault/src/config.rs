//! The config: what a vault was created with. Written once, in plain text; readable without a key, forgeable by nobody.

use model::{Timestamp, VaultId};

use crate::{
    Error, Result,
    codec::{Magic, PREAMBLE_BYTES, Reader, preamble},
    keys::{Keys, ReaderKey},
    tree::REGION_BYTES,
};

const MAGIC: Magic = *b"HFCONF";
const VERSION: u16 = 1;

/// Bytes of the fields after the preamble.
const FIELDS_BYTES: usize = 16 + 8 + 7 * 4 + 32;

/// No config has more, of whatever version.
pub(crate) const CONFIG_BYTES_MAX: u64 = 4096;

/// Bytes of a config.
const CONFIG_BYTES: usize = PREAMBLE_BYTES + FIELDS_BYTES + 32 + 32;

/// How disks are cut into chunks, in bytes; all multiples of 4 KiB. A chunk ends early at a hole or a region's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunking {
    /// No cut is made before this.
    pub min_bytes: u32,
    /// A cut is made about every so many bytes after the minimum.
    pub average_bytes: u32,
    /// A cut is always made here.
    pub max_bytes: u32,
}

/// What a vault was created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The vault's id.
    pub vault_id: VaultId,
    /// When it was created, by the creator's clock.
    pub created_at: Timestamp,
    /// How disks are cut into chunks.
    pub chunking: Chunking,
    /// Bytes of data chunks that are compressed together.
    pub data_frame_bytes: u32,
    /// Bytes of tree nodes that are compressed together.
    pub tree_frame_bytes: u32,
    /// Bytes at which a pack is closed.
    pub pack_bytes: u32,
    /// zstd's compression level.
    pub compression_level: u32,
    /// The key for which data is sealed.
    pub reader_key: ReaderKey,
}

impl Config {
    /// The measured defaults: see docs/format.md for the reasons.
    #[must_use]
    pub fn new(vault_id: VaultId, created_at: Timestamp, reader_key: ReaderKey) -> Self {
        Self {
            vault_id,
            created_at,
            chunking: Chunking { min_bytes: 16 << 10, average_bytes: 64 << 10, max_bytes: 256 << 10 },
            data_frame_bytes: 1 << 20,
            tree_frame_bytes: 256 << 10,
            pack_bytes: 8 << 20,
            compression_level: 1,
            reader_key,
        }
    }

    /// Sizes at which a few blocks of data make many chunks, frames and packs: for simulations.
    pub(crate) fn tiny(vault_id: VaultId, created_at: Timestamp, reader_key: ReaderKey) -> Self {
        Self {
            chunking: Chunking { min_bytes: 4096, average_bytes: 4096, max_bytes: 8192 },
            data_frame_bytes: 8192,
            tree_frame_bytes: 4096,
            pack_bytes: 16 << 10,
            ..Self::new(vault_id, created_at, reader_key)
        }
    }

    pub(crate) fn encode(&self, keys: &Keys) -> Vec<u8> {
        let mut bytes = self.encode_fields();
        bytes.extend(keys.config_proof(self));
        bytes.extend(blake3::hash(&bytes).as_bytes());
        bytes
    }

    /// The bytes that the proof covers.
    pub(crate) fn encode_fields(&self) -> Vec<u8> {
        let mut bytes = preamble(MAGIC, VERSION);
        bytes.extend(self.vault_id.as_str().as_bytes());
        bytes.extend(self.created_at.as_microseconds().to_le_bytes());
        let Chunking { min_bytes, average_bytes, max_bytes } = self.chunking;
        let sizes = [
            min_bytes,
            average_bytes,
            max_bytes,
            self.data_frame_bytes,
            self.tree_frame_bytes,
            self.pack_bytes,
        ];
        for number in sizes.into_iter().chain([self.compression_level]) {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.reader_key.0);
        bytes
    }

    /// Returns the config and its proof, which nobody has checked yet.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, [u8; 32])> {
        let mut reader = Reader::new(bytes, "the vault's config");
        reader.preamble(MAGIC, VERSION)?;
        let vault_id = std::str::from_utf8(reader.take(16)?).ok().and_then(|text| text.parse().ok());
        let created_at = Timestamp::from_microseconds(reader.u64()?.cast_signed());
        let chunking =
            Chunking { min_bytes: reader.u32()?, average_bytes: reader.u32()?, max_bytes: reader.u32()? };
        let (data_frame_bytes, tree_frame_bytes) = (reader.u32()?, reader.u32()?);
        let (pack_bytes, compression_level) = (reader.u32()?, reader.u32()?);
        let reader_key = ReaderKey(reader.array()?);
        let proof = reader.array()?;
        let checksum: [u8; 32] = reader.array()?;
        let covered = bytes.get(..CONFIG_BYTES - 32).unwrap_or_default();
        let (Some(vault_id), true) = (vault_id, blake3::hash(covered) == checksum) else {
            return Err(reader.error("does not match its checksum"));
        };
        reader.finish()?;
        let config = Self {
            vault_id,
            created_at,
            chunking,
            data_frame_bytes,
            tree_frame_bytes,
            pack_bytes,
            compression_level,
            reader_key,
        };
        config.check()?;
        Ok((config, proof))
    }

    fn check(&self) -> Result<()> {
        let Chunking { min_bytes, average_bytes, max_bytes } = self.chunking;
        let blocks = [min_bytes, average_bytes, max_bytes].iter().all(|bytes| bytes % 4096 == 0);
        let sound = blocks
            && (4096..=average_bytes).contains(&min_bytes)
            && (average_bytes..=REGION_BYTES as u32).contains(&max_bytes)
            && (4096..=4 << 20).contains(&self.data_frame_bytes)
            && (4096..=4 << 20).contains(&self.tree_frame_bytes)
            && (4096..=32 << 20).contains(&self.pack_bytes)
            && (1..=19).contains(&self.compression_level);
        if sound { Ok(()) } else { Err(Error::corrupt("the vault's config holds impossible sizes")) }
    }
}

/// Whether these bytes are a config as it was written: those of all versions end with the checksum of what is before.
pub(crate) fn is_intact(bytes: &[u8]) -> bool {
    let parts = bytes.split_last_chunk::<32>();
    parts.is_some_and(|(covered, checksum)| blake3::hash(covered) == *checksum)
}
