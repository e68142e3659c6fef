//! Recovery points that are booted to see whether they work.

use std::fs;

use anyhow::Result;
use api::{PointTestView, PointView, VmView};
use testkit::{guest::GuestImage, site::Site};

use crate::fixture::{back_up, guest_disks, job_until, site_with_vault};

/// A site with a point of a guest, which is shut down.
async fn site_with_point() -> Result<Site> {
    let image = GuestImage::obtain()?;
    let site = site_with_vault().await?;
    let disks = guest_disks(&site, &image)?;
    site.boot("web-1", &disks).await?;
    let _: VmView = site.json(["protect", "web-1", "--vault", "main"]).await?;
    back_up(&site, "web-1").await?;
    let _: VmView = site.json(["vm", "stop", "web-1", "--force"]).await?;
    Ok(site)
}

/// The VMs that the site knows beside the one that was backed up, and the directories of their disks.
async fn leftovers(site: &Site) -> Result<(usize, usize)> {
    let vms: Vec<VmView> = site.json(["vm", "list"]).await?;
    Ok((vms.len() - 1, fs::read_dir(site.data_directory().join("disks"))?.count()))
}

#[tokio::test]
async fn a_point_that_boots_passes_and_one_that_does_not_says_why() -> Result<()> {
    let site = site_with_point().await?;
    let test = ["point", "test", "point:web-1/latest"];
    let check = ["--", "/usr/local/bin/verify", "boot"];
    let passed: PointTestView = site.json([&test[..], &check].concat()).await?;
    assert!(passed.passed && passed.boot_ms.is_some() && passed.detail.contains("agent"), "{passed:?}");
    let picture = fs::read(passed.screenshot.as_deref().unwrap_or_default())?;
    assert!(picture.starts_with(b"\x89PNG"));
    assert_eq!(leftovers(&site).await?, (0, 0));
    let point: PointView = site.json(["point", "show", "point:web-1/latest"]).await?;
    assert_eq!(point.test, Some(passed));

    let (_, message) = site.failure([&test[..], &["--", "/bin/false"]].concat()).await?;
    assert!(message.contains("the check ended with 1"), "{message}");
    let (_, message) =
        site.failure([&test[..], &["--console", "no guest says this", "--limit", "2s"]].concat()).await?;
    assert!(message.contains("has not said"), "{message}");
    let point: PointView = site.json(["point", "show", "point:web-1/latest"]).await?;
    assert!(point.test.is_some_and(|test| !test.passed));
    assert_eq!(leftovers(&site).await?, (0, 0));
    Ok(())
}

#[tokio::test]
async fn of_a_test_whose_server_dies_nothing_stays() -> Result<()> {
    let mut site = site_with_point().await?;
    let test = ["point", "test", "point:web-1/latest", "--console", "no guest says this", "--no-wait"];
    let job: api::JobView = site.json(test).await?;
    job_until(&site, &job, |progress| progress["phase"] == "booting the point").await?;
    site.kill_server().await?;
    site.start_server().await?;
    assert_eq!(leftovers(&site).await?, (0, 0));
    Ok(())
}
