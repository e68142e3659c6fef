//! Planned failovers of plans: the one site asks, the other shuts down and hands over.

use std::{sync::atomic::Ordering, time::Duration};

use api::{
    Code, CreatePlan, EditReplica, PlanCommand, PlanRunView, ReplicationState, RunPlan, TellPlanRun,
    ValidatePlan,
};
use hypervisor::Power;
use model::ByteCount;

use super::replicating::{replicated, until, until_protected};
use crate::site::{TestSite, code};

/// What a busy machine may take until something is as it must become.
const PATIENCE: Duration = Duration::from_secs(60);

const PLAN: &str = "version = 1\n[[groups]]\nname = \"all\"\nvms = [{ name = \"db\" }]\n";

async fn run(site: &TestSite) {
    let request = CreatePlan { name: "shop".to_owned(), text: PLAN.to_owned(), primary_site: None };
    site.client.create_plan(&request).await.unwrap();
    let request = RunPlan {
        kind: "planned".to_owned(),
        point: "latest".to_owned(),
        direction: Some("failover".to_owned()),
        operator: None,
    };
    site.client.run_plan("shop", &request).await.unwrap();
}

async fn tell(site: &TestSite, command: PlanCommand, step: Option<u32>) {
    let request = TellPlanRun { command, step, note: None, operator: None };
    site.client.tell_plan_run("shop", &request).await.unwrap();
}

async fn until_standing(site: &TestSite, standing: &str) -> PlanRunView {
    let waiting = async {
        loop {
            let run = site.client.plan_run("shop").await.unwrap();
            if run.standing == standing {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(run) => run,
        Err(_) => panic!("it is never {standing}: {:#?}", site.client.plan_run("shop").await),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_failover_is_asked_for_where_the_vms_come_up_and_goes_back_the_same_way() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    // What the other site lacks would be found by the check before anything is shut down.
    until(&west, "in sync", |view| view.lag_bytes == 0).await;
    run(&east).await;
    let done = until_standing(&east, "recovered").await;
    assert_eq!((done.direction.as_str(), done.vms[0].vm_name.as_deref()), ("failover", Some("db")));
    assert_eq!(east.client.vm("db").await.unwrap().power, "running");
    assert_eq!(west.client.vm("db").await.unwrap().power, "stopped");
    assert_eq!(code(west.client.start_vm("db").await), Code::Fenced);
    tell(&east, PlanCommand::Commit, None).await;
    until_standing(&east, "committed").await;
    tell(&east, PlanCommand::Reprotect, None).await;
    until_standing(&east, "reprotected").await;
    assert_eq!(east.client.replication("db").await.unwrap().site, "west");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_does_not_shut_down_holds_it_up_and_a_cancelled_run_starts_what_it_stopped() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    until(&west, "in sync", |view| view.lag_bytes == 0).await;
    west.hypervisor.is_stubborn.store(true, Ordering::SeqCst);
    run(&east).await;
    let failed = until_standing(&east, "failed").await;
    assert!(failed.questions.len() == 1, "{failed:#?}");
    assert_eq!(west.client.vm("db").await.unwrap().power, "running");
    assert_eq!(west.client.replication("db").await.unwrap().state, ReplicationState::Protected);
    // Somebody shuts it down by hand and tries again; the other site has changed its mind by then.
    west.hypervisor.edit(&west.path("db"), |vm| vm.power = Power::Stopped);
    tell(&east, PlanCommand::Pause, None).await;
    tell(&east, PlanCommand::Retry, Some(failed.questions[0])).await;
    until_standing(&east, "paused").await;
    tell(&east, PlanCommand::Cancel, None).await;
    until_standing(&east, "cancelled").await;
    tell(&east, PlanCommand::Cleanup, None).await;
    let cleaned = until_standing(&east, "failed").await;
    let why = cleaned.waves.last().unwrap().lanes[0].steps[0].why.clone().unwrap();
    // One that somebody else starts is theirs to start.
    assert!(why.contains("start"), "{why}");
    west.hypervisor.edit(&west.path("db"), |vm| vm.power = Power::Running);
    tell(&east, PlanCommand::Retry, Some(cleaned.questions[0])).await;
    until_standing(&east, "cleaned-up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_short_of_memory_says_so_before_anything_is_shut_down() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    until(&west, "in sync", |view| view.lag_bytes == 0).await;
    let memory_bytes = Some(ByteCount(1 << 45));
    let more: EditReplica =
        serde_json::from_value(serde_json::json!({ "memory_bytes": memory_bytes })).unwrap();
    east.client.edit_replica("db", &more).await.unwrap();
    run(&east).await;
    let failed = until_standing(&east, "failed").await;
    let check = &failed.waves[0].lanes[0].steps[0];
    assert!(check.state == "failed" && check.why.as_ref().unwrap().contains("of memory"), "{failed:#?}");
    let request = ValidatePlan { text: None, plan: Some("shop".to_owned()) };
    let findings = east.client.validate_plan(&request).await.unwrap();
    assert!(
        findings.iter().any(|finding| finding.is_error && finding.message.contains("of memory")),
        "{findings:?}"
    );
    assert_eq!(west.client.vm("db").await.unwrap().power, "running");
    let shut_down = &failed.waves[1].lanes[0].steps[0];
    assert_eq!((shut_down.state.as_str(), shut_down.attempts.len()), ("waiting", 0));
}
