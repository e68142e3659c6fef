//! A recovery point is made of a moment of a replica: a backup that costs the guest nothing.
//!
//! The newest point in the vault that was made of the same replica, and of which the replica still tells what changed since, is
//! what the new one builds on. Where there is none, all of the moment is read and compared.

use std::{collections::BTreeMap, sync::Arc};

use api::{BackUpReplica, JobResult, PointView};
use catalog::{Job, KnownVault, ReplicaPoint};
use hypervisor::{CaptureFacts, CapturedDisk, DiskChanges};
use image::ChangeMap;
use journal::{At, Moment as JournalMoment, Sequence};
use model::{ConsistencyReached, DiskName, JobKind, ReplicaReference};
use protection::{KeptBackup, Moment, Monitor};
use vault::{PointRecord, Vault};

use super::{backup::check_label, document_of, failover_test::selector, open_vault, overall::Overall};
use crate::{
    copies,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome},
    object_locks,
    replicas::{self, FoundMoment, image_of},
    site::Site,
    vaults::is_snapshot_store,
};

/// Lines a backup up. Its moment is held from now on.
pub(crate) async fn submit(site: &Site, replica: &str, request: BackUpReplica) -> Result<Job> {
    check_label(request.label.as_deref())?;
    let moment = selector(&request.point)?;
    let reference = ReplicaReference { vm: replica.to_owned(), moment, disk: None };
    let found = replicas::resolve(site, &reference).await?;
    let vault = site.vaults.find(&request.vault).await?;
    if is_snapshot_store(&vault) {
        return Err(Failure::invalid("the snapshot store keeps snapshots alone")
            .with_hint("name a vault: holdfast vault list"));
    }
    let draft = JobDraft {
        kind: JobKind::Backup,
        subject: found.replica.vm_name.to_string(),
        // It takes no turn of a VM here: nothing is done to one.
        vm_id: None,
        vault_id: Some(vault.id),
        request: document_of(&BackUpReplica { point: found.pinned(None).to_string(), ..request.clone() }),
    };
    let work_site = site.clone();
    let work = Box::new(move |monitor| {
        Box::pin(async move { work(&work_site, vault, found, request.label, monitor).await }) as _
    });
    site.jobs.submit(draft, work).await
}

async fn work(
    site: &Site,
    known: KnownVault,
    found: FoundMoment,
    label: Option<String>,
    monitor: Arc<JobMonitor>,
) -> Outcome {
    let vault = open_vault(site, &known, &monitor).await?;
    monitor.phase("reading the vault's points");
    let basis = Basis::find(site, &known, &vault, &found).await?;
    let moment = moment(site, &found, basis.changes).await?;
    let sizes_bytes = moment.disks().iter().map(|disk| disk.image.size_bytes()).collect();
    let operation: Arc<dyn Monitor> = Arc::new(Overall::new(monitor.clone(), sizes_bytes));
    let backup = KeptBackup { vm_id: found.replica.vm_id, vm_name: found.replica.vm_name.clone(), label };
    let stored =
        Box::pin(protection::back_up_kept(&site.env, &vault, &backup, &moment, basis.earlier, &operation));
    let point = stored.await?;
    remember(site, &known, &found, point.id).await;
    copies::sync_behind_of(site, known.id).await;
    object_locks::renew(site, &known, None);
    Ok(JobResult::Point(Box::new(PointView::new(point, known.name.as_str(), None))))
}

/// What a new point builds on.
struct Basis {
    /// Newest first, but for the one that changes are counted from, which is the first.
    earlier: Vec<PointRecord>,
    changes: BTreeMap<DiskName, Arc<dyn ChangeMap>>,
}

impl Basis {
    async fn find(site: &Site, known: &KnownVault, vault: &Vault, found: &FoundMoment) -> Result<Self> {
        let replica = &found.replica;
        let mut earlier = vault.points().await?.points;
        earlier.retain(|point| point.summary.vm_id == replica.vm_id);
        earlier.sort_by_key(|point| std::cmp::Reverse((point.summary.captured_at, point.summary.id)));
        for made in site.catalog.replica_points(known.id, replica.journal_id).await? {
            let place = earlier.iter().position(|point| point.summary.id == made.point_id);
            let (Some(place), true) = (place, made.sequence <= found.sequence()) else { continue };
            if let Some(then) = held(site, found, made.sequence).await {
                let changes = found.changes_since(&then).into_iter();
                let changes = changes.map(|(disk, changed)| (disk, Arc::new(changed) as Arc<dyn ChangeMap>));
                earlier[..=place].rotate_right(1);
                return Ok(Self { earlier, changes: changes.collect() });
            }
        }
        Ok(Self { earlier, changes: BTreeMap::new() })
    }
}

/// An earlier moment of the same replica, unless it is folded.
async fn held(site: &Site, found: &FoundMoment, sequence: u64) -> Option<JournalMoment> {
    let (journal, vm) = (found.replica.journal_id, found.replica.vm_id);
    site.replicas.moment(journal, vm, At::Sequence(Sequence(sequence))).await.ok()
}

/// The moment, to be stored.
async fn moment(
    site: &Site,
    found: &FoundMoment,
    mut changes: BTreeMap<DiskName, Arc<dyn ChangeMap>>,
) -> Result<Moment> {
    let mut disks = Vec::new();
    for name in found.disks() {
        let changes = match changes.remove(&name) {
            Some(changes) => DiskChanges::Since(changes),
            None => DiskChanges::Unknown {
                reason: "the replica does not tell what changed since the last point".to_owned(),
            },
        };
        disks.push(CapturedDisk { image: image_of(&found.moment, &name)?, name, changes });
    }
    let reached = found.consistency(site).await?;
    let facts = CaptureFacts {
        captured_at: found.time,
        consistency: ConsistencyReached { asked: reached, reached, shortfall: None },
        definition: found.definition_at_source(),
        omitted: Vec::new(),
    };
    Ok(Moment::kept(facts, disks))
}

/// Keeps from what the point was made, so that the next one need not read everything.
async fn remember(site: &Site, known: &KnownVault, found: &FoundMoment, point_id: model::PointId) {
    let journal_id = found.replica.journal_id;
    let made = ReplicaPoint { vault_id: known.id, point_id, journal_id, sequence: found.sequence() };
    let kept = async {
        site.catalog.add_replica_point(made).await?;
        let kept = site.replicas.get(journal_id)?;
        let reach = kept.replica()?.oldest_whole(found.replica.vm_id);
        site.catalog.remove_replica_points(journal_id, Some(reach.map_or(0, |reach| reach.0))).await?;
        Ok::<_, Failure>(())
    };
    if let Err(failure) = kept.await {
        tracing::warn!(reason = failure.detail(), "the next backup of a replica will read all of it");
    }
}
