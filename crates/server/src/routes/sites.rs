//! `/v1/sites`: the sites that this one is paired with.

use std::time::Duration;

use api::{MakePairingToken, MapNetworks, PairSite, PairingTokenView, PeerView, Problem, RemovedPeerView};
use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Segment};
use crate::{failure::Result, peers, site::Site};

/// How long somebody who asks about one peer waits for it to answer.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, pair))
        .routes(routes!(make_token))
        .routes(routes!(show, remove))
        .routes(routes!(map_networks))
}

/// All peers, by name, as they were last seen.
#[utoipa::path(
    get,
    path = "/v1/sites",
    tag = "sites",
    responses((status = OK, body = Vec<PeerView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>) -> Result<Json<Vec<PeerView>>> {
    peers::list(&site).await.map(Json)
}

/// Pairs the site with the one that made a token. Both know one another from then on.
#[utoipa::path(
    post,
    path = "/v1/sites",
    tag = "sites",
    request_body = PairSite,
    responses((status = CREATED, body = PeerView), (status = "default", body = Problem))
)]
async fn pair(
    State(site): State<Site>,
    Body(request): Body<PairSite>,
) -> Result<(StatusCode, Json<PeerView>)> {
    let known = peers::pair(&site, &request).await?;
    Ok((StatusCode::CREATED, Json(peers::view(&site, &known))))
}

/// Makes a token with which one other site can pair itself with this one.
#[utoipa::path(
    post,
    path = "/v1/sites/tokens",
    tag = "sites",
    request_body = MakePairingToken,
    responses((status = CREATED, body = PairingTokenView), (status = "default", body = Problem))
)]
async fn make_token(
    State(site): State<Site>,
    Body(request): Body<MakePairingToken>,
) -> Result<(StatusCode, Json<PairingTokenView>)> {
    Ok((StatusCode::CREATED, Json(peers::make_token(&site, &request).await?)))
}

/// One peer, looked at now.
#[utoipa::path(
    get,
    path = "/v1/sites/{site}",
    tag = "sites",
    params(("site" = String, Path, description = "The peer's name or id.")),
    responses((status = OK, body = PeerView), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>, Segment(name): Segment) -> Result<Json<PeerView>> {
    let known = peers::find(&site, &name).await?;
    // One that does not answer in time is shown as it was last seen.
    tokio::time::timeout(LOOK_LIMIT, peers::look_at(&site, &known)).await.ok();
    let known = peers::find(&site, known.id.as_str()).await?;
    Ok(Json(peers::view(&site, &known)))
}

/// Says what bridges of a peer are here, for the VMs that are replicated from there.
#[utoipa::path(
    patch,
    path = "/v1/sites/{site}/networks",
    tag = "sites",
    params(("site" = String, Path, description = "The peer's name or id.")),
    request_body = MapNetworks,
    responses((status = OK, body = PeerView), (status = "default", body = Problem))
)]
async fn map_networks(
    State(site): State<Site>,
    Segment(name): Segment,
    Body(request): Body<MapNetworks>,
) -> Result<Json<PeerView>> {
    let known = peers::map_networks(&site, &name, request).await?;
    Ok(Json(peers::view(&site, &known)))
}

/// Ends a pairing: the peer's certificate counts for nothing from then on. The peer is told where it can be reached.
#[utoipa::path(
    delete,
    path = "/v1/sites/{site}",
    tag = "sites",
    params(("site" = String, Path, description = "The peer's name or id.")),
    responses((status = OK, body = RemovedPeerView), (status = "default", body = Problem))
)]
async fn remove(State(site): State<Site>, Segment(name): Segment) -> Result<Json<RemovedPeerView>> {
    let known = peers::find(&site, &name).await?;
    peers::remove(&site, &known).await.map(Json)
}
