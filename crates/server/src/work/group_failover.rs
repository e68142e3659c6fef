//! A whole consistency group of replicas is tested or runs at this site, all members from the same moment.
//!
//! All that can be refused is refused before anything is done for any of them, and the moment is held in all of them until then. Each member is a
//! job of its own. Asked for again after one of them has failed, the failover goes on with the others from the moment at which it
//! had begun, whatever has come since.

use api::{
    CleanUpTests, FailOver, FailoverTestView, GroupFailoverPlanView, TestFailover, TestGroupFailover,
    shell_word,
};
use catalog::{Job, KnownReplica, KnownReplicaGroup};
use model::{JobKind, MomentSelector};
use recovery::{Event, Stage};

use super::{
    failover::{self, Takeover, check, line_up_all, vm_id, would_do},
    failover_test::{self, selector},
};
use crate::{
    failure::{Failure, Result},
    replicas::groups::{self, SharedPoint},
    site::Site,
};

/// Lines a test of each member up, all from one moment.
pub(crate) async fn test(site: &Site, name: &str, request: TestGroupFailover) -> Result<Vec<Job>> {
    let group = groups::find(site, name).await?;
    let moment = own_selector(&request.point)?;
    let moments = groups::resolve(site, &group, &moment).await?;
    let mut jobs = Vec::with_capacity(moments.len());
    for found in &moments {
        let request = TestFailover {
            point: MomentSelector::Sequence(found.sequence()).to_string(),
            name: None,
            bridge: request.bridge.clone(),
        };
        let job = failover_test::submit(site, found.replica.journal_id.as_str(), request).await;
        jobs.push(job.map_err(|failure| {
            let cleanup = format!("holdfast failover cleanup --group {}", shell_word(group.name.as_str()));
            failure
                .during(&format!("the test of {}", found.replica.vm_name))
                .with_hint(format!("remove those that have begun: {cleanup}"))
        })?);
    }
    Ok(jobs)
}

/// Removes the tests of all members.
pub(crate) async fn clean_up(
    site: &Site,
    name: &str,
    request: &CleanUpTests,
) -> Result<Vec<FailoverTestView>> {
    let group = groups::find(site, name).await?;
    let mut ended = Vec::new();
    for journal in &group.members {
        match failover_test::clean_up(site, journal.as_str(), request.verdict.as_deref()).await {
            Err(failure) if failure.code() == api::Code::NotFound => {}
            cleaned => ended.extend(cleaned?),
        }
    }
    Ok(ended)
}

/// What a failover of the group would do, or with `is_change` another point of one.
pub(crate) async fn plan(
    site: &Site,
    name: &str,
    request: &FailOver,
    is_change: bool,
) -> Result<GroupFailoverPlanView> {
    let group = groups::find(site, name).await?;
    let chosen = Chosen::find(site, &group, request, is_change).await?;
    let mut members = Vec::with_capacity(chosen.members.len());
    for (member, record) in chosen.to_do(is_change) {
        let event = event(site, member, is_change).await?;
        let point = MomentSelector::Sequence(record.0).to_string();
        let request = FailOver { point, rate_limit_bytes_per_second: None };
        members.push(would_do(site, member.clone(), event, &request).await?);
    }
    Ok(GroupFailoverPlanView {
        group: group.name.to_string(),
        number: chosen.point.number,
        moment_at: chosen.point.time,
        members,
    })
}

/// Lines it up that all members run here.
pub(crate) async fn fail_over(site: &Site, name: &str, request: FailOver) -> Result<Vec<Job>> {
    line_up(site, name, request, false).await
}

/// Lines it up that all members, which were failed over, are made anew from another moment.
pub(crate) async fn change_point(site: &Site, name: &str, request: FailOver) -> Result<Vec<Job>> {
    line_up(site, name, request, true).await
}

