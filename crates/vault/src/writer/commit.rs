//! The end of a writer: everything durable, then the commit, in the knowledge of every collection before it.

use std::sync::Arc;

use super::Writer;
use crate::{
    Digest, Error, ErrorKind, PointRecord, Result,
    flaw::Flaw,
    log::{Appended, Change, NewPoint, State},
    store::ObjectKind,
    tree::TreeReader,
    vault::Shared,
};

impl Writer {
    /// Makes everything that was stored durable and then commits the point: packs, index segments, the point's object, and
    /// at last the entry of the log that makes it a point. It exists when this returns, and after an error it may exist
    /// only if the store lost its answer: who then commits the same again finds it there, and nothing is done twice.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the point's maps are not in this vault. [`ErrorKind::Overtaken`] when garbage was
    /// collected meanwhile, and this writer relied on some of it, or when the store was put back to an earlier time: a new
    /// writer stores it again.
    pub async fn commit(mut self, point: PointRecord) -> Result<PointRecord> {
        self.check_unbroken()?;
        self.packer.flush().await?;
        for (disk, map) in point.disks() {
            if let Some(root) = map.root
                && !self.collector.holds(&root)?
            {
                return Err(Error::invalid(format!("disk {} of the point is not in this vault", disk.name)));
            }
        }
        let object = self.shared.write_point(&point).await?;
        let new_point = NewPoint {
            id: point.summary.id,
            object,
            vm_id: point.summary.vm_id,
            captured_at: point.summary.captured_at,
            roots: point.maps.iter().filter_map(|map| map.root).collect(),
        };
        let mut slept = None;
        loop {
            let state = self.shared.refresh().await?.state;
            if is_committed(&state, &new_point) {
                return Ok(point);
            }
            if let Some(error) = slept {
                return Err(error);
            }
            self.shared.log.check_follows(&state, &self.base).await?;
            if state.body.collected > self.collected && !self.shared.has_flaw(Flaw::WriterSkipsOutlive) {
                self.outlive(&state, &point, object).await?;
                continue;
            }
            let change = Change::Commit {
                point: new_point.clone(),
                segments: self.packer.unlisted_segments().to_vec(),
                settled: self.packer.loose_segments().to_vec(),
            };
            // Retention runs from here: by the later of two clocks, so that one that is slow does not shorten it.
            let at = self.shared.log.moment().await?;
            match self.shared.log.try_append_at(&state, change, at).await {
                Ok(Appended::Done(state)) => {
                    // The point is committed; an index that does not follow now follows later.
                    if let Err(error) = self.shared.follow(&state).await {
                        tracing::warn!(%error, "the index could not be brought up to date");
                    }
                    return Ok(point);
                }
                Ok(Appended::Overtaken) => {}
                // The vault tells whether it took effect.
                Err(error) if error.kind() == ErrorKind::Overtaken => slept = Some(error),
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes sure that a collection since the writer's start took nothing that the point needs.
    async fn outlive(&mut self, state: &Arc<State>, point: &PointRecord, object: Digest) -> Result<()> {
        if !still_there(&self.shared, state, ObjectKind::Point, &object).await? {
            return Err(robbed());
        }
        self.packer.list_segments(state).await?;
        self.shared.refresh().await?;
        for map in &point.maps {
            let tree = TreeReader::new(Arc::clone(&self.shared), *map);
            match self.holds_all_of(&tree).await {
                Ok(true) => {}
                Ok(false) => return Err(robbed()),
                Err(error) if error.kind() == ErrorKind::Corrupt => return Err(robbed().with_source(error)),
                Err(error) => return Err(error),
            }
        }
        // Of what was collected after this state, the point's object was not asked about.
        self.collected = state.body.collected;
        Ok(())
    }
}

/// Whether the point is in the vault already, by a try whose answer was lost.
fn is_committed(state: &State, point: &NewPoint) -> bool {
    state.body.points.get(&point.id).is_some_and(|known| {
        (known.vm_id, known.captured_at, &known.roots) == (point.vm_id, point.captured_at, &point.roots)
    })
}

/// The error of a writer whose ground was collected.
pub(super) fn robbed() -> Error {
    Error::new(ErrorKind::Overtaken, "garbage was collected that this backup relied on")
        .with_guidance("run the same again: it stores what is missing")
}

/// Whether an object that no entry of the log names is still there, and nobody is about to delete it.
pub(super) async fn still_there(
    shared: &Shared,
    state: &State,
    kind: ObjectKind,
    object: &Digest,
) -> Result<bool> {
    if shared.has_flaw(Flaw::OrphansUnasked) {
        return Ok(true);
    }
    let given_up = state.body.garbage.values().any(|garbage| garbage.of_kind(kind).contains(object));
    Ok(!given_up && shared.store.head(kind, object).await?.is_some())
}
