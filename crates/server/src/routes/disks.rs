//! `/v1/disks`.

use api::{CreateDisk, HydrateRequest, JobView, Problem, SiteDiskView};
use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Parameters, Segment};
use crate::{dependents::Owner, disks, failure::Result, jobs, site::Site, work};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, delete)).routes(routes!(hydrate))
}

/// All disks that have names of their own, by name.
#[utoipa::path(
    get,
    path = "/v1/disks",
    tag = "disks",
    responses((status = OK, body = Vec<SiteDiskView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>) -> Result<Json<Vec<SiteDiskView>>> {
    disks::list(&site).await.map(Json)
}

/// Starts to make a disk from an image. The job ends when the disk can be used; another makes it whole.
#[utoipa::path(
    post,
    path = "/v1/disks",
    tag = "disks",
    request_body = CreateDisk,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn create(
    State(site): State<Site>,
    Body(request): Body<CreateDisk>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::create_disk(&site, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// One disk.
#[utoipa::path(
    get,
    path = "/v1/disks/{disk}",
    tag = "disks",
    params(("disk" = String, Path, description = "The disk's name or id.")),
    responses((status = OK, body = SiteDiskView), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>, Segment(disk): Segment) -> Result<Json<SiteDiskView>> {
    disks::view(&site, &disks::find(&site, &disk).await?).await.map(Json)
}

#[derive(Deserialize)]
struct DeleteParameters {
    #[serde(default)]
    dry_run: bool,
}

/// Deletes a disk that nobody uses, and its file.
#[utoipa::path(
    delete,
    path = "/v1/disks/{disk}",
    tag = "disks",
    params(
        ("disk" = String, Path, description = "The disk's name or id."),
        ("dry_run" = Option<bool>, Query, description = "Only say whether it could be deleted.")
    ),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn delete(
    State(site): State<Site>,
    Segment(disk): Segment,
    Parameters(asked): Parameters<DeleteParameters>,
) -> Result<StatusCode> {
    disks::remove(&site, &disks::find(&site, &disk).await?, asked.dry_run).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a disk whole that reads from an image. Where a job does that already, that one is the answer, at the pace asked for now.
#[utoipa::path(
    post,
    path = "/v1/disks/{disk}/hydrations",
    tag = "disks",
    params(("disk" = String, Path, description = "The disk's name or id.")),
    request_body = HydrateRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn hydrate(
    State(site): State<Site>,
    Segment(disk): Segment,
    Body(request): Body<HydrateRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let owner = Owner::Disk(Box::new(disks::find(&site, &disk).await?));
    let job = work::hydrate(&site, &owner, request.rate_limit_bytes_per_second).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}
