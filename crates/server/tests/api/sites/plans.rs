//! Plans are kept at both sites.

use std::time::Duration;

use api::{
    Code, CreatePlan, CreateRunbook, EditPlan, EditRunbook, PlanCommand, PlanRunView, PlanStepView, PlanView,
    RunPlan, TellPlanRun, ValidatePlan,
};
use peer::plans::SharedPlan;
use tokio::io::AsyncReadExt as _;

use super::{
    call_as, pair,
    replicating::{replicated, until as until_replicated, until_protected},
    site,
};
use crate::{
    replicas::plans::listener,
    site::{TestSite, code, problem},
};

/// What a busy machine may take until something is as it must become.
const PATIENCE: Duration = Duration::from_secs(60);

const QUIET: &str = "version = 1\n[[groups]]\nname = \"all\"\nvms = [{ name = \"db\" }]\n";

/// The same with something that is done on the host.
fn with_action(action: &str) -> String {
    format!("{QUIET}post = [{{ name = \"tell\", {action} }}]\n")
}

async fn create(site: &TestSite, text: &str) -> PlanView {
    let request = CreatePlan { name: "shop".to_owned(), text: text.to_owned(), primary_site: None };
    site.client.create_plan(&request).await.unwrap()
}

async fn edit(site: &TestSite, text: &str) -> PlanView {
    site.client.edit_plan("shop", &EditPlan { text: text.to_owned(), drop: true }).await.unwrap().plan
}

/// Waits until the other site has everything.
async fn until_in_sync(west: &TestSite) {
    until_replicated(west, "in sync", |view| view.lag_bytes == 0).await;
}

fn test() -> RunPlan {
    RunPlan { kind: "test".to_owned(), point: "latest".to_owned(), direction: None, operator: None }
}

