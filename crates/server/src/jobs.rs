//! Jobs: long work that outlives the request that asked for it.
//!
//! A job is one task, which alone writes the job's row in the catalog. It waits for its turn, works, and ends exactly
//! once: succeeded, failed or cancelled, also when its work panics or the server stops. A job that a dead server left
//! unfinished ends as interrupted when the next server starts. What the work *is*, is somebody else's business.

mod cancel;
mod follow;
mod progress;
mod queue;
mod restart;
mod run;
mod submit;
mod view;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use api::JobResult;
use catalog::{Catalog, Job};
use env::Env;
use futures::future::BoxFuture;
use model::{JobId, VmId};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::{
    progress::JobMonitor,
    queue::{Holder, Queue, Ticket},
    submit::JobDraft,
    view::view,
};
use crate::failure::Failure;

/// What a job does once it is its turn.
pub(crate) type Work = Box<dyn FnOnce(Arc<JobMonitor>) -> BoxFuture<'static, Outcome> + Send>;

/// How work ends.
pub(crate) type Outcome = std::result::Result<JobResult, WorkFailure>;

/// Why work failed, and what it did nevertheless.
#[derive(Debug)]
pub(crate) struct WorkFailure {
    pub(crate) failure: Failure,
    pub(crate) result: Option<Box<JobResult>>,
}

impl<E: Into<Failure>> From<E> for WorkFailure {
    fn from(error: E) -> Self {
        Self { failure: error.into(), result: None }
    }
}

/// The jobs of a site.
pub(crate) struct Jobs {
    catalog: Catalog,
    env: Env,
    queue: Arc<Queue>,
    active: Mutex<BTreeMap<JobId, Arc<ActiveJob>>>,
    tasks: TaskTracker,
    /// Cancelled when the server stops.
    stopping: CancellationToken,
}

/// A job that has not ended.
struct ActiveJob {
    /// What is known of it now; everyone who follows it watches this.
    job: watch::Sender<Job>,
    cancellation: CancellationToken,
}

impl Jobs {
    /// Jobs of which at most `running_limit` run at once.
    pub(crate) fn new(catalog: Catalog, env: Env, running_limit: usize) -> Arc<Self> {
        Arc::new(Self {
            catalog,
            env,
            queue: Queue::new(running_limit),
            active: Mutex::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        })
    }

    /// Who may work on which VM now.
    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// The job that works on a VM or, failing that, the first that waits to.
    pub(crate) fn of_vm(&self, vm_id: VmId) -> Option<JobId> {
        let active = self.lock();
        let jobs = active.values().map(|active| active.job.borrow());
        jobs.filter(|job| job.vm_id == Some(vm_id))
            .min_by_key(|job| (job.started_at.is_none(), job.created_at))
            .map(|job| job.id)
    }

    /// Jobs that have not ended, in no order.
    pub(crate) fn unfinished(&self) -> Vec<Job> {
        self.lock().values().map(|active| active.job.borrow().clone()).collect()
    }

    fn active(&self, id: JobId) -> Option<Arc<ActiveJob>> {
        self.lock().get(&id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<JobId, Arc<ActiveJob>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
