//! A vault without space.

use std::fs;

use anyhow::Result;
use api::{VaultView, VerifyView, VmView};
use model::DiskFormat;
use testkit::qemu::{BlankDisk, BlankVm};

use crate::{
    fixture::{assert_same, back_up, noise, points, protect_blank, restored_bytes, site_with_vault, words},
    small_file_system::SmallFileSystem,
};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_full_vault_fails_the_backup_and_keeps_what_it_has() -> Result<()> {
    let site = site_with_vault().await?;
    let small = SmallFileSystem::mount(&site.directory().join("small"))?;
    let ballast = small.path().join("ballast");
    fs::write(&ballast, vec![1; 96 * MIB])?;
    let _: VaultView =
        site.json(words!["vault", "create", "small", "--url", small.path().join("vault")]).await?;

    let content = noise(1, 8 * MIB);
    let disk = BlankDisk::new("vda", DiskFormat::Qcow2, content.clone());
    let mut vm = BlankVm::start(std::slice::from_ref(&disk)).await?;
    protect_blank(&site, &vm, "vm").await?;
    let _: VmView = site.json(["protect", "vm", "--vault", "small", "--consistency", "crash"]).await?;
    let first = back_up(&site, "vm").await?;

    vm.quit().await?;
    let large = noise(2, 40 * MIB);
    vm.start_again(&[disk, BlankDisk::new("vdb", DiskFormat::Raw, large.clone())]).await?;
    let (code, message) = site.failure(["backup", "vm"]).await?;
    assert!(code == 1 && message.contains("space"), "{code}: {message}");
    assert!(message.contains("hint:"), "{message}");
    assert_eq!(points(&site, "vm").await?.iter().map(|point| point.id).collect::<Vec<_>>(), [first.id]);
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());
    assert_same(&restored_bytes(&site, "point:vm/latest/vda").await?, &content);

    fs::remove_file(ballast)?;
    let second = back_up(&site, "vm").await?;
    assert_eq!(second.parent, Some(first.id));
    assert_same(&restored_bytes(&site, "point:vm/latest/vda").await?, &content);
    assert_same(&restored_bytes(&site, "point:vm/latest/vdb").await?, &large);
    let verified: VerifyView = site.json(["vault", "verify", "small"]).await?;
    assert_eq!((verified.damages.len(), verified.intact_point_count), (0, 2));
    Ok(())
}
