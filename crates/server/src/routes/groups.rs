//! `/v1/replication-groups`, and `/v1/replica-groups` where the replicas are.

use api::{
    AddGroupMember, CleanUpTests, CreateReplicationGroup, EditReplicationGroup, FailOver, FailoverTestView,
    GroupCheckpointView, GroupFailoverPlanView, JobView, MakeCheckpoint, Problem, ReplicaGroupView,
    ReplicaView, ReplicationGroupView, SharedPointView, TestGroupFailover,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use catalog::Job;
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::{Body, Parameters, Segment},
    replications::HandOverParameters,
};
use crate::{
    failure::Result,
    groups, jobs,
    replicas::{self, groups as replica_groups},
    site::Site,
    work,
};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit, remove))
        .routes(routes!(add_member))
        .routes(routes!(remove_member))
        .routes(routes!(checkpoint))
        .routes(routes!(hand_over))
        .routes(routes!(list_of_replicas))
        .routes(routes!(show_of_replicas))
        .routes(routes!(points))
        .routes(routes!(test))
        .routes(routes!(clean_up))
        .routes(routes!(plan))
        .routes(routes!(plan_change))
        .routes(routes!(fail_over))
        .routes(routes!(change_point))
        .routes(routes!(commit))
}

/// All consistency groups of VMs that are replicated from here, by name.
#[utoipa::path(
    get,
    path = "/v1/replication-groups",
    tag = "groups",
    responses((status = OK, body = Vec<ReplicationGroupView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>) -> Result<Json<Vec<ReplicationGroupView>>> {
    groups::list(&site).await.map(Json)
}

/// Makes a consistency group of VMs that are replicated to one site.
#[utoipa::path(
    post,
    path = "/v1/replication-groups",
    tag = "groups",
    request_body = CreateReplicationGroup,
    responses((status = CREATED, body = ReplicationGroupView), (status = "default", body = Problem))
)]
async fn create(
    State(site): State<Site>,
    Body(request): Body<CreateReplicationGroup>,
) -> Result<(StatusCode, Json<ReplicationGroupView>)> {
    let group = groups::create(&site, request).await?;
    Ok((StatusCode::CREATED, Json(groups::view(&site, &group).await?)))
}

/// A consistency group, and how it stands now.
#[utoipa::path(
    get,
    path = "/v1/replication-groups/{group}",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    responses((status = OK, body = ReplicationGroupView), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>, Segment(group): Segment) -> Result<Json<ReplicationGroupView>> {
    groups::view(&site, &groups::find(&site, &group).await?).await.map(Json)
}

/// Changes how often a shared checkpoint is made.
#[utoipa::path(
    patch,
    path = "/v1/replication-groups/{group}",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    request_body = EditReplicationGroup,
    responses((status = OK, body = ReplicationGroupView), (status = "default", body = Problem))
)]
async fn edit(
    State(site): State<Site>,
    Segment(group): Segment,
    Body(request): Body<EditReplicationGroup>,
) -> Result<Json<ReplicationGroupView>> {
    let group = groups::edit(&site, &group, request).await?;
    groups::view(&site, &group).await.map(Json)
}

/// Ends a consistency group. Its VMs go on being replicated, each by itself.
#[utoipa::path(
    delete,
    path = "/v1/replication-groups/{group}",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn remove(State(site): State<Site>, Segment(group): Segment) -> Result<StatusCode> {
    groups::remove(&site, &group).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes one more VM into a group.
#[utoipa::path(
    post,
    path = "/v1/replication-groups/{group}/members",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    request_body = AddGroupMember,
    responses((status = OK, body = ReplicationGroupView), (status = "default", body = Problem))
)]
async fn add_member(
    State(site): State<Site>,
    Segment(group): Segment,
    Body(request): Body<AddGroupMember>,
) -> Result<Json<ReplicationGroupView>> {
    let group = groups::add(&site, &group, request).await?;
    groups::view(&site, &group).await.map(Json)
}

