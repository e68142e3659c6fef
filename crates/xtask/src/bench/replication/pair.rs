//! Two sites that are paired over a link of ours.

use std::{net::TcpListener, path::Path, time::Duration};

use anyhow::Result;
use api::{ReplicationState, ReplicationView};
use serde_json::Value;
use testkit::{site::Site, sites};
use tokio::time::Instant;

use super::link::Link;

/// The VM's site, the other one, and what is between them.
pub struct Pair {
    pub west: Site,
    pub east: Site,
    pub link: Link,
}

impl Pair {
    pub async fn start(binary: &Path) -> Result<Self> {
        // The port is free again until the site listens on it.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let link = Link::to(address).await?;
        let variable = |name: &str, value: String| (name.to_owned(), value);
        let east = vec![
            variable("HOLDFAST_SITE_NAME", "east".to_owned()),
            variable("HOLDFAST_PEER_LISTEN", address.to_string()),
            variable("HOLDFAST_PEER_ADDRESS", link.address.to_string()),
        ];
        let east = Site::start_with_environment(binary, east).await?;
        let west = vec![
            variable("HOLDFAST_SITE_NAME", "west".to_owned()),
            variable("HOLDFAST_PEER_LISTEN", "127.0.0.1:0".to_owned()),
        ];
        let west = Site::start_with_environment(binary, west).await?;
        let token = east.run(["site", "token", "-q"]).await?;
        west.run(["site", "pair", token.trim()]).await?;
        Ok(Self { west, east, link })
    }

    /// Has a VM replicated until it is protected, and returns how long that took.
    pub async fn replicate(&self, vm: &str, more: &[&str]) -> Result<Duration> {
        let begun = Instant::now();
        let words = ["replication", "start", vm, "--to", "east"];
        self.west.json::<Value>(words.iter().chain(more)).await?;
        self.until(vm, "protected", |view| view.state == ReplicationState::Protected).await?;
        Ok(begun.elapsed())
    }

    /// Ends the replication, and has the other site forget it.
    pub async fn stop(&self, vm: &str) -> Result<()> {
        self.west.run(["--yes", "replication", "stop", vm, "--delete-replica"]).await.map(drop)
    }

    pub async fn status(&self, vm: &str) -> Result<ReplicationView> {
        self.west.json(["replication", "status", vm]).await
    }

    /// Waits until the replication is like this.
    pub async fn until(
        &self,
        vm: &str,
        what: &str,
        holds: impl Fn(&ReplicationView) -> bool,
    ) -> Result<ReplicationView> {
        sites::until(&self.west, vm, what, holds).await
    }

    /// Waits until the other site has all that was written until now.
    pub async fn until_in_sync(&self, vm: &str) -> Result<ReplicationView> {
        self.until(vm, "in sync", |view| view.state == ReplicationState::Protected && is_fresh(view)).await
    }
}

/// Whether the newest checkpoint there is of this second.
fn is_fresh(view: &ReplicationView) -> bool {
    view.rpo_seconds.is_some_and(|seconds| seconds < 1.0)
}
