//! What a vault is after an entry of its log: a pure function of the entries.

use std::collections::{BTreeMap, BTreeSet};

use model::{PointId, Timestamp, VaultSettings, VmId};
use serde::{Deserialize, Serialize};

use super::{
    Sequence,
    entry::{self, Change, Collection, Entry},
    rules,
};
use crate::{ChunkId, Digest, Error, ErrorKind, Result, codec::Magic, keys::Keys, store::ObjectKind};

const MAGIC: Magic = *b"HFSTAT";
const VERSION: u16 = 1;
const WHAT: &str = "a state of the vault's log";

/// The largest state that is read: about a million points.
pub(crate) const STATE_BYTES_MAX: u64 = 512 << 20;

/// A recovery point as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PointState {
    pub(crate) object: Digest,
    pub(crate) vm_id: VmId,
    pub(crate) captured_at: Timestamp,
    pub(crate) committed_at: Timestamp,
    pub(crate) roots: Vec<ChunkId>,
    /// Why nobody may delete it.
    pub(crate) hold: Option<String>,
    /// When it was deleted, and from when on it is garbage.
    pub(crate) deletion: Option<Deletion>,
}

/// A point that was deleted, but can be brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Deletion {
    pub(crate) at: Timestamp,
    pub(crate) purge_after: Timestamp,
}

/// Objects that a collection gave up and that may still be in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Garbage {
    /// Objects of points.
    pub(crate) points: Vec<Digest>,
    pub(crate) segments: Vec<Digest>,
    pub(crate) packs: Vec<Digest>,
}

impl Garbage {
    /// How many objects.
    pub(crate) fn len(&self) -> usize {
        self.points.len() + self.segments.len() + self.packs.len()
    }

    /// The objects of a kind that were given up.
    pub(crate) fn of_kind(&self, kind: ObjectKind) -> &[Digest] {
        match kind {
            ObjectKind::Point => &self.points,
            ObjectKind::IndexSegment => &self.segments,
            ObjectKind::Pack => &self.packs,
            ObjectKind::KeySlot => &[],
        }
    }
}

/// What a vault is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// The number of the last entry; zero when there is none.
    pub(crate) sequence: Sequence,
    /// The digest of the last entry; zeros when there is none.
    pub(crate) head: Digest,
    pub(crate) body: Body,
    /// It was pieced together from a damaged log: good for reading, but nothing may be built on it.
    pub(crate) is_salvaged: bool,
}

/// What follows from the entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Body {
    /// What has passed for certain: the latest moment that a writer's clock and the store's agreed on.
    pub(crate) at: Timestamp,
    pub(crate) settings: VaultSettings,
    pub(crate) points: BTreeMap<PointId, PointState>,
    /// The index segments that are the index.
    pub(crate) segments: BTreeSet<Digest>,
    /// Those of them that belong to writers which have not committed, and since when.
    pub(crate) loose: BTreeMap<Digest, Timestamp>,
    /// The number of the last collection.
    pub(crate) collected: Sequence,
    /// What collections gave up, by their number, until it is deleted.
    pub(crate) garbage: BTreeMap<Sequence, Garbage>,
    /// Entries before this one are deleted, for certain.
    pub(crate) trimmed: Sequence,
}

impl State {
    /// The state before the first entry.
    pub(crate) fn empty() -> Self {
        Self { sequence: Sequence(0), head: Digest([0; 32]), body: Body::default(), is_salvaged: false }
    }

    pub(crate) fn encode(&self, keys: &Keys, salt: [u8; 32]) -> Result<Vec<u8>> {
        let body = serde_json::to_vec(&self.body).map_err(|error| {
            Error::invalid("the state cannot be written as a document").with_source(error)
        })?;
        Ok(entry::seal_numbered(MAGIC, VERSION, self.sequence, self.head, keys, salt, &body))
    }

    #[cfg(test)]
    pub(crate) fn encode_body(&self) -> Vec<u8> {
        serde_json::to_vec(&self.body).unwrap()
    }

    pub(crate) fn decode(sequence: Sequence, bytes: &[u8], keys: &Keys) -> Result<Self> {
        let (head, body) = entry::open_numbered(MAGIC, VERSION, WHAT, sequence, keys, bytes)?;
        Ok(Self { sequence, head, body: decode_body(&body)?, is_salvaged: false })
    }

    /// Whether a map with this root belongs to a point that is not deleted for good.
    pub(crate) fn has_root(&self, root: &ChunkId) -> bool {
        self.body.points.values().any(|point| point.roots.contains(root))
    }

