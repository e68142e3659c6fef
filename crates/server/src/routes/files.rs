//! `/v1/files`.

mod changes;
mod query;
mod view;

use api::{FileView, Problem, UnlockVolumes, VolumeView};
use axum::{
    Json,
    extract::{RawQuery, State},
    response::Response,
};
use files::{FileTree, Passphrase, Pattern, ROOT_START, Walk, archive};
use tokio::sync::mpsc;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    query::Query,
    view::{file, line},
};
use super::{
    extract::Body,
    stream::{Chunks, stream},
};
use crate::{
    failure::{Failure, Result},
    files as machines,
    site::Site,
};

/// Bytes of a file that are read at once.
const READ_BYTES: usize = 1 << 20;

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(volumes))
        .routes(routes!(unlock))
        .routes(routes!(list))
        .routes(routes!(find))
        .routes(routes!(content))
        .routes(routes!(archived))
        .routes(routes!(changes::changes))
}

/// What an image has that may hold files.
#[utoipa::path(
    get,
    path = "/v1/files/volumes",
    tag = "files",
    params(
        ("reference" = String, Query, description = "point:<vm>/<id, start of one, latest or time>[/<disk>] or file:<path>"),
        ("from_copy" = Option<String>, Query, description = "The copy to look in instead: <copy> or <vault>/<copy>.")
    ),
    responses((status = OK, body = Vec<VolumeView>), (status = "default", body = Problem))
)]
async fn volumes(State(site): State<Site>, RawQuery(query): RawQuery) -> Result<Json<Vec<VolumeView>>> {
    let query = Query::parse(query)?;
    let machine = query.machine(&site).await?;
    Ok(Json(machines::volume_views(&machine)))
}

/// Opens the encrypted volumes of an image, for as long as somebody looks at its files.
#[utoipa::path(
    post,
    path = "/v1/files/unlock",
    tag = "files",
    request_body = UnlockVolumes,
    responses((status = OK, body = Vec<VolumeView>), (status = "default", body = Problem))
)]
async fn unlock(
    State(site): State<Site>,
    Body(request): Body<UnlockVolumes>,
) -> Result<Json<Vec<VolumeView>>> {
    let passphrase = Passphrase::new(request.passphrase);
    let machine =
        machines::open(&site, &request.reference, request.from_copy.as_deref(), Some(passphrase)).await?;
    Ok(Json(machines::volume_views(&machine)))
}

/// What is in a directory, or the one thing that is no directory: a JSON document a line. Paths are percent-encoded bytes.
#[utoipa::path(
    get,
    path = "/v1/files",
    tag = "files",
    params(
        ("reference" = String, Query, description = "point:<vm>/<id, start of one, latest or time>[/<disk>] or file:<path>"),
        ("from_copy" = Option<String>, Query, description = "The copy to look in instead: <copy> or <vault>/<copy>."),
        ("path" = String, Query, description = "/<volume>/<path>")
    ),
    responses((status = OK, body = FileView, content_type = "application/jsonl"), (status = "default", body = Problem))
)]
async fn list(State(site): State<Site>, RawQuery(query): RawQuery) -> Result<Response> {
    let query = Query::parse(query)?;
    let (machine, path) = query.open(&site).await?;
    let work = |chunks: Chunks| async move {
        let entry = machine.stat(&path, false).await?;
        if !entry.is_directory() {
            return chunks.send(line(&file(&path, &entry))).await;
        }
        let mut start = Some(ROOT_START);
        while let Some(from) = start {
            let page = machine.list(&path, from, false).await?;
            let mut lines = Vec::new();
            for entry in &page.entries {
                lines.extend(line(&file(&path.join(&entry.name)?, entry)));
            }
            chunks.send(lines).await?;
            start = page.next;
        }
        Ok(())
    };
    stream("application/jsonl", work).await
}

