//! Tests of replicas: VMs made from their moments, which reach nothing and are removed without a trace. The replication goes on.

use std::{sync::Arc, time::Duration};

use api::{FailoverTestView, TestFailover};
use catalog::{FailoverTest, Job};
use model::{DiskFormat, JobKind, MomentSelector, ReplicaReference, VmName};

use super::{
    new_vm::{self, Asked, Dependence, NewVm, Place},
    test_point,
};
use crate::{
    failure::{Failure, Result},
    replicas::{self, Purpose, Target},
    site::Site,
    vms,
};

/// How long a read waits while the replica cannot be read.
pub(super) const WAIT_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// The longest verdict, in bytes.
const VERDICT_MAX_BYTES: usize = 4096;

/// Lines a test up.
pub(crate) async fn submit(site: &Site, replica: &str, request: TestFailover) -> Result<Job> {
    let moment = selector(&request.point)?;
    let reference = ReplicaReference { vm: replica.to_owned(), moment, disk: None };
    let found = Arc::new(replicas::resolve(site, &reference).await?);
    let target = Target::of(site, &found.replica).await?;
    let place = Place::own(site, target.storage());
    let name = match &request.name {
        Some(name) => name.parse().map_err(|error| Failure::invalid(format!("the VM's name: {error}")))?,
        None => name_default(target.name(&found.replica), &place)?,
    };
    let test = FailoverTest {
        vm_id: place.vm_id,
        journal_id: found.replica.journal_id,
        vm_name: name.clone(),
        sequence: found.sequence(),
        moment_at: found.time,
        begun_at: site.env.clock.now(),
        cleaned_up_at: None,
        verdict: None,
    };
    let pinned = found.pinned(None).to_string();
    let mut definition = found.definition(site)?;
    definition.name = name.clone();
    target.shape(&mut definition, Purpose::Test);
    if let Some(bridge) = &request.bridge {
        let bridge = replicas::connection(bridge)?;
        definition.networks.iter_mut().for_each(|network| bridge.connect(network));
    }
    target.check(site, &found.replica, &definition)?;
    let (content, paths) = new_vm::of_moment(found, definition, &place.directory)?;
    let asked = Asked {
        kind: JobKind::TestFailover,
        reference: pinned,
        paths,
        format: DiskFormat::Qcow2,
        replace: false,
    };
    let new = NewVm {
        replaces: None,
        vm_id: place.vm_id,
        name,
        content,
        isolated: false,
        dependence: Some(Dependence {
            hydrates: false,
            rate_limit_bytes_per_second: None,
            wait_limit: WAIT_LIMIT,
        }),
        start: true,
        test: Some(test),
    };
    new.submit(site, place, asked).await
}

/// Which moment is meant.
pub(crate) fn selector(point: &str) -> Result<MomentSelector> {
    point.parse().map_err(|why| Failure::invalid(format!("{point:?} is no moment: {why}")))
}

fn name_default(vm: &VmName, place: &Place) -> Result<VmName> {
    let id = place.vm_id.to_string();
    let near: std::result::Result<VmName, _> = format!("test-{vm}-{}", &id[..6]).parse();
    near.or_else(|_| format!("test-{id}").parse()).map_err(|error| Failure::invalid(format!("{error}")))
}

/// Removes the VM of a test, or of all tests of a replica, with all that it had, and keeps what was found. May be asked for again.
pub(crate) async fn clean_up(
    site: &Site,
    name: &str,
    verdict: Option<&str>,
) -> Result<Vec<FailoverTestView>> {
    if verdict.is_some_and(|verdict| verdict.len() > VERDICT_MAX_BYTES) {
        return Err(Failure::invalid(format!("a verdict has at most {VERDICT_MAX_BYTES} bytes")));
    }
    let mut ended = Vec::new();
    for test in meant(site, name).await? {
        if let Some(vm) = site.catalog.vm(test.vm_id.as_str()).await? {
            let _turn = vms::claim(site, &vm, "removing a test")?;
            test_point::take_down(site, &vm).await?;
        }
        let at = site.env.clock.now();
        site.catalog.end_failover_test(test.vm_id, at, verdict).await?;
        tracing::info!(test = %test.vm_name, "the test of a replica was cleaned up");
        let verdict = verdict.map(str::to_owned);
        ended.push(replicas::test_view(&FailoverTest { cleaned_up_at: Some(at), verdict, ..test }));
    }
    Ok(ended)
}

/// The tests that are not cleaned up and that somebody means: the one of this name, or all of a replica.
async fn meant(site: &Site, name: &str) -> Result<Vec<FailoverTest>> {
    let mut tests = site.catalog.failover_tests().await?;
    tests.retain(|test| test.cleaned_up_at.is_none());
    let is_named = |test: &FailoverTest| test.vm_name.as_str() == name || test.vm_id.as_str() == name;
    if let Some(named) = tests.iter().find(|test| is_named(test)) {
        return Ok(vec![named.clone()]);
    }
    let journal = replicas::find(site, name).await?.journal_id;
    tests.retain(|test| test.journal_id == journal);
    if tests.is_empty() {
        return Err(Failure::not_found(format!("there is no test of {name} that is not cleaned up"))
            .with_hint("see them with: holdfast replica show"));
    }
    Ok(tests)
}

/// A test of which nothing came is forgotten; what there is of its disks goes with those of other dead jobs.
pub(crate) async fn clean_up_dead(site: &Site, job: &Job) -> Result<()> {
    let Some(vm_id) = job.vm_id else { return Ok(()) };
    if site.catalog.vm(vm_id.as_str()).await?.is_none() {
        site.catalog.remove_failover_test(vm_id).await?;
    }
    Ok(())
}
