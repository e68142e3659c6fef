//! What is in a store, and what was in it.

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use object_store::path::Path;

/// An object that is there.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) bytes: Bytes,
    pub(crate) created_at: Duration,
    pub(crate) modified_at: Duration,
}

/// An object that was there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone {
    pub(super) size_bytes: u64,
    pub(super) created_at: Duration,
    pub(super) deleted_at: Duration,
}

/// The objects of a store. Times are those since the world began.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(super) stored: BTreeMap<Path, Stored>,
    pub(super) gone: BTreeMap<Path, Gone>,
    /// How often anything changed.
    changes: u64,
    /// How often an object was deleted.
    deletions: u64,
}

/// A request that changes something.
#[derive(Debug, Clone)]
pub(super) enum Mutation {
    Put { path: Path, bytes: Bytes, is_create: bool },
    Delete { path: Path },
}

/// What a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    Done,
    Exists,
    NotFound,
}

impl fmt::Display for Mutation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { path, bytes, is_create: true } => {
                write!(formatter, "create {path} ({} bytes)", bytes.len())
            }
            Self::Put { path, bytes, is_create: false } => {
                write!(formatter, "put {path} ({} bytes)", bytes.len())
            }
            Self::Delete { path } => write!(formatter, "delete {path}"),
        }
    }
}

impl Objects {
    pub(super) fn apply(&mut self, now: Duration, mutation: Mutation) -> Applied {
        match mutation {
            Mutation::Put { path, bytes, is_create } => {
                let earlier = self.stored.get(&path).map(|stored| stored.created_at);
                if is_create && earlier.is_some() {
                    return Applied::Exists;
                }
                let created_at = earlier.unwrap_or(now);
                self.stored.insert(path, Stored { bytes, created_at, modified_at: now });
            }
            Mutation::Delete { path } => {
                let Some(stored) = self.stored.remove(&path) else { return Applied::NotFound };
                let gone = Gone {
                    size_bytes: stored.bytes.len() as u64,
                    created_at: stored.created_at,
                    deleted_at: now,
                };
                self.gone.insert(path, gone);
                self.deletions += 1;
            }
        }
        self.changes += 1;
        Applied::Done
    }

    pub(crate) fn get(&self, path: &Path) -> Option<&Stored> {
        self.stored.get(path)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.stored.keys()
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn deletions(&self) -> u64 {
        self.deletions
    }

    pub(super) fn flip_bit(&mut self, path: &Path, place: u64) {
        let Some(stored) = self.stored.get_mut(path) else { return };
        let mut bytes = stored.bytes.to_vec();
        let bits = bytes.len() as u64 * 8;
        if bits > 0 {
            bytes[(place % bits / 8) as usize] ^= 1 << (place % 8);
        }
        stored.bytes = bytes.into();
        self.changes += 1;
    }
}
