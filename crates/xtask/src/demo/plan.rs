//! The story of an application: three guests whose records follow from one another are protected as a group, tried out by a
//! recovery plan, lost with their site, recovered by the plan at the other one, and brought back by it.

mod orders;
mod shop;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use api::{DrillMeasureView, DrillView, PlanRunView, PlanView, ReplicationGroupView, ReplicationState};
use model::Timestamp;
use serde_json::Value;
use testkit::{
    guest::GuestImage,
    site::Site,
    sites::{self, PATIENCE, until, until_protected},
    target::target_directory,
};
use tokio::time::sleep;

use self::{
    orders::Orders,
    shop::{PARTS, Records},
};
use super::{progress, report::Report};

/// The bridges that the guests are on, and the addresses that the host has there: at either site, and in tests.
pub const BRIDGES: [(&str, &str); 3] =
    [("br-west", "10.1.0.1/24"), ("br-east", "10.2.0.1/24"), ("br-drill", "10.99.0.1/24")];

const PLAN: &str = include_str!("plan/shop.toml");

/// Tells the story on two sites, and reports.
pub async fn tell(image: &GuestImage) -> Result<Report> {
    let mut report = Report::default();
    progress("starting two sites, east and west");
    let (east, mut west) = sites::paired().await?;
    open_shop(&west, image, &mut report).await?;
    protect(&west, &mut report).await?;
    let notes = write_plan(&west, &east, &mut report).await?;
    drill(&west, &east, &mut report).await?;

    let orders = Orders::watch("10.1.0.5");
    orders.until_more(5).await?;
    let lost = lose(&mut west, &mut report).await?;
    let orders = orders.stop().await;
    let run = recover(&east, &orders, lost, &mut report).await?;
    ensure!(notes.join("east.json").exists(), "the action on the host of {} left nothing", run.plan);
    come_back(&mut west, &east, &notes, &mut report).await?;
    Ok(report)
}

async fn open_shop(west: &Site, image: &GuestImage, report: &mut Report) -> Result<()> {
    progress("booting the database, the application and the web server");
    let started = Instant::now();
    for part in PARTS {
        shop::start(west, image, &part).await?;
    }
    for part in PARTS {
        shop::open(west, &part).await?;
    }
    let orders = Orders::watch("10.1.0.5");
    orders.until_more(3).await.context("no record reaches the database")?;
    orders.stop().await;
    report.event("the shop is open", started.elapsed(), "three guests; records go from web to app to db");
    Ok(())
}

async fn protect(west: &Site, report: &mut Report) -> Result<()> {
    progress("replicating them to east, as a consistency group");
    let started = Instant::now();
    for part in PARTS {
        west.json::<Value>(["replication", "start", part.vm, "--to", "east"]).await?;
    }
    for part in PARTS {
        until_protected(west, part.vm).await?;
    }
    let vms = PARTS.iter().flat_map(|part| ["--vm", part.vm]);
    let create = ["replication", "group", "create", "shop", "--every", "1s"].into_iter().chain(vms);
    let _: ReplicationGroupView = west.json(create).await?;
    report.event("protected", started.elapsed(), "a shared moment every second");
    Ok(())
}

/// Writes the plan at the site where it is run first; it comes to the other one by itself. Returns where its action on the host leaves notes.
async fn write_plan(west: &Site, east: &Site, report: &mut Report) -> Result<PathBuf> {
    progress("writing the plan");
    let started = Instant::now();
    let notes = east.directory().join("notes");
    fs::create_dir(&notes)?;
    let file = east.directory().join("shop.toml");
    fs::write(&file, PLAN.replace("NOTES", &notes.display().to_string()))?;
    east.json::<Value>(["plan", "create", "shop", path(&file)?]).await?;
    // A replica may lack writes for a moment, on a machine that is too busy to take them all in.
    loop {
        let validated = east.output(["plan", "validate", "--plan", "shop", "--output", "json"]).await?;
        if validated.status.success() {
            break;
        }
        let findings = String::from_utf8_lossy(&validated.stdout);
        ensure!(started.elapsed() < PATIENCE, "the plan is not ready: {findings}");
        sleep(Duration::from_millis(500)).await;
    }
    while west.json::<Vec<PlanView>>(["plan", "list"]).await?.is_empty() {
        ensure!(
            started.elapsed() < PATIENCE,
            "the plan does not come to west: {:?}",
            east.run(["plan", "list"]).await
        );
        sleep(Duration::from_millis(200)).await;
    }
    // It runs a program on the host.
    west.json::<PlanView>(["plan", "accept", "shop"]).await?;
    report.event("the plan is at both sites", started.elapsed(), "written at east, accepted at west");
    Ok(notes)
}

/// Drills the plan: its VMs come up in isolation, are looked at and removed again. The report stays as a page.
async fn drill(west: &Site, east: &Site, report: &mut Report) -> Result<()> {
    progress("drilling the plan");
    let started = Instant::now();
    let drill: DrillView = east.json(["drill", "run", "shop", "--point", "@shop"]).await?;
    ensure!(drill.verdict == "passed", "the drill has {}: {:?}", drill.verdict, drill.reasons);
    let of = |measure: &DrillMeasureView| {
        let told =
            |seconds: Option<u64>| seconds.map_or_else(|| "?".to_owned(), |seconds| seconds.to_string());
        format!("{} s of {} s", told(measure.measured_seconds), told(measure.target_seconds))
    };
    let what = format!("RTO {}, RPO {}", of(&drill.rto), of(&drill.rpo));
    report.event("drill: passed", started.elapsed(), what);
    let folder = target_directory()?.join("demo");
    fs::create_dir_all(&folder)?;
    let page = folder.join("drill.html");
    east.run(["drill", "report", "shop", "--format", "html", "--to", path(&page)?]).await?;
    report.event("drill: its report", Duration::ZERO, page.display().to_string());
    for part in PARTS {
        until_protected(west, part.vm).await?;
    }
    Ok(())
}

