//! Two sites, and what becomes of replications between them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use api::{ReplicationState, ReplicationView};
use tokio::time::sleep;

use crate::site::Site;

/// How long anything may take that happens by itself.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// How often is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The sites east and west, paired; both listen.
///
/// # Errors
/// When one of them does not start, or they do not find one another.
pub async fn paired() -> Result<(Site, Site)> {
    let listen = ("HOLDFAST_PEER_LISTEN", "127.0.0.1:0");
    let east = Site::start_with_variables(&[("HOLDFAST_SITE_NAME", "east"), listen]).await?;
    let west = Site::start_with_variables(&[("HOLDFAST_SITE_NAME", "west"), listen]).await?;
    let token = east.run(["site", "token", "-q"]).await?;
    west.run(["site", "pair", token.trim()]).await?;
    Ok((east, west))
}

/// Waits until the replication of a VM is like this, and returns how it is then.
///
/// # Errors
/// When it is not after [`PATIENCE`]; with how it is.
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
        sleep(LOOK_INTERVAL).await;
    }
}

/// Waits until every write of a VM goes to the other site.
///
/// # Errors
/// As [`until`].
pub async fn until_protected(site: &Site, vm: &str) -> Result<ReplicationView> {
    until(site, vm, "protected", |view| view.state == ReplicationState::Protected).await
}
