//! `/v1/policies`.

use api::{CreatePolicy, EditPolicy, PolicyView, Problem, VerdictView};
use axum::{Json, extract::State, http::StatusCode};
use futures::future;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Segment};
use crate::{failure::Result, policies, site::Site};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, edit, remove))
        .routes(routes!(preview))
}

/// All policies, by name.
#[utoipa::path(
    get,
    path = "/v1/policies",
    tag = "policies",
    responses((status = OK, body = Vec<PolicyView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>) -> Result<Json<Vec<PolicyView>>> {
    let known = site.catalog.policies().await?;
    future::try_join_all(known.iter().map(|policy| policies::view(&site, policy))).await.map(Json)
}

/// Creates a policy. It does nothing until the backups or the snapshots of a VM follow it.
#[utoipa::path(
    post,
    path = "/v1/policies",
    tag = "policies",
    request_body = CreatePolicy,
    responses((status = CREATED, body = PolicyView), (status = "default", body = Problem))
)]
async fn create(
    State(site): State<Site>,
    Body(request): Body<CreatePolicy>,
) -> Result<(StatusCode, Json<PolicyView>)> {
    let policy = policies::create(&site, request).await?;
    Ok((StatusCode::CREATED, Json(policies::view(&site, &policy).await?)))
}

/// One policy, and when it is due next.
#[utoipa::path(
    get,
    path = "/v1/policies/{policy}",
    tag = "policies",
    params(("policy" = String, Path, description = "The policy's name.")),
    responses((status = OK, body = PolicyView), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>, Segment(policy): Segment) -> Result<Json<PolicyView>> {
    policies::view(&site, &policies::find(&site, &policy).await?).await.map(Json)
}

/// Changes a policy. Where it keeps less from then on, it deletes nothing before its time of grace is over.
#[utoipa::path(
    patch,
    path = "/v1/policies/{policy}",
    tag = "policies",
    params(("policy" = String, Path, description = "The policy's name.")),
    request_body = EditPolicy,
    responses((status = OK, body = PolicyView), (status = "default", body = Problem))
)]
async fn edit(
    State(site): State<Site>,
    Segment(policy): Segment,
    Body(request): Body<EditPolicy>,
) -> Result<Json<PolicyView>> {
    let policy = policies::edit(&site, &policy, &request).await?;
    policies::view(&site, &policy).await.map(Json)
}

/// Forgets a policy that nothing follows. What it made stays.
#[utoipa::path(
    delete,
    path = "/v1/policies/{policy}",
    tag = "policies",
    params(("policy" = String, Path, description = "The policy's name.")),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn remove(State(site): State<Site>, Segment(policy): Segment) -> Result<StatusCode> {
    policies::remove(&site, &policies::find(&site, &policy).await?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which of the points and snapshots that policies made of what follows it the policy keeps, and which it will delete: as it
/// is or, where the request says so, after a change that is not made.
#[utoipa::path(
    post,
    path = "/v1/policies/{policy}/preview",
    tag = "policies",
    params(("policy" = String, Path, description = "The policy's name.")),
    request_body = EditPolicy,
    responses((status = OK, body = Vec<VerdictView>), (status = "default", body = Problem))
)]
async fn preview(
    State(site): State<Site>,
    Segment(policy): Segment,
    Body(request): Body<EditPolicy>,
) -> Result<Json<Vec<VerdictView>>> {
    let policy = policies::find(&site, &policy).await?;
    policies::preview(&site, &policy, &request).await.map(Json)
}
