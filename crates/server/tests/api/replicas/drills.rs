//! Drills of recovery plans at the site that keeps the replicas.

use std::time::Duration;

use api::{
    CheckStatus, Code, DrillReportFormat, DrillStateView, DrillView, JobResult, JobView, PlanCommand,
    RunDrill, ScheduleDrill,
};
use model::JobState;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UnixStream},
};

use super::{
    PATIENCE,
    plans::{create, replicated, run, steps, tell, until, until_standing},
    restart, sites,
};
use crate::site::{TestSite, code, problem};

fn now() -> RunDrill {
    RunDrill { point: "latest".to_owned(), operator: Some("ada".to_owned()) }
}

fn twice_a_day() -> ScheduleDrill {
    ScheduleDrill {
        schedule: "every 12h".to_owned(),
        zone: Some("UTC".to_owned()),
        point: "latest".to_owned(),
        grace_hours: Some(12),
        jitter_seconds: None,
        keep_reports: Some(2),
    }
}

/// What came of a drill that has ended.
fn drilled(job: &JobView) -> DrillView {
    match &job.result {
        Some(JobResult::Drilled(drill)) => (**drill).clone(),
        other => panic!("no drill but {other:?}, {:?}", job.problem),
    }
}

async fn drill(site: &TestSite) -> (JobView, DrillView) {
    let ended = site.end(&site.client.run_drill("shop", &now()).await.unwrap()).await;
    let drill = drilled(&ended);
    (ended, drill)
}

