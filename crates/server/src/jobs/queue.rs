//! Whose turn it is: first come, first served, but one at a time for each VM, and only so many jobs at once.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{JobId, VmId};
use tokio::sync::watch;

/// Who has a place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A job, which counts against the limit.
    Job(JobId),
    /// A job that waits for its VM alone: a moment that comes late is another moment. It counts against no limit.
    Prompt(JobId),
    /// A job that nobody must wait for, and that waits for nobody: it counts against no limit.
    Background(JobId),
    /// Something short that is done to a VM at once, such as "starting it".
    Operation(&'static str),
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) | Self::Prompt(id) | Self::Background(id) => write!(formatter, "job {id}"),
            Self::Operation(what) => write!(formatter, "the server, which is {what}"),
        }
    }
}

#[derive(Debug)]
struct Entry {
    number: u64,
    holder: Holder,
    vm_id: Option<VmId>,
    running: bool,
}

#[derive(Debug, Default)]
struct State {
    /// In order of arrival.
    entries: Vec<Entry>,
    next_number: u64,
}

/// The queue of all work.
#[derive(Debug)]
pub(crate) struct Queue {
    running_limit: usize,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// A place in the queue, given up when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    number: u64,
}

impl Queue {
    pub(crate) fn new(running_limit: usize) -> Arc<Self> {
        Arc::new(Self {
            running_limit: running_limit.max(1),
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        })
    }

    /// Lines up for a job.
    pub(crate) fn enter(self: &Arc<Self>, job: JobId, vm_id: Option<VmId>) -> Ticket {
        self.push(&mut self.lock(), Entry { number: 0, holder: Holder::Job(job), vm_id, running: false })
    }

    /// Lines up for a job that waits for nothing but its VM.
    pub(crate) fn enter_promptly(self: &Arc<Self>, job: JobId, vm_id: Option<VmId>) -> Ticket {
        self.push(&mut self.lock(), Entry { number: 0, holder: Holder::Prompt(job), vm_id, running: false })
    }

    /// Lets a job in that runs beside all others.
    pub(crate) fn enter_background(self: &Arc<Self>, job: JobId) -> Ticket {
        let holder = Holder::Background(job);
        self.push(&mut self.lock(), Entry { number: 0, holder, vm_id: None, running: false })
    }

    /// Takes a VM at once for something short.
    ///
    /// # Errors
    /// Whoever has the VM or waits for it.
    pub(crate) fn claim(self: &Arc<Self>, vm_id: VmId, operation: &'static str) -> Result<Ticket, Holder> {
        let mut state = self.lock();
        if let Some(entry) = state.entries.iter().find(|entry| entry.vm_id == Some(vm_id)) {
            return Err(entry.holder);
        }
        let holder = Holder::Operation(operation);
        Ok(self.push(&mut state, Entry { number: 0, holder, vm_id: Some(vm_id), running: true }))
    }

    fn push(self: &Arc<Self>, state: &mut State, entry: Entry) -> Ticket {
        let number = state.next_number;
        state.next_number += 1;
        state.entries.push(Entry { number, ..entry });
        Ticket { queue: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What an entry waits for; none when it is its turn. A job that waits for its VM keeps nobody else waiting.
    fn blocker(&self, number: u64, running_limit: usize) -> Option<String> {
        let is_job = |entry: &&Entry| matches!(entry.holder, Holder::Job(_));
        let mut taken = self.entries.iter().filter(is_job).filter(|entry| entry.running).count();
        let mut busy: BTreeSet<VmId> =
            self.entries.iter().filter(|entry| entry.running).filter_map(|entry| entry.vm_id).collect();
        for entry in self.entries.iter().filter(|entry| !entry.running) {
            let free = entry.vm_id.is_none_or(|vm_id| busy.insert(vm_id));
            if entry.number == number {
                return if !free {
                    let first = self.entries.iter().find(|other| other.vm_id == entry.vm_id)?;
                    Some(first.holder.to_string())
                } else if is_job(&entry) && taken >= running_limit {
                    Some(format!("one of {running_limit} running jobs to end"))
                } else {
                    None
                };
            }
            taken += usize::from(free && is_job(&entry));
        }
        None
    }
}

impl Ticket {
    /// What this place waits for; none when it is its turn.
    pub(crate) fn blocker(&self) -> Option<String> {
        self.queue.lock().blocker(self.number, self.queue.running_limit)
    }

    /// What this place waits for; none, and the turn is taken, when it waits for nothing.
    pub(crate) fn try_begin(&self) -> Option<String> {
        let mut state = self.queue.lock();
        let blocker = state.blocker(self.number, self.queue.running_limit);
        if blocker.is_none() {
            state
                .entries
                .iter_mut()
                .filter(|entry| entry.number == self.number)
                .for_each(|entry| entry.running = true);
        }
        blocker
    }

    /// Waits for this place's turn; tells `on_wait` of everything that it waits for.
    pub(crate) async fn begin(&self, mut on_wait: impl FnMut(String)) {
        let mut changed = self.queue.changed.subscribe();
        while let Some(blocker) = self.try_begin() {
            on_wait(blocker);
            // The queue lives as long as its tickets, so that this cannot fail.
            let _ = changed.changed().await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.queue.lock().entries.retain(|entry| entry.number != self.number);
        self.queue.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests;
