//! Recovery plans at the site that keeps the replicas.

use std::{sync::Arc, time::Duration};

use api::{
    Code, CreatePlan, EditPlan, PlanCommand, PlanRunView, PlanStepView, ReplicaStage, RunPlan, TellPlanRun,
    ValidatePlan,
};
use model::{ByteCount, VmId};
use peer::PeerClient;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Mutex,
};

use super::{PATIENCE, Source, restart, sites};
use crate::site::{TestSite, code, problem};

/// A VM that is replicated, of which one page is there.
pub(super) async fn replicated(peer: &PeerClient, number: u8, name: &'static str) -> Source {
    let mut source = Source::of_vm(number, name, 1, VmId::from_random([number; 10]));
    let mut offer = source.offer();
    offer.definition.memory = ByteCount(1 << 20);
    peer.offer_replica(source.id, &offer).await.unwrap();
    source.write(0, number);
    source.ship(peer).await.unwrap();
    source
}

pub(super) async fn create(site: &TestSite, name: &str, text: &str) {
    let request = CreatePlan { name: name.to_owned(), text: text.to_owned(), primary_site: None };
    site.client.create_plan(&request).await.unwrap();
}

pub(super) fn run(kind: &str) -> RunPlan {
    RunPlan {
        kind: kind.to_owned(),
        point: "latest".to_owned(),
        direction: None,
        operator: Some("ada".to_owned()),
    }
}

pub(super) fn tell(command: PlanCommand, step: Option<u32>) -> TellPlanRun {
    TellPlanRun { command, step, note: Some("seen".to_owned()), operator: Some("ada".to_owned()) }
}

/// Waits until the newest run of a plan is like this.
pub(super) async fn until(
    site: &TestSite,
    plan: &str,
    what: &str,
    holds: impl Fn(&PlanRunView) -> bool,
) -> PlanRunView {
    let waiting = async {
        loop {
            let run = site.client.plan_run(plan).await.unwrap();
            if holds(&run) {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(run) => run,
        Err(_) => panic!("it never came to this: {what}; it is {:#?}", site.client.plan_run(plan).await),
    }
}

pub(super) async fn until_standing(site: &TestSite, plan: &str, standing: &str) -> PlanRunView {
    until(site, plan, standing, |run| run.standing == standing).await
}

pub(super) fn steps(run: &PlanRunView) -> Vec<&PlanStepView> {
    run.waves.iter().flat_map(|wave| &wave.lanes).flat_map(|lane| &lane.steps).collect()
}

fn step<'run>(run: &'run PlanRunView, title: &str) -> &'run PlanStepView {
    steps(run).into_iter().find(|step| step.title == title).unwrap_or_else(|| panic!("no {title}: {run:#?}"))
}

/// Answers every request, and keeps what was sent.
pub async fn listener() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let keeps = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !is_whole(&request) {
                match stream.read(&mut buffer).await {
                    Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
                    _ => break,
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let body = text.split_once("\r\n\r\n").map_or("", |parts| parts.1);
            keeps.lock().await.push(body.to_owned());
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            let _ = stream.write_all(answer).await; // who has gone away does not mind
        }
    });
    (port, heard)
}

/// Whether the whole body has come.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|length| length.trim().parse().ok()).is_none_or(|length: usize| body.len() >= length)
}

