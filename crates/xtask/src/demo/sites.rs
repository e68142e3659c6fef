//! Two sites, and what becomes of replications between them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use api::{ReplicationState, ReplicationView};
use testkit::site::Site;
use tokio::time::sleep;

/// How long anything may take that happens by itself.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Starts a site of this name that listens for others.
pub async fn site(name: &str) -> Result<Site> {
    progress(&format!("starting the site {name}"));
    let listen = ("HOLDFAST_PEER_LISTEN", "127.0.0.1:0");
    Site::start_with_variables(&[("HOLDFAST_SITE_NAME", name), listen]).await
}

/// The sites west and east, paired.
pub async fn pair() -> Result<(Site, Site)> {
    let (west, east) = (site("west").await?, site("east").await?);
    let token = east.run(["site", "token", "-q"]).await?;
    west.run(["site", "pair", token.trim()]).await?;
    Ok((west, east))
}

/// Waits until the replication of a VM is like this.
pub async fn until(
    site: &Site,
    vm: &str,
    what: &str,
    holds: impl Fn(&ReplicationView) -> bool,
) -> Result<ReplicationView> {
    let begun = Instant::now();
    loop {
        let view: ReplicationView = site.json(["replication", "status", vm]).await?;
        if holds(&view) {
            return Ok(view);
        }
        if begun.elapsed() > PATIENCE {
            bail!("it never came to this: {what}; it is {view:?}");
        }
        sleep(Duration::from_millis(250)).await;
    }
}

/// Waits until every write of a VM goes to the other site.
pub async fn until_protected(site: &Site, vm: &str) -> Result<ReplicationView> {
    until(site, vm, "protected", |view| view.state == ReplicationState::Protected).await
}

/// Says what is done now.
pub fn progress(what: &str) {
    eprintln!("{what}");
}