/// Waits until a site has the plan, or has it no more, as it is to be.
async fn until(site: &TestSite, what: &str, holds: impl Fn(Option<&PlanView>) -> bool) -> Option<PlanView> {
    let waiting = async {
        loop {
            let plans = site.client.plans().await.unwrap();
            if holds(plans.first()) {
                return plans.into_iter().next();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(plan) => plan,
        Err(_) => panic!("it never came to this: {what}; there is {:?}", site.client.plans().await),
    }
}

async fn until_version(site: &TestSite, version: u64) -> PlanView {
    let is_it = |plan: Option<&PlanView>| plan.is_some_and(|plan| plan.version == version);
    until(site, &format!("version {version}"), is_it).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_and_its_runbooks_come_to_the_other_site_and_the_newest_counts() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    let document = "version = 1\nscript = { command = [\"true\"] }\n".to_owned();
    let runbook = CreateRunbook { name: "dns".to_owned(), document };
    east.client.create_runbook(&runbook).await.unwrap();
    let written = create(&east, &with_action("runbook = { name = \"dns\" }")).await;
    assert!(written.is_accepted && written.written_at == "east", "{written:?}");

    let there = until_version(&west, 1).await;
    assert_eq!((there.written_at.as_str(), there.is_accepted), ("east", false));
    assert_eq!(there.primary_site, west.client.site().await.unwrap().name.to_string());
    let is_kept = |plan: Option<&PlanView>| {
        plan.is_some_and(|plan| plan.copies.iter().any(|copy| copy.site == "west" && copy.version == 1))
    };
    until(&east, "west is known to have it", is_kept).await;
    let refused = problem(west.client.run_plan("shop", &test()).await);
    assert!(refused.code == Code::Conflict && refused.hint.unwrap().contains("plan accept shop"));
    let runbook = west.client.runbook("dns").await.unwrap();
    assert!(runbook.origin.is_some() && !runbook.is_accepted, "{runbook:?}");
    assert!(west.client.accept_plan("shop").await.unwrap().is_accepted);
    assert!(west.client.runbook("dns").await.unwrap().is_accepted);
    // It is begun now, and lacks nothing but replicas.
    assert_eq!(west.client.run_plan("shop", &test()).await.unwrap().plan_version, 1);

    // What was agreed to once needs not be again; what is new does.
    let less = edit(&west, QUIET).await;
    assert_eq!((less.version, less.written_at.as_str()), (2, "west"));
    assert!(until_version(&east, 2).await.is_accepted);
    edit(&east, &with_action("script = { command = [\"reboot\"] }")).await;
    assert!(!until_version(&west, 3).await.is_accepted);
    assert_eq!(west.client.plan_versions("shop").await.unwrap().len(), 3);

    east.client.delete_plan("shop").await.unwrap();
    until(&west, "forgotten", |plan| plan.is_none()).await;
    assert_eq!(create(&east, QUIET).await.version, 5, "it is newer than what was forgotten");
    until_version(&west, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_was_away_gets_the_plan_when_it_is_back() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    let (clock, peers) = (west.clock.clone(), west.peers.clone());
    let left = west.stop().await;
    create(&east, QUIET).await;
    let is_waiting = |plan: Option<&PlanView>| {
        plan.is_some_and(|plan| plan.copies.iter().any(|copy| copy.version == 0 && copy.problem.is_some()))
    };
    until(&east, "it says that west lacks it", is_waiting).await;
    let west = TestSite::start_again(left, clock, peers).await;
    until_version(&west, 1).await;
    until(&east, "nothing is wrong any more", |plan| plan.unwrap().copies[0].problem.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_plan_of_that_name_is_not_overwritten() {
    let (east, west, north) = (site("east").await, site("west").await, site("north").await);
    pair(&east, &west).await;
    pair(&east, &north).await;
    let at = |name: &str| CreatePlan {
        name: "shop".to_owned(),
        text: QUIET.to_owned(),
        primary_site: Some(name.to_owned()),
    };
    east.client.create_plan(&at("north")).await.unwrap();
    until_version(&north, 1).await;
    assert_eq!(code(east.client.create_plan(&at("east")).await), Code::Conflict);
    west.client.create_plan(&at("east")).await.unwrap();
    let is_refused = |plan: Option<&PlanView>| {
        let copies = plan.map(|plan| &plan.copies[..]).unwrap_or_default();
        copies.iter().any(|copy| copy.problem.as_ref().is_some_and(|why| why.contains("another plan")))
    };
    until(&west, "east has said why not", is_refused).await;
    assert_eq!(until_version(&east, 1).await.written_at, "east");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_cannot_use_up_the_numbers_of_versions() {
    let (east, west) = replicated().await;
    create(&west, QUIET).await;
    until_version(&east, 1).await;
    let id = west.client.site().await.unwrap().id;
    let shared = |version| SharedPlan {
        name: "shop".parse().unwrap(),
        version,
        origin: id,
        primary_site: id,
        created_at: "2040-03-01T12:00:00Z".parse().unwrap(),
        text: QUIET.to_owned(),
        format: "toml".to_owned(),
        is_deleted: false,
        runbooks: Vec::new(),
    };
    let peer = call_as(&west, &east).await;
    assert_eq!(peer.share_plan(&shared(5)).await.unwrap().version, 5);
    assert!(peer.share_plan(&shared(u64::MAX)).await.is_err());
    assert_eq!(edit(&east, &format!("# mine\n{QUIET}")).await.version, 6);
}

/// A runbook that tells a port what it is told.
async fn keep_runbook(site: &TestSite, port: u16, is_for_others: bool) {
    let document = format!(
        "version = 1\nother_sites = {is_for_others}\nhttp = {{ url = \"http://127.0.0.1:{port}/\" }}\n\
         [parameters.name]\ndefault = \"shop\"\n"
    );
    let request = CreateRunbook { name: "dns".to_owned(), document };
    site.client.create_runbook(&request).await.unwrap();
}

const AT_SOURCE: &str = "version = 1\n[[groups]]\nname = \"all\"\nvms = [{ name = \"db\" }]\n\
    post = [{ name = \"tell\", runbook = { name = \"dns\", site = \"source\" }, on_failure = \"ask\" }]\n";

async fn run(site: &TestSite, kind: &str) {
    site.client.run_plan("shop", &RunPlan { kind: kind.to_owned(), ..test() }).await.unwrap();
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

async fn tell(site: &TestSite, command: PlanCommand, step: Option<u32>) {
    let request = TellPlanRun { command, step, note: None, operator: None };
    site.client.tell_plan_run("shop", &request).await.unwrap();
}

fn last_step(run: &PlanRunView) -> &PlanStepView {
    &run.waves.last().unwrap().lanes[0].steps[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_runs_at_the_other_site_where_that_allows_it_and_is_not_said_to_where_that_is_gone() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    until_in_sync(&west).await;
    let (port, heard) = listener().await;
    keep_runbook(&west, port, false).await;
    create(&east, AT_SOURCE).await;
    run(&east, "test").await;
    let asks = until_standing(&east, "needs-answer").await;
    let why = last_step(&asks).why.clone().unwrap();
    assert!(why.contains("other sites may not"), "{why}");
    assert!(heard.lock().await.is_empty());

    let document = west.client.runbook("dns").await.unwrap().document.replace("= false", "= true");
    west.client.edit_runbook("dns", &EditRunbook { document }).await.unwrap();
    tell(&east, PlanCommand::Retry, Some(last_step(&asks).id)).await;
    until_standing(&east, "recovered").await;
    let told: serde_json::Value = serde_json::from_str(&heard.lock().await[0]).unwrap();
    assert_eq!((&told["FailoverType"], &told["Parameters"]["name"]), (&"Test".into(), &"shop".into()));
    tell(&east, PlanCommand::Cleanup, None).await;
    until_standing(&east, "cleaned-up").await;

    let left = west.stop().await;
    run(&east, "unplanned").await;
    let asks = until_standing(&east, "needs-answer").await;
    let why = last_step(&asks).why.clone().unwrap();
    assert!(why.contains("was not run"), "{why}");
    assert_eq!(heard.lock().await.len(), 1);
    tell(&east, PlanCommand::Skip, Some(last_step(&asks).id)).await;
    until_standing(&east, "recovered").await;
    drop(left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runbook_that_is_given_up_is_ended_at_the_other_site() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    until_in_sync(&west).await;
    // It takes requests and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    keep_runbook(&west, silent.local_addr().unwrap().port(), true).await;
    create(&east, AT_SOURCE).await;
    run(&east, "test").await;
    let (mut asked, _) = tokio::time::timeout(PATIENCE, silent.accept()).await.unwrap().unwrap();
    let running = east.client.plan_run("shop").await.unwrap();
    assert_eq!(last_step(&running).state, "running");
    tell(&east, PlanCommand::Skip, Some(last_step(&running).id)).await;
    until_standing(&east, "recovered").await;
    // Who asked has gone away.
    let mut request = Vec::new();
    tokio::time::timeout(PATIENCE, asked.read_to_end(&mut request)).await.unwrap().unwrap();
    tell(&east, PlanCommand::Cleanup, None).await;
    until_standing(&east, "cleaned-up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_at_the_other_site_that_no_runbook_there_names_is_refused() {
    let (east, _west) = replicated().await;
    let text = with_action("script = { command = [\"reboot\"], site = \"source\" }");
    let request = ValidatePlan { text: Some(text), plan: None };
    let findings = east.client.validate_plan(&request).await.unwrap();
    let refused = findings.iter().find(|finding| finding.path == "groups[0].post[0].script.site").unwrap();
    assert!(refused.is_error && refused.hint.as_ref().unwrap().contains("other_sites"), "{refused:?}");
}
