//! `/v1/boots`, and how VMs become independent of what they run from.

use api::{BootRequest, HydrateRequest, JobView, Problem};
use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Segment};
use crate::{failure::Result, jobs, site::Site, vms, work};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(boot)).routes(routes!(hydrate))
}

/// Runs a new VM from a recovery point. The job ends when the VM runs; another makes its disks whole.
#[utoipa::path(
    post,
    path = "/v1/boots",
    tag = "restores",
    request_body = BootRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn boot(
    State(site): State<Site>,
    Body(request): Body<BootRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::boot(&site, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Makes the disks of a VM whole that runs from a recovery point. Where a job does that already, that one is the answer.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/hydrations",
    tag = "restores",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    request_body = HydrateRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn hydrate(
    State(site): State<Site>,
    Segment(vm): Segment,
    Body(request): Body<HydrateRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let vm = vms::find(&site, &vm).await?;
    let job = work::hydrate(&site, &vm, request.rate_limit_bytes_per_second).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}
