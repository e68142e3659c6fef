//! `/v1/drills`

use api::{DrillReportFormat, DrillStateView, DrillView, JobView, Problem, RunDrill, ScheduleDrill};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Parameters, Segment, Segments};
use crate::{drills, failure::Result, site::Site};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(schedule, unschedule))
        .routes(routes!(run))
        .routes(routes!(reports))
        .routes(routes!(report))
}

/// How it stands with the drills of all plans that are or were drilled, by plan.
#[utoipa::path(
    get,
    path = "/v1/drills",
    tag = "drills",
    responses((status = OK, body = Vec<DrillStateView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>) -> Result<Json<Vec<DrillStateView>>> {
    drills::states(&site).await.map(Json)
}

/// Has a plan drilled by itself, in the place of what was said of that before.
#[utoipa::path(
    put,
    path = "/v1/drills/{plan}/schedule",
    tag = "drills",
    params(("plan" = String, Path, description = "The plan's name.")),
    request_body = ScheduleDrill,
    responses((status = OK, body = DrillStateView), (status = "default", body = Problem))
)]
async fn schedule(
    State(site): State<Site>,
    Segment(plan): Segment,
    Body(request): Body<ScheduleDrill>,
) -> Result<Json<DrillStateView>> {
    drills::schedule(&site, &plan, request).await?;
    drills::state(&site, &plan).await.map(Json)
}

/// Has a plan drilled by itself no more. Its reports stay.
#[utoipa::path(
    delete,
    path = "/v1/drills/{plan}/schedule",
    tag = "drills",
    params(("plan" = String, Path, description = "The plan's name.")),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn unschedule(State(site): State<Site>, Segment(plan): Segment) -> Result<StatusCode> {
    drills::unschedule(&site, &plan).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Drills a plan now: its VMs come up in isolation, are looked at, and are removed again.
#[utoipa::path(
    post,
    path = "/v1/drills/{plan}/runs",
    tag = "drills",
    params(("plan" = String, Path, description = "The plan's name.")),
    request_body = RunDrill,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn run(
    State(site): State<Site>,
    Segment(plan): Segment,
    Body(request): Body<RunDrill>,
) -> Result<(StatusCode, Json<JobView>)> {
    Ok((StatusCode::ACCEPTED, Json(drills::run(&site, &plan, request).await?)))
}

/// The drills of a plan that have ended, newest first.
#[utoipa::path(
    get,
    path = "/v1/drills/{plan}/reports",
    tag = "drills",
    params(("plan" = String, Path, description = "The plan's name.")),
    responses((status = OK, body = Vec<DrillView>), (status = "default", body = Problem))
)]
async fn reports(State(site): State<Site>, Segment(plan): Segment) -> Result<Json<Vec<DrillView>>> {
    drills::reports(&site, &plan).await.map(Json)
}

#[derive(Deserialize)]
struct ReportParameters {
    #[serde(default)]
    format: DrillReportFormat,
}

/// The report of a drill, as JSON, as one page of HTML with screenshots in it, or as text.
#[utoipa::path(
    get,
    path = "/v1/drills/{plan}/reports/{drill}",
    tag = "drills",
    params(
        ("plan" = String, Path, description = "The plan's name."),
        ("drill" = String, Path, description = "The drill's id, a unique start of one, or latest."),
        ("format" = Option<DrillReportFormat>, Query, description = "json by default.")
    ),
    responses((status = OK, body = String), (status = "default", body = Problem))
)]
async fn report(
    State(site): State<Site>,
    Segments(plan, drill): Segments,
    Parameters(parameters): Parameters<ReportParameters>,
) -> Result<impl IntoResponse> {
    let (media_type, text) = drills::report(&site, &plan, &drill, parameters.format).await?;
    Ok(([(header::CONTENT_TYPE, media_type)], text))
}
