//! What a disk holds here, told to the source piece by piece, so that it sends only what differs.

use std::sync::Arc;

use catalog::KnownPeer;
use model::JournalId;
use peer::replicas::{Compare, Compared, piece_digests};
use recovery::{Event, step};

use super::{receive::of_peer, seeds::is_pending};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// The digests of a range of a disk, as it is after all that is durable here.
pub(crate) async fn compare(
    site: &Site,
    peer: &KnownPeer,
    journal: JournalId,
    request: Compare,
) -> Result<Compared> {
    request.check()?;
    let known = of_peer(site, peer, journal).await?;
    step(&known.standing, Event::PartsCame)?;
    if is_pending(site, journal).await? {
        return Err(Failure::conflict("it is not decided yet what the disks begin with")
            .with_hint("have it prepared first"));
    }
    let kept = site.replicas.get(journal)?;
    let opening = Arc::clone(&kept);
    let opened =
        site.replicas.work(move || Ok(opening.replica()?.image_to_compare(request.disk, request.through)?));
    let image = opened.await?;
    request.range().check_within(image::DiskImage::size_bytes(&image))?;
    Ok(Compared { digests: piece_digests(&image, request.range(), request.piece_bytes).await? })
}
