//! `/metrics`

use api::Problem;
use axum::{extract::State, http::header, response::IntoResponse};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{drills, failure::Result, groups, replications, site::Site};

/// The text format of Prometheus.
const MEDIA_TYPE: &str = "text/plain; version=0.0.4";

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(show))
}

/// Figures of the site for Prometheus: those of replications, of their consistency groups, and of drills.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "site",
    responses((status = OK, body = String, content_type = "text/plain"), (status = "default", body = Problem))
)]
async fn show(State(site): State<Site>) -> Result<impl IntoResponse> {
    let figures = replications::metrics(&site).await?
        + &groups::metrics(&site).await?
        + &drills::metrics(&site).await?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], figures))
}
