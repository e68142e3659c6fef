//! A server: a process that may die at every step. What it knows it has from the catalog.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use env::Threads;
use journal::{Flaw, Replica};
use model::JournalId;

use super::{Broken, keeper, keeper::Keeping, site::Site, world::World};
use crate::{dice::Dice, process::Process};

/// The longest that a step takes.
const STEP: Duration = Duration::from_millis(40);

/// What somebody who asks for something is told when it is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is refused, and nothing was done.
    Refused(String),
    /// This site must not go on with the VM.
    Fenced(String),
    /// Nobody knows what was done.
    Unknown,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

pub(crate) fn refused<T>(why: impl ToString) -> Result<T> {
    Err(Failure::Refused(why.to_string()))
}

/// A replica that is taken up.
pub(crate) struct Kept {
    pub(crate) replica: Replica,
    /// Held while parts are taken, and while its standing changes.
    pub(crate) gate: tokio::sync::Mutex<()>,
}

pub(crate) struct Server {
    pub(crate) world: Arc<World>,
    pub(crate) site: Arc<Site>,
    pub(crate) process: Arc<Process>,
    pub(crate) dice: Dice,
    kept: Mutex<BTreeMap<JournalId, Arc<Kept>>>,
    pub(crate) admission: tokio::sync::Mutex<()>,
    is_claimed: AtomicBool,
    keeping: Mutex<Option<Arc<Keeping>>>,
}

/// The VM, for one operation alone.
pub(crate) struct Claim(Arc<Server>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.is_claimed.store(false, Ordering::Relaxed);
    }
}

impl Server {
    /// Starts a server, which takes up what its catalog knows.
    pub(crate) fn start(world: &Arc<World>, place: usize) -> Option<()> {
        let site = world.site(place);
        let process = Arc::new(world.process(site.name));
        let server = Arc::new(Self {
            world: Arc::clone(world),
            site: Arc::clone(&site),
            process,
            dice: world.dice.fork(),
            kept: Mutex::default(),
            admission: tokio::sync::Mutex::default(),
            is_claimed: AtomicBool::new(false),
            keeping: Mutex::default(),
        });
        server.say("starts");
        let known: Vec<_> = site.catalog().replicas.keys().copied().collect();
        for journal in known {
            if site.catalog().replicas.get(&journal).is_some_and(|known| !known.is_committed()) {
                server.take_up(journal).ok()?;
            }
        }
        site.set_server(Some(Arc::clone(&server)));
        keeper::begin(&server);
        Some(())
    }

    /// Takes a replica up, and checks that it has what it called durable.
    pub(crate) fn take_up(self: &Arc<Self>, journal: JournalId) -> Result<Arc<Kept>> {
        let first = self.site.catalog().replicas.get(&journal).map(|known| known.first);
        let folder = self.site.host().replica_folder(journal);
        let flaw = (self.world.broken == Some(Broken::ReceiveBeforeSync)).then_some(Flaw::ReceiveBeforeSync);
        let opened = match flaw {
            Some(flaw) => Replica::open_with_flaw(folder, Threads::Inline, flaw),
            None => Replica::open(folder, Threads::Inline),
        };
        let replica = opened.map_err(|error| {
            if error.kind() == journal::ErrorKind::Corrupt {
                self.world.violated(format!("the replica {journal} cannot be taken up: {error}"));
            }
            Failure::Refused(error.to_string())
        })?;
        if let (None, Some(first)) = (replica.status(), first) {
            let _ = replica.begin_at(first);
        }
        let (durable, told) = (replica.durable_through(), self.world.durable_there(journal));
        if durable < told {
            self.world
                .violated(format!("{told} of {journal} was durable at {}, now {durable} is", self.site.name));
        }
        let kept = Arc::new(Kept { replica, gate: tokio::sync::Mutex::default() });
        self.kept().insert(journal, Arc::clone(&kept));
        Ok(kept)
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, BTreeMap<JournalId, Arc<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn replica(&self, journal: JournalId) -> Result<Arc<Kept>> {
        self.kept()
            .get(&journal)
            .cloned()
            .ok_or_else(|| Failure::Refused("there is no such replica".to_owned()))
    }

    pub(crate) fn keeping(&self) -> MutexGuard<'_, Option<Arc<Keeping>>> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment at which anything may happen, and others come first.
    pub(crate) async fn step(&self) {
        self.process.step().await;
        tokio::time::sleep(self.dice.duration(Duration::ZERO, STEP)).await;
        self.process.step().await;
    }

    /// Work that ends with the process.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let process = Arc::clone(&self.process);
        tokio::spawn(async move { process.run(work).await });
    }

    pub(crate) fn claim(self: &Arc<Self>) -> Result<Claim> {
        match self.is_claimed.swap(true, Ordering::Relaxed) {
            true => refused("the VM is busy"),
            false => Ok(Claim(Arc::clone(self))),
        }
    }

    /// The VM, once nobody else has it.
    pub(crate) async fn wait_for_claim(self: &Arc<Self>) -> Claim {
        loop {
            match self.claim() {
                Ok(claim) => return claim,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub(crate) fn say(&self, what: impl Into<String>) {
        self.world.trace.add(self.site.name, what);
    }

    pub(crate) fn is_broken(&self, broken: Broken) -> bool {
        self.world.broken == Some(broken)
    }
}
