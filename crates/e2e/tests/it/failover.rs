//! A site is lost, its VM runs at the other one, and comes back.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use api::{HandedOverView, ReplicaStage, ReplicaView, ReplicationState, ReplicationView, RestoredVmView};
use serde_json::Value;
use testkit::{
    guest::GuestImage,
    site::Site,
    sites::{paired, until, until_protected},
    workload::WorkloadState,
};

use crate::fixture::guest_disks;

const VM: &str = "shop";

async fn boots(site: &Site) -> Result<WorkloadState> {
    site.guest(VM).await?.state_at_boot().await?.sound()
}

/// Has everything that the guest has written by now durably at the other site. Returns what that is.
async fn in_sync(site: &Site) -> Result<WorkloadState> {
    let written = site.guest(VM).await?.state_now().await?.sound()?;
    let newest = |view: &ReplicationView| view.newest_checkpoint_at;
    let asked = until(site, VM, "a checkpoint", |view| newest(view).is_some()).await?;
    // One may have been made before the guest was asked; the next but one was not.
    until(site, VM, "later checkpoints", |view| {
        newest(view).zip(newest(&asked)).is_some_and(|(now, then)| now.microseconds_since(then) > 2_000_000)
    })
    .await?;
    Ok(written)
}

#[tokio::test]
async fn a_vm_whose_site_is_lost_runs_at_the_other_one_and_comes_back() -> Result<()> {
    let image = GuestImage::obtain()?;
    let (east, mut west) = paired().await?;
    let disks = guest_disks(&west, &image)?;
    west.boot(VM, &disks).await?;
    west.json::<Value>(["replication", "start", VM, "--to", "east"]).await?;
    until_protected(&west, VM).await?;
    west.guest(VM).await?.workload(&["burst", "4"]).await?;
    let written = in_sync(&west).await?;
    west.cut_power().await?;

    let there: RestoredVmView = east.json(["failover", "unplanned", VM, "--yes"]).await?;
    ensure!(there.started && there.vm_name == VM, "{there:?}");
    let found = boots(&east).await.context("after the failover")?;
    ensure!(found.root_last >= written.data_last, "{found:?} is less than {written:?}");
    let committed: ReplicaView = east.json(["failover", "commit", VM, "--yes"]).await?;
    ensure!(committed.stage == ReplicaStage::Committed, "{committed:?}");

    west.start_server().await?;
    until(&west, VM, "fenced", |view| view.state == ReplicationState::Fenced).await?;
    let (_, said) = west.failure(["vm", "start", VM]).await?;
    ensure!(said.contains("must not run here"), "{said}");

    // Back to where its old self is: that is the seed, and makes room by itself.
    let old_disks = [disks.root.clone(), disks.data.clone()];
    east.json::<Value>(["failover", "reprotect", VM]).await?;
    let protected = until_protected(&east, VM).await?;
    let size_bytes = disk_bytes(&west.json(["replica", "show", VM]).await?);
    let (sent, had) = (protected.sent_bytes, protected.had_bytes);
    ensure!(protected.seed.is_some(), "there was no seed: {protected:?}");
    ensure!(
        sent < size_bytes / 10,
        "{sent} of {size_bytes} bytes were sent, {had} were there: {protected:?}"
    );
    let written = east.guest(VM).await?.state_now().await?.sound()?;
    let given: HandedOverView = east.json(["failover", "failback", VM, "--yes"]).await?;
    ensure!(given.proof.is_some(), "{given:?}");
    west.run(["job", "watch", &given.job_there.context("it was handed over before")?]).await?;
    let found = boots(&west).await.context("after it came back")?;
    ensure!(found.root_last >= written.data_last, "{found:?} is less than {written:?}");

    let view: ReplicaView = west.json(["failover", "commit", VM, "--dry-run"]).await?;
    let replaced = view.failover.and_then(|failover| failover.replaced).context("nothing was replaced")?;
    ensure!(replaced.disks_that_go.len() == old_disks.len(), "{replaced:?}");
    ensure!(old_disks.iter().all(|path| path.exists()), "a disk went before the commit");
    west.json::<ReplicaView>(["failover", "commit", VM, "--yes"]).await?;
    until_gone(&old_disks).await
}

/// Waits until the files are gone.
async fn until_gone(files: &[PathBuf]) -> Result<()> {
    let gone = async {
        while files.iter().any(|file| file.exists()) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone).await.context("old disks stayed after the commit")
}

fn disk_bytes(replica: &ReplicaView) -> u64 {
    replica.disks.iter().map(|disk| disk.size_bytes.0).sum()
}