/// Takes a VM out of a group. With the last one the group goes.
#[utoipa::path(
    delete,
    path = "/v1/replication-groups/{group}/members/{vm}",
    tag = "groups",
    params(
        ("group" = String, Path, description = "The group's name or id."),
        ("vm" = String, Path, description = "The VM's name or id.")
    ),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn remove_member(
    State(site): State<Site>,
    Path((group, vm)): Path<(String, String)>,
) -> Result<StatusCode> {
    groups::remove_member(&site, &group, &vm).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Names a moment that all members share.
#[utoipa::path(
    post,
    path = "/v1/replication-groups/{group}/checkpoints",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    request_body = MakeCheckpoint,
    responses((status = CREATED, body = GroupCheckpointView), (status = "default", body = Problem))
)]
async fn checkpoint(
    State(site): State<Site>,
    Segment(group): Segment,
    Body(request): Body<MakeCheckpoint>,
) -> Result<(StatusCode, Json<GroupCheckpointView>)> {
    Ok((StatusCode::CREATED, Json(groups::make_checkpoint(&site, &group, request).await?)))
}

/// Shuts all VMs of a group down here, and has them run at the other site with everything that they wrote.
#[utoipa::path(
    post,
    path = "/v1/replication-groups/{group}/hand-over",
    tag = "groups",
    params(
        ("group" = String, Path, description = "The group's name or id."),
        ("skip_proof" = Option<bool>, Query, description = "Do not compare the disks of both sites before.")
    ),
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn hand_over(
    State(site): State<Site>,
    Segment(group): Segment,
    Parameters(asked): Parameters<HandOverParameters>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::hand_over_group(&site, groups::find(&site, &group).await?, asked.skip_proof).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// All consistency groups of replicas, by name.
#[utoipa::path(
    get,
    path = "/v1/replica-groups",
    tag = "groups",
    responses((status = OK, body = Vec<ReplicaGroupView>), (status = "default", body = Problem))
)]
async fn list_of_replicas(State(site): State<Site>) -> Result<Json<Vec<ReplicaGroupView>>> {
    replica_groups::list(&site).await.map(Json)
}

/// A consistency group of replicas, and the newest moment that its members share.
#[utoipa::path(
    get,
    path = "/v1/replica-groups/{group}",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    responses((status = OK, body = ReplicaGroupView), (status = "default", body = Problem))
)]
async fn show_of_replicas(
    State(site): State<Site>,
    Segment(group): Segment,
) -> Result<Json<ReplicaGroupView>> {
    replica_groups::view(&site, &replica_groups::find(&site, &group).await?).await.map(Json)
}

#[derive(Deserialize)]
struct PointsParameters {
    #[serde(default)]
    all: bool,
}

/// The moments that all members share, oldest first. Of those that the clock made, the older they are the fewer are shown.
#[utoipa::path(
    get,
    path = "/v1/replica-groups/{group}/points",
    tag = "groups",
    params(
        ("group" = String, Path, description = "The group's name or id."),
        ("all" = Option<bool>, Query, description = "Leave none out.")
    ),
    responses((status = OK, body = Vec<SharedPointView>), (status = "default", body = Problem))
)]
async fn points(
    State(site): State<Site>,
    Segment(group): Segment,
    Parameters(asked): Parameters<PointsParameters>,
) -> Result<Json<Vec<SharedPointView>>> {
    replica_groups::points(&site, &group, asked.all).await.map(Json)
}

/// Starts a test of each member, all from one moment.
#[utoipa::path(
    post,
    path = "/v1/replica-groups/{group}/tests",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    request_body = TestGroupFailover,
    responses((status = ACCEPTED, body = Vec<JobView>), (status = "default", body = Problem))
)]
async fn test(
    State(site): State<Site>,
    Segment(group): Segment,
    Body(request): Body<TestGroupFailover>,
) -> Result<(StatusCode, Json<Vec<JobView>>)> {
    Ok(accepted(work::test_group_failover(&site, &group, request).await?))
}

