//! `/v1/uploads`.

use api::{BeginUpload, JobView, Problem, SealUpload, SiteDiskView, UPLOAD_BLOCK_BYTES, UploadedBlocksView};
use axum::{
    Json,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
};
use serde::Deserialize;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt as _},
    routes,
};

use super::extract::{Body, Parameters, Segment, Segments};
use crate::{
    disks::{self, upload},
    failure::{Failure, Result},
    jobs,
    site::Site,
    work,
};

pub(super) fn routes() -> OpenApiRouter<Site> {
    let limit = DefaultBodyLimit::max(UPLOAD_BLOCK_BYTES as usize);
    OpenApiRouter::new()
        .routes(routes!(begin))
        .routes(routes!(blocks))
        .routes(routes!(put).layer(limit))
        .routes(routes!(seal))
}

/// Begins to upload a disk, or goes on with the upload of the same name and size. It is a disk once it is sealed; to give it up,
/// delete the disk.
#[utoipa::path(
    post,
    path = "/v1/uploads",
    tag = "disks",
    request_body = BeginUpload,
    responses((status = OK, body = SiteDiskView), (status = "default", body = Problem))
)]
async fn begin(State(site): State<Site>, Body(request): Body<BeginUpload>) -> Result<Json<SiteDiskView>> {
    let disk = upload::begin(&site, request).await?;
    disks::view(&site, &disk).await.map(Json)
}

#[derive(Deserialize)]
struct BlocksParameters {
    #[serde(default)]
    start: u64,
}

/// The blocks that the server has, with their digests, a page at a time: what is to be sent is everything else that is not zeros.
#[utoipa::path(
    get,
    path = "/v1/uploads/{disk}/blocks",
    tag = "disks",
    params(
        ("disk" = String, Path, description = "The disk's name or id."),
        ("start" = Option<u64>, Query, description = "Where to begin: 0, or the next of the page before.")
    ),
    responses((status = OK, body = UploadedBlocksView), (status = "default", body = Problem))
)]
async fn blocks(
    State(site): State<Site>,
    Segment(disk): Segment,
    Parameters(asked): Parameters<BlocksParameters>,
) -> Result<Json<UploadedBlocksView>> {
    upload::blocks(&site, &disks::find(&site, &disk).await?, asked.start).await.map(Json)
}

#[derive(Deserialize)]
struct PutParameters {
    blake3: String,
}

/// Takes a block of 4 MiB, or the shorter last one; durable when this answers. A block may be sent again, and then replaces the
/// one before.
#[utoipa::path(
    put,
    path = "/v1/uploads/{disk}/blocks/{number}",
    tag = "disks",
    params(
        ("disk" = String, Path, description = "The disk's name or id."),
        ("number" = u64, Path, description = "The block's offset divided by 4 MiB."),
        ("blake3" = String, Query, description = "The BLAKE3 digest of the bytes, in 64 hexadecimal digits.")
    ),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = NO_CONTENT), (status = "default", body = Problem))
)]
async fn put(
    State(site): State<Site>,
    Segments(disk, number): Segments,
    Parameters(asked): Parameters<PutParameters>,
    bytes: Bytes,
) -> Result<StatusCode> {
    let number =
        number.parse().map_err(|_| Failure::invalid(format!("{number:?} is not the number of a block")))?;
    let disk = disks::find(&site, &disk).await?;
    upload::put(&site, &disk, number, &asked.blake3, bytes.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends an upload: starts to check everything once more and to make the disk out of it.
#[utoipa::path(
    post,
    path = "/v1/uploads/{disk}/seal",
    tag = "disks",
    params(("disk" = String, Path, description = "The disk's name or id.")),
    request_body = SealUpload,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn seal(
    State(site): State<Site>,
    Segment(disk): Segment,
    Body(request): Body<SealUpload>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::seal_upload(&site, &disks::find(&site, &disk).await?, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}
