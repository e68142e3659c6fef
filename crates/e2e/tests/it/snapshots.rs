//! Managed snapshots: of a guest that writes, and of what goes wrong.

use anyhow::{Context, Result, ensure};
use api::{CollectView, JobView, PointTestView, RestoredVmView, SnapshotView, VmView};
use model::{Consistency, DiskFormat, SnapshotKind, SnapshotState};
use testkit::{
    guest::GuestImage,
    qemu::{BlankDisk, BlankVm},
    site::Site,
};

use crate::{
    fixture::{
        assert_same, back_up, by_bitmap, examine_point, guest_disks, job_until, noise, protect_blank,
        restored_bytes, site_with_vault, words,
    },
    small_file_system::SmallFileSystem,
};

const MIB: usize = 1 << 20;

/// Several regions, which are read one by one: a limit has its effect between them.
const CHANGED: usize = 12 * MIB;

/// Reads every file of the guest's system from its disk.
const READ_ALL: [&str; 3] = [
    "/bin/sh",
    "-c",
    "echo 3 > /proc/sys/vm/drop_caches; find /usr /bin /sbin -type f -exec cat {} + | wc -c",
];

async fn show(site: &Site, name: &str) -> Result<SnapshotView> {
    site.json(["snapshot", "show", name]).await
}

/// Makes a snapshot and waits until all of it is in the store.
async fn ready(site: &Site, source: &str, name: &str) -> Result<SnapshotView> {
    let made: SnapshotView = site.json(["snapshot", "create", source, "--name", name, "--wait"]).await?;
    ensure!(made.state == SnapshotState::Ready, "{made:?}");
    Ok(made)
}

/// Begins a snapshot, which is still being copied when this returns.
async fn copying(site: &Site, source: &str, name: &str) -> Result<SnapshotView> {
    let made: SnapshotView = site.json(["snapshot", "create", source, "--name", name]).await?;
    ensure!(made.state == SnapshotState::Copying && made.taken_at.is_some(), "{made:?}");
    Ok(made)
}

/// Waits until the copying of a snapshot has ended, as it will.
async fn copied(site: &Site, snapshot: &SnapshotView) -> Result<SnapshotView> {
    let job = snapshot.job_id.context("a job makes it")?;
    site.output(["job", "watch", job.as_str()]).await?;
    show(site, snapshot.name.as_str()).await
}

#[tokio::test]
async fn a_vm_boots_from_a_snapshot_of_a_busy_guest_before_it_is_copied() -> Result<()> {
    let image = GuestImage::obtain()?;
    let site = site_with_vault().await?;
    let disks = guest_disks(&site, &image)?;
    site.boot("web-1", &disks).await?;
    let guest = site.guest("web-1").await?;
    // Slow enough for a boot in the middle.
    let _: VmView = site.json(["protect", "web-1", "--vault", "main", "--read-limit", "3MiB"]).await?;
    let noted = guest.state_now().await?.sound()?;
    let first = copying(&site, "web-1", "first").await?;
    assert_eq!(first.consistency_reached, Some(Consistency::Application));
    guest.workload(&["burst", "4"]).await?;

    let boot = ["boot", "snapshot:first", "--name", "web-2", "--no-hydrate"];
    let booted: RestoredVmView = site.json(boot).await?;
    assert!(booted.started);
    assert_eq!(show(&site, "first").await?.state, SnapshotState::Copying, "the boot came first");
    let (_, refused) = site.failure(["snapshot", "delete", "first", "--yes"]).await?;
    assert!(refused.contains("is being made"), "{refused}");
    let again = site.guest("web-2").await?;
    let found = again.state_at_boot().await?.sound()?;
    assert!(found.quiesced && found.root_last >= noted.root_last, "{found:?} after {noted:?}");

    // The reader goes over to the store and notices nothing.
    let first = copied(&site, &first).await?;
    assert_eq!((first.state, first.kind), (SnapshotState::Ready, Some(SnapshotKind::Full)));
    again.exec(&READ_ALL).await?;
    again.state_now().await?.sound()?;
    let (_, refused) = site.failure(["snapshot", "delete", "first", "--yes"]).await?;
    assert!(refused.contains("web-2 runs from the snapshot first"), "{refused}");

    let _: VmView = site.json(["protect", "web-1", "--vault", "main"]).await?;
    let full = back_up(&site, "web-1").await?;
    guest.workload(&["burst", "4"]).await?;
    let noted = guest.state_now().await?.sound()?;
    let second = ready(&site, "web-1", "second").await?;
    assert_eq!(second.kind, Some(SnapshotKind::Incremental));
    let read = second.read_bytes.0;
    assert!((4 << 20..64 << 20).contains(&read), "{read} bytes were read for a few megabytes of changes");
    let incremental = back_up(&site, "web-1").await?;
    assert_eq!((incremental.parent, by_bitmap(&incremental)), (Some(full.id), vec![true; 2]));

    let _: VmView = site.json(["vm", "stop", "web-2", "--force"]).await?;
    site.run(["vm", "remove", "web-2"]).await?;
    let sized = show(&site, "first").await?;
    assert!(sized.used_bytes > sized.unique_bytes && sized.unique_bytes.is_some(), "{sized:?}");
    let _: Vec<SnapshotView> = site.json(["snapshot", "delete", "first", "--now"]).await?;
    let _: CollectView = site.json(["snapshot", "gc"]).await?;
    let offline = examine_point(&site, "snapshot:second", DiskFormat::Raw).await?;
    let found = offline.workload.sound()?;
    assert!(offline.file_systems_clean && found.root_last >= noted.root_last, "{found:?} after {noted:?}");
    let test = ["point", "test", "snapshot:second", "--", "/usr/local/bin/verify", "boot"];
    let passed: PointTestView = site.json(test).await?;
    assert!(passed.passed, "{passed:?}");
    Ok(())
}

