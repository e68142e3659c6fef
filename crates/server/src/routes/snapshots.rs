//! `/v1/snapshots` and `/v1/snapshot-store`.

use api::{
    CollectRequest, CopySnapshot, CreateSnapshot, CreatedSnapshot, DeleteSnapshot, JobView, LockSnapshot,
    Problem, RevertVm, SnapshotPage, SnapshotView, TagSnapshot, VaultView,
};
use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Parameters, Segment};
use crate::{failure::Result, jobs, site::Site, snapshots, vaults, work};

/// Snapshots on a page, unless the client says otherwise, and at most.
const PAGE_LIMIT_DEFAULT: u32 = 200;
const PAGE_LIMIT_MAX: u32 = 1000;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show))
        .routes(routes!(delete))
        .routes(routes!(undelete))
        .routes(routes!(revert))
        .routes(routes!(copy))
        .routes(routes!(lock))
        .routes(routes!(tag))
        .routes(routes!(store))
        .routes(routes!(collect))
}

#[derive(Deserialize)]
struct ListParameters {
    family: Option<String>,
    tag: Option<String>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    sizes: bool,
    after: Option<String>,
    limit: Option<u32>,
}

/// Snapshots, newest first, a page at a time.
#[utoipa::path(
    get,
    path = "/v1/snapshots",
    tag = "snapshots",
    params(
        ("family" = Option<String>, Query, description = "Only those of this VM, by name or id, or image file, as file:<path>."),
        ("tag" = Option<String>, Query, description = "Only those with this tag: <key>=<value>."),
        ("deleted" = Option<bool>, Query, description = "Those that are deleted and can be brought back, instead of all others."),
        ("sizes" = Option<bool>, Query, description = "Also what each takes: the maps of all snapshots are read for it."),
        ("after" = Option<String>, Query, description = "The next of the page before."),
        ("limit" = Option<u32>, Query, description = "At most so many; 200 when left out, never more than 1000.")
    ),
    responses((status = OK, body = SnapshotPage), (status = "default", body = Problem))
)]
async fn list(
    State(site): State<Site>,
    Parameters(asked): Parameters<ListParameters>,
) -> Result<Json<SnapshotPage>> {
    let ListParameters { family, tag, deleted, sizes, after, limit } = asked;
    let limit = limit.unwrap_or(PAGE_LIMIT_DEFAULT).clamp(1, PAGE_LIMIT_MAX);
    let wanted = snapshots::Wanted { family, tag, deleted, sizes, after, limit };
    Ok(Json(snapshots::list(&site, wanted).await?))
}

/// Makes a snapshot. It can be used as soon as its state is copying: then its moment is fixed.
#[utoipa::path(
    post,
    path = "/v1/snapshots",
    tag = "snapshots",
    request_body = CreateSnapshot,
    responses((status = ACCEPTED, body = CreatedSnapshot), (status = "default", body = Problem))
)]
async fn create(
    State(site): State<Site>,
    Body(request): Body<CreateSnapshot>,
) -> Result<(StatusCode, Json<CreatedSnapshot>)> {
    let (snapshot, job) = work::snapshot(&site, request).await?;
    let created = CreatedSnapshot { snapshot: snapshots::view(&site, snapshot), job: jobs::view(job) };
    Ok((StatusCode::ACCEPTED, Json(created)))
}

#[derive(Deserialize)]
struct ShowParameters {
    #[serde(default)]
    sizes: bool,
}

/// One snapshot. A deleted one, or one that failed, only where no other fits.
#[utoipa::path(
    get,
    path = "/v1/snapshots/{snapshot}",
    tag = "snapshots",
    params(
        ("snapshot" = String, Path, description = "The snapshot's name, its id, or the start of its id."),
        ("sizes" = Option<bool>, Query, description = "Also what it takes: the maps of all snapshots are read for it.")
    ),
    responses((status = OK, body = SnapshotView), (status = "default", body = Problem))
)]
async fn show(
    State(site): State<Site>,
    Segment(snapshot): Segment,
    Parameters(asked): Parameters<ShowParameters>,
) -> Result<Json<SnapshotView>> {
    let found = snapshots::find_any(&site, &snapshot).await?;
    let copies = site.catalog.copies_of_snapshot(found.id).await?;
    let name = found.name.clone();
    let mut view = snapshots::view(&site, found);
    view.copies = copies.iter().map(|copy| snapshots::copy_view(&site, &name, copy)).collect();
    if asked.sizes {
        snapshots::add_sizes(&site, std::slice::from_mut(&mut view)).await?;
    }
    Ok(Json(view))
}

