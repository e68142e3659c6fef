//! `/v1/files/changes`.

use api::{FileChange, FileChangeView, FileDifference, FileStateView, Problem};
use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use files::{
    Entry,
    diff::{Change, Diff, Difference, Side},
};
use model::ByteCount;

use super::{
    Query,
    view::{kind, line, moment, path_text, target},
};
use crate::{
    failure::{Failure, Result},
    files as machines,
    routes::stream::{Chunks, stream},
    site::Site,
};

/// Lines that are sent together, in bytes.
const PIECE_BYTES: usize = 32 << 10;

/// What differs between the files of two images, in the order of paths: a JSON document a line. Volumes are matched by name.
#[utoipa::path(
    get,
    path = "/v1/files/changes",
    tag = "files",
    params(
        ("base" = String, Query, description = "The image to compare with."),
        ("reference" = String, Query, description = "point:<vm>/<id, start of one, latest or time>[/<disk>] or file:<path>"),
        ("from_copy" = Option<String>, Query, description = "The copy to look in for both: <copy> or <vault>/<copy>."),
        ("path" = Option<String>, Query, description = "/<volume>/<path>; all volumes by default."),
        ("content" = Option<bool>, Query, description = "Compare the bytes of files that have the same size.")
    ),
    responses(
        (status = OK, body = FileChangeView, content_type = "application/jsonl"),
        (status = "default", body = Problem)
    )
)]
pub(super) async fn changes(State(site): State<Site>, RawQuery(query): RawQuery) -> Result<Response> {
    let query = Query::parse(query)?;
    let missing = |key: &str| Failure::invalid(format!("the query has no {key}"));
    let base = query.text("base")?.ok_or_else(|| missing("base"))?;
    let reference = query.text("reference")?.ok_or_else(|| missing("reference"))?;
    let with_content = match query.text("content")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Failure::invalid("content is neither true nor false")),
    };
    let (path, copy) = (query.path()?, query.text("from_copy")?);
    let (before, after) = tokio::try_join!(
        machines::open(&site, base, copy, None),
        machines::open(&site, reference, copy, None)
    )?;
    let work = move |chunks: Chunks| async move {
        let mut diff = Diff::new(before, after, &path, with_content);
        let mut lines = Vec::new();
        while let Some(change) = diff.next().await? {
            lines.extend(line(&view(&change)));
            if lines.len() >= PIECE_BYTES {
                chunks.send(std::mem::take(&mut lines)).await?;
            }
        }
        chunks.send(lines).await
    };
    stream("application/jsonl", work).await
}

fn view(change: &Change) -> FileChangeView {
    let (path, path_hex) = path_text(match change {
        Change::Added(found) | Change::Removed(found) => &found.path,
        Change::Changed { path, .. } | Change::Unreadable { path, .. } => path,
    });
    let none = FileChangeView {
        path,
        path_hex,
        change: FileChange::Unreadable,
        differences: Vec::new(),
        before: None,
        after: None,
        reason: None,
    };
    match change {
        Change::Added(found) => {
            FileChangeView { change: FileChange::Added, after: Some(state(&found.entry)), ..none }
        }
        Change::Removed(found) => {
            FileChangeView { change: FileChange::Removed, before: Some(state(&found.entry)), ..none }
        }
        Change::Changed { before, after, differences, .. } => FileChangeView {
            change: FileChange::Changed,
            differences: differences.iter().copied().map(difference).collect(),
            before: Some(state(before)),
            after: Some(state(after)),
            ..none
        },
        Change::Unreadable { side, error, .. } => {
            let image = match side {
                Side::Before => "the first image",
                Side::After => "the second image",
            };
            FileChangeView { reason: Some(format!("in {image}: {error}")), ..none }
        }
    }
}

fn state(entry: &Entry) -> FileStateView {
    FileStateView {
        kind: kind(&entry.kind),
        mode: format!("{:04o}", entry.mode),
        user: entry.user,
        group: entry.group,
        size_bytes: ByteCount(entry.size_bytes),
        modified_at: moment(entry.modified),
        changed_at: moment(entry.changed),
        target: target(&entry.kind),
    }
}

fn difference(difference: Difference) -> FileDifference {
    match difference {
        Difference::Kind => FileDifference::Kind,
        Difference::Size => FileDifference::Size,
        Difference::Mode => FileDifference::Mode,
        Difference::Owner => FileDifference::Owner,
        Difference::Times => FileDifference::Times,
        Difference::Target => FileDifference::Target,
        Difference::Device => FileDifference::Device,
        Difference::Attributes => FileDifference::Attributes,
        Difference::Content => FileDifference::Content,
        Difference::ContentLikely => FileDifference::ContentLikely,
    }
}
