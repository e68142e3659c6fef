//! `/v1/vaults/…/copies`.

use api::{AddCopy, CopyView, JobView, Problem};
use axum::{Json, extract::State, http::StatusCode};
use futures::future;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Segment, Segments};
use crate::{copies, failure::Result, jobs, site::Site};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove)).routes(routes!(sync))
}

/// A vault's copies, by name, and how far each is behind.
#[utoipa::path(
    get,
    path = "/v1/vaults/{vault}/copies",
    tag = "copies",
    params(("vault" = String, Path, description = "The vault's name or id.")),
    responses((status = OK, body = Vec<CopyView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>, Segment(vault): Segment) -> Result<Json<Vec<CopyView>>> {
    let known = site.vaults.find(&vault).await?;
    let found = site.catalog.copies_of(known.id).await?;
    Ok(Json(future::join_all(found.into_iter().map(|copy| copies::view(&site, &known, copy))).await))
}

/// Gives a vault a copy, and starts to fill it. From then on it is kept up to date: after each backup into the vault, and
/// when the server starts.
#[utoipa::path(
    post,
    path = "/v1/vaults/{vault}/copies",
    tag = "copies",
    params(("vault" = String, Path, description = "The vault's name or id.")),
    request_body = AddCopy,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn add(
    State(site): State<Site>,
    Segment(vault): Segment,
    Body(request): Body<AddCopy>,
) -> Result<(StatusCode, Json<JobView>)> {
    let known = site.vaults.find(&vault).await?;
    let job = copies::add(&site, known, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Forgets a copy. What is in its store stays.
#[utoipa::path(
    delete,
    path = "/v1/vaults/{vault}/copies/{copy}",
    tag = "copies",
    params(("vault" = String, Path, description = "The vault's name or id."), ("copy" = String, Path, description = "The copy's name.")),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn remove(State(site): State<Site>, Segments(vault, copy): Segments) -> Result<StatusCode> {
    let known = site.vaults.find(&vault).await?;
    let copy = copies::find(&site, &known, &copy).await?;
    copies::remove(&site, &known, &copy).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a copy up to date. Where a job does so already, that one is the answer, and it looks once more before it ends.
#[utoipa::path(
    post,
    path = "/v1/vaults/{vault}/copies/{copy}/sync",
    tag = "copies",
    params(("vault" = String, Path, description = "The vault's name or id."), ("copy" = String, Path, description = "The copy's name.")),
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn sync(
    State(site): State<Site>,
    Segments(vault, copy): Segments,
) -> Result<(StatusCode, Json<JobView>)> {
    let known = site.vaults.find(&vault).await?;
    let copy = copies::find(&site, &known, &copy).await?;
    let job = copies::sync(&site, &known, &copy).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}
