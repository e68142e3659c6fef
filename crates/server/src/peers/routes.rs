//! What peers may ask for. None of it is in the operator's API, and none of that is here.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::Uri,
    routing::{delete, get, post, put},
};
use peer::{
    PairAnswer, PairRequest, Statement,
    plans::{KeptPlan, SharedPlan},
    runbooks::{RunbookOrder, RunbookRun},
};

use super::{
    caller::{Peer, Session},
    pairing, replicas, sources, transfers, watch,
};
use crate::{
    failure::{Failure, Result},
    plans,
    routes::extract::Body,
    runbooks::for_others,
    site::Site,
};

/// The longest body of a request that says nothing else, in bytes.
const BODY_MAX_BYTES: usize = 64 << 10;

/// The longest offer of disks, in bytes: its metadata, and the names of its disks.
const OFFER_MAX_BYTES: usize = 2 << 20;

/// The longest offer of a journal, in bytes: the definition of a VM.
const REPLICA_OFFER_MAX_BYTES: usize = 128 << 10;

/// All routes.
pub(super) fn router(site: Site) -> Router {
    Router::new()
        .route("/peer/v1/pair", post(pair))
        .route("/peer/v1/pairing", delete(end_pairing))
        .route("/peer/v1/site", get(show))
        .route("/peer/v1/hello", post(hello))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .merge(transfer_routes())
        .merge(replica_routes())
        .merge(source_routes())
        .merge(plan_routes())
        .merge(runbook_routes())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(site)
}

fn transfer_routes() -> Router<Site> {
    let regions = put(transfers::put).layer(DefaultBodyLimit::max(peer::REGION_BODY_MAX_BYTES));
    Router::new()
        .route("/peer/v1/transfers/{id}", post(transfers::begin).delete(transfers::abandon))
        .route("/peer/v1/transfers/{id}/seal", post(transfers::seal))
        .route("/peer/v1/transfers/{id}/disks/{disk}/missing", get(transfers::missing))
        .layer(DefaultBodyLimit::max(OFFER_MAX_BYTES))
        .route("/peer/v1/transfers/{id}/disks/{disk}/regions/{region}", regions)
}

fn replica_routes() -> Router<Site> {
    let parts = post(replicas::take).layer(DefaultBodyLimit::max(peer::replicas::PARTS_BODY_MAX_BYTES));
    let replica = put(replicas::offer).get(replicas::progress).delete(replicas::end);
    Router::new()
        .route("/peer/v1/replicas/{journal}", replica)
        .route("/peer/v1/replicas/{journal}/prepare", post(replicas::prepare))
        .route("/peer/v1/replicas/{journal}/digests", post(replicas::compare))
        .route(
            "/peer/v1/replicas/{journal}/hand-over",
            get(replicas::could_take_over).post(replicas::take_over),
        )
        .layer(DefaultBodyLimit::max(REPLICA_OFFER_MAX_BYTES))
        .route("/peer/v1/replicas/{journal}/parts", parts)
}

fn source_routes() -> Router<Site> {
    let source = get(sources::state).post(sources::tell);
    Router::new().route("/peer/v1/sources/{journal}", source).layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
}

fn plan_routes() -> Router<Site> {
    let shared = post(share_plan).layer(DefaultBodyLimit::max(peer::plans::PLAN_BODY_MAX_BYTES));
    Router::new().route("/peer/v1/plans", shared)
}

fn runbook_routes() -> Router<Site> {
    let run = put(run_runbook).get(runbook_run).delete(end_runbook_run);
    Router::new()
        .route("/peer/v1/runbook-runs/{run}", run)
        .layer(DefaultBodyLimit::max(peer::runbooks::ORDER_BODY_MAX_BYTES))
}

async fn run_runbook(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(run): Path<String>,
    Body(order): Body<RunbookOrder>,
) -> Result<Json<RunbookRun>> {
    for_others::begin(&site, &known, &run, order).await.map(Json)
}

async fn runbook_run(
    State(site): State<Site>,
    Peer(known): Peer,
    Path(run): Path<String>,
) -> Result<Json<RunbookRun>> {
    for_others::state(&site, &known, &run).map(Json)
}

async fn end_runbook_run(State(site): State<Site>, Peer(known): Peer, Path(run): Path<String>) -> Json<()> {
    for_others::end(&site, &known, &run);
    Json(())
}

/// A plan of the other site is kept here too.
async fn share_plan(
    State(site): State<Site>,
    Peer(known): Peer,
    Body(plan): Body<SharedPlan>,
) -> Result<Json<KeptPlan>> {
    plans::receive(&site, &known, plan).await.map(Json)
}

/// The one route that is there for strangers.
async fn pair(
    State(site): State<Site>,
    Extension(session): Extension<Arc<Session>>,
    Body(request): Body<PairRequest>,
) -> Result<Json<PairAnswer>> {
    pairing::accept(&site, &session, request).await.map(Json)
}

async fn end_pairing(State(site): State<Site>, Peer(known): Peer) -> Result<Json<()>> {
    site.catalog.set_peer_ended(known.id, site.env.clock.now()).await?;
    site.peers.reach().remove(&known.id);
    tracing::warn!(peer = %known.name, "the other site has ended the pairing");
    Ok(Json(()))
}

async fn show(State(site): State<Site>, Peer(known): Peer) -> Json<Statement> {
    Json(site.peers.statement(&site, Some(known.id)))
}

/// Tells how each side stands, and that both are alive.
async fn hello(
    State(site): State<Site>,
    Peer(known): Peer,
    Body(said): Body<Statement>,
) -> Result<Json<Statement>> {
    watch::keep(&site, &known, &said, site.env.clock.now()).await?;
    if !matches!(site.peers.reach().get(&known.id), Some(Ok(()))) {
        site.peers.changed.notify_one();
    }
    Ok(Json(site.peers.statement(&site, Some(known.id))))
}

/// What a newer site may ask for, or somebody who is none.
async fn unknown(_: Peer, uri: Uri) -> Failure {
    Failure::not_found(format!(
        "there is no {} here: this site runs Holdfast {} and speaks version {} of the peer API",
        uri.path(),
        env!("CARGO_PKG_VERSION"),
        peer::PROTOCOL
    ))
}
