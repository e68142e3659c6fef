//! A copy is gone.

use std::fs;

use anyhow::Result;
use api::{CopyState, CopyView};
use testkit::site::Site;

use super::{MIB, add_copy, assert_clean, site_with_saved_key, stopped_vm::StoppedVm};
use crate::fixture::words;

const SYNC: [&str; 5] = ["vault", "copy", "sync", "main", "off"];

#[tokio::test]
async fn backups_go_on_without_the_copy_which_is_made_anew_when_somebody_says_so() -> Result<()> {
    let site = site_with_saved_key().await?;
    let mut vm = StoppedVm::protect(&site, "vm", "main", 8 * MIB).await?;
    vm.back_up(&site).await?;
    let directory = add_copy(&site).await?;
    assert_complete(&site).await?;

    fs::remove_dir_all(&directory)?;
    vm.write(2 * MIB, MIB, 2)?;
    vm.back_up(&site).await?;
    let (_, message) = site.failure(SYNC).await?;
    assert!(message.contains("is gone") && message.contains("mount"), "{message}");
    assert!(!directory.exists());
    site.run(["vault", "copy", "remove", "main", "off"]).await?;
    add_copy(&site).await?;
    assert_complete(&site).await?;
    vm.back_up(&site).await?;
    site.run(SYNC).await?;
    vm.assert_restores_by(&site, &[], &words!["--from-copy", "off"]).await?;
    vm.assert_restores(&site).await?;
    assert_clean(&site, "main").await?;
    Ok(())
}

async fn assert_complete(site: &Site) -> Result<()> {
    let copies: Vec<CopyView> = site.json(["vault", "copy", "list", "main"]).await?;
    let states: Vec<_> = copies.iter().map(|copy| (copy.state, copy.points_behind)).collect();
    assert_eq!(states, [(CopyState::UpToDate, Some(0))], "{copies:?}");
    Ok(())
}
