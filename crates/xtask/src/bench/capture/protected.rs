//! A VM of a site, protected into one new vault after the other.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use api::PointView;
use model::{ByteCount, Consistency};
use serde_json::Value;
use testkit::site::Site;

/// The VM's name.
pub const VM: &str = "bench";

/// A protected VM.
pub struct ProtectedVm<'a> {
    site: &'a Site,
    consistency: Consistency,
    /// Where the vaults are made.
    vaults: &'a Path,
    vault_count: usize,
}

impl<'a> ProtectedVm<'a> {
    /// The VM, which must be known to the site, before its first backup.
    pub fn new(site: &'a Site, consistency: Consistency, vaults: &'a Path) -> Self {
        Self { site, consistency, vaults, vault_count: 0 }
    }

    /// Lets the next backup go to a new, empty vault.
    pub async fn change_vault(&mut self) -> Result<()> {
        self.vault_count += 1;
        let name = format!("vault-{}", self.vault_count);
        let path = self.vaults.join(&name).display().to_string();
        self.site.json::<Value>(["vault", "create", &name, "--url", &path]).await?;
        let consistency = self.consistency.as_str();
        self.site
            .json::<Value>(["protect", VM, "--vault", &name, "--consistency", consistency])
            .await
            .map(drop)
    }

    /// Backs up; returns the point and what the whole command took.
    pub async fn back_up(&self) -> Result<(PointView, Duration)> {
        let started = Instant::now();
        let point = self.site.json(["backup", VM]).await?;
        Ok((point, started.elapsed()))
    }
}

/// Bytes read from one disk of a point, which must have been found in a given way.
pub fn read_bytes(point: &PointView, disk: &str) -> Result<ByteCount> {
    let disk = point.disks.iter().find(|candidate| candidate.name == disk);
    let disk = disk.with_context(|| format!("the point lacks a disk: {:?}", point.disks))?;
    ensure!(disk.source == api::ChangeSourceView::Bitmap, "not only changes were read: {:?}", disk.source);
    Ok(disk.read_bytes)
}
