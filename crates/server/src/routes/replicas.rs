//! `/v1/replicas` and `/v1/failover-tests`.

use api::{
    BackUpReplica, CleanUpTests, EditReplica, FailOver, FailoverPlanView, FailoverTestView, JobView, Problem,
    ReplicaMomentView, ReplicaPointView, ReplicaView, RetainReplica, TestFailover,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Parameters, Segment};
use crate::{failure::Result, jobs, replicas, site::Site, work};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, edit, delete))
        .routes(routes!(points))
        .routes(routes!(moment))
        .routes(routes!(retain))
        .routes(routes!(back_up))
        .routes(routes!(test))
        .routes(routes!(clean_up))
        .routes(routes!(plan))
        .routes(routes!(plan_change))
        .routes(routes!(fail_over))
        .routes(routes!(change_point))
        .routes(routes!(commit))
}

/// All replicas, by the names of their VMs.
#[utoipa::path(
    get,
    path = "/v1/replicas",
    tag = "replicas",
    responses((status = OK, body = Vec<ReplicaView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>) -> Result<Json<Vec<ReplicaView>>> {
    replicas::list(&site).await.map(Json)
}

/// One replica.
#[utoipa::path(
    get,
    path = "/v1/replicas/{replica}",
    tag = "replicas",
    params(("replica" = String, Path, description = "The VM's name or id, or the journal's id.")),
    responses((status = OK, body = ReplicaView), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>, Segment(replica): Segment) -> Result<Json<ReplicaView>> {
    replicas::view(&site, replicas::find(&site, &replica).await?).await.map(Json)
}

/// Changes how the VM that a replica becomes is to be here. What is lacking for it is told, and may still come.
#[utoipa::path(
    patch,
    path = "/v1/replicas/{replica}",
    tag = "replicas",
    params(("replica" = String, Path, description = "The VM's name or id, or the journal's id.")),
    request_body = EditReplica,
    responses((status = OK, body = ReplicaView), (status = "default", body = Problem))
)]
async fn edit(
    State(site): State<Site>,
    Segment(replica): Segment,
    Body(request): Body<EditReplica>,
) -> Result<Json<ReplicaView>> {
    let known = replicas::edit(&site, &replica, request).await?;
    replicas::view(&site, known).await.map(Json)
}

#[derive(Deserialize)]
struct DeleteParameters {
    #[serde(default)]
    dry_run: bool,
}

/// Deletes a replica that nobody uses. Where its VM was failed over, its source stays fenced.
#[utoipa::path(
    delete,
    path = "/v1/replicas/{replica}",
    tag = "replicas",
    params(
        ("replica" = String, Path, description = "The VM's name or id, or the journal's id."),
        ("dry_run" = Option<bool>, Query, description = "Only say whether it could be deleted.")
    ),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn delete(
    State(site): State<Site>,
    Segment(replica): Segment,
    Parameters(asked): Parameters<DeleteParameters>,
) -> Result<StatusCode> {
    replicas::remove(&site, &replicas::find(&site, &replica).await?, asked.dry_run).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct PointsParameters {
    #[serde(default)]
    all: bool,
}

/// The checkpoints of a replica, oldest first. Of those that the clock made, the older they are the fewer are shown.
#[utoipa::path(
    get,
    path = "/v1/replicas/{replica}/points",
    tag = "replicas",
    params(
        ("replica" = String, Path, description = "The VM's name or id, or the journal's id."),
        ("all" = Option<bool>, Query, description = "Leave none out.")
    ),
    responses((status = OK, body = Vec<ReplicaPointView>), (status = "default", body = Problem))
)]
async fn points(
    State(site): State<Site>,
    Segment(replica): Segment,
    Parameters(asked): Parameters<PointsParameters>,
) -> Result<Json<Vec<ReplicaPointView>>> {
    replicas::points(&site, &replica, asked.all).await.map(Json)
}

/// One moment of a replica, and what names it from now on.
#[utoipa::path(
    get,
    path = "/v1/replicas/{replica}/moments/{point}",
    tag = "replicas",
    params(
        ("replica" = String, Path, description = "The VM's name or id, or the journal's id."),
        ("point" = String, Path, description = "latest, latest-application, a time, a checkpoint's name or #NUMBER.")
    ),
    responses((status = OK, body = ReplicaMomentView), (status = "default", body = Problem))
)]
async fn moment(
    State(site): State<Site>,
    Path((replica, point)): Path<(String, String)>,
) -> Result<Json<ReplicaMomentView>> {
    replicas::moment_view(&site, &replica, &point).await.map(Json)
}

