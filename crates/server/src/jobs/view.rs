//! Jobs on the wire.

use api::{JobView, ProgressView};
use catalog::Job;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The view of a job.
pub(crate) fn view(job: Job) -> JobView {
    JobView {
        id: job.id,
        kind: job.kind,
        subject: job.subject,
        state: job.state,
        created_at: job.created_at,
        started_at: job.started_at,
        ended_at: job.ended_at,
        progress: ProgressView {
            phase: job.progress.phase,
            done_bytes: job.progress.done_bytes,
            total_bytes: job.progress.total_bytes,
        },
        result: readable(job.result),
        problem: readable(job.problem),
        warnings: job.warnings,
    }
}

/// A document of a job; none when another version of Holdfast wrote it in a way that this one cannot read.
fn readable<T: DeserializeOwned>(document: Option<Value>) -> Option<T> {
    document.and_then(|document| {
        serde_json::from_value(document)
            .inspect_err(|error| tracing::debug!(%error, "a document of an old job cannot be read"))
            .ok()
    })
}
