//! Watching a restore that runs in this very process.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use api::{JobView, ProgressView};
use env::Clock as _;
use model::{JobId, JobKind, JobState};
use protection::Monitor;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    output::{Tone, tell},
    wait::Progress,
};

/// The least time between two pictures of the same phase.
const INTERVAL: Duration = Duration::from_millis(100);

/// Who watches.
struct Watcher {
    shown: Mutex<Shown>,
    cancellation: CancellationToken,
}

struct Shown {
    progress: Progress,
    /// The restore as the job that it would be.
    job: JobView,
    last: Option<Instant>,
}

/// Runs a restore, shows how far it is, and stops it when the person asks for it.
pub async fn watched<T>(
    context: &Context,
    kind: JobKind,
    subject: &str,
    restore: impl AsyncFnOnce(Arc<dyn Monitor>) -> protection::Result<T>,
) -> Result<T, Failure> {
    let watcher = Arc::new(Watcher {
        shown: Mutex::new(Shown {
            progress: Progress::new(&context.output),
            job: job(kind, subject),
            last: None,
        }),
        cancellation: CancellationToken::new(),
    });
    let cancellation = watcher.cancellation.clone();
    let interrupt = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            cancellation.cancel();
        }
    });
    let restored = restore(watcher.clone()).await;
    interrupt.abort();
    watcher.lock().progress.finish();
    restored.map_err(|error| match error.kind() {
        protection::ErrorKind::Cancelled => {
            Failure::new(Exit::Interrupted, "interrupted; no file was left behind")
        }
        _ => Failure::from(error),
    })
}

impl Watcher {
    fn lock(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor for Watcher {
    fn progress(&self, progress: model::Progress) {
        let mut shown = self.lock();
        let is_new_phase = shown.job.progress.phase != progress.phase;
        let now = Instant::now();
        if !is_new_phase && shown.last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            return;
        }
        shown.last = Some(now);
        shown.job.progress = ProgressView {
            phase: progress.phase,
            done_bytes: progress.done_bytes,
            total_bytes: progress.total_bytes,
        };
        let Shown { progress, job, .. } = &mut *shown;
        progress.observe(job);
    }

    fn warn(&self, warning: String) {
        tell(Tone::Warning, &warning);
    }

    fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }
}

fn job(kind: JobKind, subject: &str) -> JobView {
    let now = env::SystemClock.now();
    JobView {
        id: JobId::from_random([0; 10]),
        kind,
        subject: subject.to_owned(),
        state: JobState::Running,
        created_at: now,
        started_at: Some(now),
        ended_at: None,
        progress: ProgressView::default(),
        result: None,
        problem: None,
        warnings: Vec::new(),
    }
}
