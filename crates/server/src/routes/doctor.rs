//! `/v1/doctor`.

use api::{CheckView, Problem};
use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{doctor, failure::Result, site::Site};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(examine))
}

/// Checks the host and the site.
#[utoipa::path(
    get,
    path = "/v1/doctor",
    tag = "site",
    responses((status = OK, body = Vec<CheckView>), (status = "default", body = Problem))
)]
async fn examine(State(site): State<Site>) -> Result<Json<Vec<CheckView>>> {
    doctor::examine(&site).await.map(Json)
}
