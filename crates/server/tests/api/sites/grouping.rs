//! VMs that share moments: consistency groups, from the marks in their journals to a failover of all of them.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use api::{
    AddGroupMember, CleanUpTests, Code, CreateReplicationGroup, FailOver, ImageQuery, JobResult, JobView,
    MakeCheckpoint, ReplicaStage, ReplicationGroupState, ReplicationGroupView, ReplicationState,
    RestoredVmView, SharedPointView, StartReplication, StopReplication, TestGroupFailover,
};
use hypervisor::Power;
use model::{Consistency, JobState};
use tokio::task::JoinHandle;

use super::{pair, site};
use crate::site::{TestSite, code, pattern, problem};

/// What a busy machine may take until something is as it must become.
const PATIENCE: Duration = Duration::from_secs(120);

const VMS: [&str; 3] = ["web", "app", "db"];

/// The group shop of three VMs of west, replicated to east.
async fn grouped() -> (TestSite, TestSite) {
    let (east, west) = (site("east").await, site("west").await);
    pair(&east, &west).await;
    for (vm, seed) in VMS.iter().zip(1..) {
        west.add_guest(vm, pattern(seed)).await;
        let to_east: StartReplication = serde_json::from_value(serde_json::json!({"to": "east"})).unwrap();
        west.client.start_replication(vm, &to_east).await.unwrap();
    }
    west.client.create_replication_group(&shop(&VMS)).await.unwrap();
    (east, west)
}

fn shop(vms: &[&str]) -> CreateReplicationGroup {
    let vms = vms.iter().map(|vm| (*vm).to_owned()).collect();
    CreateReplicationGroup { name: "shop".to_owned(), vms, every_ms: Some(100) }
}

