//! Journals that peers have this site keep.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
};
use model::JournalId;
use peer::replicas::{
    Compare, Compared, HandOver, Prepare, Prepared, ReplicaOffer, ReplicaProgress, TakenOver,
};
use serde::Deserialize;

use super::caller::Peer;
use crate::{failure::Result, replicas, routes::extract::Body, site::Site, work};

#[derive(Deserialize)]
pub(super) struct Ending {
    #[serde(default)]
    delete: bool,
}

pub(super) async fn offer(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(journal): Path<JournalId>,
    Body(offer): Body<ReplicaOffer>,
) -> Result<Json<ReplicaProgress>> {
    replicas::offer(&site, &known, journal, offer).await.map(Json)
}

pub(super) async fn take(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(journal): Path<JournalId>,
    body: Bytes,
) -> Result<Json<ReplicaProgress>> {
    let parts = peer::replicas::decode(&body)?;
    replicas::take(&site, &known, journal, parts).await.map(Json)
}

pub(super) async fn progress(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(journal): Path<JournalId>,
) -> Result<Json<ReplicaProgress>> {
    replicas::progress(&site, &known, journal).await.map(Json)
}

pub(super) async fn prepare(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(journal): Path<JournalId>,
    Body(request): Body<Prepare>,
) -> Result<Json<Prepared>> {
    replicas::prepare(&site, &known, journal, request).await.map(Json)
}

pub(super) async fn compare(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(journal): Path<JournalId>,
    Body(request): Body<Compare>,
) -> Result<Json<Compared>> {
    replicas::compare(&site, &known, journal, request).await.map(Json)
}

pub(super) async fn take_over(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(journal): Path<JournalId>,
    Body(request): Body<HandOver>,
) -> Result<Json<TakenOver>> {
    let replica = replicas::of_peer(&site, &known, journal).await?;
    work::take_over(&site, &replica, request.through).await.map(Json)
}

pub(super) async fn could_take_over(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(journal): Path<JournalId>,
) -> Result<Json<()>> {
    let replica = replicas::of_peer(&site, &known, journal).await?;
    work::could_take_over(&site, replica).await.map(Json)
}

pub(super) async fn end(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(journal): Path<JournalId>,
    Query(Ending { delete }): Query<Ending>,
) -> Result<Json<()>> {
    replicas::end(&site, &known, journal, delete).await.map(Json)
}
