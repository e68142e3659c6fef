//! Recovery plans: kept, judged, and carried out.
//!
//! What is done when, [`plan::Run`] decides; a [`runner`] carries it out, in a job: it keeps the run in the catalog, then does
//! what came out. A server that ends leaves the run as it is kept, and the next one goes on with it in a job of its own.

mod check;
mod command;
mod edit;
mod runner;
mod share;
mod source;
mod steps;
mod view;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    sync::{Mutex, PoisonError},
};

use model::{PlanRunId, VmId};
use tokio::sync::{Notify, mpsc::UnboundedSender};

use self::runner::Asked;
pub(crate) use self::{
    command::{begin, begin_drill, command, go_on, is_drill, preview, runs, show_run},
    edit::{create, edit, history, list, remove, validate},
    share::{accept, receive, watch},
    source::{state as source_state, tell as tell_source},
    steps::test_name,
    view::{plan_view, version_view},
};
use crate::runbooks::for_others::RunsForOthers;

/// The runs that are carried out now, and what they need.
pub(crate) struct Plans {
    /// The command that runs the supervisor of programs.
    pub(crate) supervisor: Vec<OsString>,
    /// Plans or runbooks were written or forgotten: other sites may lack them.
    pub(crate) changed: Notify,
    /// Runbooks that are run for plans of other sites.
    pub(crate) for_others: RunsForOthers,
    running: Mutex<BTreeMap<PlanRunId, UnboundedSender<Asked>>>,
    /// Held while a run comes to be carried out, so that no VM is in two.
    gate: tokio::sync::Mutex<()>,
    /// VMs that are being shut down for plans of other sites, and those that could not be, with the reason.
    shut_downs: Mutex<BTreeMap<VmId, ShutDown>>,
}

/// What becomes of a guest that is asked to shut down.
#[derive(Debug, Clone)]
enum ShutDown {
    UnderWay,
    Failed(String),
}

impl Plans {
    /// No run is carried out yet.
    pub(crate) fn new(supervisor: Vec<OsString>) -> Self {
        Self {
            supervisor,
            changed: Notify::new(),
            for_others: RunsForOthers::default(),
            running: Mutex::default(),
            gate: tokio::sync::Mutex::default(),
            shut_downs: Mutex::default(),
        }
    }

    fn asked_at(&self, run: PlanRunId) -> Option<UnboundedSender<Asked>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(&run).cloned()
    }

    fn admit(&self, run: PlanRunId, asked: UnboundedSender<Asked>) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(run, asked);
    }

    fn shut_down_of(&self, vm: VmId) -> Option<ShutDown> {
        self.shut_downs.lock().unwrap_or_else(PoisonError::into_inner).get(&vm).cloned()
    }

    fn note_shut_down(&self, vm: VmId, what: Option<ShutDown>) {
        let mut shut_downs = self.shut_downs.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Some(what) => drop(shut_downs.insert(vm, what)),
            None => drop(shut_downs.remove(&vm)),
        }
    }

    fn forget(&self, run: PlanRunId) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
    }
}
