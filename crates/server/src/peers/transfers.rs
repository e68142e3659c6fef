//! Disks that peers send.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
};
use model::TransferId;
use peer::transfer::{Begun, Missing, Offer, Seal, Sealed};
use serde::Deserialize;

use super::caller::Peer;
use crate::{failure::Result, routes::extract::Body, site::Site};

/// A disk of a transfer, in a path.
type DiskPath = (TransferId, usize);

#[derive(Deserialize)]
pub(super) struct From {
    first: u64,
}

pub(super) async fn begin(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(id): Path<TransferId>,
    Body(offer): Body<Offer>,
) -> Result<Json<Begun>> {
    Ok(Json(site.peers.receiver().begin(known.id, id, offer).await?))
}

pub(super) async fn missing(
    State(site): State<Site>,
    Peer(known): Peer,
    Path((id, disk)): Path<DiskPath>,
    Query(From { first }): Query<From>,
) -> Result<Json<Missing>> {
    Ok(Json(site.peers.receiver().missing(known.id, id, disk, first).await?))
}

pub(super) async fn put(
    State(site): State<Site>,
    Peer(known): Peer,
    Path((id, disk, region)): Path<(TransferId, usize, u64)>,
    body: Bytes,
) -> Result<Json<()>> {
    Ok(Json(site.peers.receiver().put(known.id, id, disk, region, body).await?))
}

pub(super) async fn seal(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(id): Path<TransferId>,
    Body(seal): Body<Seal>,
) -> Result<Json<Sealed>> {
    Ok(Json(site.peers.receiver().seal(known.id, id, seal).await?))
}

pub(super) async fn abandon(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(id): Path<TransferId>,
) -> Result<Json<()>> {
    Ok(Json(site.peers.receiver().abandon(known.id, id).await?))
}