/// Deletes a snapshot. Until it is purged it can be brought back.
#[utoipa::path(
    post,
    path = "/v1/snapshots/{snapshot}/delete",
    tag = "snapshots",
    params(("snapshot" = String, Path, description = "The snapshot's name, its id, or the start of its id.")),
    request_body = DeleteSnapshot,
    responses((status = OK, body = SnapshotView), (status = "default", body = Problem))
)]
async fn delete(
    State(site): State<Site>,
    Segment(snapshot): Segment,
    Body(request): Body<DeleteSnapshot>,
) -> Result<Json<SnapshotView>> {
    let found = snapshots::find_any(&site, &snapshot).await?;
    let deleted = snapshots::delete(&site, found, &request).await?;
    Ok(Json(snapshots::view(&site, deleted)))
}

/// Brings a deleted snapshot back.
#[utoipa::path(
    post,
    path = "/v1/snapshots/{snapshot}/undelete",
    tag = "snapshots",
    params(("snapshot" = String, Path, description = "The snapshot's name, its id, or the start of its id.")),
    responses((status = OK, body = SnapshotView), (status = "default", body = Problem))
)]
async fn undelete(State(site): State<Site>, Segment(snapshot): Segment) -> Result<Json<SnapshotView>> {
    let found = snapshots::find_deleted(&site, &snapshot).await?;
    let back = snapshots::undelete(&site, found).await?;
    Ok(Json(snapshots::view(&site, back)))
}

/// Starts to make a VM's disks what a snapshot of it holds. They are overwritten in place, where they differ.
#[utoipa::path(
    post,
    path = "/v1/snapshots/{snapshot}/revert",
    tag = "snapshots",
    params(("snapshot" = String, Path, description = "The snapshot's name, its id, or the start of its id.")),
    request_body = RevertVm,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn revert(
    State(site): State<Site>,
    Segment(snapshot): Segment,
    Body(request): Body<RevertVm>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::revert(&site, snapshot, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Starts to copy a snapshot into a vault, where it becomes a recovery point, or to another site, where it becomes a snapshot. What
/// was interrupted goes on by itself when the server starts, and goes on from where it was when it is asked for again.
#[utoipa::path(
    post,
    path = "/v1/snapshots/{snapshot}/copies",
    tag = "snapshots",
    params(("snapshot" = String, Path, description = "The snapshot's name, its id, or the start of its id.")),
    request_body = CopySnapshot,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn copy(
    State(site): State<Site>,
    Segment(snapshot): Segment,
    Body(request): Body<CopySnapshot>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::copy_snapshot(&site, &snapshot, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

/// Locks a snapshot until a date: nobody can delete it before. A lock can be extended, not shortened.
#[utoipa::path(
    post,
    path = "/v1/snapshots/{snapshot}/lock",
    tag = "snapshots",
    params(("snapshot" = String, Path, description = "The snapshot's name, its id, or the start of its id.")),
    request_body = LockSnapshot,
    responses((status = OK, body = SnapshotView), (status = "default", body = Problem))
)]
async fn lock(
    State(site): State<Site>,
    Segment(snapshot): Segment,
    Body(request): Body<LockSnapshot>,
) -> Result<Json<SnapshotView>> {
    let found = snapshots::find(&site, &snapshot).await?;
    let locked = snapshots::lock(&site, found, &request).await?;
    Ok(Json(snapshots::view(&site, locked)))
}

/// Changes a snapshot's tags.
#[utoipa::path(
    post,
    path = "/v1/snapshots/{snapshot}/tags",
    tag = "snapshots",
    params(("snapshot" = String, Path, description = "The snapshot's name, its id, or the start of its id.")),
    request_body = TagSnapshot,
    responses((status = OK, body = SnapshotView), (status = "default", body = Problem))
)]
async fn tag(
    State(site): State<Site>,
    Segment(snapshot): Segment,
    Body(request): Body<TagSnapshot>,
) -> Result<Json<SnapshotView>> {
    let found = snapshots::find(&site, &snapshot).await?;
    let tagged = snapshots::tag(&site, found, &request).await?;
    Ok(Json(snapshots::view(&site, tagged)))
}

/// The snapshot store; null before the first snapshot.
#[utoipa::path(
    get,
    path = "/v1/snapshot-store",
    tag = "snapshots",
    responses((status = OK, body = Option<VaultView>), (status = "default", body = Problem))
)]
async fn store(State(site): State<Site>) -> Result<Json<Option<VaultView>>> {
    Ok(Json(match site.vaults.snapshot_store().await? {
        Some(known) => Some(vaults::view(&site, known).await),
        None => None,
    }))
}

/// Starts to give back the room of purged and failed snapshots.
#[utoipa::path(
    post,
    path = "/v1/snapshot-store/collections",
    tag = "snapshots",
    request_body = CollectRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn collect(
    State(site): State<Site>,
    Body(request): Body<CollectRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::collect_for_snapshots(&site, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}
