//! What befalls a vault and its copies, and what the command line makes of it.

mod copy_lost;
mod everything_deleted;
mod flips;
mod full;
mod killed;
mod primary_lost;
mod stopped_vm;
mod two_servers;

use std::path::PathBuf;

use anyhow::Result;
use api::{SettingsView, VaultView, VerifyView};
use testkit::site::Site;

use crate::fixture::words;

const DAMAGED: i32 = 8;
const MIB: usize = 1 << 20;

/// A site with the vault `main`, what is deleted in it being gone with the next collection. Its key is a file too.
async fn site_with_saved_key() -> Result<Site> {
    let site = Site::start().await?;
    let _: VaultView = site.json(words!["vault", "create", "main", "--save-key", key_file(&site)]).await?;
    delete_at_once(&site, "main").await?;
    Ok(site)
}

/// Lets the next collection take what is deleted.
async fn delete_at_once(site: &Site, vault: &str) -> Result<()> {
    let _: SettingsView = site.json(["vault", "immutability", "set", vault, "--soft-delete", "0d"]).await?;
    Ok(())
}

fn key_file(site: &Site) -> PathBuf {
    site.directory().join("main.key")
}

/// Where the vault `main` is.
fn main_directory(site: &Site) -> PathBuf {
    site.data_directory().join("vaults/main")
}

/// Gives `main` the copy `off`, and fills it.
async fn add_copy(site: &Site) -> Result<PathBuf> {
    let directory = site.directory().join("off");
    site.run(words!["vault", "copy", "add", "main", "off", "--url", directory]).await?;
    Ok(directory)
}

async fn assert_clean(site: &Site, vault: &str) -> Result<VerifyView> {
    let verified: VerifyView = site.json(["vault", "verify", vault]).await?;
    assert!(verified.damages.is_empty() && verified.hurt_points.is_empty(), "{verified:?}");
    Ok(verified)
}
