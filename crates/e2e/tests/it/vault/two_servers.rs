//! Two servers share a vault.

use anyhow::Result;
use api::{CollectView, VaultView};
use testkit::site::Site;

use super::{
    MIB, assert_clean, delete_at_once, key_file, main_directory, site_with_saved_key, stopped_vm::StoppedVm,
};
use crate::fixture::words;

const ROUNDS: u64 = 5;

#[tokio::test]
async fn two_servers_back_up_into_one_vault_while_one_collects_its_garbage() -> Result<()> {
    let one = site_with_saved_key().await?;
    let two = Site::start().await?;
    let (url, key) = (main_directory(&one), key_file(&one));
    let _: VaultView = two.json(words!["vault", "attach", "main", "--url", url, "--key-file", key]).await?;
    delete_at_once(&two, "main").await?;
    // The disks begin with the same bytes: each server relies on what the other stores, and may collect.
    let mut left = StoppedVm::protect(&one, "left", "main", 16 * MIB).await?;
    let mut right = StoppedVm::protect(&two, "right", "main", 16 * MIB).await?;

    for round in 0..ROUNDS {
        let (of_left, of_right) = tokio::join!(left.back_up(&one), right.back_up(&two));
        of_left?;
        of_right?;
        left.write(0, 8 * MIB, 100 + round)?;
        right.write(MIB, 12 * MIB, 100 + round)?;
        if round % 2 == 1 {
            left.delete_old_points(&one).await?;
            right.delete_old_points(&two).await?;
        }
        let (of_left, of_right, collected) =
            tokio::join!(left.back_up(&one), right.back_up(&two), collect(&one));
        of_left?;
        of_right?;
        collected?;
    }
    for site in [&one, &two] {
        assert_clean(site, "main").await?;
        left.assert_restores(site).await?;
        right.assert_restores(site).await?;
    }
    Ok(())
}

async fn collect(site: &Site) -> Result<CollectView> {
    site.json(["vault", "gc", "main", "--grace", "0h"]).await
}
