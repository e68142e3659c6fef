//! Marks what points need, by walking their disks' maps. A node that was marked before is not walked again.

use std::{collections::BTreeSet, mem, sync::Arc};

use futures::{StreamExt, stream};
use model::PointId;

use super::marks::{Mark, Marks};
use crate::{
    ChunkId, Digest, Error, ErrorKind, Result,
    frame::FrameKind,
    log::{PointState, State},
    tree::References,
    vault::Shared,
};

/// Nodes that are read side by side.
const NODES_AT_ONCE: usize = 16;

/// Chunks that are marked together, in the order of the index, so that each of its pages is read once for many.
const CHUNKS_AT_ONCE: usize = 1 << 20;

/// Walks maps.
pub(crate) struct Marker {
    shared: Arc<Shared>,
    pub(super) marks: Marks,
    /// Chunks of data that are to be marked, and of which points.
    waiting: Vec<(ChunkId, PointId)>,
    /// Points of which everything is marked.
    walked: BTreeSet<PointId>,
    /// Points whose damage is no reason to stop.
    ignored: BTreeSet<PointId>,
}

impl Marker {
    pub(crate) async fn new(shared: Arc<Shared>, ignored: BTreeSet<PointId>) -> Result<Self> {
        let marks = Marks::new(Arc::clone(&shared)).await?;
        Ok(Self { shared, marks, waiting: Vec::new(), walked: BTreeSet::new(), ignored })
    }

    /// Marks everything that the points of a state need, but for those that are to be purged.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming a point of which something is lost.
    pub(crate) async fn mark(&mut self, state: &State, purged: &BTreeSet<PointId>) -> Result<()> {
        let is_new = |id: &PointId| !purged.contains(id) && !self.walked.contains(id);
        let new: Vec<(&PointId, &PointState)> =
            state.body.points.iter().filter(|(id, _)| is_new(id)).collect();
        // The damaged ones last: a node that they share with a sound point must not be passed over there.
        let (ignored, sound): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|(id, _)| self.ignored.contains(id));
        for (id, point) in sound.into_iter().chain(ignored) {
            self.walk(*id, &point.roots).await?;
            self.walked.insert(*id);
        }
        self.mark_waiting()
    }

    /// The packs that keep what was marked since this was asked last.
    pub(crate) fn take_packs(&mut self) -> BTreeSet<Digest> {
        self.marks.take_touched()
    }

    async fn walk(&mut self, point: PointId, roots: &[ChunkId]) -> Result<()> {
        let mut waiting = Vec::new();
        self.mark_nodes(point, roots, &mut waiting)?;
        while !waiting.is_empty() {
            let wave = waiting.split_off(waiting.len().saturating_sub(NODES_AT_ONCE));
            let shared = Arc::clone(&self.shared);
            let mut nodes = stream::iter(wave)
                .map(|id| {
                    let shared = Arc::clone(&shared);
                    async move { References::of_node(&shared.read_chunk(FrameKind::Tree, id, None).await?) }
                })
                .buffered(NODES_AT_ONCE);
            while let Some(node) = nodes.next().await {
                match node {
                    Ok(References::Nodes(children)) => self.mark_nodes(point, &children, &mut waiting)?,
                    Ok(References::Data(chunks)) => {
                        self.waiting.extend(chunks.into_iter().map(|chunk| (chunk, point)));
                        if self.waiting.len() >= CHUNKS_AT_ONCE {
                            self.mark_waiting()?;
                        }
                    }
                    Err(error) if error.is_damage() => self.report(point, error)?,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn mark_nodes(&mut self, point: PointId, nodes: &[ChunkId], waiting: &mut Vec<ChunkId>) -> Result<()> {
        for node in nodes {
            if self.mark_one(point, node)? == Mark::New {
                waiting.push(*node);
            }
        }
        Ok(())
    }

    fn mark_waiting(&mut self) -> Result<()> {
        let mut waiting = mem::take(&mut self.waiting);
        waiting.sort_unstable();
        waiting.dedup();
        for (chunk, point) in &waiting {
            self.mark_one(*point, chunk)?;
        }
        Ok(())
    }

    fn mark_one(&mut self, point: PointId, id: &ChunkId) -> Result<Mark> {
        let mark = self.marks.mark(id)?;
        if mark == Mark::Absent {
            self.report(point, Error::corrupt(format!("chunk {id} is in no index segment")))?;
        }
        Ok(mark)
    }

    fn report(&self, point: PointId, error: Error) -> Result<()> {
        let context = format!("recovery point {point} is damaged, and what it needs cannot be told: {error}");
        if self.ignored.contains(&point) {
            tracing::warn!("{context}");
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, context)
            .with_guidance(
                "heal the vault with: holdfast vault repair; or collect in spite of it, and name the point",
            )
            .with_source(error))
    }
}
