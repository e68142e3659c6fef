//! Whether the other site would run a VM: asked before the VM is shut down for it.

use std::time::Duration;

use catalog::KnownVm;
use peer::{ErrorKind, Patience};
use tokio::time::timeout;

use super::find;
use crate::{
    failure::{Failure, Result},
    peers,
    site::Site,
};

/// How long the other site may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Fails where the other site would refuse to run a VM, or is not reached. Nothing is done there.
pub(crate) async fn foresee(site: &Site, vm: &KnownVm) -> Result<()> {
    let known = find(site, vm).await?;
    let peer = peers::find(site, known.peer_id.as_str()).await?;
    let client = site.peers.client(&peer, Patience::NONE)?;
    let client = client.ok_or_else(|| Failure::conflict(format!("the site {} has no address", peer.name)))?;
    let asked = timeout(ANSWER_LIMIT, client.could_hand_over(known.journal_id)).await;
    let asked = asked.map_err(|_| {
        Failure::new(api::Code::Unreachable, format!("the site {} does not answer", peer.name))
            .with_hint("nothing has happened: ask again when it does")
    })?;
    match asked {
        // An older peer cannot be asked. What is not there it says again in time.
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::from(error).during(&format!("handing {} over to {}", vm.name, peer.name)))
        }
        _ => Ok(()),
    }
}