/// What lies below a directory with a name that matches a pattern: a JSON document a line.
#[utoipa::path(
    get,
    path = "/v1/files/find",
    tag = "files",
    params(
        ("reference" = String, Query, description = "point:<vm>/<id, start of one, latest or time>[/<disk>] or file:<path>"),
        ("from_copy" = Option<String>, Query, description = "The copy to look in instead: <copy> or <vault>/<copy>."),
        ("path" = String, Query, description = "/<volume>/<path>"),
        ("name" = String, Query, description = "The pattern of the whole name: * for any bytes, ? for one.")
    ),
    responses((status = OK, body = FileView, content_type = "application/jsonl"), (status = "default", body = Problem))
)]
async fn find(State(site): State<Site>, RawQuery(query): RawQuery) -> Result<Response> {
    let query = Query::parse(query)?;
    let pattern = Pattern::parse(query.bytes("name").unwrap_or(b"*"))?;
    let (machine, path) = query.open(&site).await?;
    let work = |chunks: Chunks| async move {
        // So that nobody waits for the first match to learn that the path is wrong.
        let mut walk = Walk::begin(machine, &path, false).await?;
        chunks.send(Vec::new()).await?;
        while let Some(found) = walk.next().await? {
            if pattern.matches(&found.entry.name) {
                chunks.send(line(&file(&found.path, &found.entry))).await?;
            }
        }
        Ok(())
    };
    stream("application/jsonl", work).await
}

/// The content of a file.
#[utoipa::path(
    get,
    path = "/v1/files/content",
    tag = "files",
    params(
        ("reference" = String, Query, description = "point:<vm>/<id, start of one, latest or time>[/<disk>] or file:<path>"),
        ("from_copy" = Option<String>, Query, description = "The copy to look in instead: <copy> or <vault>/<copy>."),
        ("path" = String, Query, description = "/<volume>/<path>"),
        ("offset_bytes" = Option<u64>, Query, description = "Where to start, in bytes; 0 by default."),
        ("length_bytes" = Option<u64>, Query, description = "How many bytes at most; all by default.")
    ),
    responses((status = OK, content_type = "application/octet-stream"), (status = "default", body = Problem))
)]
async fn content(State(site): State<Site>, RawQuery(query): RawQuery) -> Result<Response> {
    let query = Query::parse(query)?;
    let (mut at, length) =
        (query.number("offset_bytes")?.unwrap_or(0), query.number("length_bytes")?.unwrap_or(u64::MAX));
    let (machine, path) = query.open(&site).await?;
    let end = at.saturating_add(length);
    let work = |chunks: Chunks| async move {
        loop {
            let wanted = end.saturating_sub(at).min(READ_BYTES as u64) as usize;
            let bytes = machine.read(&path, at, wanted).await?;
            let is_end = bytes.is_empty();
            at = at.saturating_add(bytes.len() as u64);
            chunks.send(bytes).await?;
            if is_end {
                return Ok(());
            }
        }
    };
    stream("application/octet-stream", work).await
}

/// A file or a directory with all that is below it, as an archive: tar, which keeps everything, or ZIP.
#[utoipa::path(
    get,
    path = "/v1/files/archive",
    tag = "files",
    params(
        ("reference" = String, Query, description = "point:<vm>/<id, start of one, latest or time>[/<disk>] or file:<path>"),
        ("from_copy" = Option<String>, Query, description = "The copy to look in instead: <copy> or <vault>/<copy>."),
        ("path" = String, Query, description = "/<volume>/<path>"),
        ("format" = Option<String>, Query, description = "tar or zip; tar by default.")
    ),
    responses((status = OK, content_type = "application/x-tar"), (status = "default", body = Problem))
)]
async fn archived(State(site): State<Site>, RawQuery(query): RawQuery) -> Result<Response> {
    let query = Query::parse(query)?;
    let is_zip = match query.bytes("format") {
        None | Some(b"tar") => false,
        Some(b"zip") => true,
        Some(_) => return Err(Failure::invalid("the format is neither tar nor zip")),
    };
    let (machine, path) = query.open(&site).await?;
    let work = move |chunks: Chunks| async move {
        let (sender, mut written) = mpsc::channel(1);
        let archived = async move {
            let sink = archive::Sink::new(sender);
            if is_zip {
                archive::zip(machine, &path, &sink).await
            } else {
                archive::tar(machine, &path, &sink).await
            }
        };
        let forwarded = async {
            while let Some(bytes) = written.recv().await {
                chunks.send(bytes).await?;
            }
            Ok(())
        };
        tokio::try_join!(async { archived.await.map_err(Failure::from) }, forwarded).map(|_: ((), ())| ())
    };
    stream(if is_zip { "application/zip" } else { "application/x-tar" }, work).await
}
