//! The wrong key.

use std::fs;

use anyhow::Result;
use api::VaultView;
use model::DiskFormat;
use testkit::qemu::{BlankDisk, BlankVm};

use crate::fixture::{back_up, noise, points, protect_blank, site_with_vault, words};

const WRONG_KEY: i32 = 12;

#[tokio::test]
async fn a_wrong_key_is_said_before_the_vm_is_touched() -> Result<()> {
    let mut site = site_with_vault().await?;
    let vm = BlankVm::start(&[BlankDisk::new("vda", DiskFormat::Qcow2, noise(1, 1 << 20))]).await?;
    protect_blank(&site, &vm, "vm").await?;
    back_up(&site, "vm").await?;
    let bitmaps = vm.bitmaps().await?;

    site.stop_server().await?;
    let files = fs::read_dir(site.data_directory().join("keys"))?;
    let mut keys: Vec<_> = files.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
    keys.retain(|path| path.extension().is_some_and(|extension| extension == "key"));
    let [key] = &keys[..] else { anyhow::bail!("one vault has one key: {keys:?}") };
    let right = fs::read(key)?;
    fs::write(key, "00".repeat(32))?;
    site.start_server().await?;

    let (code, message) = site.failure(["backup", "vm"]).await?;
    assert_eq!(code, WRONG_KEY, "{message}");
    assert_eq!((vm.bitmaps().await?, vm.leftovers().await?), (bitmaps, Vec::new()));
    let file = site.directory().join("restored.img");
    let (code, message) =
        site.failure(words!["restore", "disk", "point:vm/latest/vda", "--to", file]).await?;
    assert!(code == WRONG_KEY && !file.exists(), "{code}: {message}");
    let shown: VaultView = site.json(["vault", "show", "main"]).await?;
    assert!(shown.problem.is_some(), "{shown:?}");

    site.stop_server().await?;
    fs::write(key, right)?;
    site.start_server().await?;
    back_up(&site, "vm").await?;
    assert_eq!(points(&site, "vm").await?.len(), 2);
    Ok(())
}
