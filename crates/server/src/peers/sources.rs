//! VMs that are replicated from here, for the peers that keep their replicas.

use axum::{
    Json,
    extract::{Path, State},
};
use model::JournalId;
use peer::sources::{SourceCommand, SourceState};

use super::caller::Peer;
use crate::{failure::Result, plans, routes::extract::Body, site::Site};

pub(super) async fn state(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(journal): Path<JournalId>,
) -> Result<Json<SourceState>> {
    plans::source_state(&site, &known, journal).await.map(Json)
}

pub(super) async fn tell(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(journal): Path<JournalId>,
    Body(command): Body<SourceCommand>,
) -> Result<Json<SourceState>> {
    plans::tell_source(&site, &known, journal, command).await.map(Json)
}