/// Sets how long the moments of a replica stay reachable.
#[utoipa::path(
    post,
    path = "/v1/replicas/{replica}/retention",
    tag = "replicas",
    params(("replica" = String, Path, description = "The VM's name or id, or the journal's id.")),
    request_body = RetainReplica,
    responses((status = OK, body = ReplicaView), (status = "default", body = Problem))
)]
async fn retain(
    State(site): State<Site>,
    Segment(replica): Segment,
    Body(request): Body<RetainReplica>,
) -> Result<Json<ReplicaView>> {
    let known = replicas::retain(&site, &replica, request.retention_seconds).await?;
    replicas::view(&site, known).await.map(Json)
}

/// Starts to make a recovery point of a moment. The guest is not touched.
#[utoipa::path(
    post,
    path = "/v1/replicas/{replica}/backups",
    tag = "replicas",
    params(("replica" = String, Path, description = "The VM's name or id, or the journal's id.")),
    request_body = BackUpReplica,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn back_up(
    State(site): State<Site>,
    Segment(replica): Segment,
    Body(request): Body<BackUpReplica>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::back_up_replica(&site, &replica, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Starts a test: a VM made from a moment, which reaches nothing. The replication goes on.
#[utoipa::path(
    post,
    path = "/v1/replicas/{replica}/tests",
    tag = "replicas",
    params(("replica" = String, Path, description = "The VM's name or id, or the journal's id.")),
    request_body = TestFailover,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn test(
    State(site): State<Site>,
    Segment(replica): Segment,
    Body(request): Body<TestFailover>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::test_failover(&site, &replica, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Removes the VM of a test, or of all tests of a replica, with all that it had, and keeps what was found.
#[utoipa::path(
    post,
    path = "/v1/failover-tests/{name}/cleanup",
    tag = "replicas",
    params(("name" = String, Path, description = "The VM of the test, or the VM that is replicated.")),
    request_body = CleanUpTests,
    responses((status = OK, body = Vec<FailoverTestView>), (status = "default", body = Problem))
)]
async fn clean_up(
    State(site): State<Site>,
    Segment(name): Segment,
    Body(request): Body<CleanUpTests>,
) -> Result<Json<Vec<FailoverTestView>>> {
    work::clean_up_tests(&site, &name, request.verdict.as_deref()).await.map(Json)
}

/// What a failover would do. Nothing is changed.
#[utoipa::path(
    post,
    path = "/v1/replicas/{replica}/failover/plan",
    tag = "replicas",
    params(("replica" = String, Path, description = "The VM's name or id, or the journal's id.")),
    request_body = FailOver,
    responses((status = OK, body = FailoverPlanView), (status = "default", body = Problem))
)]
async fn plan(
    State(site): State<Site>,
    Segment(replica): Segment,
    Body(request): Body<FailOver>,
) -> Result<Json<FailoverPlanView>> {
    work::plan_failover(&site, &replica, &request).await.map(Json)
}

/// What another point of a failover would do that is not committed. Nothing is changed.
#[utoipa::path(
    post,
    path = "/v1/replicas/{replica}/failover/point/plan",
    tag = "replicas",
    params(("replica" = String, Path, description = "The VM's name or id, or the journal's id.")),
    request_body = FailOver,
    responses((status = OK, body = FailoverPlanView), (status = "default", body = Problem))
)]
async fn plan_change(
    State(site): State<Site>,
    Segment(replica): Segment,
    Body(request): Body<FailOver>,
) -> Result<Json<FailoverPlanView>> {
    work::plan_change(&site, &replica, &request).await.map(Json)
}

/// Starts to have the VM run here. From then on nothing more is taken from its site.
#[utoipa::path(
    post,
    path = "/v1/replicas/{replica}/failover",
    tag = "replicas",
    params(("replica" = String, Path, description = "The VM's name or id, or the journal's id.")),
    request_body = FailOver,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn fail_over(
    State(site): State<Site>,
    Segment(replica): Segment,
    Body(request): Body<FailOver>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::fail_over(&site, &replica, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Starts to make the VM anew from another moment. What it has written here is lost.
#[utoipa::path(
    post,
    path = "/v1/replicas/{replica}/failover/point",
    tag = "replicas",
    params(("replica" = String, Path, description = "The VM's name or id, or the journal's id.")),
    request_body = FailOver,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn change_point(
    State(site): State<Site>,
    Segment(replica): Segment,
    Body(request): Body<FailOver>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::change_point(&site, &replica, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Has the VM run here for good: its other moments go.
#[utoipa::path(
    post,
    path = "/v1/replicas/{replica}/failover/commit",
    tag = "replicas",
    params(("replica" = String, Path, description = "The VM's name or id, or the journal's id.")),
    responses((status = OK, body = ReplicaView), (status = "default", body = Problem))
)]
async fn commit(State(site): State<Site>, Segment(replica): Segment) -> Result<Json<ReplicaView>> {
    let known = work::commit(&site, &replica).await?;
    replicas::view(&site, known).await.map(Json)
}
