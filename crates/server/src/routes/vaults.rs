//! `/v1/vaults`.

use api::{AttachVault, CreateVault, CreatedVault, JobView, Problem, VaultView, VerifyRequest};
use axum::{Json, extract::State, http::StatusCode};
use futures::future;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Segment};
use crate::{failure::Result, jobs, site::Site, vaults, work};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(attach))
        .routes(routes!(show))
        .routes(routes!(verify))
}

/// All vaults, by name. One that does not open is listed with the reason. How far copies are behind is not looked at.
#[utoipa::path(
    get,
    path = "/v1/vaults",
    tag = "vaults",
    responses((status = OK, body = Vec<VaultView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>) -> Result<Json<Vec<VaultView>>> {
    let known = site.vaults.list().await?;
    Ok(Json(future::join_all(known.into_iter().map(|known| vaults::glance(&site, known))).await))
}

/// Creates a vault.
#[utoipa::path(
    post,
    path = "/v1/vaults",
    tag = "vaults",
    request_body = CreateVault,
    responses((status = CREATED, body = CreatedVault), (status = "default", body = Problem))
)]
async fn create(
    State(site): State<Site>,
    Body(request): Body<CreateVault>,
) -> Result<(StatusCode, Json<CreatedVault>)> {
    let (known, key_file) = site.vaults.create(request, &site.directory).await?;
    let vault = vaults::view(&site, known).await;
    Ok((StatusCode::CREATED, Json(CreatedVault { vault, key_file })))
}

/// Makes an existing vault known, or takes in a new key or place of one that is.
#[utoipa::path(
    post,
    path = "/v1/vaults/attach",
    tag = "vaults",
    request_body = AttachVault,
    responses((status = OK, body = VaultView), (status = "default", body = Problem))
)]
async fn attach(State(site): State<Site>, Body(request): Body<AttachVault>) -> Result<Json<VaultView>> {
    let known = site.vaults.attach(request).await?;
    Ok(Json(vaults::view(&site, known).await))
}

/// One vault.
#[utoipa::path(
    get,
    path = "/v1/vaults/{vault}",
    tag = "vaults",
    params(("vault" = String, Path, description = "The vault's name or id.")),
    responses((status = OK, body = VaultView), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>, Segment(vault): Segment) -> Result<Json<VaultView>> {
    let known = site.vaults.find(&vault).await?;
    Ok(Json(vaults::view(&site, known).await))
}

/// Starts the verification of a vault. The job fails when it finds damage; its result says what and where.
#[utoipa::path(
    post,
    path = "/v1/vaults/{vault}/verify",
    tag = "vaults",
    params(("vault" = String, Path, description = "The vault's name or id.")),
    request_body = VerifyRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn verify(
    State(site): State<Site>,
    Segment(vault): Segment,
    Body(request): Body<VerifyRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let known = site.vaults.find(&vault).await?;
    let job = work::verify(&site, known, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}
