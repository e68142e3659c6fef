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
//! copied/<16 digits>-<digest> in a copy: this entry of its log came from the vault
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
//!    Data is sealed for the reader key: a host with only the writer key stores what it cannot read.
//! 5. Memory does not grow with a disk; of a vault's index about two and a half bytes a chunk are held, the rest lies in
//!    nameless files. A vault that was given no directory for them holds all of it, 44 bytes a chunk.
//! 6. Every layout has a magic and a version, a golden file and a decoder that survives any bytes. An unknown version is
//!    refused as such.
//!
//! This crate knows no hypervisor, no image format and no catalog.

mod chunking;
mod codec;
mod collect;
mod config;
mod copy;
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
mod probe;
mod repair;
mod restore;
mod retain;
#[cfg(any(test, feature = "scale"))]
#[doc(hidden)]
pub mod scale;
mod seal;
mod sealed_object;
mod sizes;
mod stats;
mod store;
mod sync;
mod tree;
mod vault;
mod verify;
mod writer;

pub use collect::{CollectOptions, CollectPlan, CollectReport, PackTotals, PackUse, YoungPacks};
pub use config::{Chunking, Config};
pub use copy::{CopyReport, CopyStatus};
pub use deletion::PointFate;
pub use digest::{ChunkId, Digest};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "flaws")]
pub use flaw::Flaw;
pub use frame::FrameCache;
pub use image::VaultImage;
pub use keys::{
    Identity, KeptKey, KeyFile, KeyKind, KeyLabel, MasterKey, NewKey, NewSlot, Passphrase, ReaderKey,
    Recipient, Unlock, WriterKey,
};
pub use location::{
    StoreLocation,
    object_lock::{ObjectLock, Retention, RetentionMode},
};
pub use log::Sequence;
pub use monitor::{Monitor, ProgressListener};
pub use point::{PointList, PointRecord};
pub use probe::{Check, ProbeReport, Verdict, probe};
pub use repair::{Cure, DamagedObject, HeldPoint, HurtPoint, RepairFinding, RepairOptions, RepairReport};
pub use restore::RestoredDisk;
pub use retain::{Retained, Retentions};
pub use sizes::{PointSize, Sizes};
pub use stats::{ObjectStats, VaultStats};
pub use tree::DiskMap;
pub use vault::{
    Vault,
    key_slots::{KeySlot, KeySlotList},
    recovery_kit::RecoveryKit,
};
pub use verify::{Damage, DiskHealth, PointHealth, VerifyOptions, VerifyReport, VerifyScope};
pub use writer::{DiskSource, StoredDisk, Writer};
