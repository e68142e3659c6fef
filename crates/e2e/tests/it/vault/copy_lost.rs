//! A copy is gone.

use std::fs;

use anyhow::{Context, Result};
use api::{CopyState, CopyView};
use testkit::site::Site;

use super::{MIB, add_copy, assert_clean, site_with_saved_key, stopped_vm::StoppedVm};
use crate::fixture::words;

#[tokio::test]
async fn backups_go_on_without_the_copy_and_a_new_one_gets_all_points() -> Result<()> {
    let site = site_with_saved_key().await?;
    let mut vm = StoppedVm::protect(&site, "vm", "main", 8 * MIB).await?;
    vm.back_up(&site).await?;
    let directory = add_copy(&site).await?;
    assert_eq!(copy(&site).await?.state, CopyState::UpToDate);

    fs::remove_dir_all(&directory)?;
    vm.write(2 * MIB, MIB, 2)?;
    vm.back_up(&site).await?;
    let synced = site.output(["vault", "copy", "sync", "main", "off"]).await?;
    println!("{synced:?}");
    let view = copy(&site).await?;
    println!("{view:?}");

    site.run(["vault", "copy", "remove", "main", "off"]).await?;
    add_copy(&site).await?;
    let view = copy(&site).await?;
    assert_eq!((view.state, view.points_behind), (CopyState::UpToDate, Some(0)));
    vm.back_up(&site).await?;
    site.run(["vault", "copy", "sync", "main", "off"]).await?;
    vm.assert_restores_by(&site, &[], &words!["--from-copy", "off"]).await?;
    vm.assert_restores(&site).await?;
    assert_clean(&site, "main").await?;
    Ok(())
}

async fn copy(site: &Site) -> Result<CopyView> {
    let mut copies: Vec<CopyView> = site.json(["vault", "copy", "list", "main"]).await?;
    copies.pop().context("there is a copy")
}
