//! A job is asked for.

use std::sync::Arc;

use api::Code;
use catalog::Job;
use model::{JobId, JobKind, JobState, Progress, VaultId, VmId};
use serde_json::Value;
use tokio::sync::watch;

use super::{ActiveJob, Jobs, Work};
use crate::failure::{Failure, Result};

/// What is known of a job before it exists.
#[derive(Debug)]
pub(crate) struct JobDraft {
    pub(crate) kind: JobKind,
    /// What it is done to, in words.
    pub(crate) subject: String,
    /// The VM that nobody else may work on meanwhile.
    pub(crate) vm_id: Option<VmId>,
    pub(crate) vault_id: Option<VaultId>,
    /// What was asked for.
    pub(crate) request: Value,
}

impl Jobs {
    /// Lines a job up and returns it. It is in the catalog when this returns, and goes on whatever becomes of the caller.
    pub(crate) async fn submit(self: &Arc<Self>, draft: JobDraft, work: Work) -> Result<Job> {
        if self.stopping.is_cancelled() {
            return Err(Failure::new(Code::Interrupted, "the server is stopping and takes no new jobs"));
        }
        let id = JobId::from_random(env::random(&*self.env.entropy));
        let ticket = match draft.kind {
            // They may take days, and no backup waits for them.
            JobKind::Copy | JobKind::Hydrate | JobKind::RunPlan | JobKind::Drill => {
                self.queue.enter_background(id)
            }
            JobKind::Snapshot
            | JobKind::TestFailover
            | JobKind::FailOver
            | JobKind::ChangePoint
            | JobKind::HandOver => self.queue.enter_promptly(id, draft.vm_id),
            _ => self.queue.enter(id, draft.vm_id),
        };
        let job = Job {
            id,
            kind: draft.kind,
            subject: draft.subject,
            vm_id: draft.vm_id,
            vault_id: draft.vault_id,
            request: draft.request,
            state: JobState::Queued,
            created_at: self.env.clock.now(),
            started_at: None,
            ended_at: None,
            progress: ticket.blocker().map(waiting_for).unwrap_or_default(),
            result: None,
            problem: None,
            warnings: Vec::new(),
        };
        self.catalog.add_job(&job).await?;
        let active = Arc::new(ActiveJob {
            job: watch::Sender::new(job.clone()),
            cancellation: self.stopping.child_token(),
        });
        self.lock().insert(id, active.clone());
        tracing::info!(job = %id, kind = %job.kind, subject = job.subject, "a job was asked for");
        self.tasks.spawn(self.clone().live(active, ticket, work));
        Ok(job)
    }
}

/// The progress of a job that waits for its turn.
pub(super) fn waiting_for(blocker: String) -> Progress {
    Progress { phase: format!("waiting for {blocker}"), done_bytes: 0, total_bytes: None }
}