#[tokio::test]
async fn what_goes_wrong_is_said_and_the_vm_goes_on() -> Result<()> {
    let mut site = site_with_vault().await?;
    let small = SmallFileSystem::mount(&site.data_directory().join("snapshots"))?;
    let disk = BlankDisk::new("vda", DiskFormat::Qcow2, noise(1, 60 * MIB));
    let mut vm = BlankVm::start(&[disk]).await?;
    protect_blank(&site, &vm, "vm").await?;
    back_up(&site, "vm").await?;
    ready(&site, "vm", "first").await?;

    // The store is full.
    let mut content = noise(1, 60 * MIB);
    content[..CHANGED].copy_from_slice(&noise(2, CHANGED));
    vm.write("vda", 0, &content[..CHANGED]).await?;
    let ballast = small.fill()?;
    let full = ["snapshot", "create", "vm", "--name", "second", "--wait"];
    let (code, message) = site.failure(full).await?;
    assert!(code == 1 && message.contains("space") && message.contains("hint:"), "{code}: {message}");
    assert_eq!(show(&site, "second").await?.state, SnapshotState::Failed);
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());
    std::fs::remove_file(ballast)?;

    // The server is killed in mid-copy.
    site.run(["protect", "vm", "--vault", "main", "--consistency", "crash", "--read-limit", "256KiB"])
        .await?;
    copying(&site, "vm", "third").await?;
    site.kill_server().await?;
    site.start_server().await?;
    let third = show(&site, "third").await?;
    assert!(third.problem.as_ref().is_some_and(|why| why.contains("server was stopped")), "{third:?}");
    site.run(["protect", "vm", "--vault", "main", "--consistency", "crash"]).await?;
    let fourth = ready(&site, "vm", "fourth").await?;
    assert_eq!(fourth.kind, Some(SnapshotKind::Incremental), "{fourth:?}");
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());
    assert_same(&restored_bytes(&site, "snapshot:fourth/vda").await?, &content);
    assert_eq!(by_bitmap(&back_up(&site, "vm").await?), [true]);

    // The VM ends in mid-copy.
    site.run(["protect", "vm", "--vault", "main", "--consistency", "crash", "--read-limit", "256KiB"])
        .await?;
    vm.write("vda", 0, &noise(3, CHANGED)).await?;
    let fifth = copying(&site, "vm", "fifth").await?;
    let job: JobView = site.json(["job", "show", fifth.job_id.context("a job makes it")?.as_str()]).await?;
    job_until(&site, &job, |progress| progress["done_bytes"].as_u64() > Some(0)).await?;
    vm.quit().await?;
    let fifth = copied(&site, &fifth).await?;
    assert_eq!(fifth.state, SnapshotState::Failed);
    assert!(fifth.problem.is_some(), "{fifth:?}");

    // The source goes right after the command has returned.
    let path = site.directory().join("golden.img");
    std::fs::write(&path, noise(4, 8 * MIB))?;
    let made: SnapshotView = site.json(words!["snapshot", "import", path, "--name", "golden"]).await?;
    std::fs::remove_file(&path)?;
    assert_eq!(copied(&site, &made).await?.state, SnapshotState::Ready);
    assert_same(&restored_bytes(&site, "snapshot:golden").await?, &noise(4, 8 * MIB));
    Ok(())
}