async fn line_up(site: &Site, name: &str, request: FailOver, is_change: bool) -> Result<Vec<Job>> {
    let group = groups::find(site, name).await?;
    let chosen = Chosen::find(site, &group, &request, is_change).await?;
    let todo: Vec<_> = chosen.to_do(is_change).map(|(member, _)| member.journal_id).collect();
    // Held in all, also in those that run already: the moment is one of all of them.
    let moments = groups::hold(site, chosen.members, &chosen.point).await?;
    let mut takeovers = Vec::with_capacity(moments.len());
    for found in moments {
        if !todo.contains(&found.replica.journal_id) {
            continue;
        }
        let event = event(site, &found.replica, is_change).await?;
        let moment = MomentSelector::Sequence(found.sequence());
        takeovers.push(Takeover::new(site, event, moment, found, request.rate_limit_bytes_per_second).await?);
    }
    if takeovers.is_empty() {
        let name = shell_word(group.name.as_str());
        return Err(Failure::conflict(format!("all VMs of the group {} run here already", group.name))
            .with_hint(format!(
                "choose another moment with holdfast failover change-point --group {name}, or keep this one: holdfast failover commit --group {name}"
            )));
    }
    let kind = if is_change { JobKind::ChangePoint } else { JobKind::FailOver };
    line_up_all(site, kind, takeovers).await
}

/// All members run here for good.
pub(crate) async fn commit(site: &Site, name: &str) -> Result<Vec<KnownReplica>> {
    let group = groups::find(site, name).await?;
    let commit = Event::Commit { at: site.env.clock.now() };
    let members = groups::members(site, &group).await?;
    for member in &members {
        check(member, commit)?;
    }
    let mut committed = Vec::with_capacity(members.len());
    for member in members {
        committed.push(failover::commit(site, member.journal_id.as_str()).await?);
    }
    Ok(committed)
}

async fn event(site: &Site, member: &KnownReplica, is_change: bool) -> Result<Event> {
    Ok(match is_change {
        true => Event::ChangePoint,
        false => Event::FailOver { vm_id: vm_id(site, member).await?, at: site.env.clock.now() },
    })
}

/// Which moment of the group is meant, without its name.
fn own_selector(point: &str) -> Result<MomentSelector> {
    match selector(point)? {
        MomentSelector::Shared { .. } => {
            Err(Failure::invalid("the group is named already: write what stands after its name"))
        }
        moment => Ok(moment),
    }
}

/// The moment that was chosen for a group.
struct Chosen {
    members: Vec<KnownReplica>,
    point: SharedPoint,
}

impl Chosen {
    async fn find(
        site: &Site,
        group: &KnownReplicaGroup,
        request: &FailOver,
        is_change: bool,
    ) -> Result<Self> {
        let members = groups::members(site, group).await?;
        for member in &members {
            // A member that runs here already from this moment has nothing more to do.
            if is_change || !matches!(member.standing.stage, Stage::FailedOver(_)) {
                check(member, event(site, member, is_change).await?)?;
            }
        }
        let moment = own_selector(&request.point)?;
        let begun = members.iter().position(|member| member.failed_over_to.is_some()).filter(|_| !is_change);
        let point = match begun {
            None => groups::choose(site, group, &members, &moment).await?,
            Some(place) => groups::choose_begun(site, group, &members, place, &moment).await?,
        };
        let mut chosen = members.iter().zip(&point.records);
        let other = chosen.find(|(member, record)| {
            !is_change && member.failed_over_to.is_some_and(|sequence| sequence != record.0)
        });
        if let Some((member, _)) = other {
            let name = shell_word(group.name.as_str());
            let detail =
                format!("{} was failed over to another moment than the other members", member.vm_name);
            return Err(Failure::conflict(detail)
                .with_hint(format!("choose one for all: holdfast failover change-point --group {name}")));
        }
        Ok(Self { members, point })
    }

    /// The members for which something is to be done, and the record of each.
    fn to_do(&self, is_change: bool) -> impl Iterator<Item = (&KnownReplica, &journal::Sequence)> {
        let all = self.members.iter().zip(&self.point.records);
        all.filter(move |(member, _)| is_change || !matches!(member.standing.stage, Stage::FailedOver(_)))
    }
}
