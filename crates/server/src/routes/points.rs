//! `/v1/points` and `/v1/point`.

use api::{ChosenPoints, DeletePoints, HoldPoints, JobView, PointView, Problem, TestPoint};
use axum::{Json, extract::State, http::StatusCode};
use model::PointReference;
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Parameters};
use crate::{
    failure::Result,
    jobs,
    points::{self, FoundPoint, Survey},
    site::Site,
    work,
};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(delete))
        .routes(routes!(undelete))
        .routes(routes!(hold))
        .routes(routes!(release))
        .routes(routes!(test))
}

#[derive(Deserialize)]
struct ListParameters {
    vm: Option<String>,
    #[serde(default)]
    deleted: bool,
}

/// Recovery points, oldest first. A vault that cannot be read only keeps its own points back; it is an error when
/// nothing else is found.
#[utoipa::path(
    get,
    path = "/v1/points",
    tag = "points",
    params(
        ("vm" = Option<String>, Query, description = "The name or id of a VM, known or not; none means all."),
        ("deleted" = Option<bool>, Query, description = "Also those that are deleted and can be brought back.")
    ),
    responses((status = OK, body = Vec<PointView>), (status = "default", body = Problem))
)]
async fn list(
    State(site): State<Site>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<PointView>>> {
    let mut survey = Survey::take_all(&site).await?;
    if !parameters.deleted {
        survey.points.retain(|point| !point.is_deleted());
    }
    if let Some(vm) = parameters.vm {
        survey = survey.of_vm(&site, &vm).await?;
    }
    match survey.failures.into_iter().next() {
        Some(failure) if survey.points.is_empty() => Err(failure),
        _ => Ok(Json(survey.points.iter().map(FoundPoint::view).collect())),
    }
}

#[derive(Deserialize)]
struct ShowParameters {
    reference: String,
    from_copy: Option<String>,
}

/// The recovery point or the snapshot that a reference names, with the VM's definition. A deleted point too, where no other
/// fits.
#[utoipa::path(
    get,
    path = "/v1/point",
    tag = "points",
    params(
        ("reference" = String, Query, description = "point:<vm>/<id, start of one, latest or time>[/<disk>] or snapshot:<name>[/<disk>]"),
        ("from_copy" = Option<String>, Query, description = "The copy to look in instead: <copy> or <vault>/<copy>.")
    ),
    responses((status = OK, body = PointView), (status = "default", body = Problem))
)]
async fn show(
    State(site): State<Site>,
    Parameters(parameters): Parameters<ShowParameters>,
) -> Result<Json<PointView>> {
    let ShowParameters { reference, from_copy } = parameters;
    let found = match reference.parse::<PointReference>() {
        Ok(reference) if from_copy.is_none() => points::resolve_any(&site, &reference).await?,
        _ => points::resolve_named(&site, &reference, from_copy.as_deref()).await?.point,
    };
    Ok(Json(found.whole_view()))
}

/// Deletes recovery points. Until they are purged they can be brought back. Each vault changes all of its points or none.
#[utoipa::path(
    post,
    path = "/v1/points/delete",
    tag = "points",
    request_body = DeletePoints,
    responses((status = OK, body = Vec<PointView>), (status = "default", body = Problem))
)]
async fn delete(State(site): State<Site>, Body(request): Body<DeletePoints>) -> Result<Json<Vec<PointView>>> {
    points::delete(&site, &request).await.map(Json)
}

/// Brings deleted recovery points back. Each vault changes all of its points or none.
#[utoipa::path(
    post,
    path = "/v1/points/undelete",
    tag = "points",
    request_body = ChosenPoints,
    responses((status = OK, body = Vec<PointView>), (status = "default", body = Problem))
)]
async fn undelete(
    State(site): State<Site>,
    Body(request): Body<ChosenPoints>,
) -> Result<Json<Vec<PointView>>> {
    points::undelete(&site, &request).await.map(Json)
}

/// Puts recovery points under a legal hold: nobody may delete them. Each vault changes all of its points or none.
#[utoipa::path(
    post,
    path = "/v1/points/hold",
    tag = "points",
    request_body = HoldPoints,
    responses((status = OK, body = Vec<PointView>), (status = "default", body = Problem))
)]
async fn hold(State(site): State<Site>, Body(request): Body<HoldPoints>) -> Result<Json<Vec<PointView>>> {
    points::hold(&site, &request).await.map(Json)
}

/// Releases recovery points from their hold. Each vault changes all of its points or none.
#[utoipa::path(
    post,
    path = "/v1/points/release",
    tag = "points",
    request_body = ChosenPoints,
    responses((status = OK, body = Vec<PointView>), (status = "default", body = Problem))
)]
async fn release(
    State(site): State<Site>,
    Body(request): Body<ChosenPoints>,
) -> Result<Json<Vec<PointView>>> {
    points::release(&site, &request).await.map(Json)
}

/// Boots a recovery point in isolation, and says whether it works.
#[utoipa::path(
    post,
    path = "/v1/points/test",
    tag = "points",
    request_body = TestPoint,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn test(
    State(site): State<Site>,
    Body(request): Body<TestPoint>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::test_point(&site, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}
