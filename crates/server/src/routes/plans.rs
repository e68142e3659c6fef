//! `/v1/plans`, `/v1/plan-findings` and `/v1/plan-runs`.

use api::{
    CreatePlan, EditPlan, EditedPlanView, PlanFindingView, PlanPreviewView, PlanRunView, PlanVersionView,
    PlanView, Problem, RunPlan, TellPlanRun, ValidatePlan,
};
use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Segment};
use crate::{failure::Result, plans, site::Site};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit, remove))
        .routes(routes!(accept))
        .routes(routes!(versions))
        .routes(routes!(validate))
        .routes(routes!(preview))
        .routes(routes!(runs, run))
        .routes(routes!(show_run, tell))
}

/// All plans, by name.
#[utoipa::path(
    get,
    path = "/v1/plans",
    tag = "plans",
    responses((status = OK, body = Vec<PlanView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>) -> Result<Json<Vec<PlanView>>> {
    let mut views = Vec::new();
    for plan in plans::list(&site).await? {
        views.push(plans::plan_view(&site, &plan).await?);
    }
    Ok(Json(views))
}

/// Keeps a plan. Nothing of it is run.
#[utoipa::path(
    post,
    path = "/v1/plans",
    tag = "plans",
    request_body = CreatePlan,
    responses((status = CREATED, body = PlanView), (status = "default", body = Problem))
)]
async fn create(
    State(site): State<Site>,
    Body(request): Body<CreatePlan>,
) -> Result<(StatusCode, Json<PlanView>)> {
    let created = plans::create(&site, request).await?;
    Ok((StatusCode::CREATED, Json(plans::plan_view(&site, &created).await?)))
}

/// One plan.
#[utoipa::path(
    get,
    path = "/v1/plans/{plan}",
    tag = "plans",
    params(("plan" = String, Path, description = "The plan's name.")),
    responses((status = OK, body = PlanView), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>, Segment(plan): Segment) -> Result<Json<PlanView>> {
    plans::plan_view(&site, &plans::history(&site, &plan).await?[0]).await.map(Json)
}

/// Keeps another version of a plan. Runs go on with theirs. What would be lost has to be let go of by name of the field `drop`.
#[utoipa::path(
    put,
    path = "/v1/plans/{plan}",
    tag = "plans",
    params(("plan" = String, Path, description = "The plan's name.")),
    request_body = EditPlan,
    responses((status = OK, body = EditedPlanView), (status = "default", body = Problem))
)]
async fn edit(
    State(site): State<Site>,
    Segment(plan): Segment,
    Body(request): Body<EditPlan>,
) -> Result<Json<EditedPlanView>> {
    plans::edit(&site, &plan, request).await.map(Json)
}

/// Forgets a plan that nothing runs of. Its runs stay.
#[utoipa::path(
    delete,
    path = "/v1/plans/{plan}",
    tag = "plans",
    params(("plan" = String, Path, description = "The plan's name.")),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn remove(State(site): State<Site>, Segment(plan): Segment) -> Result<StatusCode> {
    plans::remove(&site, &plan).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Agrees to what a plan that came from another site does on this host, and to its runbooks.
#[utoipa::path(
    post,
    path = "/v1/plans/{plan}/acceptance",
    tag = "plans",
    params(("plan" = String, Path, description = "The plan's name.")),
    responses((status = OK, body = PlanView), (status = "default", body = Problem))
)]
async fn accept(State(site): State<Site>, Segment(plan): Segment) -> Result<Json<PlanView>> {
    plans::plan_view(&site, &plans::accept(&site, &plan).await?).await.map(Json)
}

/// All versions of a plan, newest first.
#[utoipa::path(
    get,
    path = "/v1/plans/{plan}/versions",
    tag = "plans",
    params(("plan" = String, Path, description = "The plan's name.")),
    responses((status = OK, body = Vec<PlanVersionView>), (status = "default", body = Problem))
)]
async fn versions(State(site): State<Site>, Segment(plan): Segment) -> Result<Json<Vec<PlanVersionView>>> {
    let versions = plans::history(&site, &plan).await?;
    Ok(Json(versions.into_iter().map(plans::version_view).collect()))
}

/// What is wrong with a document, or with a plan that is kept, as this site is now.
#[utoipa::path(
    post,
    path = "/v1/plan-findings",
    tag = "plans",
    request_body = ValidatePlan,
    responses((status = OK, body = Vec<PlanFindingView>), (status = "default", body = Problem))
)]
async fn validate(
    State(site): State<Site>,
    Body(request): Body<ValidatePlan>,
) -> Result<Json<Vec<PlanFindingView>>> {
    plans::validate(&site, request).await.map(Json)
}

/// What a run would do, and what stands in its way. Nothing is done.
#[utoipa::path(
    post,
    path = "/v1/plans/{plan}/preview",
    tag = "plans",
    params(("plan" = String, Path, description = "The plan's name.")),
    request_body = RunPlan,
    responses((status = OK, body = PlanPreviewView), (status = "default", body = Problem))
)]
async fn preview(
    State(site): State<Site>,
    Segment(plan): Segment,
    Body(request): Body<RunPlan>,
) -> Result<Json<PlanPreviewView>> {
    plans::preview(&site, &plan, request).await.map(Json)
}

/// The runs of a plan, newest first.
#[utoipa::path(
    get,
    path = "/v1/plans/{plan}/runs",
    tag = "plans",
    params(("plan" = String, Path, description = "The plan's name.")),
    responses((status = OK, body = Vec<PlanRunView>), (status = "default", body = Problem))
)]
async fn runs(State(site): State<Site>, Segment(plan): Segment) -> Result<Json<Vec<PlanRunView>>> {
    plans::runs(&site, &plan).await.map(Json)
}

/// Runs a plan: its VMs come up at this site.
#[utoipa::path(
    post,
    path = "/v1/plans/{plan}/runs",
    tag = "plans",
    params(("plan" = String, Path, description = "The plan's name.")),
    request_body = RunPlan,
    responses((status = ACCEPTED, body = PlanRunView), (status = "default", body = Problem))
)]
async fn run(
    State(site): State<Site>,
    Segment(plan): Segment,
    Body(request): Body<RunPlan>,
) -> Result<(StatusCode, Json<PlanRunView>)> {
    Ok((StatusCode::ACCEPTED, Json(plans::begin(&site, &plan, request).await?)))
}

/// One run.
#[utoipa::path(
    get,
    path = "/v1/plan-runs/{run}",
    tag = "plans",
    params(("run" = String, Path, description = "The run's id, or a plan's name for the newest of its runs.")),
    responses((status = OK, body = PlanRunView), (status = "default", body = Problem))
)]
async fn show_run(State(site): State<Site>, Segment(run): Segment) -> Result<Json<PlanRunView>> {
    plans::show_run(&site, &run).await.map(Json)
}

/// Tells a run something. It is kept when this returns.
#[utoipa::path(
    post,
    path = "/v1/plan-runs/{run}",
    tag = "plans",
    params(("run" = String, Path, description = "The run's id, or a plan's name for the newest of its runs.")),
    request_body = TellPlanRun,
    responses((status = OK, body = PlanRunView), (status = "default", body = Problem))
)]
async fn tell(
    State(site): State<Site>,
    Segment(run): Segment,
    Body(request): Body<TellPlanRun>,
) -> Result<Json<PlanRunView>> {
    plans::command(&site, &run, request).await.map(Json)
}
