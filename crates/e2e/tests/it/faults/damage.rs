//! A bit flips in the vault.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use api::VerifyView;
use model::DiskFormat;
use testkit::{
    qemu::{BlankDisk, BlankVm},
    site::Site,
};

use crate::fixture::{
    assert_same, back_up, files_below, noise, protect_blank, restored_bytes, site_with_vault, words,
};

const DAMAGED: i32 = 8;
const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_flipped_bit_is_named_and_never_restored() -> Result<()> {
    let site = site_with_vault().await?;
    let content = noise(1, 4 * MIB);
    let mut vm = BlankVm::start(&[BlankDisk::new("vda", DiskFormat::Qcow2, content.clone())]).await?;
    protect_blank(&site, &vm, "hurt").await?;
    let hurt = back_up(&site, "hurt").await?;
    let pack = flip_a_bit(&site)?;
    vm.cut_power().await?;
    let sound = BlankVm::start(&[BlankDisk::new("vda", DiskFormat::Qcow2, noise(2, MIB))]).await?;
    protect_blank(&site, &sound, "sound").await?;
    back_up(&site, "sound").await?;

    let output = site.output(["vault", "verify", "main", "--output", "json"]).await?;
    assert_eq!(output.status.code(), Some(DAMAGED), "{}", String::from_utf8_lossy(&output.stderr));
    let found: VerifyView = serde_json::from_slice(&output.stdout)?;
    let name = pack.file_name().and_then(|name| name.to_str()).context("a pack has a name")?;
    assert!(
        !found.damages.is_empty() && found.damages.iter().all(|damage| damage.object.contains(name)),
        "{found:?}"
    );
    assert_eq!(found.hurt_points.iter().map(|point| point.id).collect::<Vec<_>>(), [hurt.id]);
    assert_eq!(found.intact_point_count, 1);

    let file = site.directory().join("restored.img");
    let (code, message) =
        site.failure(words!["restore", "disk", "point:hurt/latest/vda", "--to", file]).await?;
    assert_eq!(code, DAMAGED, "{message}");
    let (code, message) = site.failure(["restore", "vm", "point:hurt/latest", "--name", "again"]).await?;
    assert_eq!(code, DAMAGED, "{message}");
    let left: Vec<_> = fs::read_dir(site.directory())?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    assert_eq!(left, ["data"]);
    assert_same(&restored_bytes(&site, "point:sound/latest/vda").await?, &noise(2, MIB));
    Ok(())
}

/// Flips a bit in the middle of the largest pack, where the disk's content is.
fn flip_a_bit(site: &Site) -> Result<PathBuf> {
    let packs = files_below(&site.data_directory().join("vaults/main/packs"))?;
    let size_bytes = |pack: &PathBuf| fs::metadata(pack).map_or(0, |metadata| metadata.len());
    let pack = packs.into_iter().max_by_key(size_bytes).context("there is a pack")?;
    let mut bytes = fs::read(&pack)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&pack)?;
    fs::write(&pack, bytes)?;
    Ok(pack)
}
