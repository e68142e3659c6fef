//! What a restore does to what is there already.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use api::{JobView, RestoredDiskView, RestoredVmView};
use model::{DiskFormat, JobState};
use testkit::{
    qemu::{BlankDisk, BlankVm},
    site::Site,
};

use crate::fixture::{assert_same, back_up, noise, protect_blank, restored_bytes, site_with_vault, words};

const MIB: usize = 1 << 20;
const CONFLICT: i32 = 6;

/// A command line that restores the disk of the VM to a file.
fn to(path: &Path, more: &[&str]) -> Vec<OsString> {
    let mut words = words!["restore", "disk", "point:vm/latest/vda", "--to", path].to_vec();
    words.extend(more.iter().map(OsString::from));
    words
}

#[tokio::test]
async fn nothing_that_exists_is_replaced_unasked_and_never_a_disk_in_use() -> Result<()> {
    let site = site_with_vault().await?;
    let content = noise(1, 4 * MIB);
    let vm = BlankVm::start(&[BlankDisk::new("vda", DiskFormat::Qcow2, content.clone())]).await?;
    protect_blank(&site, &vm, "vm").await?;
    back_up(&site, "vm").await?;

    let file = site.directory().join("precious.img");
    fs::write(&file, "precious")?;
    let (code, message) = site.failure(to(&file, &[])).await?;
    assert!(code == CONFLICT && message.contains("--replace"), "{code}: {message}");
    assert_eq!(fs::read(&file)?, b"precious");
    site.run(to(&file, &["--replace", "--dry-run"])).await?;
    assert_eq!(fs::read(&file)?, b"precious");
    let _: RestoredDiskView = site.json(to(&file, &["--replace"])).await?;
    assert_same(&fs::read(&file)?, &content);

    let before = fs::read(vm.image("vda"))?;
    let (code, message) = site.failure(to(&vm.image("vda"), &["--replace"])).await?;
    assert!(code == CONFLICT && message.contains("the VM vm runs"), "{code}: {message}");
    site.run(["vm", "remove", "vm"]).await?;
    let (code, message) = site.failure(to(&vm.image("vda"), &["--replace"])).await?;
    assert!(code == CONFLICT && message.contains("in use"), "{code}: {message}");
    assert_same(&fs::read(vm.image("vda"))?, &before);

    restored_vms_do_not_collide(&site, &content).await
}

async fn restored_vms_do_not_collide(site: &Site, content: &[u8]) -> Result<()> {
    let directory = site.directory().join("restored");
    let directory = directory.to_str().context("the directory's name is text")?;
    let restore = |name: &'static str, more: &'static [&'static str]| {
        ["restore", "vm", "point:vm/latest", "--directory", directory, "--format", "raw", "--name", name]
            .into_iter()
            .chain(more.iter().copied())
            .collect::<Vec<_>>()
    };
    let first: RestoredVmView = site.json(restore("first", &[])).await?;
    let disk = PathBuf::from(&first.disks[0].path);
    assert_same(&fs::read(&disk)?, content);
    for (name, more) in [("second", &[][..]), ("first", &["--replace"]), ("second", &["--replace"])] {
        let (code, message) = site.failure(restore(name, more)).await?;
        assert_eq!(code, CONFLICT, "{message}");
    }
    site.run(["vm", "remove", "first"]).await?;
    fs::write(&disk, "old")?;
    let _: RestoredVmView = site.json(restore("second", &["--replace"])).await?;
    assert_same(&fs::read(&disk)?, content);
    Ok(())
}

#[tokio::test]
async fn a_restore_that_dies_leaves_a_marked_file_and_the_next_start_removes_it() -> Result<()> {
    let mut site = site_with_vault().await?;
    let content = noise(2, 96 * MIB);
    let vm = BlankVm::start(&[BlankDisk::new("vda", DiskFormat::Raw, content.clone())]).await?;
    protect_blank(&site, &vm, "vm").await?;
    back_up(&site, "vm").await?;

    let file = site.directory().join("restored.img");
    let partial = site.directory().join("restored.img.holdfast-partial");
    let _: JobView = site.json(to(&file, &["--no-wait"])).await?;
    while fs::metadata(&partial).map_or(0, |metadata| metadata.len()) == 0 {
        assert!(!file.exists(), "the restore ended too soon to be killed");
        tokio::task::yield_now().await;
    }
    site.kill_server().await?;
    assert!(partial.exists() && !file.exists());

    site.start_server().await?;
    assert!(!partial.exists() && !file.exists());
    let job: JobView = site.json(["job", "show", "latest"]).await?;
    assert_eq!(job.state, JobState::Failed);
    assert!(job.problem.as_ref().is_some_and(|problem| problem.code == api::Code::Interrupted), "{job:?}");
    assert_same(&restored_bytes(&site, "point:vm/latest/vda").await?, &content);
    Ok(())
}
