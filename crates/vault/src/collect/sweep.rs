//! Deletes what the log has given up. Whoever dies in the middle leaves the rest to the next collection.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    Digest, Result,
    log::{Change, State, marks},
    store::ObjectKind,
    vault::Shared,
};

/// Objects that are deleted side by side.
const DELETES_AT_ONCE: usize = 16;

/// Entries that are worth a state of their own.
const ENTRIES_KEPT: u64 = 64;

/// Deletes the objects of all garbage of a state: points, then segments, then packs.
pub(super) async fn delete_garbage(shared: &Shared, state: &State) -> Result<()> {
    for kind in [ObjectKind::Point, ObjectKind::IndexSegment, ObjectKind::Pack] {
        let garbage = state.body.garbage.values().flat_map(|garbage| garbage.of_kind(kind));
        delete(shared, state, kind, &garbage.copied().collect()).await?;
    }
    Ok(())
}

/// Deletes objects of one kind; that they are gone already is fine. What the state still needs is never among them,
/// and would not be deleted if it were.
pub(super) async fn delete(
    shared: &Shared,
    state: &State,
    kind: ObjectKind,
    objects: &BTreeSet<Digest>,
) -> Result<()> {
    let needed: BTreeSet<Digest> = match kind {
        ObjectKind::Point => state.body.points.values().map(|point| point.object).collect(),
        ObjectKind::IndexSegment => state.body.segments.clone(),
        _ => shared.index.packs().iter().map(|pack| pack.digest).collect(),
    };
    let going: Vec<Digest> = objects.difference(&needed).copied().collect();
    stream::iter(going)
        .map(|object| async move { shared.store.delete(kind, &object).await })
        .buffered(DELETES_AT_ONCE)
        .try_collect()
        .await
}

/// Shortens the log, and says in it that all garbage of `state` is deleted.
pub(super) async fn finish(shared: &Shared, state: &State) -> Result<()> {
    let through = state.body.garbage.keys().next_back().copied();
    if through.is_none() && state.sequence.0 - state.body.trimmed.0 < ENTRIES_KEPT {
        return Ok(());
    }
    let trimmed = shared.log.trim(state).await?;
    // Of a vault that was a copy.
    marks::sweep(&shared.store, trimmed).await?;
    let through = through.unwrap_or(state.body.collected);
    shared.log.append(Change::Swept { through, trimmed }).await?;
    Ok(())
}
