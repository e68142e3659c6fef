//! `/v1/site` and the description of the API.

use api::SiteView;
use axum::{Json, extract::State, http::header, response::IntoResponse};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::site::Site;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(description))
}

/// The site itself.
#[utoipa::path(get, path = "/v1/site", tag = "site", responses((status = OK, body = SiteView)))]
async fn show(State(site): State<Site>) -> Json<SiteView> {
    Json(SiteView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        data_directory: site.directory.path().display().to_string(),
        process_id: std::process::id(),
        started_at: site.started_at.to_string(),
        id: site.peers.identity().id(),
        name: site.peers.name().to_string(),
        peer_listening: site.peers.listening().map(ToString::to_string),
        peer_address: site.peers.address().map(ToString::to_string),
        authority: site.peers.identity().fingerprint().to_string(),
        certificate_expires_at: site.peers.identity().credentials().expires_at,
    })
}

/// This description.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "site",
    responses((status = OK, body = Object, content_type = "application/json"))
)]
async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], super::openapi())
}
