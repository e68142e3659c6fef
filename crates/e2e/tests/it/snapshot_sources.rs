//! What becomes of a snapshot whose source goes, changes or is asked for another at once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use api::{ChangeSourceView, SnapshotView};
use model::{DiskFormat, SnapshotState};
use testkit::{
    loop_file_system::LoopFileSystem,
    qemu::{BlankDisk, BlankVm},
    site::Site,
};
use tokio::time::sleep;

use crate::fixture::{assert_same, noise, protect_blank, restored_bytes, site_with_vault, words};

const MIB: usize = 1 << 20;

/// How long after the command its source goes.
const A_SECOND: Duration = Duration::from_secs(1);

async fn copied(site: &Site, snapshot: &SnapshotView) -> Result<SnapshotView> {
    let job = snapshot.job_id.context("a job makes it")?;
    site.output(["job", "watch", job.as_str()]).await?;
    site.json(["snapshot", "show", snapshot.name.as_str()]).await
}

#[tokio::test]
async fn a_source_may_be_deleted_or_snapped_again_as_soon_as_the_command_has_returned() -> Result<()> {
    let site = site_with_vault().await?;
    let first = noise(1, 48 * MIB);
    let vm = BlankVm::start(&[BlankDisk::new("vda", DiskFormat::Qcow2, first.clone())]).await?;
    protect_blank(&site, &vm, "vm").await?;
    let slowly = ["protect", "vm", "--vault", "main", "--consistency", "crash", "--read-limit", "8MiB"];
    site.run(slowly).await?;
    let whole: SnapshotView = site.json(["snapshot", "create", "vm", "--name", "first"]).await?;
    assert_eq!(whole.state, SnapshotState::Copying);

    // Of two more at once, the one waits for the other, and both hold what the disk held then.
    let mut second = first.clone();
    second[..MIB].copy_from_slice(&noise(2, MIB));
    vm.write("vda", 0, &second[..MIB]).await?;
    let create = |name: &'static str| site.json::<SnapshotView>(["snapshot", "create", "vm", "--name", name]);
    let (one, other) = tokio::try_join!(create("one"), create("other"))?;

    sleep(A_SECOND).await;
    std::fs::remove_file(vm.image("vda"))?;
    for (snapshot, content) in [(&whole, &first), (&one, &second), (&other, &second)] {
        let snapshot = copied(&site, snapshot).await?;
        ensure!(snapshot.state == SnapshotState::Ready, "{snapshot:?}");
        assert_same(&restored_bytes(&site, &format!("snapshot:{}/vda", snapshot.name)).await?, content);
    }
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());
    Ok(())
}

/// The disks of a stopped VM, written to as soon as the command has returned, where the file system clones files.
async fn on_a_file_system_with_clones(kind: &str) -> Result<()> {
    let site = site_with_vault().await?;
    let file_system = match LoopFileSystem::mount(kind, &site.directory().join("disks"), 1 << 30) {
        Ok(file_system) => file_system,
        Err(reason) => {
            eprintln!("skipped: {reason:#}");
            return Ok(());
        }
    };
    let path = |name: &str| file_system.path().join(name);
    let (raw, qcow2, image) = (path("vda.raw"), path("vdb.qcow2"), path("golden.img"));
    std::fs::write(&raw, noise(1, 24 * MIB))?;
    BlankDisk::new("vdb", DiskFormat::Qcow2, noise(2, 24 * MIB)).create(&qcow2)?;
    std::fs::write(&image, noise(3, 24 * MIB))?;
    let definition = site.directory().join("vm.toml");
    let text = format!(
        "name = \"vm\"\nmemory = \"64MiB\"\nagent = false\n\n\
         [[disk]]\nname = \"vda\"\npath = {raw:?}\nformat = \"raw\"\n\n\
         [[disk]]\nname = \"vdb\"\npath = {qcow2:?}\nformat = \"qcow2\"\n"
    );
    std::fs::write(&definition, text)?;
    site.run(words!["vm", "add", "--definition", definition]).await?;
    let slowly = ["protect", "vm", "--vault", "main", "--consistency", "crash", "--read-limit", "4MiB"];
    site.run(slowly).await?;

    let used = file_system.used_bytes()?;
    let stopped: SnapshotView = site.json(["snapshot", "create", "vm", "--name", "stopped"]).await?;
    assert_eq!(stopped.state, SnapshotState::Copying);
    assert!(file_system.used_bytes()? - used < 8 << 20, "clones share their blocks");
    // Nothing is locked any more: another program writes to the disks, and goes on.
    std::fs::write(&raw, noise(4, 24 * MIB))?;
    let mut write = std::process::Command::new("qemu-io");
    testkit::command::run(write.args(["-f", "qcow2", "-c", "write -P 5 0 24M"]).arg(&qcow2))?;
    let still: SnapshotView = site.json(["snapshot", "show", "stopped"]).await?;
    assert_eq!(still.state, SnapshotState::Copying, "the writes came first");

    let golden: SnapshotView = site
        .json(words!["snapshot", "create", format!("file:{}", image.display()), "--name", "golden"])
        .await?;
    std::fs::write(&image, noise(6, 24 * MIB))?;
    for snapshot in [&stopped, &golden] {
        ensure!(copied(&site, snapshot).await?.state == SnapshotState::Ready, "{snapshot:?}");
    }
    assert_same(&restored_bytes(&site, "snapshot:stopped/vda").await?, &noise(1, 24 * MIB));
    assert_same(&restored_bytes(&site, "snapshot:stopped/vdb").await?, &noise(2, 24 * MIB));
    // What was written meanwhile is known to the next one.
    let next: SnapshotView = site.json(["snapshot", "create", "vm", "--name", "next", "--wait"]).await?;
    let sources: Vec<_> = next.disks.iter().map(|disk| &disk.source).collect();
    ensure!(matches!(sources[..], [_, ChangeSourceView::Bitmap]), "{sources:?}");
    assert_same(&restored_bytes(&site, "snapshot:next/vda").await?, &noise(4, 24 * MIB));
    assert_same(&restored_bytes(&site, "snapshot:next/vdb").await?, &vec![5; 24 * MIB]);
    let mut named: Vec<_> = std::fs::read_dir(file_system.path())?.collect::<std::io::Result<Vec<_>>>()?;
    named.retain(|entry| entry.path().is_file());
    assert_eq!(named.len(), 3, "no clone is left: {named:?}");
    Ok(())
}

#[tokio::test]
async fn stopped_disks_on_xfs_may_be_written_to_at_once() -> Result<()> {
    on_a_file_system_with_clones("xfs").await
}

#[tokio::test]
async fn stopped_disks_on_btrfs_may_be_written_to_at_once() -> Result<()> {
    on_a_file_system_with_clones("btrfs").await
}
