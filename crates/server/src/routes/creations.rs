//! `/v1/creations`: VMs made from images, and how they become independent of them.

use api::{CreateVm, HydrateRequest, JobView, Problem};
use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Segment};
use crate::{dependents::Owner, failure::Result, jobs, site::Site, vms, work};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(vm)).routes(routes!(hydrate))
}

/// Builds a new VM on an image. The job ends when the VM is there or, where it is to be started, runs; another makes its disks
/// whole.
#[utoipa::path(
    post,
    path = "/v1/creations/vm",
    tag = "restores",
    request_body = CreateVm,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn vm(State(site): State<Site>, Body(request): Body<CreateVm>) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::create_vm(&site, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Makes the disks of a VM whole, whether it runs or not. Where a job does that already, that one is the answer, at the pace
/// asked for now.
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
    let owner = Owner::Vm(Box::new(vms::find(&site, &vm).await?));
    let job = work::hydrate(&site, &owner, request.rate_limit_bytes_per_second).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}
