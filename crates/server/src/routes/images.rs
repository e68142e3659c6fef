//! `/v1/exports` and `/v1/images`.

use std::time::Duration;

use api::{
    ExportRequest, ImageExtentView, ImageExtentsView, JobView, NbdRequest, NbdView, Problem,
    UPLOAD_BLOCK_BYTES,
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use image::ByteRange;
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::{Body, Parameters},
    stream::{Chunks, stream},
};
use crate::{
    failure::Result,
    images::{self, Page, ShownOverNbd, Source},
    jobs,
    site::Site,
    work,
};

/// What is read of an image at once, in bytes.
const PIECE_BYTES: u64 = 1 << 20;

/// The time after which a quiet answer shows that it lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The longest answer that has a digest: it is read before the first byte is sent.
const DIGEST_MAX_BYTES: u64 = UPLOAD_BLOCK_BYTES;

/// The header with the digest of an answer's bytes.
const DIGEST_HEADER: &str = "holdfast-blake3";

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(export))
        .routes(routes!(extents))
        .routes(routes!(changes))
        .routes(routes!(data))
        .routes(routes!(nbd))
}

/// Starts to write an image to a file of any format.
#[utoipa::path(
    post,
    path = "/v1/exports",
    tag = "images",
    request_body = ExportRequest,
    responses((status = ACCEPTED, body = JobView), (status = "default", body = Problem))
)]
async fn export(
    State(site): State<Site>,
    Body(request): Body<ExportRequest>,
) -> Result<(StatusCode, Json<JobView>)> {
    let job = work::export(&site, request).await?;
    Ok((StatusCode::ACCEPTED, Json(jobs::view(job))))
}

#[derive(Deserialize)]
struct ExtentsParameters {
    reference: String,
    from_copy: Option<String>,
    #[serde(default)]
    offset_bytes: u64,
}

/// The ranges of an image that may hold something else than zeros, a page at a time.
#[utoipa::path(
    get,
    path = "/v1/images/extents",
    tag = "images",
    params(
        ("reference" = String, Query, description = "point:<vm>/<point>/<disk>, snapshot:<name>/<disk> or file:<path>"),
        ("from_copy" = Option<String>, Query, description = "The copy to look in instead: <copy> or <vault>/<copy>."),
        ("offset_bytes" = Option<u64>, Query, description = "Where to begin: 0, or the next_bytes of the page before.")
    ),
    responses((status = OK, body = ImageExtentsView), (status = "default", body = Problem))
)]
async fn extents(
    State(site): State<Site>,
    Parameters(asked): Parameters<ExtentsParameters>,
) -> Result<Json<ImageExtentsView>> {
    let source = Source::resolve_one(&site, &asked.reference, asked.from_copy.as_deref()).await?;
    Ok(Json(view(images::extents(&source.open_one(&site).await?, asked.offset_bytes).await?)))
}

#[derive(Deserialize)]
struct ChangesParameters {
    base: String,
    reference: String,
    from_copy: Option<String>,
    #[serde(default)]
    offset_bytes: u64,
}

/// The ranges in which two images differ, in blocks of 4 KiB, a page at a time. A page may be empty and yet not the last.
#[utoipa::path(
    get,
    path = "/v1/images/changes",
    tag = "images",
    params(
        ("base" = String, Query, description = "The image to compare with."),
        ("reference" = String, Query, description = "point:<vm>/<point>/<disk>, snapshot:<name>/<disk> or file:<path>"),
        ("from_copy" = Option<String>, Query, description = "The copy to look in for both: <copy> or <vault>/<copy>."),
        ("offset_bytes" = Option<u64>, Query, description = "Where to begin: 0, or the next_bytes of the page before.")
    ),
    responses((status = OK, body = ImageExtentsView), (status = "default", body = Problem))
)]
async fn changes(
    State(site): State<Site>,
    Parameters(asked): Parameters<ChangesParameters>,
) -> Result<Json<ImageExtentsView>> {
    let copy = asked.from_copy.as_deref();
    let base = Source::resolve_one(&site, &asked.base, copy).await?.open_one(&site).await?;
    let image = Source::resolve_one(&site, &asked.reference, copy).await?.open_one(&site).await?;
    Ok(Json(view(images::changes(&base, &image, asked.offset_bytes).await?)))
}