/// Ends everything at the site at once. Returns when that was.
async fn lose(west: &mut Site, report: &mut Report) -> Result<Timestamp> {
    progress("cutting the power of the first site");
    let (started, at) = (Instant::now(), now());
    west.cut_power().await?;
    report.event("the site is lost", started.elapsed(), "server, VMs and taps killed");
    Ok(at)
}

async fn recover(
    east: &Site,
    orders: &[(Timestamp, u64)],
    lost: Timestamp,
    report: &mut Report,
) -> Result<PlanRunView> {
    progress("running the plan");
    let started = Instant::now();
    let run: PlanRunView = run_plan(east, &["shop", "--unplanned", "--point", "@shop", "--yes"]).await?;
    report.event("recovered: the shop is open", started.elapsed(), told(&run));
    let found = shop::found(east, &run).await?;
    check_nothing_is_lost(&found, &run, orders, lost, report)?;
    let started = Instant::now();
    east.json::<PlanRunView>(["plan", "commit", "shop", "--yes"]).await?;
    report.event("committed", started.elapsed(), "");
    Ok(run)
}

/// What the database had confirmed by the moment that was recovered is there.
fn check_nothing_is_lost(
    found: &Records,
    run: &PlanRunView,
    orders: &[(Timestamp, u64)],
    lost: Timestamp,
    report: &mut Report,
) -> Result<()> {
    let moment = run.vms.iter().filter_map(|vm| vm.moment_at).min().context("no moment is known")?;
    let rpo_seconds = seconds(lost.microseconds_since(moment));
    let confirmed = orders.iter().rfind(|(at, _)| *at <= moment).map_or(0, |(_, number)| *number);
    let last = orders.last().map_or(0, |(_, number)| *number);
    ensure!(
        found.database >= confirmed,
        "record {confirmed} was confirmed before {moment}, and only {} are there",
        found.database
    );
    let what = format!(
        "RPO {rpo_seconds:.1} s: records to {confirmed} had to be there, {}; {} of {last} were lost",
        found.sound()?,
        last.saturating_sub(found.database),
    );
    report.event("nothing older is lost", Duration::ZERO, what);
    Ok(())
}

/// The first site is there again: the application is replicated to it, and brought back by the same plan.
async fn come_back(west: &mut Site, east: &Site, notes: &Path, report: &mut Report) -> Result<()> {
    progress("starting the first site again");
    let started = Instant::now();
    west.start_server().await?;
    for part in PARTS {
        until(west, part.vm, "fenced", |view| view.state == ReplicationState::Fenced).await?;
    }
    report.event("the site comes back", started.elapsed(), "the old VMs do not start");

    progress("replicating the application back");
    let started = Instant::now();
    east.json::<PlanRunView>(["plan", "reprotect", "shop"]).await?;
    for part in PARTS {
        until_protected(east, part.vm).await?;
    }
    report.event("re-protected", started.elapsed(), "what the first site has is not sent again");

    progress("bringing the application back");
    let orders = Orders::watch("10.2.0.5");
    orders.until_more(5).await?;
    let started = Instant::now();
    let run: PlanRunView = west.json(["plan", "failback", "shop", "--yes"]).await?;
    report.event("failback: the shop is open", started.elapsed(), told(&run));
    let confirmed = orders.stop().await.last().map_or(0, |(_, number)| *number);
    let found = shop::found(west, &run).await?;
    ensure!(
        found.database >= confirmed,
        "record {confirmed} was confirmed, and only {} are there",
        found.database
    );
    ensure!(notes.join("west.json").exists(), "the action on the host left nothing");
    report.event("nothing is lost", Duration::ZERO, found.sound()?);
    let started = Instant::now();
    west.json::<PlanRunView>(["plan", "commit", "shop", "--yes"]).await?;
    report.event("committed", started.elapsed(), "the application is at home");
    Ok(())
}

async fn run_plan(site: &Site, words: &[&str]) -> Result<PlanRunView> {
    let run: PlanRunView = site.json(["plan", "run"].into_iter().chain(words.iter().copied())).await?;
    ensure!(run.standing == "recovered", "the run is {}: {run:?}", run.standing);
    Ok(run)
}

/// What a run has measured, and against what.
fn told(run: &PlanRunView) -> String {
    let against = |what: Option<u64>, target: Option<u64>| match (what, target) {
        (Some(what), Some(target)) => format!("{what} s of {target} s"),
        (Some(what), None) => format!("{what} s"),
        (None, _) => "unknown".to_owned(),
    };
    let rto = against(run.rto_seconds, run.rto_target_seconds);
    let rpo = against(run.rpo_seconds, run.rpo_target_seconds);
    format!("RTO {rto}, from moments {rpo} old")
}

fn now() -> Timestamp {
    env::Env::system().clock.now()
}

fn seconds(microseconds: i64) -> f64 {
    Duration::from_micros(microseconds.try_into().unwrap_or(0)).as_secs_f64()
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path is not UTF-8")
}
