//! Replicas as the API shows them.

use std::sync::Arc;

use api::{
    Code, FailoverTestView, FailoverView, ReplacedVmView, ReplicaDiskView, ReplicaMomentView,
    ReplicaPointKind, ReplicaPointView, ReplicaStage, ReplicaState, ReplicaView,
};
use catalog::{FailoverTest, KnownPeer, KnownReplica};
use journal::{CheckpointKind, Grid, RestorePoint, thin};
use model::{ByteCount, MomentSelector, ReplicaReference, Timestamp};
use recovery::Stage;

use super::{Kept, Target, find, find::all_times, replaced_by, resolve};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// A replica whose newest moment is older is behind, in seconds. Sources mark a moment twice a second at least.
const BEHIND_SECONDS: u64 = 60;

/// All replicas, by the names of their VMs.
pub(crate) async fn list(site: &Site) -> Result<Vec<ReplicaView>> {
    let (peers, tests) = (site.catalog.peers().await?, site.catalog.failover_tests().await?);
    let mut views = Vec::new();
    for known in site.catalog.replicas().await? {
        match view_of(site, known, &peers, &tests).await {
            // Deleted in this very moment.
            Err(failure) if failure.code() == Code::NotFound => {}
            view => views.push(view?),
        }
    }
    Ok(views)
}

/// One replica.
pub(crate) async fn view(site: &Site, known: KnownReplica) -> Result<ReplicaView> {
    view_of(site, known, &site.catalog.peers().await?, &site.catalog.failover_tests().await?).await
}

/// What is found in a replica's folder.
#[derive(Default)]
struct Found {
    damage: Option<String>,
    newest_at: Option<Timestamp>,
    reaches_back_to: Option<Timestamp>,
    not_whole_since: Option<Timestamp>,
    disks: Vec<ReplicaDiskView>,
    size_bytes: u64,
}

fn look(kept: &Kept, known: &KnownReplica) -> Result<Found> {
    let replica = match &kept.replica {
        Ok(replica) => replica,
        Err(why) => return Ok(Found { damage: Some(why.clone()), ..Found::default() }),
    };
    let Some(status) = replica.status() else { return Ok(Found::default()) };
    let newest_whole = replica.newest_whole(known.vm_id);
    let missing = newest_whole.filter(|whole| *whole < status.durable_through);
    let whole_at = missing.map(|whole| replica.time_of(whole)).transpose()?;
    // At intervals that is how it is while an epoch comes: what counts is the last one that is there as a whole.
    let is_expected = interval_seconds(known).is_some();
    let disks = status.disks.iter().filter(|(_, disk)| disk.vm == known.vm_id);
    let disks = disks.map(|(_, disk)| ReplicaDiskView {
        name: disk.name.to_string(),
        size_bytes: ByteCount(disk.size_bytes),
        is_whole: disk.is_whole,
    });
    Ok(Found {
        damage: None,
        newest_at: whole_at.filter(|_| is_expected).or(status.newest_time),
        reaches_back_to: kept.reaches_back_to(known.vm_id),
        not_whole_since: whole_at.filter(|_| !is_expected),
        disks: disks.collect(),
        size_bytes: kept.size_bytes(),
    })
}

async fn view_of(
    site: &Site,
    known: KnownReplica,
    peers: &[KnownPeer],
    tests: &[FailoverTest],
) -> Result<ReplicaView> {
    let kept = site.replicas.get(known.journal_id)?;
    let (looking, looked) = (Arc::clone(&kept), known.clone());
    let found = site.replicas.work(move || Ok(look(&looking, &looked))).await?;
    // One that cannot be read now is still shown.
    let found = found
        .unwrap_or_else(|failure| Found { damage: Some(failure.detail().to_owned()), ..Found::default() });
    let peer = peers.iter().find(|peer| peer.id == known.peer_id);
    let rpo_seconds = found.newest_at.filter(|_| known.standing.failover().is_none()).map(|newest| {
        let ahead_us =
            peer.and_then(|peer| peer.standing.as_ref()).map_or(0, |standing| standing.clock_ahead_us);
        let age_us = site.env.clock.now().microseconds_since(newest).saturating_add(ahead_us);
        u64::try_from(age_us).unwrap_or(0) / 1_000_000
    });
    let (state, reason) = state(&known, &found, rpo_seconds);
    let target = Target::among(site, &known, peers).await?.view(site, &known).await?;
    let of_it = tests.iter().filter(|test| test.journal_id == known.journal_id);
    Ok(ReplicaView {
        journal_id: known.journal_id,
        vm_id: known.vm_id,
        vm_name: known.vm_name.to_string(),
        site: peer.map_or_else(|| known.peer_id.to_string(), |peer| peer.name.to_string()),
        stage: stage(&known.standing.stage),
        state,
        reason,
        generation: known.standing.generation,
        rpo_seconds: rpo_seconds.filter(|_| known.standing.ended_at.is_none()),
        newest_at: found.newest_at,
        reaches_back_to: found.reaches_back_to,
        not_whole_since: found.not_whole_since,
        size_bytes: ByteCount(found.size_bytes),
        retention_seconds: known.retention_seconds,
        retention_is_set: known.retention_is_set,
        disks: found.disks,
        target,
        failover: failover(&known, replaced_by(site, known.journal_id).await?),
        tests: of_it.map(test_view).collect(),
    })
}

