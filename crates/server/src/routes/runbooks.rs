//! `/v1/runbooks`.

use api::{CreateRunbook, EditRunbook, JobView, Problem, RunbookView, TestRunbook};
use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Segment};
use crate::{failure::Result, jobs, runbooks, site::Site, work};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit, remove))
        .routes(routes!(test))
}

/// All runbooks, by name.
#[utoipa::path(
    get,
    path = "/v1/runbooks",
    tag = "runbooks",
    responses((status = OK, body = Vec<RunbookView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>) -> Result<Json<Vec<RunbookView>>> {
    let known = site.catalog.runbooks().await?;
    known.into_iter().map(runbooks::view).collect::<Result<_>>().map(Json)
}

/// Creates a runbook.
#[utoipa::path(
    post,
    path = "/v1/runbooks",
    tag = "runbooks",
    request_body = CreateRunbook,
    responses((status = CREATED, body = RunbookView), (status = "default", body = Problem))
)]
async fn create(
    State(site): State<Site>,
    Body(request): Body<CreateRunbook>,
) -> Result<(StatusCode, Json<RunbookView>)> {
    let known = runbooks::create(&site, &request.name, request.document).await?;
    Ok((StatusCode::CREATED, Json(runbooks::view(known)?)))
}

/// One runbook.
#[utoipa::path(
    get,
    path = "/v1/runbooks/{runbook}",
    tag = "runbooks",
    params(("runbook" = String, Path, description = "The runbook's name.")),
    responses((status = OK, body = RunbookView), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>, Segment(runbook): Segment) -> Result<Json<RunbookView>> {
    runbooks::view(runbooks::find(&site, &runbook).await?).map(Json)
}

/// Puts another document in the place of a runbook's.
#[utoipa::path(
    patch,
    path = "/v1/runbooks/{runbook}",
    tag = "runbooks",
    params(("runbook" = String, Path, description = "The runbook's name.")),
    request_body = EditRunbook,
    responses((status = OK, body = RunbookView), (status = "default", body = Problem))
)]
async fn edit(
    State(site): State<Site>,
    Segment(runbook): Segment,
    Body(request): Body<EditRunbook>,
) -> Result<Json<RunbookView>> {
    runbooks::view(runbooks::edit(&site, &runbook, request.document).await?).map(Json)
}

/// Forgets a runbook. A plan that uses it fails where it does.
#[utoipa::path(
    delete,
    path = "/v1/runbooks/{runbook}",
    tag = "runbooks",
    params(("runbook" = String, Path, description = "The runbook's name.")),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn remove(State(site): State<Site>, Segment(runbook): Segment) -> Result<StatusCode> {
    runbooks::find(&site, &runbook).await?;
    site.catalog.remove_runbook(&runbook).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs a runbook once, by itself. The context that it gets is a sample: no plan, no VMs, a test.
#[utoipa::path(
    post,
    path = "/v1/runbooks/{runbook}/tests",
    tag = "runbooks",
    params(("runbook" = String, Path, description = "The runbook's name.")),
    request_body = TestRunbook,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn test(
    State(site): State<Site>,
    Segment(runbook): Segment,
    Body(request): Body<TestRunbook>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::test_runbook::submit(&site, &runbook, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}
