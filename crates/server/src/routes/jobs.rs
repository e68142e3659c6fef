//! `/v1/jobs`.

use std::{convert::Infallible, time::Duration};

use api::{JobView, Problem};
use axum::{
    Json,
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt as _};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Parameters, Segment};
use crate::{failure::Result, jobs, site::Site};

/// Jobs in one answer, unless the client says otherwise, and at most.
const LIST_LIMIT_DEFAULT: u32 = 100;
const LIST_LIMIT_MAX: u32 = 1000;

/// The time after which a quiet stream of events shows that it lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(cancel))
        .routes(routes!(events))
}

#[derive(Deserialize)]
struct ListParameters {
    limit: Option<u32>,
}

/// The newest jobs, newest first.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    tag = "jobs",
    params(("limit" = Option<u32>, Query, description = "At most so many; 100 when left out, never more than 1000.")),
    responses((status = OK, body = Vec<JobView>), (status = "default", body = Problem))
)]
async fn list(
    State(site): State<Site>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<JobView>>> {
    let limit = parameters.limit.unwrap_or(LIST_LIMIT_DEFAULT).min(LIST_LIMIT_MAX);
    Ok(Json(site.jobs.list(limit).await?.into_iter().map(jobs::view).collect()))
}

/// One job.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job}",
    tag = "jobs",
    params(("job" = String, Path, description = "The job's id, a unique start of it, or latest.")),
    responses((status = OK, body = JobView), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>, Segment(job): Segment) -> Result<Json<JobView>> {
    Ok(Json(jobs::view(site.jobs.find(&job).await?)))
}

/// Asks a job to stop. One that waits ends at once, one that runs a moment later.
#[utoipa::path(
    post,
    path = "/v1/jobs/{job}/cancel",
    tag = "jobs",
    params(("job" = String, Path, description = "The job's id, a unique start of it, or latest.")),
    responses((status = OK, body = JobView), (status = "default", body = Problem))
)]
async fn cancel(State(site): State<Site>, Segment(job): Segment) -> Result<Json<JobView>> {
    let job = site.jobs.find(&job).await?;
    Ok(Json(jobs::view(site.jobs.cancel(job).await?)))
}

/// Follows a job: its state now, then each change, until it has ended. At most ten events a second.
#[utoipa::path(
    get,
    path = "/v1/jobs/{job}/events",
    tag = "jobs",
    params(("job" = String, Path, description = "The job's id, a unique start of it, or latest.")),
    responses(
        (status = OK, body = JobView, content_type = "text/event-stream"),
        (status = "default", body = Problem)
    )
)]
async fn events(
    State(site): State<Site>,
    Segment(job): Segment,
) -> Result<Sse<impl Stream<Item = std::result::Result<Event, Infallible>>>> {
    let job = site.jobs.find(&job).await?;
    let events = site.jobs.follow(job).await?.map(|job| {
        // A view is plain data: writing it as JSON cannot fail.
        Ok(Event::default().json_data(jobs::view(job)).unwrap_or_default())
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)))
}