/// Waits until it is as wanted.
async fn until<T, E: std::fmt::Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let mut last = None;
    let waiting = async {
        loop {
            match ask().await {
                Ok(found) => return found,
                Err(other) => last = Some(other),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(found) => found,
        Err(_) => panic!("it never came to this: {what}; it is {last:?}"),
    }
}

async fn group_until(
    west: &TestSite,
    what: &str,
    holds: impl Fn(&ReplicationGroupView) -> bool,
) -> ReplicationGroupView {
    until(what, async || {
        let view = west.client.replication_group("shop").await.unwrap();
        if holds(&view) { Ok(view) } else { Err(view) }
    })
    .await
}

async fn until_consistent(west: &TestSite) -> ReplicationGroupView {
    group_until(west, "consistent", |view| view.state == ReplicationGroupState::Consistent).await
}

/// Waits until the other site has so many shared moments that are newer than this one.
async fn shared_after(east: &TestSite, number: u64, count: usize) -> Vec<SharedPointView> {
    until("shared moments", async || {
        let mut points = east.client.shared_points("shop", true).await.unwrap_or_default();
        points.retain(|point| point.number > number);
        if points.len() >= count { Ok(points) } else { Err(points) }
    })
    .await
}

/// Makes a shared moment of this name, and waits until the other site has it.
async fn named(east: &TestSite, west: &TestSite, name: &str) -> SharedPointView {
    let request = MakeCheckpoint { name: name.to_owned(), application: false };
    // A busy machine may not hold all within the time for it.
    until("a shared checkpoint", async || west.client.make_group_checkpoint("shop", &request).await).await;
    until(name, async || {
        let points = east.client.shared_points("shop", true).await.unwrap_or_default();
        points.iter().find(|point| point.name == name).cloned().ok_or(points)
    })
    .await
}

/// The numbers of all shared moments.
async fn numbers(east: &TestSite) -> Vec<u64> {
    let points = east.client.shared_points("shop", true).await.unwrap();
    points.iter().map(|point| point.number).collect()
}

/// The first bytes of a moment, as a number.
async fn counter(site: &TestSite, reference: &str) -> u64 {
    let mut data = site.client.image_data(ImageQuery { reference, from_copy: None }).await.unwrap();
    let mut bytes = Vec::new();
    while bytes.len() < 8 {
        bytes.extend_from_slice(&data.next().await.unwrap().unwrap());
    }
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

/// A program over all VMs: each number is written to the second when the first has it, and to the third when the second has it.
struct Program {
    stop: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Program {
    fn start(west: &TestSite) -> Self {
        let (hypervisor, stop) = (Arc::clone(&west.hypervisor), Arc::<AtomicBool>::default());
        let guests = VMS.map(|vm| west.path(vm));
        let task = tokio::spawn({
            let stop = Arc::clone(&stop);
            async move {
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    for guest in &guests {
                        hypervisor.write_through(guest, 0, &number.to_le_bytes().repeat(64)).await;
                    }
                    tokio::task::yield_now().await;
                }
                number
            }
        });
        Self { stop, task }
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// At each of these moments no VM has a number that the one before has not, and none is behind by more than one.
async fn check_order(east: &TestSite, points: &[SharedPointView]) {
    for point in points {
        let mut numbers = Vec::new();
        for vm in VMS {
            numbers.push(counter(east, &format!("replica:{vm}/{}", point.reference)).await);
        }
        let [first, second, third] = numbers[..] else { panic!() };
        let is_ordered = third <= second && second <= first && first <= third.wrapping_add(1);
        assert!(is_ordered, "{point:?}: {numbers:?}");
    }
}

/// Has all write one number, so that there is an order from here on.
async fn begin_order(west: &TestSite) {
    for vm in VMS {
        west.hypervisor.write_through(&west.path(vm), 0, &[0; 512]).await;
    }
}

/// The VMs that jobs made, by name.
async fn made(site: &TestSite, jobs: &[JobView]) -> Vec<RestoredVmView> {
    let mut vms = Vec::new();
    for job in jobs {
        let ended = site.end(job).await;
        match ended.result {
            Some(JobResult::RestoredVm(vm)) if ended.state == JobState::Succeeded => vms.push(vm),
            other => panic!("no VM but {other:?}, {:?}", ended.problem),
        }
    }
    vms
}

/// Whether the disk of a VM that was made begins with this number.
fn shows(site: &TestSite, vm: &RestoredVmView, number: u64) -> bool {
    let seed = (1..).zip(VMS).find(|(_, name)| vm.vm_name.contains(name)).unwrap().0;
    let mut bytes = pattern(seed);
    bytes[..512].copy_from_slice(&number.to_le_bytes().repeat(64));
    crate::disks::shows(site, Path::new(&vm.disks[0].path), &bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_shared_moment_has_an_effect_without_its_cause() {
    let (east, west) = grouped().await;
    until_consistent(&west).await;
    begin_order(&west).await;
    let begun = named(&east, &west, "begun").await.number;
    let program = Program::start(&west);
    let points = shared_after(&east, begun, 20).await;
    assert!(program.end().await > 1);
    check_order(&east, &points).await;
    let view = until_consistent(&west).await;
    assert!(view.made >= 20 && view.held_longest_us.unwrap() > 0, "{view:?}");
    let there = east.client.replica_group("shop").await.unwrap();
    assert_eq!((there.members.len(), there.problem, there.site.as_str()), (3, None, "west"));
    assert_eq!(points[0].reference, format!("@shop#{}", points[0].number));
    assert_eq!(west.client.replication("db").await.unwrap().group.as_deref(), Some("shop"));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_member_is_not_whole_there_is_none_and_then_there_is() {
    let (east, west) = grouped().await;
    until_consistent(&west).await;
    begin_order(&west).await;
    let before = named(&east, &west, "before").await;
    let program = Program::start(&west);
    west.hypervisor.break_tap(&west.path("app"), "the test broke it");
    let missed = group_until(&west, "missed", |view| view.missed > 0 && view.last_missed_at.is_some()).await;
    assert!(missed.last_missed_because.is_some(), "{missed:?}");
    until("protected again", async || {
        let view = west.client.replication("app").await.unwrap();
        if view.breaks > 0 && view.state == ReplicationState::Protected { Ok(()) } else { Err(view) }
    })
    .await;
    until_consistent(&west).await;
    let points = shared_after(&east, before.number, 10).await;
    program.end().await;
    check_order(&east, &points).await;

    west.client.pause_replication("db").await.unwrap();
    let degraded = group_until(&west, "degraded", |view| view.state == ReplicationGroupState::Degraded).await;
    assert!(degraded.why.unwrap().contains("db"));
    let checks = west.client.doctor().await.unwrap();
    let check = checks.iter().find(|check| check.name == "consistency group shop").unwrap();
    assert_eq!(check.status, api::CheckStatus::Warning);
    let request = MakeCheckpoint { name: "no".to_owned(), application: false };
    assert_eq!(code(west.client.make_group_checkpoint("shop", &request).await), Code::Conflict);
    assert!(east.client.shared_points("shop", true).await.unwrap().contains(&before), "earlier ones stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn taps_that_die_and_servers_that_start_again_make_no_false_moment() {
    let (east, west) = grouped().await;
    until_consistent(&west).await;
    begin_order(&west).await;
    let before = named(&east, &west, "before").await;
    let program = Program::start(&west);
    for _ in 0..3 {
        shared_after(&east, before.number, 1).await;
        west.hypervisor.kill_taps();
        until_consistent(&west).await;
    }
    let newest = west.client.replication_group("shop").await.unwrap().newest.unwrap().number;
    let west = west.restart().await;
    let view = until_consistent(&west).await;
    assert!(view.newest.unwrap().number > newest, "no number is used twice");
    shared_after(&east, newest, 5).await;
    let east = east.restart().await;
    assert!(east.client.shared_points("shop", true).await.unwrap().contains(&before));
    let newest = view.newest.unwrap().number;
    shared_after(&east, newest, 5).await;
    program.end().await;
    let points = shared_after(&east, before.number, 5).await;
    check_order(&east, &points).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_a_member_can_change_and_the_other_site_follows() {
    let (east, west) = grouped().await;
    until_consistent(&west).await;
    assert_eq!(code(west.client.create_replication_group(&shop(&["web"])).await), Code::Conflict);
    let other = CreateReplicationGroup { name: "other".to_owned(), ..shop(&["web"]) };
    assert_eq!(code(west.client.create_replication_group(&other).await), Code::Conflict, "in one at most");
    let nobody = CreateReplicationGroup { name: "nobody".to_owned(), ..shop(&[]) };
    assert_eq!(code(west.client.create_replication_group(&nobody).await), Code::Invalid);

    let both = named(&east, &west, "three").await;
    west.client.remove_group_member("shop", "app").await.unwrap();
    until("two members", async || {
        let view = east.client.replica_group("shop").await.unwrap();
        if view.members.len() == 2 { Ok(()) } else { Err(view) }
    })
    .await;
    // What three have shared, two share.
    assert!(numbers(&east).await.contains(&both.number));
    let refused = east.client.replica_moment("app", "@shop").await;
    assert!(problem(refused).detail.contains("not in the group"));
    let two = named(&east, &west, "two").await;

    west.client.add_group_member("shop", &AddGroupMember { vm: "app".to_owned() }).await.unwrap();
    until("three members", async || {
        let view = east.client.replica_group("shop").await.unwrap();
        if view.members.len() == 3 { Ok(()) } else { Err(view) }
    })
    .await;
    let known = numbers(&east).await;
    assert!(known.contains(&both.number) && !known.contains(&two.number), "not all can show it: {known:?}");

    west.client.stop_replication("app", &StopReplication::default()).await.unwrap();
    assert_eq!(west.client.replication_group("shop").await.unwrap().members.len(), 2);
    west.client.delete_replication_group("shop").await.unwrap();
    until("no group", async || match east.client.replica_groups().await.unwrap() {
        none if none.is_empty() => Ok(()),
        groups => Err(groups),
    })
    .await;
    assert_eq!(code(west.client.replication_group("shop").await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_members_are_tested_and_fail_over_at_one_moment() {
    let (east, west) = grouped().await;
    until_consistent(&west).await;
    for vm in VMS {
        west.hypervisor.write_through(&west.path(vm), 0, &1_u64.to_le_bytes().repeat(64)).await;
    }
    let first = named(&east, &west, "first").await;
    for vm in VMS {
        west.hypervisor.write_through(&west.path(vm), 0, &2_u64.to_le_bytes().repeat(64)).await;
    }
    named(&east, &west, "second").await;
    // The disks are looked at while they still read from the moment.
    east.hypervisor.hydrations.close();

    let test = TestGroupFailover { point: "first".to_owned(), bridge: None };
    let tests = made(&east, &east.client.test_group_failover("shop", &test).await.unwrap()).await;
    assert!(tests.len() == 3 && tests.iter().all(|vm| vm.started && shows(&east, vm, 1)));
    let cleaned = east.client.clean_up_group_tests("shop", &CleanUpTests::default()).await.unwrap();
    assert_eq!(cleaned.len(), 3);

    let at = |point: &str| FailOver { point: point.to_owned(), rate_limit_bytes_per_second: None };
    assert_eq!(code(east.client.plan_group_change("shop", &at("first")).await), Code::Conflict);
    assert_eq!(code(east.client.fail_over_group("shop", &at("never")).await), Code::NotFound);
    let plan = east.client.plan_group_failover("shop", &at("latest")).await.unwrap();
    assert!(plan.members.len() == 3 && plan.number > first.number, "{plan:?}");
    // One that runs already goes first; the others follow it to its moment.
    let request = at(&format!("@shop#{}", plan.number));
    made(&east, &[east.client.fail_over("web", &request).await.unwrap()]).await;
    assert_eq!(code(east.client.fail_over_group("shop", &at("first")).await), Code::Conflict);
    let others = made(&east, &east.client.fail_over_group("shop", &at("latest")).await.unwrap()).await;
    assert!(others.len() == 2 && others.iter().all(|vm| shows(&east, vm, 2)));
    assert_eq!(code(east.client.fail_over_group("shop", &at("latest")).await), Code::Conflict, "all run");

    let again = east.client.change_group_point("shop", &at(&format!("#{}", first.number))).await.unwrap();
    let again = made(&east, &again).await;
    assert!(again.len() == 3 && again.iter().all(|vm| shows(&east, vm, 1)));
    let committed = east.client.commit_group_failover("shop").await.unwrap();
    assert!(committed.iter().all(|replica| replica.stage == ReplicaStage::Committed));
    group_until(&west, "fenced", |view| {
        view.members.iter().all(|member| member.state == ReplicationState::Fenced)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_members_are_shut_down_before_any_is_handed_over() {
    let (east, west) = grouped().await;
    until_consistent(&west).await;
    for vm in VMS {
        west.hypervisor.write_through(&west.path(vm), 0, &7_u64.to_le_bytes().repeat(64)).await;
    }
    west.hypervisor.is_stubborn.store(true, Ordering::Relaxed);
    let refused = west.failure(&west.client.hand_over_group("shop", false).await.unwrap()).await;
    assert!(refused.detail.contains("nothing was handed over"), "{refused:?}");
    west.hypervisor.is_stubborn.store(false, Ordering::Relaxed);

    east.hypervisor.hydrations.close();
    let given = west.end(&west.client.hand_over_group("shop", false).await.unwrap()).await;
    let Some(JobResult::HandedOverGroup(given)) = given.result else { panic!("{given:?}") };
    for vm in &given.vms {
        let job = east.client.job(vm.job_there.as_ref().unwrap()).await.unwrap();
        let there = made(&east, &[job]).await;
        assert!(there[0].started && shows(&east, &there[0], 7), "{there:?}");
        assert_eq!(west.client.vm(&vm.vm).await.unwrap().power, "stopped");
    }
    assert_eq!(given.vms.len(), 3);
    // Whoever has not heard the answer asks again.
    let again = west.end(&west.client.hand_over_group("shop", false).await.unwrap()).await;
    assert_eq!(again.state, JobState::Succeeded, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_in_all_guests_hold_still_or_there_is_no_such_moment() {
    let (east, west) = grouped().await;
    until_consistent(&west).await;
    let request = MakeCheckpoint { name: "quiet".to_owned(), application: true };
    until("a shared checkpoint for applications", async || {
        west.client.make_group_checkpoint("shop", &request).await
    })
    .await;
    until("the quiet moment", async || east.client.replica_moment("db", "@shop:latest-application").await)
        .await;
    let edit = |vm: &mut hypervisor::FakeVm| vm.consistency = Consistency::Crash;
    west.hypervisor.edit(&west.path("app"), edit);
    assert_eq!(code(west.client.make_group_checkpoint("shop", &request).await), Code::Consistency);
    west.hypervisor.edit(&west.path("app"), |vm| vm.power = Power::Stopped);
    group_until(&west, "degraded", |view| view.state == ReplicationGroupState::Degraded).await;
}
