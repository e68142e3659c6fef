//! `/v1/stores/probe`, `/v1/vaults/…/gc`, `…/repair` and `…/settings`.

use api::{
    ChangeSettings, CollectRequest, JobView, ProbeStore, ProbeView, Problem, RepairRequest, SettingsView,
};
use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Segment};
use crate::{failure::Result, jobs, site::Site, vaults, work};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(probe))
        .routes(routes!(collect))
        .routes(routes!(repair))
        .routes(routes!(settings, change_settings))
}

/// Tries out whether a store can hold a vault. Nothing of it stays, and a vault that is there is not touched.
#[utoipa::path(
    post,
    path = "/v1/stores/probe",
    tag = "vaults",
    request_body = ProbeStore,
    responses((status = OK, body = ProbeView), (status = "default", body = Problem))
)]
async fn probe(State(site): State<Site>, Body(request): Body<ProbeStore>) -> Result<Json<ProbeView>> {
    vaults::probe(&site, request).await.map(Json)
}

/// Starts a garbage collection: deleted points whose time is over go for good, and space is given back.
#[utoipa::path(
    post,
    path = "/v1/vaults/{vault}/gc",
    tag = "vaults",
    params(("vault" = String, Path, description = "The vault's name or id.")),
    request_body = CollectRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn collect(
    State(site): State<Site>,
    Segment(vault): Segment,
    Body(request): Body<CollectRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let known = site.vaults.find(&vault).await?;
    let job = work::collect(&site, known, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Starts a repair: what is damaged or missing is healed, from copies and from what the vault knows twice. The job fails when
/// damage stays; its result says what.
#[utoipa::path(
    post,
    path = "/v1/vaults/{vault}/repair",
    tag = "vaults",
    params(("vault" = String, Path, description = "The vault's name or id.")),
    request_body = RepairRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn repair(
    State(site): State<Site>,
    Segment(vault): Segment,
    Body(request): Body<RepairRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let known = site.vaults.find(&vault).await?;
    let job = work::repair(&site, known, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// What a vault promises about deletion.
#[utoipa::path(
    get,
    path = "/v1/vaults/{vault}/settings",
    tag = "vaults",
    params(("vault" = String, Path, description = "The vault's name or id.")),
    responses((status = OK, body = SettingsView), (status = "default", body = Problem))
)]
async fn settings(State(site): State<Site>, Segment(vault): Segment) -> Result<Json<SettingsView>> {
    let known = site.vaults.find(&vault).await?;
    vaults::settings(&site, &known).await.map(Json)
}

/// Changes what a vault promises about deletion; answers what holds from then on. A locked vault can only be made stricter.
#[utoipa::path(
    put,
    path = "/v1/vaults/{vault}/settings",
    tag = "vaults",
    params(("vault" = String, Path, description = "The vault's name or id.")),
    request_body = ChangeSettings,
    responses((status = OK, body = SettingsView), (status = "default", body = Problem))
)]
async fn change_settings(
    State(site): State<Site>,
    Segment(vault): Segment,
    Body(request): Body<ChangeSettings>,
) -> Result<Json<SettingsView>> {
    let known = site.vaults.find(&vault).await?;
    vaults::change_settings(&site, &known, request).await.map(Json)
}
