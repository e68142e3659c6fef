//! The vault: an encrypted, deduplicating chunk repository in an object store
