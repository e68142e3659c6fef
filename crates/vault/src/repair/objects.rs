//! Healing objects that copies have too.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{Cure, DamagedObject, HurtPoint, LISTED_MAX, Repair};
use crate::{
    Digest, Error, ErrorKind, Result,
    keys::slot::{SLOT_BYTES, Slot},
    log::State,
    pack::PACK_BYTES_MAX,
    point::POINT_BYTES_MAX,
    store::ObjectKind,
    verify,
};

/// Packs that are read at once.
const PACKS_AT_ONCE: usize = 4;

impl Repair<'_> {
    /// Whoever has the vault open has its config.
    pub(super) async fn heal_config(&mut self) -> Result<()> {
        let Some(reason) = verify::config_damage(&self.shared).await? else { return Ok(()) };
        if !self.is_dry {
            let config = self.shared.config.encode(&self.shared.keys);
            self.shared.store.put_named("config", config).await?;
        }
        self.report.add(DamagedObject::Config, reason, Some(Cure::Rebuilt));
        Ok(())
    }

    /// A damaged slot comes from an earlier version or a copy. Where none has it, it is removed, if another one can still be
    /// used. Where none can be used, those come back that were deleted last.
    pub(super) async fn heal_slots(&mut self) -> Result<()> {
        let kind = ObjectKind::KeySlot;
        let mut damaged = Vec::new();
        let mut usable = 0;
        for (slot, _) in self.shared.store.list(kind).await? {
            match self.shared.store.get(kind, &slot, SLOT_BYTES as u64).await {
                Ok(bytes) => {
                    let vault_id = self.shared.config.vault_id;
                    usable += usize::from(Slot::decode(&bytes).is_ok_and(|slot| slot.vault_id() == vault_id));
                }
                Err(error) if error.is_damage() => damaged.push((slot, error)),
                Err(error) => return Err(error),
            }
        }
        for (slot, error) in damaged {
            let mut cure = self.heal(kind, &slot, SLOT_BYTES as u64).await?.map(|(_, cure)| cure);
            usable += usize::from(cure.is_some());
            if cure.is_none() && usable > 0 {
                cure = Some(Cure::Removed);
                if !self.is_dry {
                    self.shared.store.delete(kind, &slot).await?;
                }
            }
            self.report.add(DamagedObject::KeySlot(slot), error.to_string(), cure);
        }
        if usable == 0 { self.uncover_slots().await } else { Ok(()) }
    }

    /// Heals the packs of the index, and those that are in the store besides. `state` is then a later one, if packs are
    /// damaged.
    pub(super) async fn heal_packs(&mut self, state: &mut State) -> Result<()> {
        let indexed = self.indexed_packs();
        let garbage: HashSet<Digest> =
            state.body.garbage.values().flat_map(|garbage| &garbage.packs).copied().collect();
        let listed = self.shared.store.list(ObjectKind::Pack).await?;
        self.monitor.begin(listed.iter().map(|(_, size_bytes)| size_bytes).sum())?;
        let mut packs: BTreeMap<Digest, u64> = indexed.iter().map(|pack| (*pack, 0)).collect();
        packs.extend(listed.into_iter().filter(|(pack, _)| !garbage.contains(pack)));
        let this = &*self;
        let mut checks = stream::iter(packs)
            .map(|(pack, size_bytes)| async move {
                let found = match this.shared.store.get(ObjectKind::Pack, &pack, PACK_BYTES_MAX).await {
                    Ok(_) => None,
                    Err(error) if error.is_damage() => Some((pack, error)),
                    Err(error) => return Err(error),
                };
                this.monitor.advance(size_bytes)?;
                Ok::<_, Error>(found)
            })
            .buffer_unordered(PACKS_AT_ONCE)
            .boxed();
        let mut damaged = BTreeMap::new();
        while let Some(found) = checks.try_next().await? {
            damaged.extend(found);
        }
        drop(checks);
        if damaged.is_empty() {
            return Ok(());
        }
        // What a collection has given up meanwhile is not lost, and is not to come back.
        let later = self.state_now().await?;
        if later.sequence > state.sequence {
            *state = later;
            self.shared.follow(state).await?;
        }
        let needed = self.indexed_packs();
        let given_up = |pack: &Digest| {
            indexed.contains(pack) || state.body.garbage.values().any(|garbage| garbage.packs.contains(pack))
        };
        let mut lost = HashSet::new();
        for (pack, error) in damaged {
            let is_gone = error.kind() == ErrorKind::NotFound;
            if !needed.contains(&pack) && (is_gone || given_up(&pack)) {
                continue;
            }
            let cure = self.heal(ObjectKind::Pack, &pack, PACK_BYTES_MAX).await?.map(|(_, cure)| cure);
            if cure.is_none() {
                lost.insert(pack);
            }
            self.report.add(DamagedObject::Pack(pack), error.to_string(), cure);
        }
        self.shared.index.mark_damaged(&lost, &HashSet::new());
        Ok(())
    }

    fn indexed_packs(&self) -> BTreeSet<Digest> {
        self.shared.index.packs().iter().map(|pack| pack.digest).collect()
    }

    /// Heals the objects of points. Returns those that are lost.
    pub(super) async fn heal_points(&mut self, state: &mut State) -> Result<Vec<HurtPoint>> {
        let kind = ObjectKind::Point;
        let mut damaged = Vec::new();
        for (id, point) in &state.body.points {
            match self.shared.store.get(kind, &point.object, POINT_BYTES_MAX).await {
                Err(error) if error.is_damage() => damaged.push((*id, error)),
                read => drop(read?),
            }
        }
        if !damaged.is_empty() {
            *state = self.state_now().await?;
        }
        let mut lost = Vec::new();
        for (id, error) in damaged {
            // Purged meanwhile.
            let Some(point) = state.body.points.get(&id) else { continue };
            let cure = self.heal(kind, &point.object, POINT_BYTES_MAX).await?.map(|(_, cure)| cure);
            if cure.is_none() && lost.len() < LISTED_MAX {
                let (vm_id, captured_at) = (point.vm_id, point.captured_at);
                lost.push(HurtPoint { id, vm_id, captured_at, lost_bytes: None });
            }
            self.report.add(DamagedObject::Point(point.object), error.to_string(), cure);
        }
        Ok(lost)
    }

    /// Brings an object back as an earlier version in the store has it, or the first copy that has it sound. Returns its bytes.
    pub(super) async fn heal(
        &self,
        kind: ObjectKind,
        digest: &Digest,
        limit_bytes: u64,
    ) -> Result<Option<(Bytes, Cure)>> {
        if let Some(bytes) = self.uncover(kind, digest, limit_bytes).await? {
            return Ok(Some((bytes, Cure::Uncovered)));
        }
        for copy in &self.copies {
            match copy.get(kind, digest, limit_bytes).await {
                Ok(bytes) => {
                    if !self.is_dry {
                        self.shared.store.put(kind, bytes.clone()).await?;
                    }
                    return Ok(Some((bytes, Cure::Copied)));
                }
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Whether everything is as it was. What was made anew is not: a log that was pieced together may name points that were
    /// never committed, or are purged, and of which only the object is left.
    fn is_all_copied(&self) -> bool {
        let findings = &self.report.findings;
        findings.len() as u64 == self.report.finding_count
            && findings.iter().all(|finding| matches!(finding.cure, Some(Cure::Copied | Cure::Uncovered)))
    }

    /// Looks which points are not whole.
    pub(super) async fn find_hurt(&mut self, lost: &[HurtPoint]) -> Result<()> {
        self.report.hurt = lost.to_vec();
        if self.report.finding_count == 0 || !self.is_dry && self.is_all_copied() {
            return Ok(());
        }
        let state = match &self.foreseen {
            Some(state) => Arc::new(state.clone()),
            None => self.shared.refresh_to_read().await?.state,
        };
        let points =
            self.shared.read_points(state.body.points.values().map(|it| it.object).collect()).await?;
        let suspect = self.report.findings.iter().filter_map(|finding| match finding.object {
            DamagedObject::Pack(pack) if finding.cure.is_none() => Some(pack),
            _ => None,
        });
        let suspect = suspect.collect();
        for health in verify::check_points(&self.shared, &points.points, &suspect).await? {
            let Some(point) = state.body.points.get(&health.id).filter(|_| !health.is_intact()) else {
                continue;
            };
            if self.report.hurt.len() < LISTED_MAX {
                let lost_bytes = Some(health.hurt.iter().map(|disk| disk.lost_bytes).sum());
                let (id, vm_id, captured_at) = (health.id, point.vm_id, health.captured_at);
                self.report.hurt.push(HurtPoint { id, vm_id, captured_at, lost_bytes });
            }
        }
        Ok(())
    }
}
