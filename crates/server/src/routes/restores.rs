//! `/v1/restores`.

use api::{JobView, Problem, RestoreDiskRequest, RestoreFilesRequest, RestoreVmRequest};
use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::Body;
use crate::{failure::Result, jobs, site::Site, work};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(vm)).routes(routes!(disk)).routes(routes!(files))
}

/// Starts the restore of a VM, as a new one.
#[utoipa::path(
    post,
    path = "/v1/restores/vm",
    tag = "restores",
    request_body = RestoreVmRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn vm(
    State(site): State<Site>,
    Body(request): Body<RestoreVmRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::restore_vm(&site, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Starts the restore of a disk to an image file.
#[utoipa::path(
    post,
    path = "/v1/restores/disk",
    tag = "restores",
    request_body = RestoreDiskRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn disk(
    State(site): State<Site>,
    Body(request): Body<RestoreDiskRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::restore_disk(&site, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Starts to put files of an image into a running guest, through its agent.
#[utoipa::path(
    post,
    path = "/v1/restores/files",
    tag = "restores",
    request_body = RestoreFilesRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn files(
    State(site): State<Site>,
    Body(request): Body<RestoreFilesRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::restore_files(&site, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}
