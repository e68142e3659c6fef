//! What references name.

use std::{collections::BTreeMap, fmt};

use catalog::{ImageSource, KnownReplica};
use journal::{At, CheckpointKind, Moment, ReplicaChanges, RestorePoint, Sequence};
use model::{Consistency, DiskName, MomentSelector, ReplicaReference, Timestamp, VmDefinition};
use recovery::{Event, Stage, step};

use super::{definition, groups, image_of, not_known};
use crate::{
    failure::{Failure, Result},
    images::OpenImage,
    site::Site,
};

/// A moment of a replicated VM, held as long as this is kept.
pub(crate) struct FoundMoment {
    pub(crate) replica: KnownReplica,
    pub(crate) moment: Moment,
    /// When its last record was taken in, by the source's clock.
    pub(crate) time: Timestamp,
}

/// The replica of the VM with this name or id, or of the journal with this id.
pub(crate) async fn find(site: &Site, name: &str) -> Result<KnownReplica> {
    let all = site.catalog.replicas().await?;
    if let Some(exact) = all.iter().find(|known| known.journal_id.as_str() == name) {
        return Ok(exact.clone());
    }
    let of_vm = |known: &&KnownReplica| known.vm_name.as_str() == name || known.vm_id.as_str() == name;
    let mut found: Vec<&KnownReplica> = all.iter().filter(of_vm).collect();
    // What was committed is history: only the last of it counts, and only where there is nothing else.
    let is_over = |known: &&KnownReplica| matches!(known.standing.stage, Stage::Committed { .. });
    if found.iter().all(is_over) {
        found.sort_by_key(|known| std::cmp::Reverse(known.standing.generation));
        found.truncate(1);
    } else {
        found.retain(|known| !is_over(known));
    }
    // One that is still fed goes before those that ended.
    if found.iter().any(|known| known.standing.ended_at.is_none()) {
        found.retain(|known| known.standing.ended_at.is_none());
    }
    match found.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(not_known(name)),
        several => {
            let ids: Vec<_> = several.iter().map(|known| known.journal_id.as_str()).collect();
            Err(Failure::conflict(format!("there are {} replicas of {name}", several.len()))
                .with_hint(format!("name one by its journal: {}", ids.join(", "))))
        }
    }
}

/// Holds the moment that a reference names.
pub(crate) async fn resolve(site: &Site, reference: &ReplicaReference) -> Result<FoundMoment> {
    let replica = find(site, &reference.vm).await?;
    step(&replica.standing, Event::Test)?;
    moment_of(site, replica, &reference.moment).await
}

pub(crate) async fn moment_of(
    site: &Site,
    replica: KnownReplica,
    selector: &MomentSelector,
) -> Result<FoundMoment> {
    let selector = match selector {
        MomentSelector::Shared { group, moment } => groups::record_of(site, &replica, group, moment).await?,
        own => own.clone(),
    };
    let kept = site.replicas.get(replica.journal_id)?;
    let vm = replica.vm_id;
    let found = site.replicas.work(move || {
        let open = kept.replica()?;
        let at = match &selector {
            MomentSelector::Latest => At::Latest,
            MomentSelector::At(time) => At::Time(*time),
            MomentSelector::Sequence(number) => At::Sequence(Sequence(*number)),
            MomentSelector::LatestApplication => {
                let is_it = |point: &RestorePoint| point.checkpoint.kind == CheckpointKind::Application;
                newest(open.checkpoints(vm, all_times())?, is_it, "application-consistent checkpoint")?
            }
            MomentSelector::Shared { .. } => {
                return Err(Failure::invalid("a group shares no moment of another group"));
            }
            MomentSelector::Checkpoint(name) => {
                let is_it = |point: &RestorePoint| point.checkpoint.name == *name;
                newest(open.checkpoints(vm, all_times())?, is_it, &format!("checkpoint {name}"))?
            }
        };
        let moment = open.moment(vm, at)?;
        let time = open.time_of(moment.sequence())?;
        Ok((moment, time))
    });
    let (moment, time) = found.await.map_err(|failure| {
        let failure = failure.during(&format!("the replica of {}", replica.vm_name));
        match failure.hint() {
            Some(_) => failure,
            None => {
                failure.with_hint(format!("see its moments: holdfast replica points {}", replica.vm_name))
            }
        }
    })?;
    Ok(FoundMoment { replica, moment, time })
}

