//! Marks of a copy: this entry of its log was made by a copier. They tell a copy from a vault that somebody has gone on to
//! use, when the vault has no such old entries any more.
//!
//! Several copiers may work on one copy, so a mark stays as long as its entry does: numbers of entries to come are never
//! below those that are trimmed.

use crate::{Digest, Result, Sequence, store::Store};

/// The folder of the marks, each named by the number and the digest of its entry.
const MARKS: &str = "copied";

/// Says that an entry to come is a copier's.
pub(crate) async fn mark(copy: &Store, sequence: Sequence, entry: Digest) -> Result<()> {
    copy.put_named(&name(sequence, entry), &b"copied\n"[..]).await
}

/// Whether an entry is a copier's.
pub(crate) async fn is_marked(copy: &Store, sequence: Sequence, entry: Digest) -> Result<bool> {
    copy.has_named(&name(sequence, entry)).await
}

/// Removes the marks of entries before the first that is not trimmed.
pub(crate) async fn sweep(store: &Store, trimmed: Sequence) -> Result<()> {
    for (name, _) in store.list_named(MARKS).await? {
        let number = name.split_once('-').and_then(|(number, _)| Sequence::of_name(number));
        if number.is_some_and(|number| number < trimmed) {
            store.delete_named(&format!("{MARKS}/{name}")).await?;
        }
    }
    Ok(())
}

fn name(sequence: Sequence, entry: Digest) -> String {
    format!("{MARKS}/{:016}-{entry}", sequence.0)
}
