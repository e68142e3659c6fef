//! Tests, failovers and fences.

use std::path::Path;

use api::{
    CleanUpTests, Code, FailOver, JobResult, JobView, ReplicaStage, ReplicaState, RestoredVmView,
    TestFailover,
};
use journal::Generation;
use model::JobState;
use peer::{ErrorKind, replicas::ReplicaOffer};

use super::{Source, read, restart, sites, until};
use crate::{
    disks::shows,
    site::{TestSite, code, problem},
};

fn latest() -> FailOver {
    at("latest")
}

fn at(point: &str) -> FailOver {
    FailOver { point: point.to_owned(), rate_limit_bytes_per_second: None }
}

fn test(point: &str) -> TestFailover {
    TestFailover { point: point.to_owned(), name: None, bridge: None }
}

fn cleanup(verdict: &str) -> CleanUpTests {
    CleanUpTests { verdict: Some(verdict.to_owned()) }
}

async fn made(site: &TestSite, job: &JobView) -> RestoredVmView {
    let ended = site.end(job).await;
    match ended.result {
        Some(JobResult::RestoredVm(vm)) if ended.state == JobState::Succeeded => vm,
        other => panic!("no VM but {other:?}, {:?}", ended.problem),
    }
}

/// Whether the only disk of a VM shows this.
fn holds(site: &TestSite, vm: &RestoredVmView, bytes: &[u8]) -> bool {
    shows(site, Path::new(&vm.disks[0].path), bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_run_beside_the_replication_and_leave_nothing() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    let first = web.write(0, 1);
    let then = web.bytes.clone();
    web.write(0, 2);
    web.ship(&peer).await.unwrap();
    let one = east.client.test_failover("web", &test(&format!("#{}", first.0))).await.unwrap();
    let one = made(&east, &one).await;
    let named = TestFailover { name: Some("drill".to_owned()), ..test("latest") };
    let two = made(&east, &east.client.test_failover("web", &named).await.unwrap()).await;
    assert!(one.started && two.started && two.vm_name == "drill");
    let view = east.client.vm(&one.vm_name).await.unwrap();
    assert_eq!(view.power, "running");
    assert!(holds(&east, &one, &then));
    assert!(holds(&east, &two, &web.bytes));
    web.write(0, 3);
    web.ship(&peer).await.unwrap();
    assert!(read(&east, "replica:web").await == web.bytes, "the replication goes on");

    let east = restart(east).await;
    assert_eq!(code(east.client.delete_replica("web", false).await), Code::Conflict);
    let cleaned = east.client.clean_up_tests("drill", &cleanup("the shop answers")).await.unwrap();
    assert_eq!((cleaned.len(), cleaned[0].verdict.as_deref()), (1, Some("the shop answers")));
    assert_eq!(code(east.client.vm("drill").await), Code::NotFound);
    east.client.clean_up_tests("web", &cleanup("fine")).await.unwrap();
    assert_eq!(std::fs::read_dir(east.path("disks")).unwrap().count(), 0);
    assert_eq!(code(east.client.clean_up_tests("web", &cleanup("again")).await), Code::NotFound);
    let view = east.client.replica("web").await.unwrap();
    assert!(view.tests.len() == 2 && view.tests.iter().all(|test| test.cleaned_up_at.is_some()), "{view:?}");
    assert_eq!(view.stage, ReplicaStage::Protected);
    east.client.delete_replica("web", false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_fences_the_source_and_the_vm_becomes_whole() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    web.write(0, 1);
    web.ship(&peer).await.unwrap();
    // Whole disks need no replica: they stay as they are for now.
    east.hypervisor.hydrations.close();
    let plan = east.client.plan_failover("web", &latest()).await.unwrap();
    assert!(plan.vm_name == "web" && !plan.lost.is_empty(), "{plan:?}");
    assert_eq!(east.client.replica("web").await.unwrap().stage, ReplicaStage::Protected, "only a plan");
    assert_eq!(code(east.client.plan_change("web", &latest()).await), Code::Conflict, "nothing to change");

    let vm = made(&east, &east.client.fail_over("web", &latest()).await.unwrap()).await;
    assert_eq!((vm.vm_id.as_str(), vm.vm_name.as_str()), (web.vm.as_str(), "web"));
    let view = east.client.replica("web").await.unwrap();
    assert_eq!((view.stage, view.state), (ReplicaStage::FailedOver, ReplicaState::Fenced), "{view:?}");
    assert_eq!(view.generation, 2);
    assert!(holds(&east, &vm, &web.bytes));

    web.write(0, 9);
    web.journal.flush().unwrap();
    let fenced = web.ship(&peer).await.unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced);
    assert!(fenced.to_string().contains("failed over at"), "{fenced}");
    assert_eq!(peer.offer_replica(web.id, &web.offer()).await.unwrap_err().kind(), ErrorKind::Fenced);
    let anew = Source::new(2, "web");
    assert_eq!(peer.offer_replica(anew.id, &anew.offer()).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(code(east.client.fail_over("web", &latest()).await), Code::Conflict);

    let east = restart(east).await;
    assert_eq!(web.ship(&peer).await.unwrap_err().kind(), ErrorKind::Fenced, "also after a restart");
    assert_eq!(code(east.client.delete_replica("web", false).await), Code::Conflict, "it is not committed");
    let committed = east.client.commit_failover("web").await.unwrap();
    assert_eq!(committed.stage, ReplicaStage::Committed);
    assert_eq!(code(east.client.change_point("web", &latest()).await), Code::Conflict);
    east.client.delete_replica("web", false).await.ok();
    // What the source may do does not depend on the replica's being here.
    assert_eq!(peer.offer_replica(anew.id, &anew.offer()).await.unwrap_err().kind(), ErrorKind::Fenced);
    let newer = ReplicaOffer { generation: Generation(3), ..anew.offer() };
    peer.offer_replica(anew.id, &newer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_moment_can_be_changed_until_the_commit_and_then_the_others_go() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    let first = web.write(0, 1);
    let then = web.bytes.clone();
    web.write(0, 2);
    web.ship(&peer).await.unwrap();
    assert_eq!(code(east.client.change_point("web", &latest()).await), Code::Conflict, "nothing to change");
    assert_eq!(code(east.client.commit_failover("web").await), Code::Conflict);
    east.hypervisor.hydrations.close();
    let vm = made(&east, &east.client.fail_over("web", &latest()).await.unwrap()).await;
    assert!(holds(&east, &vm, &web.bytes));
    let plan = east.client.plan_change("web", &at(&format!("#{}", first.0))).await.unwrap();
    assert!(plan.lost.iter().any(|lost| lost.contains("written here")), "{plan:?}");

    let point = at(&format!("#{}", first.0));
    let again = made(&east, &east.client.change_point("web", &point).await.unwrap()).await;
    assert_eq!(again.vm_id, web.vm.as_str(), "there is one VM");
    assert!(holds(&east, &again, &then));
    let view = east.client.replica("web").await.unwrap();
    assert_eq!(view.failover.unwrap().sequence, Some(first.0));

    east.hypervisor.hydrations.open();
    let hydration = east.client.job(again.hydration_job.unwrap().as_str()).await.unwrap();
    assert_eq!(east.end(&hydration).await.state, JobState::Succeeded);
    east.client.commit_failover("web").await.unwrap();
    let refused = east.client.test_failover("web", &test("latest")).await;
    assert_eq!(code(refused), Code::Conflict, "its moments are gone");
    until(&east, "web", |view| view.size_bytes.0 == 0).await;
    east.client.delete_replica("web", false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_said_before_anything_is_done() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    web.write(0, 1);
    web.ship(&peer).await.unwrap();
    east.add_guest("web", vec![0; 4096]).await;
    let refused = problem(east.client.fail_over("web", &latest()).await);
    assert_eq!(refused.code, Code::Conflict, "{refused:?}");
    assert_eq!(code(east.client.plan_failover("web", &latest()).await), Code::Conflict);
    assert_eq!(east.client.replica("web").await.unwrap().stage, ReplicaStage::Protected);
    web.write(0, 2);
    web.ship(&peer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_without_a_moment_is_refused() {
    let (east, _west, peer) = sites().await;
    let web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    let refused = problem(east.client.fail_over("web", &latest()).await);
    assert_eq!(refused.code, Code::Conflict, "{refused:?}");
    assert_eq!(east.client.replica("web").await.unwrap().stage, ReplicaStage::Protected);
}
