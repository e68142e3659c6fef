//! Guest agents that are absent, hang, or do less than they should: bounded, honest, and refused where that was asked for.

use anyhow::Result;
use api::{JobView, VmView};
use model::{Consistency, JobState};
use serde_json::json;
use testkit::{
    guest::GuestImage,
    qemu::{GuestVm, VmOptions},
    site::Site,
};

use crate::fixture::{
    back_up, backup_job, failed_job, guest_disks, job_until, points, protect_guest, site_with_vault, words,
};

#[tokio::test]
async fn what_the_agent_cannot_do_is_said_or_refused_and_the_guest_goes_on() -> Result<()> {
    let image = GuestImage::obtain()?;
    let site = site_with_vault().await?;
    let vm = GuestVm::start(&image, &guest_disks(&site, &image)?, &VmOptions::default()).await?;
    vm.guest().state_at_boot().await?.sound()?;
    protect_guest(&site, &vm, "odd").await?;

    hook_fails(&site, &vm).await?;
    hook_hangs(&site, &vm).await?;
    recovered(&site, &vm).await?;
    agent_is_silent(&site, &vm).await?;
    recovered(&site, &vm).await?;
    no_agent(&site, &vm).await?;
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());
    Ok(())
}

async fn hook_fails(site: &Site, vm: &GuestVm) -> Result<()> {
    vm.guest().workload(&["hook", "fail"]).await?;
    let point = back_up(site, "odd").await?;
    assert_eq!(point.consistency_asked, Consistency::Application);
    assert_eq!(point.consistency_reached, Consistency::FileSystem, "{point:?}");
    assert!(point.shortfall.as_deref().is_some_and(|reason| reason.contains("hook")), "{point:?}");
    Ok(())
}

async fn hook_hangs(site: &Site, vm: &GuestVm) -> Result<()> {
    vm.guest().workload(&["hook", "hang"]).await?;
    let _: VmView = site.json(["protect", "odd", "--vault", "main", "--freeze-limit", "1s"]).await?;
    let point = back_up(site, "odd").await?;
    assert_eq!(point.consistency_reached, Consistency::Crash, "{point:?}");
    assert!(point.shortfall.as_deref().is_some_and(|reason| reason.contains("frozen")), "{point:?}");
    // The first hook still hangs.
    refused_when_strict(site, vm).await?;
    vm.guest().workload(&["hook", "succeed"]).await?;
    recovered(site, vm).await?;

    vm.guest().workload(&["hook", "hang"]).await?;
    let before = points(site, "odd").await?.len();
    let job = backup_job(site, "odd").await?;
    job_until(site, &job, |progress| progress["phase"] == "freezing the guest").await?;
    let _: JobView = site.json(["job", "cancel", job.id.as_str()]).await?;
    vm.guest().workload(&["hook", "succeed"]).await?;
    let (job, code, _) = failed_job(site, &job).await?;
    assert_eq!((job.state, code), (JobState::Cancelled, 1));
    assert_eq!(points(site, "odd").await?.len(), before);
    Ok(())
}

async fn agent_is_silent(site: &Site, vm: &GuestVm) -> Result<()> {
    let signal = |name: &'static str| async move {
        let order = format!("kill -{name} $(cat /run/agent/pid)");
        vm.guest().exec(&["/bin/sh", "-c", &order]).await
    };
    signal("STOP").await?;
    let point = back_up(site, "odd").await?;
    assert_eq!(point.consistency_reached, Consistency::Crash, "{point:?}");
    assert!(point.shortfall.is_some(), "{point:?}");
    signal("CONT").await.map(drop)
}

async fn no_agent(site: &Site, vm: &GuestVm) -> Result<()> {
    site.run(["vm", "remove", "odd"]).await?;
    site.run(words!["vm", "add", "odd", "--qmp", vm.qmp_socket()]).await?;
    let _: VmView = site.json(["protect", "odd", "--vault", "main"]).await?;
    let point = back_up(site, "odd").await?;
    assert_eq!(point.consistency_reached, Consistency::Crash, "{point:?}");
    assert!(point.shortfall.as_deref().is_some_and(|reason| reason.contains("no channel")), "{point:?}");
    refused_when_strict(site, vm).await
}

/// A backup that insists fails, makes no point, and leaves the guest alone.
async fn refused_when_strict(site: &Site, vm: &GuestVm) -> Result<()> {
    let before = points(site, "odd").await?.len();
    let strict = ["protect", "odd", "--vault", "main", "--freeze-limit", "1s", "--strict"];
    let _: VmView = site.json(strict).await?;
    let (code, message) = site.failure(["backup", "odd"]).await?;
    assert!(code == 1 && message.contains("application consistency"), "{code}: {message}");
    assert!(message.contains("hint:"), "{message}");
    assert_eq!(points(site, "odd").await?.len(), before);
    assert_eq!(vm.qmp("query-status", json!({})).await?["status"], "running");
    Ok(())
}

/// The guest writes again, and the next backup reaches what is asked.
async fn recovered(site: &Site, vm: &GuestVm) -> Result<()> {
    vm.guest().workload(&["burst", "1"]).await?;
    let _: VmView = site.json(["protect", "odd", "--vault", "main"]).await?;
    let point = back_up(site, "odd").await?;
    assert_eq!(point.consistency_reached, Consistency::Application, "{point:?}");
    vm.guest().state_now().await?.sound().map(drop)
}