async fn report(site: &TestSite) -> Value {
    let text = site.client.drill_report("shop", "latest", DrillReportFormat::Json).await.unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Waits until it stands like this with the drills of the plan.
async fn until_state(site: &TestSite, what: &str, holds: impl Fn(&DrillStateView) -> bool) -> DrillStateView {
    let state =
        || async { site.client.drills().await.unwrap().into_iter().find(|state| state.plan == "shop") };
    let waiting = async {
        loop {
            if let Some(state) = state().await.filter(|state| holds(state)) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(state) => state,
        Err(_) => panic!("it never came to this: {what}; it is {:#?}", state().await),
    }
}

/// What `doctor` says of the drills of the plan.
async fn examined(site: &TestSite) -> (CheckStatus, String) {
    let checks = site.client.doctor().await.unwrap();
    let check = checks.into_iter().find(|check| check.name == "drills of shop").unwrap();
    (check.status, format!("{} {}", check.detail, check.hint.unwrap_or_default()))
}

/// The figures for Prometheus.
async fn metrics(site: &TestSite) -> String {
    let mut stream = UnixStream::connect(api::socket_path(site.directory.path())).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A port that nobody listens on.
async fn closed() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A database with a gate, and a page that a person looks at.
fn shop(port: u16, gate_seconds: u32) -> String {
    format!(
        r#"
version = 1
rto_seconds = 900
rpo_seconds = 604800
[[groups]]
name = "database"
vms = [{{ name = "db", health = [{{ tcp = {{ host = "127.0.0.1", port = {port} }}, timeout_seconds = {gate_seconds} }}] }}]
[[groups]]
name = "web"
vms = [{{ name = "web", health = [{{ command = ["is-well", "<script>"] }}] }}]
post = [{{ name = "look", manual = {{ instructions = "look at it" }} }}]
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_says_what_works_and_leaves_nothing() {
    let (east, _west, peer) = sites().await;
    let (_db, _web) = (replicated(&peer, 1, "db").await, replicated(&peer, 2, "web").await);
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    create(&east, "shop", &shop(open.local_addr().unwrap().port(), 60)).await;
    assert_eq!(
        code(east.client.drill_report("shop", "latest", DrillReportFormat::Json).await),
        Code::NotFound
    );
    assert_eq!(code(east.client.run_drill("mail", &now()).await), Code::NotFound);

    let (job, first) = drill(&east).await;
    assert_eq!((job.state, first.verdict.as_str()), (JobState::Succeeded, "passed"), "{job:?}");
    assert!(first.rto.measured_seconds.is_some() && first.rto.target_seconds == Some(900), "{first:?}");
    assert_eq!(first.rpo.target_seconds, Some(604_800), "the newest moment was asked for");
    assert!(east.client.vms().await.unwrap().is_empty());
    until_standing(&east, "shop", "cleaned-up").await;
    let kept = report(&east).await;
    assert_eq!((&kept["format"], &kept["drill"]), (&1.into(), &first.id.as_str().into()));
    let text = kept.to_string();
    assert!(text.contains("a drill asks nobody") && text.contains("is-well <script>"), "{text}");
    assert_eq!(kept["vms"][0]["console"], "login: ");
    let page =
        east.client.drill_report("shop", &first.id.as_str()[..6], DrillReportFormat::Html).await.unwrap();
    assert_eq!(page.matches("data:image/png;base64,YSBwaWN0dXJl").count(), 2, "{page}");
    assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"), "{page}");

    let (_, second) = drill(&east).await;
    assert_eq!(second.verdict, "passed");
    let kept = report(&east).await;
    let differences = &kept["differences"];
    assert_eq!(differences["before"], first.id.as_str());
    // How long things take says nothing on a busy machine.
    let is_pace = |change: &Value| change["kind"] == "slower" || change["kind"] == "faster";
    assert!(differences["changes"].as_array().unwrap().iter().all(is_pace), "{differences}");
    let listed: Vec<_> =
        east.client.drill_reports("shop").await.unwrap().iter().map(|drill| drill.id).collect();
    assert_eq!(listed, [second.id, first.id]);
    assert_eq!(examined(&east).await.0, CheckStatus::Ok);
    east.client.delete_plan("shop").await.unwrap();
    assert!(east.client.drills().await.unwrap().is_empty());
    assert_eq!(east.client.drill_reports("shop").await.unwrap().len(), 2, "reports outlive their plan");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_is_an_alert_until_it_is_mended() {
    let (east, _west, peer) = sites().await;
    let (_db, _web) = (replicated(&peer, 1, "db").await, replicated(&peer, 2, "web").await);
    let gate = closed().await;
    create(&east, "shop", &shop(gate.port(), 1)).await;
    let (job, failed) = drill(&east).await;
    assert_eq!((job.state, failed.verdict.as_str()), (JobState::Failed, "failed"), "{job:?}");
    let said = job.problem.unwrap();
    assert!(said.detail.contains("takes connections"), "{said:?}");
    assert!(said.hint.unwrap().contains("holdfast drill report shop"));
    assert!(east.client.vms().await.unwrap().is_empty());
    let kept = report(&east).await;
    let db = kept["vms"].as_array().unwrap().iter().find(|vm| vm["name"] == "db").unwrap();
    assert_eq!(
        (&db["is_up"], &db["screenshot"]["size_bytes"]),
        (&false.into(), &9.into()),
        "it was looked at"
    );
    let (status, said) = examined(&east).await;
    assert!(status == CheckStatus::Failed && said.contains("takes connections"), "{said}");
    let figures = metrics(&east).await;
    assert!(figures.contains("holdfast_drill_failed{plan=\"shop\"} 1"), "{figures}");
    assert!(!figures.contains("holdfast_drill_last_success_timestamp_seconds{"), "{figures}");

    let _open = TcpListener::bind(gate).await.unwrap();
    let patient = api::EditPlan { text: shop(gate.port(), 600), drop: true };
    east.client.edit_plan("shop", &patient).await.unwrap();
    let (_, mended) = drill(&east).await;
    assert_eq!(mended.verdict, "passed", "{mended:?}");
    let kept = report(&east).await;
    let changes = kept["differences"]["changes"].as_array().unwrap();
    assert!(changes.iter().any(|change| change["kind"] == "mended"), "{kept}");
    assert_eq!(examined(&east).await.0, CheckStatus::Ok);
    let figures = metrics(&east).await;
    assert!(figures.contains("holdfast_drill_failed{plan=\"shop\"} 0"), "{figures}");
    assert!(figures.contains("holdfast_drill_last_success_timestamp_seconds{plan=\"shop\"} "), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_due_waits_for_other_runs_is_overdue_and_made_up_for() {
    let (east, _west, peer) = sites().await;
    let (_db, _web) = (replicated(&peer, 1, "db").await, replicated(&peer, 2, "web").await);
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    create(&east, "shop", &shop(open.local_addr().unwrap().port(), 60)).await;
    let wrong = ScheduleDrill { schedule: "now and then".to_owned(), ..twice_a_day() };
    assert_eq!(code(east.client.schedule_drill("shop", &wrong).await), Code::Invalid);
    assert_eq!(code(east.client.schedule_drill("mail", &twice_a_day()).await), Code::NotFound);
    // Another run of the plan waits for somebody.
    east.client.run_plan("shop", &run("test")).await.unwrap();
    until_standing(&east, "shop", "needs-answer").await;
    let refused = problem(east.client.run_drill("shop", &now()).await);
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.hint.unwrap().contains("holdfast plan cancel shop"));

    let fresh = east.client.schedule_drill("shop", &twice_a_day()).await.unwrap().schedule.unwrap();
    let clock = env::Clock::now(&*east.clock);
    assert!(fresh.next_run_at > Some(clock) && fresh.overdue_since.is_none(), "{fresh:?}");
    assert_eq!(examined(&east).await.0, CheckStatus::Ok);
    east.clock.advance_hours(12);
    let put_off = until_state(&east, "it is put off", |state| {
        state.schedule.as_ref().is_some_and(|schedule| schedule.put_off.is_some())
    })
    .await;
    assert!(put_off.schedule.unwrap().put_off.unwrap().contains("needs-answer"));
    assert_eq!(examined(&east).await.0, CheckStatus::Warning);
    east.clock.advance_hours(12);
    let again = east.client.schedule_drill("shop", &twice_a_day()).await.unwrap().schedule.unwrap();
    assert!(again.overdue_since.is_some(), "to say the same again changes nothing: {again:?}");
    let (status, said) = examined(&east).await;
    assert!(status == CheckStatus::Failed && said.contains("overdue since"), "{said}");
    let figures = metrics(&east).await;
    assert!(figures.contains("holdfast_drill_overdue{plan=\"shop\"} 1"), "{figures}");

    east.client.tell_plan_run("shop", &tell(PlanCommand::Cancel, None)).await.unwrap();
    let made_up = until_state(&east, "a drill has passed", |state| {
        state.under_way.is_none() && state.last_passed_at.is_some()
    })
    .await;
    let schedule = made_up.schedule.unwrap();
    assert!(schedule.overdue_since.is_none() && schedule.put_off.is_none(), "{schedule:?}");
    assert!(schedule.last_run_at.is_some());
    assert_eq!(made_up.last.unwrap().operator.as_deref(), Some("the schedule"));
    for _ in 0..2 {
        drill(&east).await;
    }
    assert_eq!(east.client.drill_reports("shop").await.unwrap().len(), 2, "no more are kept");
    assert_eq!(std::fs::read_dir(east.path("drills")).unwrap().count(), 2);
    east.client.unschedule_drill("shop").await.unwrap();
    assert_eq!(code(east.client.unschedule_drill("shop").await), Code::Conflict);
    assert!(east.client.drills().await.unwrap()[0].schedule.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_outlives_its_server_or_ends_and_says_so() {
    let (east, _west, peer) = sites().await;
    let (_db, _web) = (replicated(&peer, 1, "db").await, replicated(&peer, 2, "web").await);
    let gate = closed().await;
    create(&east, "shop", &shop(gate.port(), 600)).await;
    let is_at = |state: &'static str, title: &'static str| {
        move |run: &api::PlanRunView| {
            steps(run).iter().any(|step| step.title.contains(title) && step.state == state)
        }
    };
    east.client.run_drill("shop", &now()).await.unwrap();
    until(&east, "shop", "the gate is looked at", is_at("running", "takes connections")).await;
    let east = restart(east).await;
    let _open = TcpListener::bind(gate).await.unwrap();
    let passed =
        until_state(&east, "it has ended", |state| state.under_way.is_none() && state.last.is_some()).await;
    assert_eq!(passed.last.unwrap().verdict, "passed");

    // Nobody answers: whether it was done, nobody knows once the server is gone.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let text = shop(gate.port(), 600).replace(
        "post = [",
        &format!("post = [{{ name = \"tell others\", http = {{ url = \"{url}\" }} }}, "),
    );
    let edit = api::EditPlan { text, drop: false };
    east.client.edit_plan("shop", &edit).await.unwrap();
    east.client.run_drill("shop", &now()).await.unwrap();
    let _asked = tokio::time::timeout(PATIENCE, silent.accept()).await.unwrap().unwrap();
    let east = restart(east).await;
    let ended = until_state(&east, "it has ended", |state| {
        state.under_way.is_none() && state.last.as_ref().is_some_and(|last| last.verdict != "passed")
    })
    .await;
    let last = ended.last.unwrap();
    assert_eq!(last.verdict, "failed");
    assert!(
        last.reasons[0].contains("tell others") && last.reasons[0].contains("the server ended"),
        "{last:?}"
    );
    assert!(east.client.vms().await.unwrap().is_empty());
    until_standing(&east, "shop", "cleaned-up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_is_cancelled_is_cleaned_up_too() {
    let (east, _west, peer) = sites().await;
    let (_db, _web) = (replicated(&peer, 1, "db").await, replicated(&peer, 2, "web").await);
    create(&east, "shop", &shop(closed().await.port(), 600)).await;
    let job = east.client.run_drill("shop", &now()).await.unwrap();
    until(&east, "shop", "the gate is looked at", |run| {
        steps(run).iter().any(|step| step.title.contains("takes connections") && step.state == "running")
    })
    .await;
    let refused = problem(east.client.run_plan("shop", &run("unplanned")).await);
    assert!(refused.code == Code::Conflict && refused.detail.contains("in the drill"), "{refused:?}");
    east.client.cancel_job(job.id.as_str()).await.unwrap();
    let ended = east.end(&job).await;
    assert_eq!((ended.state, drilled(&ended).verdict.as_str()), (JobState::Cancelled, "cancelled"));
    assert!(east.client.vms().await.unwrap().is_empty());
    assert_eq!(east.client.drill_reports("shop").await.unwrap()[0].verdict, "cancelled");
}
