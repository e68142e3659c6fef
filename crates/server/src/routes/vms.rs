//! `/v1/vms`.

use api::{AddVm, BackupRequest, JobView, Problem, ProtectRequest, ScheduleSnapshots, StopVm, VmView};
use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Segment};
use crate::{failure::Result, jobs, policies, site::Site, vms, work};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show, remove))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(protect, unprotect))
        .routes(routes!(schedule_snapshots, unschedule_snapshots))
        .routes(routes!(backup))
}

/// All VMs, by name. A VM that does not answer is listed as unreachable.
#[utoipa::path(
    get,
    path = "/v1/vms",
    tag = "vms",
    responses((status = OK, body = Vec<VmView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>) -> Result<Json<Vec<VmView>>> {
    vms::list(&site).await.map(Json)
}

/// Makes a VM known.
#[utoipa::path(
    post,
    path = "/v1/vms",
    tag = "vms",
    request_body = AddVm,
    responses((status = CREATED, body = VmView), (status = "default", body = Problem))
)]
async fn add(State(site): State<Site>, Body(request): Body<AddVm>) -> Result<(StatusCode, Json<VmView>)> {
    let vm = vms::add(&site, request).await?;
    Ok((StatusCode::CREATED, Json(vms::view(&site, &vm).await?)))
}

/// One VM.
#[utoipa::path(
    get,
    path = "/v1/vms/{vm}",
    tag = "vms",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    responses((status = OK, body = VmView), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>, Segment(vm): Segment) -> Result<Json<VmView>> {
    vms::view(&site, &vms::find(&site, &vm).await?).await.map(Json)
}

/// Forgets a VM. Its disks and its recovery points stay.
#[utoipa::path(
    delete,
    path = "/v1/vms/{vm}",
    tag = "vms",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn remove(State(site): State<Site>, Segment(vm): Segment) -> Result<StatusCode> {
    vms::remove(&site, &vms::find(&site, &vm).await?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Starts a managed VM.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/start",
    tag = "vms",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    responses((status = OK, body = VmView), (status = "default", body = Problem))
)]
async fn start(State(site): State<Site>, Segment(vm): Segment) -> Result<Json<VmView>> {
    let vm = vms::find(&site, &vm).await?;
    vms::start(&site, &vm).await?;
    vms::view(&site, &vm).await.map(Json)
}

/// Stops a VM.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/stop",
    tag = "vms",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    request_body = StopVm,
    responses((status = OK, body = VmView), (status = "default", body = Problem))
)]
async fn stop(
    State(site): State<Site>,
    Segment(vm): Segment,
    Body(request): Body<StopVm>,
) -> Result<Json<VmView>> {
    let vm = vms::find(&site, &vm).await?;
    vms::stop(&site, &vm, request.force).await?;
    vms::view(&site, &vm).await.map(Json)
}

/// Protects a VM, or changes how it is protected.
#[utoipa::path(
    put,
    path = "/v1/vms/{vm}/protection",
    tag = "vms",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    request_body = ProtectRequest,
    responses((status = OK, body = VmView), (status = "default", body = Problem))
)]
async fn protect(
    State(site): State<Site>,
    Segment(vm): Segment,
    Body(request): Body<ProtectRequest>,
) -> Result<Json<VmView>> {
    let vm = vms::find(&site, &vm).await?;
    vms::protect(&site, &vm, request).await?;
    vms::view(&site, &vm).await.map(Json)
}

/// Ends a VM's protection. Its recovery points stay.
#[utoipa::path(
    delete,
    path = "/v1/vms/{vm}/protection",
    tag = "vms",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    responses((status = OK, body = VmView), (status = "default", body = Problem))
)]
async fn unprotect(State(site): State<Site>, Segment(vm): Segment) -> Result<Json<VmView>> {
    let vm = vms::find(&site, &vm).await?;
    vms::unprotect(&site, &vm).await?;
    vms::view(&site, &vm).await.map(Json)
}

/// Makes a VM's snapshots follow a policy. Where they follow it already, they go on as before.
#[utoipa::path(
    put,
    path = "/v1/vms/{vm}/snapshot-policy",
    tag = "vms",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    request_body = ScheduleSnapshots,
    responses((status = OK, body = VmView), (status = "default", body = Problem))
)]
async fn schedule_snapshots(
    State(site): State<Site>,
    Segment(vm): Segment,
    Body(request): Body<ScheduleSnapshots>,
) -> Result<Json<VmView>> {
    let vm = vms::find(&site, &vm).await?;
    policies::schedule_snapshots(&site, &vm, &request).await?;
    vms::view(&site, &vm).await.map(Json)
}

/// Makes a VM's snapshots follow no policy. Those that there are stay.
#[utoipa::path(
    delete,
    path = "/v1/vms/{vm}/snapshot-policy",
    tag = "vms",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    responses((status = OK, body = VmView), (status = "default", body = Problem))
)]
async fn unschedule_snapshots(State(site): State<Site>, Segment(vm): Segment) -> Result<Json<VmView>> {
    let vm = vms::find(&site, &vm).await?;
    policies::unschedule_snapshots(&site, &vm).await?;
    vms::view(&site, &vm).await.map(Json)
}

/// Starts a backup. One that finds another at work on the VM waits for it.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/backups",
    tag = "vms",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    request_body = BackupRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn backup(
    State(site): State<Site>,
    Segment(vm): Segment,
    Body(request): Body<BackupRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let vm = vms::find(&site, &vm).await?;
    let job = work::backup(&site, &vm, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}