/// Removes the VMs of all tests of a group's members, and keeps what was found.
#[utoipa::path(
    post,
    path = "/v1/replica-groups/{group}/tests/cleanup",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    request_body = CleanUpTests,
    responses((status = OK, body = Vec<FailoverTestView>), (status = "default", body = Problem))
)]
async fn clean_up(
    State(site): State<Site>,
    Segment(group): Segment,
    Body(request): Body<CleanUpTests>,
) -> Result<Json<Vec<FailoverTestView>>> {
    work::clean_up_group_tests(&site, &group, &request).await.map(Json)
}

/// What a failover of all members would do. Nothing is changed.
#[utoipa::path(
    post,
    path = "/v1/replica-groups/{group}/failover/plan",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    request_body = FailOver,
    responses((status = OK, body = GroupFailoverPlanView), (status = "default", body = Problem))
)]
async fn plan(
    State(site): State<Site>,
    Segment(group): Segment,
    Body(request): Body<FailOver>,
) -> Result<Json<GroupFailoverPlanView>> {
    work::plan_group_failover(&site, &group, &request, false).await.map(Json)
}

/// What another point of a failover of all members would do that is not committed. Nothing is changed.
#[utoipa::path(
    post,
    path = "/v1/replica-groups/{group}/failover/point/plan",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    request_body = FailOver,
    responses((status = OK, body = GroupFailoverPlanView), (status = "default", body = Problem))
)]
async fn plan_change(
    State(site): State<Site>,
    Segment(group): Segment,
    Body(request): Body<FailOver>,
) -> Result<Json<GroupFailoverPlanView>> {
    work::plan_group_failover(&site, &group, &request, true).await.map(Json)
}

/// Starts to have all members run here, from one moment. From then on nothing more is taken from their site.
#[utoipa::path(
    post,
    path = "/v1/replica-groups/{group}/failover",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    request_body = FailOver,
    responses((status = ACCEPTED, body = Vec<JobView>), (status = "default", body = Problem))
)]
async fn fail_over(
    State(site): State<Site>,
    Segment(group): Segment,
    Body(request): Body<FailOver>,
) -> Result<(StatusCode, Json<Vec<JobView>>)> {
    Ok(accepted(work::fail_over_group(&site, &group, request).await?))
}

/// Starts to make all members anew from another moment. What they have written here is lost.
#[utoipa::path(
    post,
    path = "/v1/replica-groups/{group}/failover/point",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    request_body = FailOver,
    responses((status = ACCEPTED, body = Vec<JobView>), (status = "default", body = Problem))
)]
async fn change_point(
    State(site): State<Site>,
    Segment(group): Segment,
    Body(request): Body<FailOver>,
) -> Result<(StatusCode, Json<Vec<JobView>>)> {
    Ok(accepted(work::change_group_point(&site, &group, request).await?))
}

/// Has all members run here for good: their other moments go.
#[utoipa::path(
    post,
    path = "/v1/replica-groups/{group}/failover/commit",
    tag = "groups",
    params(("group" = String, Path, description = "The group's name or id.")),
    responses((status = OK, body = Vec<ReplicaView>), (status = "default", body = Problem))
)]
async fn commit(State(site): State<Site>, Segment(group): Segment) -> Result<Json<Vec<ReplicaView>>> {
    let mut views = Vec::new();
    for known in work::commit_group(&site, &group).await? {
        views.push(replicas::view(&site, known).await?);
    }
    Ok(Json(views))
}

fn accepted(lined_up: Vec<Job>) -> (StatusCode, Json<Vec<JobView>>) {
    (StatusCode::ACCEPTED, Json(lined_up.into_iter().map(jobs::view).collect()))
}