#[derive(Deserialize)]
struct DataParameters {
    reference: String,
    from_copy: Option<String>,
    #[serde(default)]
    offset_bytes: u64,
    length_bytes: Option<u64>,
}

/// The bytes of an image, or of a range of it. Every byte is checked before it is sent; an answer that cannot go on is
/// broken off without the end of its last chunk. An answer of at most 4 MiB has the BLAKE3 digest of its bytes in the header
/// `holdfast-blake3`, in hexadecimal digits.
#[utoipa::path(
    get,
    path = "/v1/images/data",
    tag = "images",
    params(
        ("reference" = String, Query, description = "point:<vm>/<point>/<disk>, snapshot:<name>/<disk> or file:<path>"),
        ("from_copy" = Option<String>, Query, description = "The copy to look in instead: <copy> or <vault>/<copy>."),
        ("offset_bytes" = Option<u64>, Query, description = "The first byte."),
        ("length_bytes" = Option<u64>, Query, description = "The number of bytes; up to the end where it is left out.")
    ),
    responses(
        (status = OK, body = String, content_type = "application/octet-stream"),
        (status = "default", body = Problem)
    )
)]
async fn data(State(site): State<Site>, Parameters(asked): Parameters<DataParameters>) -> Result<Response> {
    let source = Source::resolve_one(&site, &asked.reference, asked.from_copy.as_deref()).await?;
    let image = source.open_one(&site).await?.image;
    let rest_bytes = image.size_bytes().saturating_sub(asked.offset_bytes);
    let range = ByteRange {
        offset_bytes: asked.offset_bytes,
        length_bytes: asked.length_bytes.unwrap_or(rest_bytes),
    };
    range.check_within(image.size_bytes())?;
    if range.length_bytes <= DIGEST_MAX_BYTES {
        let mut bytes = vec![0; range.length_bytes as usize];
        image.read_at(range.offset_bytes, &mut bytes).await?;
        let digest = blake3::hash(&bytes).to_hex().to_string();
        let headers = [(header::CONTENT_TYPE.as_str(), "application/octet-stream"), (DIGEST_HEADER, &digest)];
        return Ok((headers, bytes).into_response());
    }
    let work = |chunks: Chunks| async move {
        let mut rest = range;
        while !rest.is_empty() {
            let mut piece = vec![0; rest.length_bytes.min(PIECE_BYTES) as usize];
            image.read_at(rest.offset_bytes, &mut piece).await?;
            rest = ByteRange::between(rest.offset_bytes + piece.len() as u64, rest.end_bytes());
            chunks.send(piece).await?;
        }
        Ok(())
    };
    stream("application/octet-stream", work).await
}

/// Shows the disks of an image over NBD, read-only. The answer is one line, and then an empty one from time to time: the disks
/// are shown for as long as the client takes it.
#[utoipa::path(
    post,
    path = "/v1/images/nbd",
    tag = "images",
    request_body = NbdRequest,
    responses(
        (status = OK, body = NbdView, content_type = "application/jsonl"),
        (status = "default", body = Problem)
    )
)]
async fn nbd(State(site): State<Site>, Body(request): Body<NbdRequest>) -> Result<Response> {
    let shown = ShownOverNbd::begin(&site, &request).await?;
    // A view is plain data: writing it as JSON cannot fail.
    let line = serde_json::to_string(shown.view()).unwrap_or_default() + "\n";
    let work = |chunks: Chunks| async move {
        chunks.send(line).await?;
        let alive = async {
            loop {
                tokio::time::sleep(KEEP_ALIVE_INTERVAL).await;
                if chunks.send("\n").await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = shown.serve() => {}
            () = alive => {}
            () = chunks.gone() => {}
            () = site.stopping.cancelled() => {}
        }
        Ok(())
    };
    stream("application/jsonl", work).await
}

fn view(page: Page) -> ImageExtentsView {
    let extents = page
        .ranges
        .iter()
        .map(|range| ImageExtentView { offset_bytes: range.offset_bytes, length_bytes: range.length_bytes });
    ImageExtentsView { size_bytes: page.size_bytes, extents: extents.collect(), next_bytes: page.next_bytes }
}
