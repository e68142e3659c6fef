//! `/v1/replications` and `/v1/vms/{vm}/replication`.

use api::{
    CheckpointView, EditReplication, JobView, MakeCheckpoint, Problem, ReplicationView, StartReplication,
    StopReplication, StoppedReplicationView,
};
use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Parameters, Segment};
use crate::{failure::Result, jobs, replications, site::Site, vms, work};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, start, edit))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(checkpoint))
        .routes(routes!(hand_over))
        .routes(routes!(stop))
}

/// All replications, by VM.
#[utoipa::path(
    get,
    path = "/v1/replications",
    tag = "replications",
    responses((status = OK, body = Vec<ReplicationView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>) -> Result<Json<Vec<ReplicationView>>> {
    replications::list(&site).await.map(Json)
}

/// The replication of a VM, and how it stands now.
#[utoipa::path(
    get,
    path = "/v1/vms/{vm}/replication",
    tag = "replications",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    responses((status = OK, body = ReplicationView), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>, Segment(vm): Segment) -> Result<Json<ReplicationView>> {
    let vm = vms::find(&site, &vm).await?;
    replications::view(&site, &vm).await.map(Json)
}

/// Has a VM replicated to another site, from now on and after every restart.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/replication",
    tag = "replications",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    request_body = StartReplication,
    responses((status = CREATED, body = ReplicationView), (status = "default", body = Problem))
)]
async fn start(
    State(site): State<Site>,
    Segment(vm): Segment,
    Body(request): Body<StartReplication>,
) -> Result<(StatusCode, Json<ReplicationView>)> {
    let vm = vms::find(&site, &vm).await?;
    replications::start(&site, &vm, request).await?;
    Ok((StatusCode::CREATED, Json(replications::view(&site, &vm).await?)))
}

/// Changes how a VM is replicated.
#[utoipa::path(
    patch,
    path = "/v1/vms/{vm}/replication",
    tag = "replications",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    request_body = EditReplication,
    responses((status = OK, body = ReplicationView), (status = "default", body = Problem))
)]
async fn edit(
    State(site): State<Site>,
    Segment(vm): Segment,
    Body(request): Body<EditReplication>,
) -> Result<Json<ReplicationView>> {
    let vm = vms::find(&site, &vm).await?;
    replications::edit(&site, &vm, request).await?;
    replications::view(&site, &vm).await.map(Json)
}

/// Takes and sends nothing for now. What the guest writes is tracked.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/replication/pause",
    tag = "replications",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    responses((status = OK, body = ReplicationView), (status = "default", body = Problem))
)]
async fn pause(State(site): State<Site>, Segment(vm): Segment) -> Result<Json<ReplicationView>> {
    let vm = vms::find(&site, &vm).await?;
    replications::pause(&site, &vm).await?;
    replications::view(&site, &vm).await.map(Json)
}

/// Goes on, at once also with what waits to be tried again.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/replication/resume",
    tag = "replications",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    responses((status = OK, body = ReplicationView), (status = "default", body = Problem))
)]
async fn resume(State(site): State<Site>, Segment(vm): Segment) -> Result<Json<ReplicationView>> {
    let vm = vms::find(&site, &vm).await?;
    replications::resume(&site, &vm).await?;
    replications::view(&site, &vm).await.map(Json)
}

/// Names this moment of a VM that is protected.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/replication/checkpoints",
    tag = "replications",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    request_body = MakeCheckpoint,
    responses((status = CREATED, body = CheckpointView), (status = "default", body = Problem))
)]
async fn checkpoint(
    State(site): State<Site>,
    Segment(vm): Segment,
    Body(request): Body<MakeCheckpoint>,
) -> Result<(StatusCode, Json<CheckpointView>)> {
    let vm = vms::find(&site, &vm).await?;
    Ok((StatusCode::CREATED, Json(replications::checkpoint(&site, &vm, request).await?)))
}

#[derive(Deserialize)]
pub(super) struct HandOverParameters {
    #[serde(default)]
    pub(super) skip_proof: bool,
}

/// Shuts a VM down here, and has it run at the other site with everything that it wrote, once both sites have read its disks and
/// found the same.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/replication/hand-over",
    tag = "replications",
    params(
        ("vm" = String, Path, description = "The VM's name or id."),
        ("skip_proof" = Option<bool>, Query, description = "Do not compare the disks of both sites before.")
    ),
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn hand_over(
    State(site): State<Site>,
    Segment(vm): Segment,
    Parameters(asked): Parameters<HandOverParameters>,
) -> Result<(StatusCode, Json<JobView>)> {
    let vm = vms::find(&site, &vm).await?;
    let job = work::hand_over(&site, vm, asked.skip_proof).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Ends the replication of a VM. What the other site has stays there, unless it is to be deleted.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/replication/stop",
    tag = "replications",
    params(("vm" = String, Path, description = "The VM's name or id.")),
    request_body = StopReplication,
    responses((status = OK, body = StoppedReplicationView), (status = "default", body = Problem))
)]
async fn stop(
    State(site): State<Site>,
    Segment(vm): Segment,
    Body(request): Body<StopReplication>,
) -> Result<Json<StoppedReplicationView>> {
    let vm = vms::find(&site, &vm).await?;
    replications::stop(&site, &vm, request).await.map(Json)
}
