//! A plan is drilled with a real guest, whose own site is gone.

use std::fs;

use anyhow::{Context, Result, ensure};
use api::{DrillView, VmView};
use serde_json::Value;
use testkit::{
    guest::GuestImage,
    sites::{paired, until, until_protected},
};

use crate::fixture::guest_disks;

const VM: &str = "shop";

const PLAN: &str = r#"
version = 1
rto_seconds = 3600
[[groups]]
name = "all"
[[groups.vms]]
name = "shop"
health = [{ agent = true }, { command = ["/usr/local/bin/verify", "boot"] }]
"#;

#[tokio::test]
async fn a_drill_boots_the_guest_in_isolation_looks_at_it_and_leaves_a_report() -> Result<()> {
    let image = GuestImage::obtain()?;
    let (east, mut west) = paired().await?;
    let disks = guest_disks(&west, &image)?;
    west.boot(VM, &disks).await?;
    west.json::<Value>(["replication", "start", VM, "--to", "east"]).await?;
    until_protected(&west, VM).await?;
    until(&west, VM, "a checkpoint", |view| view.newest_checkpoint_at.is_some()).await?;
    west.cut_power().await?;

    let (plan, page) = (east.directory().join("plan.toml"), east.directory().join("drill.html"));
    fs::write(&plan, PLAN)?;
    let (plan, page) = (plan.to_string_lossy().into_owned(), page.to_string_lossy().into_owned());
    east.json::<Value>(["plan", "create", "shop", &plan]).await?;
    let drill: DrillView = east.json(["drill", "run", "shop"]).await?;
    ensure!(drill.verdict == "passed" && drill.rto.measured_seconds.is_some(), "{drill:?}");
    let left: Vec<VmView> = east.json(["vm", "list"]).await?;
    ensure!(left.is_empty(), "{left:?}");

    let report: Value = east.json(["drill", "report", "shop"]).await?;
    let file = report["vms"][0]["screenshot"]["file"].as_str().context("there is no picture")?;
    let picture = fs::read(east.data_directory().join("drills").join(drill.id.as_str()).join(file))?;
    ensure!(picture.starts_with(b"\x89PNG"), "no PNG");
    east.run(["drill", "report", "shop", "--format", "html", "--to", &page]).await?;
    ensure!(
        fs::read_to_string(&page)?.contains("src=\"data:image/png;base64,iVBOR"),
        "it is not in the page"
    );
    Ok(())
}
