//! The story of two sites: a VM is replicated, tried out, lost with its site, runs at the other one, and comes back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api::{HandedOverView, ReplicaView, ReplicationState, RestoredVmView};
use model::ByteCount;
use serde_json::Value;
use testkit::{
    guest::GuestImage,
    site::Site,
    sites::{self, until, until_protected},
    workload::WorkloadState,
};

use super::{guest, progress, report::Report};

const VM: &str = "shop";
const DRILL: &str = "shop-drill";

/// What the guest writes in one piece, beside its workload.
const BURST_MIB: &str = "16";

/// Tells the story on two sites and a VM of its own, and reports.
pub async fn tell(image: &GuestImage) -> Result<Report> {
    let mut report = Report::default();
    progress("starting two sites, east and west");
    let (east, mut west) = sites::paired().await?;

    guest::boot(&west, image, VM, &mut report).await?;
    replicate(&west, "east", "every write goes to the other site", &mut report).await?;
    let guest = west.guest(VM).await?;
    guest.workload(&["burst", BURST_MIB]).await?;
    drill(&west, &east, &mut report).await?;

    let before = guest.state_now().await?.sound()?;
    let rpo = until_in_sync(&west).await?;
    lose(&mut west, &mut report).await?;
    let here = fail_over(&east, &mut report).await?;
    ensure!(
        here.data_last >= before.data_last,
        "record {} was durable at the other site, and the guest there has only {}",
        before.data_last,
        here.data_last
    );
    report.event("nothing of that is lost", Duration::ZERO, format!("RPO before the loss {rpo:.1} s"));

    come_back(&mut west, &east, &mut report).await?;
    Ok(report)
}

async fn replicate(site: &Site, to: &str, outcome: &str, report: &mut Report) -> Result<()> {
    progress(&format!("replicating it to {to}"));
    let started = Instant::now();
    site.json::<Value>(["replication", "start", VM, "--to", to]).await?;
    until_protected(site, VM).await?;
    report.event("protected", started.elapsed(), outcome);
    Ok(())
}

/// Waits until a checkpoint from now is durable at the other site, and tells the RPO in seconds.
async fn until_in_sync(site: &Site) -> Result<f64> {
    let asked = until(site, VM, "a checkpoint", |view| view.newest_checkpoint_at.is_some()).await?;
    let view = until(site, VM, "the next checkpoint but one", |view| {
        let passed = view.newest_checkpoint_at.zip(asked.newest_checkpoint_at);
        passed.is_some_and(|(newest, earlier)| newest.microseconds_since(earlier) > 2_000_000)
    });
    view.await?.rpo_seconds.context("no RPO is known")
}

async fn drill(west: &Site, east: &Site, report: &mut Report) -> Result<()> {
    progress("trying a moment out at the other site");
    until_in_sync(west).await?;
    let started = Instant::now();
    let tested: RestoredVmView = east.json(["failover", "test", VM, "--name", DRILL]).await?;
    report.event("drill: the VM runs", started.elapsed(), format!("as {}, isolated", tested.vm_name));
    let state = east.guest(DRILL).await?.state_at_boot().await?.sound().context("the guest of the drill")?;
    report.event("drill: guest boots", started.elapsed(), records(&state));
    let verdict = "all records are there";
    east.json::<Value>(["failover", "cleanup", VM, "--verdict", verdict]).await?;
    until_protected(west, VM).await?;
    Ok(())
}

async fn lose(site: &mut Site, report: &mut Report) -> Result<()> {
    progress("cutting the power of the first site");
    let started = Instant::now();
    site.cut_power().await?;
    report.event("the site is lost", started.elapsed(), "server, VM and tap killed");
    Ok(())
}

/// Has the VM run at the other site, and returns what its guest finds when it boots.
async fn fail_over(east: &Site, report: &mut Report) -> Result<WorkloadState> {
    progress("failing over");
    let started = Instant::now();
    let _: RestoredVmView = east.json(["failover", "unplanned", VM, "--yes"]).await?;
    report.event("failed over: the VM runs", started.elapsed(), "its disks become whole meanwhile");
    let state =
        east.guest(VM).await?.state_at_boot().await?.sound().context("the guest after the failover")?;
    report.event("failed over: guest boots", started.elapsed(), records(&state));
    east.json::<ReplicaView>(["failover", "commit", VM, "--yes"]).await?;
    Ok(state)
}

/// The first site is there again: the VM is replicated to it, and handed over.
async fn come_back(west: &mut Site, east: &Site, report: &mut Report) -> Result<()> {
    progress("starting the first site again");
    let started = Instant::now();
    west.start_server().await?;
    until(west, VM, "fenced", |view| view.state == ReplicationState::Fenced).await?;
    let (_, said) = west.failure(["vm", "start", VM]).await?;
    ensure!(said.contains("must not run here"), "the old VM may start: {said}");
    report.event("the site comes back", started.elapsed(), "the old VM does not start");
    re_protect(east, west, report).await?;
    let guest = east.guest(VM).await?;
    guest.workload(&["burst", BURST_MIB]).await?;
    let before = guest.state_now().await?.sound()?;

    progress("handing it over");
    let started = Instant::now();
    let given: HandedOverView = east.json(["failover", "failback", VM, "--yes"]).await?;
    let proof = given.proof.context("the disks were not compared")?;
    let job = given.job_there.context("it was handed over before")?;
    west.run(["job", "watch", &job]).await?;
    let proven = format!("shut down there; {} disks are the same at both sites", proof.disks.len());
    report.event("handed over: the VM runs", started.elapsed(), proven);
    let state = west.guest(VM).await?.state_at_boot().await?.sound().context("the guest that came back")?;
    ensure!(state.data_last >= before.data_last, "{state:?} is less than {before:?}");
    report.event("handed over: guest boots", started.elapsed(), records(&state));
    let started = Instant::now();
    west.json::<ReplicaView>(["failover", "commit", VM, "--yes"]).await?;
    report.event("committed", started.elapsed(), "the old disks go, and nothing was removed by hand");
    Ok(())
}

/// Replicates the VM back to the site that still has its old disks.
async fn re_protect(east: &Site, west: &Site, report: &mut Report) -> Result<()> {
    progress("re-protecting it: what the first site has is not sent again");
    let started = Instant::now();
    east.json::<Value>(["failover", "reprotect", VM]).await?;
    let view = until_protected(east, VM).await?;
    let replica: ReplicaView = west.json(["replica", "show", VM]).await?;
    let size_bytes = replica.disks.iter().map(|disk| disk.size_bytes.0).sum();
    let sent = format!("{} sent of disks of {}", ByteCount(view.sent_bytes), ByteCount(size_bytes));
    report.event("re-protected", started.elapsed(), sent);
    Ok(())
}

fn records(state: &WorkloadState) -> String {
    format!("records 1 to {}, database of {} rows sound", state.data_last, state.database_rows)
}
