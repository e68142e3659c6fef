//! The moments that all members of a group share.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use api::shell_word;
use catalog::{KnownReplica, KnownReplicaGroup};
use journal::{CheckpointKind, Replica, RestorePoint, Sequence};
use model::{GroupId, MomentSelector, Timestamp, VmId};

use crate::{
    failure::{Failure, Result},
    groups::mark::{GroupMark, Says},
    replicas::find::all_times,
    site::Site,
};

/// The newest is looked for among those of the last minutes first: there are a thousand times as many in a day.
const NEAR: [Duration; 2] = [Duration::from_secs(120), Duration::from_secs(3600)];

/// A moment that all members share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedPoint {
    pub(crate) number: u64,
    /// When the last member was marked, by the source's clock.
    pub(crate) time: Timestamp,
    pub(crate) is_application: bool,
    pub(crate) name: String,
    /// The record after which each member shows it, in the order of the members.
    pub(crate) records: Vec<Sequence>,
}

/// What the journal of one member has of its group.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    moments: BTreeMap<u64, (Sequence, Timestamp, bool, String)>,
    held: BTreeSet<u64>,
}

impl Marks {
    fn of(group: GroupId, points: Vec<RestorePoint>) -> Self {
        let mut marks = Self::default();
        for point in points.into_iter().filter(|point| point.checkpoint.kind == CheckpointKind::Group) {
            let Some(mark) = GroupMark::parse(&point.checkpoint.name).filter(|mark| mark.group == group)
            else {
                continue;
            };
            match mark.says {
                Says::Held => drop(marks.held.insert(mark.number)),
                Says::Moment { is_application, name } => {
                    let moment = (point.sequence, point.time, is_application, name);
                    marks.moments.insert(mark.number, moment);
                }
            }
        }
        marks
    }
}

/// The moments that are in all of these and were held, oldest first.
pub(super) fn common(all: &[Marks]) -> Vec<SharedPoint> {
    let Some(first) = all.first() else { return Vec::new() };
    let shared = first.moments.iter().filter_map(|(number, (_, _, is_application, name))| {
        let moments: Option<Vec<_>> = all.iter().map(|marks| marks.moments.get(number)).collect();
        let moments = moments.filter(|_| all.iter().any(|marks| marks.held.contains(number)))?;
        Some(SharedPoint {
            number: *number,
            time: moments.iter().map(|(_, time, ..)| *time).max()?,
            is_application: *is_application,
            name: name.clone(),
            records: moments.iter().map(|(record, ..)| *record).collect(),
        })
    });
    shared.collect()
}

/// All shared moments that were marked within these times, oldest first.
pub(super) async fn shared(
    site: &Site,
    group: &KnownReplicaGroup,
    members: &[KnownReplica],
    times: RangeInclusive<Timestamp>,
) -> Result<Vec<SharedPoint>> {
    let mut all = Vec::with_capacity(members.len());
    for member in members {
        let kept = site.replicas.get(member.journal_id)?;
        let (id, vm, times) = (group.id, member.vm_id, times.clone());
        let marks = site.replicas.work(move || read(kept.replica()?, id, vm, times)).await;
        all.push(marks.map_err(|failure| failure.during(&format!("the replica of {}", member.vm_name)))?);
    }
    Ok(common(&all))
}

fn read(replica: &Replica, group: GroupId, vm: VmId, times: RangeInclusive<Timestamp>) -> Result<Marks> {
    Ok(Marks::of(group, replica.checkpoints(vm, times)?))
}

/// The shared moment that is meant. A number is that of the shared checkpoint.
pub(crate) async fn choose(
    site: &Site,
    group: &KnownReplicaGroup,
    members: &[KnownReplica],
    moment: &MomentSelector,
) -> Result<SharedPoint> {
    for times in windows(site, members, moment) {
        let points = shared(site, group, members, times).await?;
        if let Some(point) = newest(points, moment)? {
            return Ok(point);
        }
    }
    let name = &group.name;
    Err(Failure::not_found(format!("the members of the group {name} share no moment {moment}")).with_hint(
        format!("see those that they share: holdfast replica points --group {}", shell_word(name.as_str())),
    ))
}

/// The shared moment at which the failover of a group has begun, as one of its members says that was. Another one cannot be meant any
/// more without a change of the point.
pub(crate) async fn choose_begun(
    site: &Site,
    group: &KnownReplicaGroup,
    members: &[KnownReplica],
    place: usize,
    moment: &MomentSelector,
) -> Result<SharedPoint> {
    let record = members.get(place).and_then(|member| member.failed_over_to).map(Sequence);
    let points = shared(site, group, members, all_times()).await?;
    let begun = points.into_iter().find(|point| point.records.get(place).copied() == record);
    let name = shell_word(group.name.as_str());
    let change = format!("choose one for all: holdfast failover change-point --group {name}");
    let Some(begun) = begun else {
        let detail = "a member was failed over by itself, to a moment that the group does not share";
        return Err(
            Failure::conflict(detail).with_hint(format!("fail the others over by themselves, or {change}"))
        );
    };
    match moment {
        MomentSelector::Latest => Ok(begun),
        moment => newest(vec![begun], moment)?.ok_or_else(|| {
            Failure::conflict("the failover of the group has begun from another moment").with_hint(change)
        }),
    }
}

/// Where to look for it first, and where then.
fn windows(site: &Site, members: &[KnownReplica], moment: &MomentSelector) -> Vec<RangeInclusive<Timestamp>> {
    let newest = members.iter().filter_map(|member| {
        let kept = site.replicas.get(member.journal_id).ok()?;
        kept.replica().ok()?.status()?.newest_time
    });
    let end = match moment {
        MomentSelector::Latest => newest.min(),
        MomentSelector::At(time) => Some(*time),
        _ => None,
    };
    let near = end.into_iter().flat_map(|end| {
        NEAR.map(|near| {
            let near_us = i64::try_from(near.as_micros()).unwrap_or(i64::MAX);
            let from = end.as_microseconds().saturating_sub(near_us);
            Timestamp::from_microseconds(from)..=*all_times().end()
        })
    });
    near.chain([all_times()]).collect()
}

/// The newest of these that is meant.
fn newest(points: Vec<SharedPoint>, moment: &MomentSelector) -> Result<Option<SharedPoint>> {
    let is_meant = |point: &SharedPoint| match moment {
        MomentSelector::Latest => Ok(true),
        MomentSelector::LatestApplication => Ok(point.is_application),
        MomentSelector::At(time) => Ok(point.time <= *time),
        MomentSelector::Sequence(number) => Ok(point.number == *number),
        MomentSelector::Checkpoint(name) => Ok(point.name == *name),
        MomentSelector::Shared { .. } => Err(Failure::invalid("a group is named already")),
    };
    for point in points.into_iter().rev() {
        if is_meant(&point)? {
            return Ok(Some(point));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
