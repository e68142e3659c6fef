//! The vault is gone, and its copy is not.

use std::fs;

use anyhow::Result;
use api::VaultView;
use testkit::site::Site;

use super::{
    MIB, add_copy, assert_clean, key_file, main_directory, site_with_saved_key, stopped_vm::StoppedVm,
};
use crate::fixture::words;

#[tokio::test]
async fn a_copy_restores_all_points_when_the_vault_is_gone() -> Result<()> {
    let mut site = site_with_saved_key().await?;
    let mut vm = StoppedVm::protect(&site, "vm", "main", 12 * MIB).await?;
    vm.back_up(&site).await?;
    let copy = add_copy(&site).await?;
    vm.write(5 * MIB, 3 * MIB, 2)?;
    vm.back_up(&site).await?;
    // The job that the backup has begun, or one more.
    site.run(["vault", "copy", "sync", "main", "off"]).await?;

    fs::remove_dir_all(main_directory(&site))?;
    vm.assert_restores_by(&site, &[], &words!["--from-copy", "off"]).await?;
    let (_, message) = site.failure(["backup", "vm"]).await?;
    assert!(message.contains("no vault") && message.contains("hint:"), "{message}");

    site.kill_server().await?;
    site.start_server().await?;
    vm.assert_restores_by(&site, &[], &words!["--from-copy", "off"]).await?;

    site.stop_server().await?;
    let rescue = words!["rescue", "--url", copy, "--key-file", key_file(&site)];
    vm.assert_restores_by(&site, &rescue, &[]).await?;

    let elsewhere = Site::start().await?;
    let attach = words!["vault", "attach", "saved", "--url", copy, "--key-file", key_file(&site)];
    let _: VaultView = elsewhere.json(attach).await?;
    vm.assert_restores(&elsewhere).await?;
    assert_clean(&elsewhere, "saved").await?;
    Ok(())
}
