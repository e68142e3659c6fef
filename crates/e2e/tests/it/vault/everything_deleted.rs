//! Somebody who has the credentials of the store deletes everything in it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::{ObjectLockState, RetentionMode, VaultView};
use testkit::{site::Site, stores::S3Server};
use tokio::time::{sleep, timeout};

use super::{MIB, assert_clean, stopped_vm::StoppedVm};

/// How long the server may take to tell a store what to retain.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn an_immutable_vault_comes_back_from_a_bucket_with_object_lock() -> Result<()> {
    let store = S3Server::start().await?;
    store.create_bucket("locked", true).await?;
    store.create_bucket("copies", true).await?;
    let site = Site::start_with_variables(&store.variables()).await?;
    let url = |bucket: &str| format!("s3://{bucket}/holdfast?endpoint={}", store.endpoint());
    let _: VaultView = site.json(["vault", "create", "main", "--url", &url("locked")]).await?;
    let mut vm = StoppedVm::protect(&site, "vm", "main", 6 * MIB).await?;
    vm.back_up(&site).await?;
    site.run(["vault", "copy", "add", "main", "off", "--url", &url("copies")]).await?;
    let vault: VaultView = site.json(["vault", "show", "main"]).await?;
    ensure!(vault.object_lock.is_none(), "nothing is promised: {vault:?}");

    site.run(["vault", "immutability", "set", "main", "--min-retention", "30d", "--mode", "enabled"]).await?;
    timeout(PATIENCE, retained(&store, "locked")).await.context("the vault is not retained")??;
    vm.write(MIB, 2 * MIB, 2)?;
    vm.back_up(&site).await?;
    for bucket in ["locked", "copies"] {
        timeout(PATIENCE, retained(&store, bucket))
            .await
            .with_context(|| format!("{bucket} is not retained"))??;
    }
    timeout(PATIENCE, told(&site)).await.context("nobody says that the vault is retained")??;

    for (key, version) in store.versions("locked").await? {
        store.delete_version("locked", &key, &version).await?;
    }
    for (key, _) in store.versions("locked").await? {
        store.delete("locked", &key).await?;
    }
    site.failure(["vault", "verify", "main"]).await?;
    site.run(["vault", "repair", "main"]).await?;
    vm.assert_restores(&site).await?;
    assert_clean(&site, "main").await?;
    vm.write(0, MIB, 3)?;
    vm.back_up(&site).await?;
    vm.assert_restores(&site).await
}

/// Waits until every object in a bucket is retained, but for those that only tell the time.
async fn retained(store: &S3Server, bucket: &str) -> Result<()> {
    loop {
        let mut loose = 0;
        for (key, _) in store.versions(bucket).await? {
            // What is deleted says nothing.
            let head = store.head(&format!("{bucket}/{key}")).await.unwrap_or_default();
            loose += usize::from(!head.is_empty() && !head.to_lowercase().contains("x-amz-object-lock-mode"));
        }
        if loose == 0 {
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until the server says that the vault and its copy are retained.
async fn told(site: &Site) -> Result<()> {
    loop {
        let vault: VaultView = site.json(["vault", "show", "main"]).await?;
        let locks = vault.copies.iter().map(|copy| &copy.object_lock).chain([&vault.object_lock]);
        let is_retained = locks.flatten().filter(|lock| {
            lock.state == ObjectLockState::Retained
                && lock.mode == Some(RetentionMode::Governance)
                && lock.first_until.is_some()
                && lock.problem.is_none()
        });
        if is_retained.count() == 2 {
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
}