pub(super) fn all_times() -> std::ops::RangeInclusive<Timestamp> {
    Timestamp::from_microseconds(i64::MIN)..=Timestamp::from_microseconds(i64::MAX)
}

fn newest(points: Vec<RestorePoint>, is_it: impl Fn(&RestorePoint) -> bool, what: &str) -> Result<At> {
    let found = points.iter().rev().find(|point| is_it(point));
    found
        .map(|point| At::Sequence(point.sequence))
        .ok_or_else(|| Failure::not_found(format!("it has no {what}")))
}

impl FoundMoment {
    /// The names of the VM's disks then.
    pub(crate) fn disks(&self) -> Vec<DiskName> {
        self.moment.disks().map(|(_, disk)| disk.name.clone()).collect()
    }

    pub(crate) fn size_bytes(&self, disk: &DiskName) -> Option<u64> {
        self.moment.disks().find(|(_, known)| known.name == *disk).map(|(_, known)| known.size_bytes)
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.moment.sequence().0
    }

    /// Where a disk that depends on it finds its bytes.
    pub(crate) fn image_source(&self, disk: DiskName) -> ImageSource {
        ImageSource::Replica {
            journal_id: self.replica.journal_id,
            vm_id: self.replica.vm_id,
            sequence: self.sequence(),
            disk,
        }
    }

    /// A reference that names the same for as long as it can be shown.
    pub(crate) fn pinned(&self, disk: Option<DiskName>) -> ReplicaReference {
        let moment = MomentSelector::Sequence(self.sequence());
        ReplicaReference { vm: self.replica.journal_id.to_string(), moment, disk }
    }

    pub(crate) fn open(&self, disk: &DiskName) -> Result<OpenImage> {
        Ok(OpenImage::plain(disk.clone(), image_of(&self.moment, disk)?))
    }

    /// What the VM is made of at its site, without the files of its disks.
    pub(crate) fn definition_at_source(&self) -> VmDefinition {
        definition::at_source(&self.replica, &self.disks())
    }

    /// Whether applications in the guest held still for it.
    pub(crate) async fn consistency(&self, site: &Site) -> Result<Consistency> {
        let kept = site.replicas.get(self.replica.journal_id)?;
        let (vm, sequence, time) = (self.replica.vm_id, self.moment.sequence(), self.time);
        let marks = site.replicas.work(move || Ok(kept.replica()?.checkpoints(vm, time..=time)?)).await?;
        let is_it = |point: &RestorePoint| {
            point.sequence == sequence && point.checkpoint.kind == CheckpointKind::Application
        };
        Ok(if marks.iter().any(is_it) { Consistency::Application } else { Consistency::Crash })
    }

    /// What changed since an earlier moment, by disk; of disks of which nothing tells, nothing is told.
    pub(crate) fn changes_since(&self, earlier: &Moment) -> BTreeMap<DiskName, ReplicaChanges> {
        let disks = self.moment.disks();
        let told = disks.filter_map(|(number, disk)| {
            Some((disk.name.clone(), self.moment.changes_since(earlier, number)?))
        });
        told.collect()
    }

    /// What the VM is made of here; see [`definition`].
    pub(crate) fn definition(&self, site: &Site) -> Result<VmDefinition> {
        definition::of(site, &self.replica, &self.disks())
    }
}

impl fmt::Debug for FoundMoment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("FoundMoment");
        shown.field("journal", &self.replica.journal_id).field("sequence", &self.sequence());
        shown.finish_non_exhaustive()
    }
}
