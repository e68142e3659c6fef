//! Groups of replicas as the API shows them.

use api::{
    ReplicaGroupMemberView, ReplicaGroupView, ReplicaPointKind, SharedCheckpointView, SharedPointView,
};
use catalog::KnownReplicaGroup;
use journal::{Checkpoint, CheckpointKind, Grid, RestorePoint, thin};
use model::MomentSelector;

use super::{
    find, members,
    points::{SharedPoint, choose, shared},
};
use crate::{
    failure::Result,
    replicas::{self, find::all_times},
    site::Site,
};

/// All groups, by name.
pub(crate) async fn list(site: &Site) -> Result<Vec<ReplicaGroupView>> {
    let mut views = Vec::new();
    for group in site.catalog.replica_groups().await? {
        views.push(view(site, &group).await?);
    }
    Ok(views)
}

/// A group, its members, and the newest moment that they share.
pub(crate) async fn view(site: &Site, group: &KnownReplicaGroup) -> Result<ReplicaGroupView> {
    let peers = site.catalog.peers().await?;
    let peer = peers.iter().find(|peer| peer.id == group.peer_id);
    let mut member_views = Vec::with_capacity(group.members.len());
    let known = members(site, group).await;
    for member in known.iter().flatten() {
        let shown = replicas::view(site, member.clone()).await?;
        member_views.push(ReplicaGroupMemberView {
            journal_id: shown.journal_id,
            vm_name: shown.vm_name,
            stage: shown.stage,
            state: shown.state,
        });
    }
    let newest = match &known {
        Ok(known) => choose(site, group, known, &MomentSelector::Latest).await,
        Err(failure) => Err(failure.clone()),
    };
    let ahead_us = peer.and_then(|peer| peer.standing.as_ref()).map_or(0, |it| it.clock_ahead_us);
    let now = site.env.clock.now();
    let rpo_seconds = newest.as_ref().ok().map(|point| {
        let age_us = now.microseconds_since(point.time).saturating_add(ahead_us);
        u64::try_from(age_us).unwrap_or(0) / 1_000_000
    });
    let is_protected = known.iter().flatten().all(|member| member.standing.failover().is_none());
    Ok(ReplicaGroupView {
        id: group.id,
        name: group.name.to_string(),
        site: peer.map_or_else(|| group.peer_id.to_string(), |peer| peer.name.to_string()),
        members: member_views,
        rpo_seconds: rpo_seconds.filter(|_| is_protected),
        problem: newest.as_ref().err().map(|failure| failure.detail().to_owned()),
        newest: newest.ok().map(|point| SharedCheckpointView { number: point.number, time: point.time }),
    })
}

/// The moments that the members of a group share, oldest first; unless all are wanted, of those that the clock made the fewer the
/// older they are.
pub(crate) async fn points(site: &Site, name: &str, all: bool) -> Result<Vec<SharedPointView>> {
    let group = find(site, name).await?;
    let known = members(site, &group).await?;
    let mut points = shared(site, &group, &known, all_times()).await?;
    if !all {
        let kept = thin(&points.iter().map(as_point).collect::<Vec<_>>(), &Grid::default_steps());
        let kept: std::collections::BTreeSet<_> = kept.into_iter().map(|point| point.sequence.0).collect();
        points.retain(|point| kept.contains(&point.number));
    }
    let view = |point: SharedPoint| SharedPointView {
        number: point.number,
        time: point.time,
        kind: kind(&point),
        reference: format!("@{}#{}", group.name, point.number),
        name: point.name,
    };
    Ok(points.into_iter().map(view).collect())
}

fn kind(point: &SharedPoint) -> ReplicaPointKind {
    match (point.is_application, point.name.is_empty()) {
        (true, _) => ReplicaPointKind::Application,
        (false, true) => ReplicaPointKind::Group,
        (false, false) => ReplicaPointKind::Bookmark,
    }
}

/// As one that is thinned out: only what nobody has asked for may be left out.
fn as_point(point: &SharedPoint) -> RestorePoint {
    let kind = match kind(point) {
        ReplicaPointKind::Group => CheckpointKind::Crash,
        _ => CheckpointKind::Bookmark,
    };
    RestorePoint {
        sequence: journal::Sequence(point.number),
        time: point.time,
        checkpoint: Checkpoint { kind, vm: None, name: String::new() },
    }
}
