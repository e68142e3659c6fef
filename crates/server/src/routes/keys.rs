//! `/v1/vaults/…/keys` and `/v1/vaults/…/recovery-kits`.

use api::{AddKey, AddedKey, KeySlotView, MakeRecoveryKit, Problem, RecoveryKitView};
use axum::{Json, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{Body, Segment, Segments};
use crate::{failure::Result, site::Site, vaults};

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(remove))
        .routes(routes!(rotate))
        .routes(routes!(make_recovery_kit))
}

/// A vault's keys, oldest first; slots that open nothing last.
#[utoipa::path(
    get,
    path = "/v1/vaults/{vault}/keys",
    tag = "keys",
    params(("vault" = String, Path, description = "The vault's name or id.")),
    responses((status = OK, body = Vec<KeySlotView>), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>, Segment(vault): Segment) -> Result<Json<Vec<KeySlotView>>> {
    let known = site.vaults.find(&vault).await?;
    vaults::keys(&site, &known).await.map(Json)
}

/// Gives a vault another key. Data is not encrypted anew.
#[utoipa::path(
    post,
    path = "/v1/vaults/{vault}/keys",
    tag = "keys",
    params(("vault" = String, Path, description = "The vault's name or id.")),
    request_body = AddKey,
    responses((status = CREATED, body = AddedKey), (status = "default", body = Problem))
)]
async fn add(
    State(site): State<Site>,
    Segment(vault): Segment,
    Body(request): Body<AddKey>,
) -> Result<(StatusCode, Json<AddedKey>)> {
    let known = site.vaults.find(&vault).await?;
    Ok((StatusCode::CREATED, Json(vaults::add_key(&site, &known, request).await?)))
}

/// Takes a key from a vault; never the last.
#[utoipa::path(
    delete,
    path = "/v1/vaults/{vault}/keys/{key}",
    tag = "keys",
    params(("vault" = String, Path, description = "The vault's name or id."), ("key" = String, Path, description = "The key's id, or a unique start of it.")),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn remove(State(site): State<Site>, Segments(vault, key): Segments) -> Result<StatusCode> {
    let known = site.vaults.find(&vault).await?;
    vaults::remove_key(&site, &known, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts a new key in the place of an old one, which goes when the new one is known to open the vault.
#[utoipa::path(
    post,
    path = "/v1/vaults/{vault}/keys/{key}/rotate",
    tag = "keys",
    params(("vault" = String, Path, description = "The vault's name or id."), ("key" = String, Path, description = "The key's id, or a unique start of it.")),
    request_body = AddKey,
    responses((status = CREATED, body = AddedKey), (status = "default", body = Problem))
)]
async fn rotate(
    State(site): State<Site>,
    Segments(vault, key): Segments,
    Body(request): Body<AddKey>,
) -> Result<(StatusCode, Json<AddedKey>)> {
    let known = site.vaults.find(&vault).await?;
    Ok((StatusCode::CREATED, Json(vaults::rotate_key(&site, &known, &key, request).await?)))
}

/// Makes a recovery kit: a key of its own, and a page to print that says how to restore with it. The site does not keep it.
#[utoipa::path(
    post,
    path = "/v1/vaults/{vault}/recovery-kits",
    tag = "keys",
    params(("vault" = String, Path, description = "The vault's name or id.")),
    request_body = MakeRecoveryKit,
    responses((status = CREATED, body = RecoveryKitView), (status = "default", body = Problem))
)]
async fn make_recovery_kit(
    State(site): State<Site>,
    Segment(vault): Segment,
    Body(request): Body<MakeRecoveryKit>,
) -> Result<(StatusCode, Json<RecoveryKitView>)> {
    let known = site.vaults.find(&vault).await?;
    Ok((StatusCode::CREATED, Json(vaults::make_recovery_kit(&site, &known, request).await?)))
}
