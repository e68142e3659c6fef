//! A policy that makes the snapshots of a guest that writes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use api::SnapshotView;
use model::{Consistency, DiskFormat, SnapshotState};
use testkit::{guest::GuestImage, site::Site};
use tokio::time::{sleep, timeout};

use crate::fixture::{examine_point, guest_disks, site_with_vault};

/// How long some runs of a policy may take that is due every minute.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often is looked what a policy has made.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

async fn snapshots(site: &Site, more: &[&str]) -> Result<Vec<SnapshotView>> {
    site.json(["snapshot", "list", "--family", "web-1"].iter().chain(more)).await
}

/// Waits until the living snapshots are as wanted.
async fn until(site: &Site, wanted: impl Fn(&[SnapshotView]) -> bool) -> Result<Vec<SnapshotView>> {
    let looking = async {
        loop {
            let found = snapshots(site, &[]).await?;
            if wanted(&found) {
                return Ok(found);
            }
            sleep(LOOK_INTERVAL).await;
        }
    };
    timeout(PATIENCE, looking).await.context("the policy does not do what it should")?
}

#[tokio::test]
async fn a_policy_makes_sound_snapshots_of_a_busy_guest_and_deletes_what_no_rule_keeps() -> Result<()> {
    let image = GuestImage::obtain()?;
    let site = site_with_vault().await?;
    let disks = guest_disks(&site, &image)?;
    site.boot("web-1", &disks).await?;
    let guest = site.guest("web-1").await?;
    guest.workload(&["burst", "4"]).await?;
    let noted = guest.state_now().await?.sound()?;
    let by_hand: SnapshotView =
        site.json(["snapshot", "create", "web-1", "--name", "mine", "--wait"]).await?;

    let policy = ["--schedule", "every 1m", "--keep-last", "1", "--grace", "0h"];
    site.run(["policy", "create", "often"].iter().chain(&policy)).await?;
    site.run(["snapshot", "schedule", "web-1", "--policy", "often", "--consistency", "application"]).await?;
    let is_made = |it: &SnapshotView| it.policy.is_some() && it.state == SnapshotState::Ready;
    let found = until(&site, |found| found.iter().any(is_made)).await?;
    let first = found.into_iter().find(is_made).context("it was there")?;
    assert_eq!(first.consistency_reached, Some(Consistency::Application), "{first:?}");
    assert!(first.name.as_str().starts_with("web-1-"), "{first:?}");

    let is_next = |it: &SnapshotView| is_made(it) && it.id != first.id;
    let is_gone = |found: &[SnapshotView]| found.iter().all(|it| it.id != first.id);
    let found = until(&site, |found| found.iter().any(is_next) && is_gone(found)).await?;
    assert!(found.iter().any(|it| it.id == by_hand.id), "what was made by hand stays: {found:?}");
    let deleted = snapshots(&site, &["--deleted"]).await?;
    assert!(deleted.iter().any(|it| it.id == first.id), "it can be brought back: {deleted:?}");

    site.run(["snapshot", "unschedule", "web-1"]).await?;
    let next = found.iter().find(|it| is_next(it)).context("it was there")?;
    let offline = examine_point(&site, &format!("snapshot:{}", next.name), DiskFormat::Raw).await?;
    let found = offline.workload.sound()?;
    assert!(offline.file_systems_clean && found.quiesced, "{found:?}");
    assert!(found.root_last >= noted.root_last && found.data_last >= noted.data_last, "{found:?} {noted:?}");
    Ok(())
}
