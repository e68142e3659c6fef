//! `/v1/points` and `/v1/point`.

use api::{PointView, Problem};
use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::Parameters;
use crate::{
    failure::Result,
    points::{self, FoundPoint, Survey},
    site::Site,
};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

#[derive(Deserialize)]
struct ListParameters {
    vm: Option<String>,
}

/// Recovery points, oldest first. A vault that cannot be read only keeps its own points back; it is an error when
/// nothing else is found.
#[utoipa::path(
    get,
    path = "/v1/points",
    tag = "points",
    params(("vm" = Option<String>, Query, description = "The name or id of a VM, known or not; none means all.")),
    responses((status = OK, body = Vec<PointView>), (status = "default", body = Problem))
)]
async fn list(
    State(site): State<Site>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<Vec<PointView>>> {
    let mut survey = Survey::take(&site).await?;
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
}

/// The recovery point that a reference names, with the VM's definition.
#[utoipa::path(
    get,
    path = "/v1/point",
    tag = "points",
    params(("reference" = String, Query, description = "point:<vm>/<id, start of one, latest or time>[/<disk>]")),
    responses((status = OK, body = PointView), (status = "default", body = Problem))
)]
async fn show(
    State(site): State<Site>,
    Parameters(parameters): Parameters<ShowParameters>,
) -> Result<Json<PointView>> {
    let reference = points::parse(&parameters.reference)?;
    Ok(Json(points::resolve(&site, &reference).await?.whole_view()))
}
