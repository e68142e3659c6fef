//! Guest agents that are absent, hang, or do less than they should: bounded, honest, and refused where that was asked for.
//! What they do well: files come back through them.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::Result;
use api::{JobView, RestoredFilesView, VaultView, VmView};
use model::{Consistency, JobState};
use serde_json::json;
use testkit::{
    command::run,
    file_systems::FileSystemTools,
    guest::GuestImage,
    qemu::{GuestVm, VmOptions},
    site::Site,
};

use crate::{
    files::with_tools,
    fixture::{back_up, backup_job, failed_job, guest_disks, job_until, points, protect_guest, words},
};

#[tokio::test]
async fn what_the_agent_cannot_do_is_said_or_refused_and_the_guest_goes_on() -> Result<()> {
    let image = GuestImage::obtain()?;
    let (tools, work) = (FileSystemTools::obtain()?, tempfile::tempdir()?);
    let site = Site::start_with(&with_tools(&tools, work.path())?).await?;
    let _: VaultView = site.json(["vault", "create", "main"]).await?;
    let vm = GuestVm::start(&image, &guest_disks(&site, &image)?, &VmOptions::default()).await?;
    vm.guest().state_at_boot().await?.sound()?;
    protect_guest(&site, &vm, "odd").await?;

    files_come_back(&site, &vm, &tools, work.path()).await?;
    hook_fails(&site, &vm).await?;
    hook_hangs(&site, &vm).await?;
    recovered(&site, &vm).await?;
    agent_is_silent(&site, &vm).await?;
    recovered(&site, &vm).await?;
    no_agent(&site, &vm).await?;
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());
    Ok(())
}

/// Files of an image get into the guest, whole and with what the agent can keep.
async fn files_come_back(site: &Site, vm: &GuestVm, tools: &FileSystemTools, work: &Path) -> Result<()> {
    let (tree, image) = (work.join("tree"), work.join("image.raw"));
    fs::create_dir_all(tree.join("lost/deep"))?;
    fs::write(tree.join("lost/deep/it's a \"name\""), "content")?;
    fs::write(tree.join("lost/large"), vec![7; 3 << 20])?;
    symlink("large", tree.join("lost/link"))?;
    fs::File::create(&image)?.set_len(32 << 20)?;
    run(tools.command("mkfs.ext4").args(["-q", "-F", "-d"]).arg(&tree).arg(&image))?;
    let reference = format!("file:{}", image.display());
    let restore = ["restore", "files", &reference, "/disk/lost", "--vm", "odd", "--to", "/tmp/back"];
    let dry: RestoredFilesView = site.json([&restore[..], &["--dry-run"]].concat()).await?;
    assert_eq!((dry.files, dry.directories, dry.links, dry.kept), (2, 2, 1, 0), "{dry:?}");
    let said = |command: &'static str| async move { vm.guest().exec(&["/bin/sh", "-c", command]).await };
    assert_eq!(said("ls /tmp/back 2>/dev/null | wc -l").await?.trim(), "0", "a dry run writes nothing");

    let restored: RestoredFilesView = site.json(restore).await?;
    assert_eq!((restored.files, restored.directories, restored.links), (2, 2, 1), "{restored:?}");
    assert_eq!((restored.kept, restored.failed), (0, 0), "{restored:?}");
    assert_eq!(said("cat /tmp/back/lost/deep/*").await?, "content");
    assert_eq!(said("wc -c < /tmp/back/lost/link").await?.trim(), (3 << 20).to_string());
    assert_eq!(said("find /tmp/back -name '.holdfast*' | wc -l").await?.trim(), "0");

    said("echo mine > /tmp/back/lost/large").await?;
    let again: RestoredFilesView = site.json(restore).await?;
    assert_eq!((again.files, again.directories, again.kept), (0, 0, 3), "{again:?}");
    assert_eq!(said("cat /tmp/back/lost/large").await?.trim(), "mine");
    // The image is of no VM, so nobody knows where its files belong.
    let (code, message) = site.failure(["restore", "files", &reference, "/disk/lost", "--vm", "odd"]).await?;
    assert!(code == 2 && message.contains("--to"), "{code}: {message}");
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
    let (code, message) =
        site.failure(["restore", "files", "point:odd/latest", "/x", "--vm", "odd", "--to", "/tmp"]).await?;
    assert!(code == 6 && message.contains("no guest agent"), "{code}: {message}");
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