/// How often its source makes an epoch, if it does not send every write.
fn interval_seconds(known: &KnownReplica) -> Option<u64> {
    known.source_settings.as_ref()?.interval_seconds.map(u64::from)
}

fn state(known: &KnownReplica, found: &Found, rpo_seconds: Option<u64>) -> (ReplicaState, Option<String>) {
    if let Stage::Committed { committed_at, .. } = &known.standing.stage {
        return (ReplicaState::Fenced, Some(format!("the failover was committed at {committed_at}")));
    }
    if let Some(why) = &found.damage {
        return (ReplicaState::Damaged, Some(why.clone()));
    }
    if let Some(failover) = known.standing.failover() {
        return (ReplicaState::Fenced, Some(format!("the VM was failed over at {}", failover.begun_at)));
    }
    if let Some(at) = known.standing.ended_at {
        return (ReplicaState::Ended, Some(format!("the source ended it at {at}")));
    }
    match (found.newest_at, found.reaches_back_to, found.not_whole_since, rpo_seconds) {
        (None, ..) => (ReplicaState::Waiting, Some("nothing has come yet".to_owned())),
        (_, None, ..) => (ReplicaState::Copying, Some("the first copy is not through".to_owned())),
        (_, _, Some(since), _) => {
            (ReplicaState::NotWhole, Some(format!("writes since {since} have not been copied yet")))
        }
        (Some(newest), _, _, Some(age))
            if age > BEHIND_SECONDS + 2 * interval_seconds(known).unwrap_or(0) =>
        {
            (ReplicaState::Behind, Some(format!("nothing has come since {newest}")))
        }
        _ => (ReplicaState::Receiving, None),
    }
}

fn stage(stage: &Stage) -> ReplicaStage {
    match stage {
        Stage::Protected => ReplicaStage::Protected,
        Stage::FailingOver(_) => ReplicaStage::FailingOver,
        Stage::FailedOver(_) => ReplicaStage::FailedOver,
        Stage::Committed { .. } => ReplicaStage::Committed,
    }
}

fn failover(known: &KnownReplica, replaced: Option<ReplacedVmView>) -> Option<FailoverView> {
    let failover = known.standing.failover()?;
    let committed_at = match &known.standing.stage {
        Stage::Committed { committed_at, .. } => Some(*committed_at),
        _ => None,
    };
    Some(FailoverView {
        vm_id: failover.vm_id,
        begun_at: failover.begun_at,
        sequence: known.failed_over_to,
        committed_at,
        replaced,
    })
}

/// A test as clients see it.
pub(crate) fn test_view(test: &FailoverTest) -> FailoverTestView {
    FailoverTestView {
        vm_id: test.vm_id,
        vm_name: test.vm_name.to_string(),
        moment_at: test.moment_at,
        begun_at: test.begun_at,
        cleaned_up_at: test.cleaned_up_at,
        verdict: test.verdict.clone(),
    }
}

/// The checkpoints of a replica, oldest first; unless all are wanted, of those that the clock made the fewer the older they are.
pub(crate) async fn points(site: &Site, name: &str, all: bool) -> Result<Vec<ReplicaPointView>> {
    let known = find(site, name).await?;
    let kept = site.replicas.get(known.journal_id)?;
    let (id, vm) = (known.journal_id, known.vm_id);
    let mut points = site.replicas.work(move || Ok(kept.replica()?.checkpoints(vm, all_times())?)).await?;
    // Moments that a group shares are told with it.
    points.retain(|point| point.checkpoint.kind != CheckpointKind::Group);
    let shown = if all { points } else { thin(&points, &Grid::default_steps()) };
    let view = |point: RestorePoint| ReplicaPointView {
        sequence: point.sequence.0,
        time: point.time,
        kind: match point.checkpoint.kind {
            CheckpointKind::Crash => ReplicaPointKind::Crash,
            CheckpointKind::Application => ReplicaPointKind::Application,
            CheckpointKind::Bookmark => ReplicaPointKind::Bookmark,
            CheckpointKind::Group => ReplicaPointKind::Group,
        },
        name: point.checkpoint.name,
        reference: ReplicaReference {
            vm: id.to_string(),
            moment: MomentSelector::Sequence(point.sequence.0),
            disk: None,
        }
        .to_string(),
    };
    Ok(shown.into_iter().map(view).collect())
}

/// One moment, and what names it from now on.
pub(crate) async fn moment_view(site: &Site, name: &str, point: &str) -> Result<ReplicaMomentView> {
    let moment = point.parse().map_err(|why| Failure::invalid(format!("{point:?} is no moment: {why}")))?;
    let found = resolve(site, &ReplicaReference { vm: name.to_owned(), moment, disk: None }).await?;
    let disks = found.moment.disks().map(|(_, disk)| ReplicaDiskView {
        name: disk.name.to_string(),
        size_bytes: ByteCount(disk.size_bytes),
        is_whole: disk.is_whole,
    });
    Ok(ReplicaMomentView {
        reference: found.pinned(None).to_string(),
        time: found.time,
        disks: disks.collect(),
    })
}
