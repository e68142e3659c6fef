//! A store without space, and how it gets some again.

use std::fs;

use anyhow::{Context, Result};
use api::{CollectView, CopyState, CopyView, VaultView};
use model::DiskFormat;
use testkit::{
    qemu::{BlankDisk, BlankVm},
    site::Site,
};

use super::{MIB, assert_clean, delete_at_once, main_directory, site_with_saved_key, stopped_vm::StoppedVm};
use crate::{
    fixture::{assert_same, back_up, files_below, noise, points, restored_bytes, words},
    small_file_system::SmallFileSystem,
};

const GC: [&str; 5] = ["vault", "gc", "small", "--grace", "0h"];

/// A site with the vault `small` in a small file system.
async fn site_with_small_vault() -> Result<(Site, SmallFileSystem)> {
    let site = Site::start().await?;
    let small = SmallFileSystem::mount(&site.directory().join("small"))?;
    let _: VaultView =
        site.json(words!["vault", "create", "small", "--url", small.path().join("vault")]).await?;
    delete_at_once(&site, "small").await?;
    Ok((site, small))
}

fn assert_no_space((code, message): &(i32, String)) {
    assert!(*code == 1 && message.contains("space") && message.contains("hint:"), "{code}: {message}");
}

#[tokio::test]
async fn deleted_points_give_room_back_in_a_store_that_is_full_to_the_last_byte() -> Result<()> {
    let (site, small) = site_with_small_vault().await?;
    let disk = BlankDisk::new("vda", DiskFormat::Qcow2, noise(1, 60 * MIB));
    let vm = BlankVm::start(&[disk]).await?;
    site.run(words![
        "vm",
        "add",
        "vm",
        "--qmp",
        vm.qmp_socket(),
        "--qmp-out-of-band",
        vm.qmp_out_of_band_socket()
    ])
    .await?;
    site.run(["protect", "vm", "--vault", "small", "--consistency", "crash"]).await?;
    let first = back_up(&site, "vm").await?;

    let content = noise(2, 60 * MIB);
    vm.write("vda", 0, &content).await?;
    assert_no_space(&site.failure(["backup", "vm"]).await?);
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());
    small.fill()?;
    assert_no_space(&site.failure(["backup", "vm"]).await?);
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());
    assert_eq!(points(&site, "vm").await?.len(), 1);
    assert_same(&restored_bytes(&site, "point:vm/latest/vda").await?, &noise(1, 60 * MIB));

    site.run(["point", "delete", &format!("point:vm/{}", first.id)]).await?;
    let collected: CollectView = site.json(GC).await?;
    assert!(collected.freed_bytes.0 as usize >= 60 * MIB, "{collected:?}");
    back_up(&site, "vm").await?;
    assert_same(&restored_bytes(&site, "point:vm/latest/vda").await?, &content);
    assert_eq!(assert_clean(&site, "small").await?.intact_point_count, 1);
    Ok(())
}

#[tokio::test]
async fn packs_are_packed_anew_in_a_full_store_or_stay_as_they_are() -> Result<()> {
    let (site, small) = site_with_small_vault().await?;
    let mut vm = StoppedVm::protect(&site, "vm", "small", 24 * MIB).await?;
    vm.back_up(&site).await?;
    for offset_bytes in (0..24 * MIB).step_by(2 * MIB) {
        vm.write(offset_bytes, MIB, 2 + offset_bytes as u64)?;
    }
    vm.back_up(&site).await?;
    vm.delete_old_points(&site).await?;
    let ballast = small.fill()?;
    let collected = site.output(GC).await?;
    if !collected.status.success() {
        let message = String::from_utf8_lossy(&collected.stderr).into_owned();
        assert_no_space(&(collected.status.code().context("gc was killed")?, message));
    }
    assert_clean(&site, "small").await?;
    vm.assert_restores(&site).await?;

    fs::remove_file(ballast)?;
    let collected: CollectView = site.json(GC).await?;
    assert!(collected.freed_bytes.0 as usize > 8 * MIB, "{collected:?}");
    assert_clean(&site, "small").await?;
    vm.assert_restores(&site).await
}

#[tokio::test]
async fn a_repair_without_room_heals_later_what_it_cannot_heal_now() -> Result<()> {
    let (site, small) = site_with_small_vault().await?;
    let repair = ["vault", "repair", "small"];
    let mut vm = StoppedVm::protect(&site, "vm", "small", 60 * MIB).await?;
    vm.back_up(&site).await?;
    let copy = site.directory().join("off");
    site.run(words!["vault", "copy", "add", "small", "off", "--url", copy]).await?;
    for pack in files_below(&small.path().join("vault/packs"))? {
        fs::remove_file(pack)?;
    }
    let ballast = small.fill()?;
    assert_no_space(&site.failure(repair).await?);

    fs::remove_file(ballast)?;
    site.run(repair).await?;
    assert_clean(&site, "small").await?;
    vm.assert_restores(&site).await
}

#[tokio::test]
async fn a_copy_without_room_is_failing_and_fills_up_later() -> Result<()> {
    let site = site_with_saved_key().await?;
    let small = SmallFileSystem::mount(&site.directory().join("small"))?;
    let mut vm = StoppedVm::protect(&site, "vm", "main", 24 * MIB).await?;
    vm.back_up(&site).await?;
    let copy = small.path().join("copy");
    site.run(words!["vault", "copy", "add", "main", "off", "--url", copy]).await?;
    let ballast = small.fill()?;
    vm.rewrite(2)?;
    vm.back_up(&site).await?;
    let sync = ["vault", "copy", "sync", "main", "off"];
    assert_no_space(&site.failure(sync).await?);
    let copies: Vec<CopyView> = site.json(["vault", "copy", "list", "main"]).await?;
    assert_eq!((copies[0].state, copies[0].points_behind), (CopyState::Failing, Some(1)), "{copies:?}");
    assert!(copies[0].problem.as_ref().is_some_and(|problem| problem.contains("space")), "{copies:?}");

    fs::remove_file(ballast)?;
    site.run(sync).await?;
    fs::remove_dir_all(main_directory(&site))?;
    vm.assert_restores_by(&site, &[], &words!["--from-copy", "off"]).await
}
