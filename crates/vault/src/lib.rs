//! The vault: an encrypted, deduplicating chunk repository in an object store.
//!
//! # Layout
//!
//! ```text
//! config                     what the vault was created with
//! keys/<digest>              key slots: the master key, wrapped
//! packs/<2 digits>/<digest>  frames of compressed chunks
//! index/<digest>             index segments: which chunk is where
//! points/<digest>            recovery points
//! log/<16 digits>            what happened, by number: commits, deletions, collections
//! states/<16 digits>         what a vault is after the entry with that number
//! clock/<16 digits>          to see what time it is by the store's clock; gone at once
//! reserve                    room that deleting needs in a full store
//! ```
//!
//! `docs/format.md` describes every byte.
//!
//! # Invariants
//!
//! 1. Objects are immutable and named by the BLAKE3 digest of their own bytes, so anybody can check them without a key.
//!    Only the config has a fixed name; it is created once and never overwritten.
//! 2. Packs are written before the index segment that lists them, segments before the entry of the log that names them and
//!    the point. The entry is the only commit. What is deleted, an entry has given up before.
//! 3. There are no locks. Two writers that store the same chunk at the same time store it twice, and both are right. Of
//!    two entries one came first, and the other was made in the knowledge of it.
//! 4. Nothing leaves this crate that was not checked against a digest made with the vault's key.
//! 5. Memory does not grow with a disk; of a vault only the index is held, 44 bytes a chunk.
//! 6. Every layout has a magic and a version, a golden file and a decoder that survives any bytes. An unknown version is
//!    refused as such.
//!
//! This crate knows no hypervisor, no image format and no catalog.

mod chunking;
mod codec;
mod collect;
mod config;
mod deletion;
mod digest;
mod error;
#[cfg(test)]
mod fixture;
mod flaw;
mod frame;
#[doc(hidden)]
pub mod fuzz;
#[cfg(test)]
mod golden;
mod image;
mod index;
mod keys;
mod location;
mod log;
mod lru;
mod monitor;
mod pack;
mod point;
mod pool;
mod restore;
mod seal;
mod sealed_object;
mod stats;
mod store;
mod sync;
mod tree;
mod vault;
mod verify;
mod writer;

pub use collect::{CollectOptions, CollectPlan, CollectReport, PackTotals, PackUse, YoungPacks};
pub use config::{Chunking, Config};
pub use deletion::PointFate;
pub use digest::{ChunkId, Digest};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "flaws")]
pub use flaw::Flaw;
pub use image::VaultImage;
pub use keys::{KeyFile, MasterKey, NewSlot, Passphrase, Unlock};
pub use location::StoreLocation;
pub use monitor::{Monitor, ProgressListener};
pub use point::{PointList, PointRecord};
pub use restore::RestoredDisk;
pub use stats::{ObjectStats, VaultStats};
pub use tree::DiskMap;
pub use vault::Vault;
pub use verify::{Damage, DiskHealth, PointHealth, VerifyReport};
pub use writer::{DiskSource, StoredDisk, Writer};