    /// Takes an entry in. It has the next number, and is what the rules allow; its `digest` becomes the head.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with the reason, and the state is as it was.
    pub(crate) fn apply(&mut self, entry: &Entry, digest: Digest) -> Result<()> {
        if entry.sequence != self.sequence.next() || entry.previous != self.head {
            return Err(Error::corrupt(format!(
                "entry {} of the vault's log does not follow the one before it",
                entry.sequence.0
            )));
        }
        self.body.apply(entry)?;
        (self.sequence, self.head) = (entry.sequence, digest);
        // One clock alone moves nothing: if it ran ahead, all that follows would be as late.
        self.body.at = self.body.at.max(entry.at.certain().unwrap_or_default());
        Ok(())
    }
}

impl Body {
    fn apply(&mut self, entry: &Entry) -> Result<()> {
        let latest = entry.at.latest().max(self.at);
        match &entry.change {
            Change::Commit { point, segments, settled } => {
                let state = PointState {
                    object: point.object,
                    vm_id: point.vm_id,
                    captured_at: point.captured_at,
                    committed_at: latest,
                    roots: point.roots.clone(),
                    hold: None,
                    deletion: None,
                };
                if self.points.contains_key(&point.id) {
                    return Err(refused(point.id, "is in the vault already"));
                }
                self.points.insert(point.id, state);
                self.segments.extend(segments);
                self.loose.retain(|segment, _| !settled.contains(segment));
            }
            Change::Index { segments } => {
                self.segments.extend(segments);
                self.loose.extend(segments.iter().map(|segment| (*segment, latest)));
            }
            Change::Delete { points } => {
                let (settings, certain) = (self.settings, entry.at.certain());
                let purge_after = rules::purge_after(&settings, certain, latest);
                let deletion = Deletion { at: latest, purge_after };
                self.change(
                    points,
                    |point| rules::may_delete(point, &settings, certain),
                    |point| point.deletion = Some(deletion),
                )?;
            }
            Change::Undelete { points } => {
                self.change(points, rules::may_undelete, |point| point.deletion = None)?;
            }
            Change::Hold { points, reason } => {
                self.change(points, rules::may_hold, |point| point.hold = Some(reason.clone()))?;
            }
            Change::Release { points } => {
                self.change(points, rules::may_release, |point| point.hold = None)?;
            }
            Change::Settings(settings) => {
                settings.may_follow(&self.settings).map_err(|why| Error::new(ErrorKind::Refused, why))?;
                self.settings = *settings;
            }
            Change::Collect(collection) => self.collect(entry, collection)?,
            Change::Swept { through, trimmed } => {
                self.garbage.retain(|collection, _| collection > through);
                self.trimmed = self.trimmed.max(*trimmed);
            }
        }
        Ok(())
    }

    /// Changes all of these points or, where one may not be changed, none.
    fn change(
        &mut self,
        ids: &[PointId],
        may: impl Fn(&PointState) -> rules::Rule,
        mut change: impl FnMut(&mut PointState),
    ) -> Result<()> {
        for &id in ids {
            let point = self.points.get(&id).ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("there is no recovery point {id} in this vault"))
            })?;
            may(point).map_err(|why| refused(id, why))?;
        }
        for id in ids {
            self.points.get_mut(id).into_iter().for_each(&mut change);
        }
        Ok(())
    }

    fn collect(&mut self, entry: &Entry, collection: &Collection) -> Result<()> {
        let certain = entry.at.certain();
        self.change(&collection.points, |point| rules::may_purge(point, certain), |_| {})?;
        let purged = collection.points.iter().filter_map(|id| Some(self.points.remove(id)?.object));
        let points = purged.chain(collection.point_objects.iter().copied()).collect();
        for segment in &collection.segments {
            self.segments.remove(segment);
            self.loose.remove(segment);
        }
        self.segments.extend(&collection.new_segments);
        self.collected = entry.sequence;
        let (segments, packs) = (collection.segments.clone(), collection.packs.clone());
        self.garbage.insert(entry.sequence, Garbage { points, segments, packs });
        Ok(())
    }
}

fn refused(id: PointId, why: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("recovery point {id} {why}"))
}

/// Reads the sealed part of a state.
pub(crate) fn decode_body(body: &[u8]) -> Result<Body> {
    serde_json::from_slice(body).map_err(|error| {
        Error::corrupt("a state of the vault's log is not the document it should be").with_source(error)
    })
}

/// Whether these are the undamaged bytes of a state with this number. Needs no key.
#[cfg(test)]
pub(crate) fn is_sound(sequence: Sequence, bytes: &[u8]) -> bool {
    entry::check_numbered(MAGIC, VERSION, WHAT, sequence, bytes).is_ok()
}
