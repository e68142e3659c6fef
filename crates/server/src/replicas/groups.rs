//! Consistency groups of replicas, and the moments that all of their members show.
//!
//! A moment is shared where the journals of all members have its mark, one of them has the mark that it was held
//! ([`crate::groups::mark`]), and every member can show it now: so it is found out anew whenever somebody asks. The newest one stays
//! pinned in all members.

mod offers;
mod points;
mod view;

use api::shell_word;
use catalog::{KnownReplica, KnownReplicaGroup};
use model::MomentSelector;

pub(crate) use self::{
    offers::{forget, note_offer},
    points::{SharedPoint, choose, choose_begun},
    view::{list, points, view},
};
use super::FoundMoment;
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// How the pins of groups begin.
pub(super) const PIN: &str = "group-";

/// The group with this name or id.
pub(crate) async fn find(site: &Site, name: &str) -> Result<KnownReplicaGroup> {
    let all = site.catalog.replica_groups().await?;
    let is_it = |group: &&KnownReplicaGroup| group.name.as_str() == name || group.id.as_str() == name;
    let found: Vec<_> = all.iter().filter(is_it).collect();
    match found.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(Failure::not_found(format!("there is no consistency group {name} of replicas here"))
            .with_hint("see them with: holdfast replica groups")),
        several => {
            let ids: Vec<_> = several.iter().map(|group| group.id.as_str()).collect();
            Err(Failure::conflict(format!("there are {} groups {name}", several.len()))
                .with_hint(format!("name one by its id: {}", ids.join(", "))))
        }
    }
}

/// The replicas of all members.
pub(crate) async fn members(site: &Site, group: &KnownReplicaGroup) -> Result<Vec<KnownReplica>> {
    let mut members = Vec::with_capacity(group.members.len());
    for journal in &group.members {
        let known = site.catalog.replica(*journal).await?;
        members.push(known.filter(|known| known.peer_id == group.peer_id).ok_or_else(|| {
            Failure::conflict(format!("the journal {journal} of the group {} is not here", group.name))
                .with_hint(
                    "wait until its replication has begun here, or take it out of the group at its site",
                )
        })?);
    }
    Ok(members)
}

/// Holds the shared moment that is meant, in all members, in their order.
pub(crate) async fn resolve(
    site: &Site,
    group: &KnownReplicaGroup,
    moment: &MomentSelector,
) -> Result<Vec<FoundMoment>> {
    let members = members(site, group).await?;
    let point = choose(site, group, &members, moment).await?;
    hold(site, members, &point).await
}

/// Holds a shared moment in all members.
pub(crate) async fn hold(
    site: &Site,
    members: Vec<KnownReplica>,
    point: &SharedPoint,
) -> Result<Vec<FoundMoment>> {
    let mut moments = Vec::with_capacity(members.len());
    for (member, record) in members.into_iter().zip(&point.records) {
        moments.push(super::moment_of(site, member, &MomentSelector::Sequence(record.0)).await?);
    }
    Ok(moments)
}

/// The record of a replica after which it shows the shared moment of a group that is meant.
pub(super) async fn record_of(
    site: &Site,
    replica: &KnownReplica,
    group: &str,
    moment: &MomentSelector,
) -> Result<MomentSelector> {
    let group = find(site, group).await?;
    let place = group.members.iter().position(|journal| *journal == replica.journal_id);
    let place = place.ok_or_else(|| {
        Failure::conflict(format!("{} is not in the group {}", replica.vm_name, group.name))
            .with_hint(format!("see who is: holdfast replica groups {}", shell_word(group.name.as_str())))
    })?;
    let point = choose(site, &group, &members(site, &group).await?, moment).await?;
    let record = point.records.get(place).copied().unwrap_or_default();
    Ok(MomentSelector::Sequence(record.0))
}

/// Keeps the newest shared moment of each group from being folded, so that there is one as long as the group is.
pub(super) async fn pin_newest(site: &Site) -> Result<()> {
    for group in site.catalog.replica_groups().await? {
        // A group that is not all here has none, and one whose replicas cannot be read says so where it is shown.
        let Ok(members) = members(site, &group).await else { continue };
        let Ok(point) = choose(site, &group, &members, &MomentSelector::Latest).await else { continue };
        let name = pin_name(&group);
        for (member, record) in members.iter().zip(&point.records) {
            let kept = site.replicas.get(member.journal_id)?;
            let name = name.clone();
            let record = *record;
            site.replicas
                .work(move || {
                    let replica = kept.replica()?;
                    let pinned = replica.status().and_then(|status| status.pins.get(&name).copied());
                    match pinned == Some(record) {
                        true => Ok(()),
                        false => Ok(replica.pin(&name, record)?),
                    }
                })
                .await?;
        }
    }
    Ok(())
}

fn pin_name(group: &KnownReplicaGroup) -> String {
    format!("{PIN}{}", group.id)
}
