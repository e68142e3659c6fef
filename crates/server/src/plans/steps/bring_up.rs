//! A VM comes up here: as a test, handed over by its own site, or failed over without it.

use std::collections::BTreeSet;

use api::{FailOver, TestFailover};
use catalog::{KnownReplica, KnownVm};
use model::{JobKind, PlanRunId, VmId, VmName};
use plan::{Kind, Output};
use recovery::Stage;

use super::{Order, check, facts, finish, once_free, planned};
use crate::{
    failure::{Failure, Result},
    replicas,
    site::Site,
    vms, work,
};

/// Has the VM run here, unless it does.
pub(super) async fn bring_up(order: &Order, vm: &VmName) -> Result<Output> {
    let Order { site, run, .. } = order;
    let replica = replicas::find(site, vm.as_str()).await?;
    if run.kind != Kind::Test {
        let networks = check::connections(&facts(order, vm)?.networks)?;
        replicas::connect_as_planned(site, replica.journal_id, &networks).await?;
    }
    match run.kind {
        Kind::Test => test(order, vm, &replica).await,
        Kind::Planned => {
            planned::hand_over(site, &replica).await?;
            came_up(site, &replica).await
        }
        Kind::Unplanned => {
            fail_over(site, &replica, &run.point).await?;
            came_up(site, &replica).await
        }
    }
}

/// What the VM of a test is called: the same in every attempt of a run, so that there is never a second.
pub(crate) fn test_name(run: PlanRunId, vm: &VmName) -> String {
    const NAME_CHARS: usize = 200;
    let name: String = vm.as_str().chars().take(NAME_CHARS).collect();
    format!("test-{}-{run}", name.trim())
}

async fn test(order: &Order, vm: &VmName, replica: &KnownReplica) -> Result<Output> {
    let Order { site, run, .. } = order;
    let name = test_name(order.run_id, vm);
    let known = match site.catalog.vm(&name).await? {
        // An attempt before this one has made it.
        Some(known) => known,
        None => {
            let request = TestFailover {
                point: run.point.clone(),
                name: Some(name.clone()),
                bridge: bridge(order, vm)?,
            };
            finish(site, work::test_failover(site, replica.journal_id.as_str(), request).await?).await?;
            vms::find(site, &name).await?
        }
    };
    ensure_running(site, &known).await?;
    let tests = site.catalog.failover_tests().await?;
    let moment_at = tests.iter().find(|test| test.vm_id == known.id).map(|test| test.moment_at);
    Ok(Output { vm: Some((known.id, known.name.to_string())), moment_at, ..Output::default() })
}

/// The one bridge that all networks of a test are connected to; none where it is to reach nothing.
fn bridge(order: &Order, vm: &VmName) -> Result<Option<String>> {
    let attachments = facts(order, vm)?.networks.values();
    let mut bridges: BTreeSet<_> = attachments.filter_map(|attachment| attachment.bridge.clone()).collect();
    if bridges.len() > 1 {
        let detail = format!("the networks of a test are connected to one bridge, and {vm} names several");
        return Err(Failure::invalid(detail));
    }
    Ok(bridges.pop_first())
}

/// Fails the VM over, or goes on with a failover that has begun.
async fn fail_over(site: &Site, replica: &KnownReplica, point: &str) -> Result<()> {
    if let Some(failover) = replica.standing.failover() {
        wait_for(site, failover.vm_id).await?;
    }
    let replica = replicas::find(site, replica.journal_id.as_str()).await?;
    match replica.standing.stage {
        Stage::FailedOver(_) | Stage::Committed { .. } => Ok(()),
        _ => {
            let request = FailOver { point: point.to_owned(), rate_limit_bytes_per_second: None };
            finish(site, work::fail_over(site, replica.journal_id.as_str(), request).await?).await.map(drop)
        }
    }
}

/// Waits until nothing fails this VM over any more.
async fn wait_for(site: &Site, vm_id: VmId) -> Result<()> {
    let unfinished = site.jobs.unfinished();
    let under_way =
        unfinished.into_iter().find(|job| job.kind == JobKind::FailOver && job.vm_id == Some(vm_id));
    match under_way {
        Some(job) => finish(site, job).await.map(drop),
        None => Ok(()),
    }
}

/// What is known of a VM that was failed over, certainly running.
async fn came_up(site: &Site, replica: &KnownReplica) -> Result<Output> {
    let replica = replicas::find(site, replica.journal_id.as_str()).await?;
    let failover = replica.standing.failover().ok_or_else(|| Failure::conflict("it was not failed over"))?;
    wait_for(site, failover.vm_id).await?;
    let known = vms::find(site, failover.vm_id.as_str()).await?;
    ensure_running(site, &known).await?;
    let moment_at = match (&replica.standing.stage, replica.failed_over_to) {
        (Stage::FailedOver(_), Some(sequence)) => {
            let point = format!("#{sequence}");
            let moment = replicas::moment_view(site, replica.journal_id.as_str(), &point);
            // Only what is told of it depends on that.
            moment.await.ok().map(|moment| moment.time)
        }
        _ => None,
    };
    Ok(Output { vm: Some((known.id, known.name.to_string())), moment_at, ..Output::default() })
}

async fn ensure_running(site: &Site, vm: &KnownVm) -> Result<()> {
    match vms::is_running(site, vm).await? {
        true => Ok(()),
        false => once_free(|| vms::start(site, vm)).await,
    }
}

/// Goes on with a failover that has begun and that nobody carries out.
pub(super) async fn go_on(site: &Site, replica: &KnownReplica) -> Result<()> {
    fail_over(site, replica, "latest").await
}