/// Two groups, of which the second waits for a port and tells another one.
fn shop(port: u16, gate_port: u16) -> String {
    format!(
        r#"
version = 1
[[groups]]
name = "database"
vms = [{{ name = "db 'one'", health = [{{ command = ["is-ready", "a b", "$(reboot)", "x\ny"] }}] }}]
post = [{{ name = "say who is primary", guest = {{ vm = "db 'one'", command = ['{{"variables": {{"primary": "db \"1\""}}}}'] }} }}]
[[groups]]
name = "web"
pre = [{{ name = "tell the others", http = {{ url = "http://127.0.0.1:{port}/" }} }}]
vms = [{{ name = "web", health = [{{ tcp = {{ host = "127.0.0.1", port = {gate_port} }}, timeout_seconds = 60 }}] }}]
post = [
  {{ name = "look", manual = {{ instructions = "look at it" }}, applies_to = ["test"] }},
  {{ name = "never", http = {{ url = "http://127.0.0.1:1/" }}, applies_to = ["planned"] }},
]
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_comes_up_in_order_waits_for_its_gates_and_leaves_nothing() {
    let (east, _west, peer) = sites().await;
    let (_db, _web) = (replicated(&peer, 1, "db 'one'").await, replicated(&peer, 2, "web").await);
    let (port, heard) = listener().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = closed.local_addr().unwrap();
    drop(closed);
    let text = shop(port, gate.port());
    create(&east, "shop", &text).await;
    let findings =
        east.client.validate_plan(&ValidatePlan { text: None, plan: Some("shop".to_owned()) }).await.unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    let preview = east.client.preview_plan("shop", &run("test")).await.unwrap();
    assert_eq!((preview.findings.len(), preview.run.standing.as_str()), (0, "running"), "{preview:?}");
    assert_eq!(code(east.client.plan_run("shop").await), Code::NotFound, "it was only looked at");

    east.client.run_plan("shop", &run("test")).await.unwrap();
    let waits = until(&east, "shop", "the gate is looked at", |run| {
        steps(run).iter().any(|step| step.title.contains("takes connections") && step.state == "running")
    })
    .await;
    let ready = step(&waits, "db 'one': is-ready in the guest");
    assert_eq!(
        (ready.state.as_str(), ready.attempts[0].text.as_str()),
        ("done", "is-ready a b $(reboot) x\ny")
    );
    let _open = TcpListener::bind(gate).await.unwrap();
    let asks = until_standing(&east, "shop", "needs-answer").await;
    let look = step(&asks, "look");
    assert_eq!((look.state.as_str(), look.instructions.as_deref()), ("at-hand", Some("look at it")));
    assert_eq!(
        code(east.client.tell_plan_run("shop", &tell(PlanCommand::Commit, None)).await),
        Code::Conflict
    );
    east.client.tell_plan_run("shop", &tell(PlanCommand::Confirm, Some(look.id))).await.unwrap();
    let done = until_standing(&east, "shop", "recovered").await;
    assert_eq!(step(&done, "look").why.as_deref(), Some("ada: seen"));
    assert_eq!(step(&done, "never").state, "left-out");
    assert_eq!(done.variables["primary"], "db \"1\"");

    let told: serde_json::Value = serde_json::from_str(&heard.lock().await[0]).unwrap();
    assert_eq!(
        (&told["RecoveryPlanName"], &told["FailoverType"], &told["GroupId"]),
        (&json!("shop"), &json!("Test"), &json!("Group2"))
    );
    assert_eq!(
        (&told["Variables"]["primary"], &told["TargetSite"]["Name"]),
        (&json!("db \"1\""), &json!("east"))
    );
    let db = done.vms.iter().find(|vm| vm.name == "db 'one'").unwrap();
    assert!(told["VmMap"][db.vm_id.unwrap().as_str()]["RecoveryPointId"].is_string(), "{told}");

    for vm in &done.vms {
        assert_eq!(east.client.vm(vm.vm_name.as_ref().unwrap()).await.unwrap().power, "running");
    }
    east.client.tell_plan_run("shop", &tell(PlanCommand::Cleanup, None)).await.unwrap();
    let clean = until_standing(&east, "shop", "cleaned-up").await;
    assert!(clean.ways_on.is_empty());
    assert!(east.client.vms().await.unwrap().is_empty());
    assert_eq!(east.client.replica("web").await.unwrap().stage, ReplicaStage::Protected);
    east.client.delete_plan("shop").await.unwrap();
}

const TWO: &str = r#"
version = 1
[[groups]]
name = "all"
pre = [{ name = "first", manual = { instructions = "be sure" } }]
vms = [{ name = "db" }, { name = "web" }]
post = [{ name = "last", manual = { instructions = "look" } }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_outlives_its_server_its_plan_s_next_version_and_other_plans() {
    let (east, _west, peer) = sites().await;
    let (_db, _web) = (replicated(&peer, 1, "db").await, replicated(&peer, 2, "web").await);
    create(&east, "shop", TWO).await;
    create(&east, "other", "version = 1\n[[groups]]\nname = \"g\"\nvms = [{ name = \"web\" }]\n").await;
    east.client.run_plan("shop", &run("unplanned")).await.unwrap();
    let asks = until_standing(&east, "shop", "needs-answer").await;

    let refused = problem(east.client.run_plan("other", &run("test")).await);
    assert!(refused.code == Code::Conflict && refused.detail.contains("web"), "{refused:?}");
    let less = TWO.replace("post = [{ name = \"last\", manual = { instructions = \"look\" } }]", "");
    let edit = |drop| EditPlan { text: less.clone(), drop };
    let refused = problem(east.client.edit_plan("shop", &edit(false)).await);
    assert!(refused.detail.contains("the action last"), "{refused:?}");
    let edited = east.client.edit_plan("shop", &edit(true)).await.unwrap();
    assert_eq!((edited.plan.version, edited.dropped.len()), (2, 1));
    assert_eq!(code(east.client.delete_plan("shop").await), Code::Conflict);

    let east = restart(east).await;
    let first = step(&asks, "first").id;
    east.client.tell_plan_run("shop", &tell(PlanCommand::Confirm, Some(first))).await.unwrap();
    let asks = until_standing(&east, "shop", "needs-answer").await;
    assert_eq!(step(&asks, "last").state, "at-hand", "the run goes on with its own version");
    assert_eq!(asks.plan_version, 1);
    let again = tell(PlanCommand::Retry, Some(first));
    assert_eq!(code(east.client.tell_plan_run("shop", &again).await), Code::Conflict, "it is done");
    let last = tell(PlanCommand::Skip, Some(step(&asks, "last").id));
    east.client.tell_plan_run("shop", &last).await.unwrap();
    let done = until_standing(&east, "shop", "recovered").await;
    assert!(done.vms.iter().all(|vm| vm.moment_at.is_some()), "{done:?}");
    for name in ["db", "web"] {
        assert_eq!(east.client.vm(name).await.unwrap().power, "running");
        assert_eq!(east.client.replica(name).await.unwrap().stage, ReplicaStage::FailedOver);
    }
    east.client.tell_plan_run("shop", &tell(PlanCommand::Commit, None)).await.unwrap();
    until_standing(&east, "shop", "committed").await;
    assert_eq!(east.client.replica("db").await.unwrap().stage, ReplicaStage::Committed);
    assert_eq!(east.client.plan_runs("shop").await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said_before_anything_is_changed() {
    let (east, _west, peer) = sites().await;
    let _web = replicated(&peer, 2, "web").await;
    let db = Source::of_vm(1, "db", 1, VmId::from_random([1; 10]));
    let mut offer = db.offer();
    offer.definition.memory = ByteCount(1 << 60);
    peer.offer_replica(db.id, &offer).await.unwrap();
    db.ship(&peer).await.unwrap();
    create(&east, "shop", TWO).await;
    let findings =
        east.client.validate_plan(&ValidatePlan { text: None, plan: Some("shop".to_owned()) }).await.unwrap();
    assert!(
        findings.iter().any(|finding| finding.is_error && finding.message.contains("of memory")),
        "{findings:?}"
    );
    east.client.run_plan("shop", &run("unplanned")).await.unwrap();
    let failed = until_standing(&east, "shop", "failed").await;
    let why = step(&failed, "check what is needed").why.clone().unwrap();
    assert!(why.contains("of memory"), "{why}");
    assert_eq!(east.client.replica("web").await.unwrap().stage, ReplicaStage::Protected);
    let job = east.failure(&east.client.job(failed.job_id.unwrap().as_str()).await.unwrap()).await;
    assert!(job.hint.unwrap().contains("holdfast plan retry shop 1"));
    east.client.tell_plan_run("shop", &tell(PlanCommand::Cancel, None)).await.unwrap();
    until_standing(&east, "shop", "cancelled").await;

    let unknown = "version = 1\n[[groups]]\nname = \"g\"\nvms = [{ name = \"mail\" }]\n";
    let findings = east
        .client
        .validate_plan(&ValidatePlan { text: Some(unknown.to_owned()), plan: None })
        .await
        .unwrap();
    assert_eq!(findings[0].path, "groups[0].vms[0]");
    let wrong = CreatePlan {
        name: "wrong".to_owned(),
        text: "version = 1\ngrups = []\n".to_owned(),
        primary_site: None,
    };
    let refused = problem(east.client.create_plan(&wrong).await);
    assert!(refused.code == Code::Invalid && refused.hint.unwrap().contains("groups"), "{}", refused.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_networks_of_a_plan_are_what_its_vms_are_connected_to() {
    let (east, _west, peer) = sites().await;
    let source = Source::of_vm(2, "web", 1, VmId::from_random([2; 10]));
    let mut offer = source.offer();
    offer.definition.memory = ByteCount(1 << 20);
    let network = json!({ "kind": "bridge", "bridge": "vmbr0" });
    offer.definition.networks = vec![serde_json::from_value(network).unwrap(); 2];
    peer.offer_replica(source.id, &offer).await.unwrap();
    source.ship(&peer).await.unwrap();
    // What its site says is not there: only the plan knows where it belongs.
    let missing = ["vmbr0".to_owned(), "br-gone".to_owned()];
    east.hypervisor.missing_bridges.lock().unwrap().extend(missing);
    let plan = |device: u32, bridge: &str| {
        format!(
            "version = 1\n[[groups]]\nname = \"g\"\nvms = [{{ name = \"web\", networks = [\
             {{ device = 0, production = {{ bridge = \"{bridge}\" }} }}, \
             {{ device = {device}, production = {{ bridge = \"isolated\" }}, test = {{ bridge = \"br-drill\" }} }}] }}]\n"
        )
    };
    let errors = async |text: String| {
        let findings =
            east.client.validate_plan(&ValidatePlan { text: Some(text), plan: None }).await.unwrap();
        findings
            .into_iter()
            .filter(|finding| finding.is_error)
            .map(|finding| finding.message)
            .collect::<Vec<_>>()
    };
    assert_eq!(errors(plan(1, "br-lan")).await, Vec::<String>::new());
    assert!(errors(plan(1, "br-gone")).await[0].contains("no bridge br-gone"));
    assert!(errors(plan(2, "br-lan")).await[0].contains("no network device 2"));

    create(&east, "shop", &plan(1, "br-lan")).await;
    east.client.run_plan("shop", &run("test")).await.unwrap();
    let tested = until_standing(&east, "shop", "recovered").await;
    let connected = |id: VmId| {
        let networks = east.hypervisor.definition(id).networks.into_iter();
        networks.map(|network| network.bridge.unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(connected(tested.vms[0].vm_id.unwrap()), ["br-drill", "br-drill"]);
    east.client.tell_plan_run("shop", &tell(PlanCommand::Cleanup, None)).await.unwrap();
    until_standing(&east, "shop", "cleaned-up").await;

    east.client.run_plan("shop", &run("unplanned")).await.unwrap();
    let recovered = until_standing(&east, "shop", "recovered").await;
    assert_eq!(connected(recovered.vms[0].vm_id.unwrap()), ["br-lan", ""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_succeeds_without_its_effect_is_caught_by_what_the_vm_must_be() {
    let (east, _west, peer) = sites().await;
    let _web = replicated(&peer, 2, "web").await;
    let (port, heard) = listener().await;
    let text = format!(
        "version = 1\n[[groups]]\nname = \"g\"\n\
         pre = [{{ name = \"open the port\", http = {{ url = \"http://127.0.0.1:{port}/\" }} }}]\n\
         vms = [{{ name = \"web\", health = [{{ tcp = {{ host = \"127.0.0.1\", port = 1 }}, timeout_seconds = 1 }}] }}]\n\
         post = [{{ name = \"announce\", http = {{ url = \"http://127.0.0.1:{port}/\" }} }}]\n"
    );
    create(&east, "shop", &text).await;
    east.client.run_plan("shop", &run("test")).await.unwrap();
    let failed = until_standing(&east, "shop", "failed").await;
    assert_eq!(step(&failed, "open the port").state, "done");
    let gate = step(&failed, "web: port 1 takes connections");
    assert!(gate.state == "failed" && gate.why.as_ref().unwrap().contains("its time was over"), "{gate:?}");
    assert_eq!(step(&failed, "announce").state, "waiting");
    assert_eq!(heard.lock().await.len(), 1, "nobody is told of what is not there");
    east.client.tell_plan_run("shop", &tell(PlanCommand::Cancel, None)).await.unwrap();
    until_standing(&east, "shop", "cancelled").await;
    east.client.tell_plan_run("shop", &tell(PlanCommand::Cleanup, None)).await.unwrap();
    until_standing(&east, "shop", "cleaned-up").await;
    assert!(east.client.vms().await.unwrap().is_empty());
}
