//! A replication at its source: carries out what the machine decides, in the steps in which the server does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use journal::{Flaw, Sequence};
use replication::{Action, Attachment, Epoch, Event, Machine, Standing, Wish};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Broken,
    attachment::{Attached, Source, attach, begin_epoch, copy, declare},
    interval,
    server::Server,
    ship,
    site::KnownReplication,
};

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What a replication has come to, as those know it who ask.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) standing: Standing,
    pub(crate) durable_through: Option<Sequence>,
}

pub(crate) enum Told {
    Event(Event),
    Attached(Arc<Attached>),
}

pub(crate) struct Keeping {
    pub(crate) known: KnownReplication,
    pub(crate) ships: watch::Sender<bool>,
    figures: Mutex<Figures>,
    told: mpsc::UnboundedSender<Told>,
    pub(crate) stop: CancellationToken,
    /// Which tap is known to live.
    pub(crate) tap: watch::Sender<Option<u64>>,
    pub(super) attaching: tokio::sync::Mutex<()>,
    /// Whoever hands the VM over has it, and lends it to the epochs that this needs.
    pub(crate) lends_turn: AtomicBool,
    has_ended: AtomicBool,
}

impl Keeping {
    pub(crate) fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, event: Event) {
        self.told.send(Told::Event(event)).ok();
    }

    pub(super) fn tell_attached(&self, attached: &Arc<Attached>) {
        self.told.send(Told::Attached(Arc::clone(attached))).ok();
    }

    fn lose_tap(&self, tap: u64) {
        if self.tap.send_if_modified(|known| known.take_if(|known| *known == tap).is_some()) {
            self.tell(Event::TapLost);
        }
    }
}

/// Takes up the replication that the catalog knows.
pub(crate) fn begin(server: &Arc<Server>) {
    let Some(known) = server.site.catalog().replication.clone() else { return };
    if let Some(delete) = known.ends {
        let ending = Arc::clone(server);
        server.spawn(async move {
            let ended = ending.end_replication(delete).await;
            ending.say(format!("goes on ending a replication: {ended:?}"));
        });
        return;
    }
    let trusted = known.trusted.map(Epoch);
    let machine = match (&known.fenced, known.is_paused) {
        (Some(why), _) => Machine::fenced(why.clone(), trusted),
        (None, is_paused) => {
            let wish = if is_paused { Wish::Pause } else { Wish::Replicate };
            Machine::new(wish, trusted, Duration::ZERO).with_mode(interval::mode(&known))
        }
    };
    let (told, incoming) = mpsc::unbounded_channel();
    let keeping = Arc::new(Keeping {
        ships: watch::Sender::new(!known.is_paused && known.fenced.is_none()),
        known,
        figures: Mutex::new(Figures { standing: machine.standing(), durable_through: None }),
        told,
        stop: CancellationToken::new(),
        tap: watch::Sender::new(None),
        attaching: tokio::sync::Mutex::default(),
        lends_turn: AtomicBool::new(false),
        has_ended: AtomicBool::new(false),
    });
    *server.keeping() = Some(Arc::clone(&keeping));
    let keeper = Keeper {
        server: Arc::clone(server),
        keeping: Arc::clone(&keeping),
        machine,
        started: Instant::now(),
        attached: BTreeMap::new(),
    };
    keep_at(server, &keeping, keeper.run(incoming));
    keep_at(server, &keeping, ship::run(Arc::clone(server), Arc::clone(&keeping)));
    keep_at(server, &keeping, watch(Arc::clone(server), Arc::clone(&keeping)));
}

/// Work that ends with the replication.
fn keep_at(server: &Arc<Server>, keeping: &Arc<Keeping>, work: impl Future<Output = ()> + Send + 'static) {
    let stop = keeping.stop.clone();
    server.spawn(async move { stop.run_until_cancelled(work).await.unwrap_or_default() });
}

/// Lets go of a replication; its tap goes on.
pub(crate) fn end(server: &Server) {
    if let Some(keeping) = server.keeping().take() {
        keeping.has_ended.store(true, Ordering::Relaxed);
        keeping.stop.cancel();
    }
}

struct Keeper {
    server: Arc<Server>,
    keeping: Arc<Keeping>,
    machine: Machine,
    started: Instant,
    attached: BTreeMap<Attachment, Arc<Attached>>,
}

impl Keeper {
    async fn run(mut self, mut incoming: mpsc::UnboundedReceiver<Told>) {
        loop {
            let due = self.machine.due().map(|due| self.started + due);
            let until_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                biased;
                Some(told) = incoming.recv() => match told {
                    Told::Event(event) => event,
                    Told::Attached(attached) => {
                        let event = Event::Attached { attachment: attached.attachment, is_partial: attached.is_partial };
                        self.attached.insert(attached.attachment, attached);
                        event
                    }
                },
                () = until_due => Event::Tick,
            };
            self.server.step().await;
            self.take(event).await;
            // What has been told already may say otherwise.
            if incoming.is_empty() {
                self.publish();
            }
        }
    }

    async fn take(&mut self, event: Event) {
        match &event {
            Event::Fenced(why) => {
                self.keeping.ships.send_replace(false);
                if let Some(known) = &mut self.server.site.catalog().replication {
                    known.fenced = Some(why.clone());
                }
                self.server.say(format!("is fenced: {why}"));
                let over = self.keeping.known.generation;
                let mut truth = self.server.site.truth();
                truth.over = truth.over.max(Some(over));
            }
            Event::Want(wish) => drop(self.keeping.ships.send_replace(*wish == Wish::Replicate)),
            _ => {}
        }
        if event != Event::Tick && event != Event::Room {
            self.server.say(format!("hears {event:?}"));
        }
        for action in self.machine.handle(event, self.started.elapsed()) {
            self.perform(action).await;
        }
    }

    fn publish(&self) {
        let mut standing = self.machine.standing();
        if self.server.is_broken(Broken::StoppedIsWhole)
            && matches!(standing, Standing::Degraded(_))
            && !self.server.site.host().runs()
        {
            standing = Standing::VmStopped;
        }
        self.keeping.figures().standing = standing;
    }

    async fn perform(&mut self, action: Action) {
        let (server, keeping) = (Arc::clone(&self.server), Arc::clone(&self.keeping));
        match action {
            Action::Attach { attachment, trusted, is_at_rest } => {
                let attach = attach(server, keeping, attachment, (trusted, is_at_rest));
                keep_at(&self.server, &self.keeping, attach);
            }
            Action::Detach(attachment) => {
                let Some(attached) = self.attached.remove(&attachment) else { return };
                attached.ended.cancel();
                server.step().await;
                let id = keeping.known.journal;
                let _ = server.site.host().with_tap(id, attached.tap, super::tap::Tap::begin_epoch);
                server.step().await;
                match &attached.source {
                    Source::Mirror(mirror) => server.site.host().cut_mirror(*mirror),
                    Source::Moment(moment) => moment.let_go(&server, false),
                }
                server.site.changed();
            }
            Action::Keep(epoch) => keep_at(&self.server, &self.keeping, async move {
                server.step().await;
                if let Some(known) = &mut server.site.catalog().replication {
                    known.trusted = Some(epoch.0);
                }
                keeping.tell(Event::Kept(epoch));
            }),
            Action::Copy(attachment) => {
                self.with(attachment, copy);
            }
            Action::BeginEpoch(attachment) => {
                self.with(attachment, begin_epoch);
            }
            Action::Declare(attachment) => {
                self.with(attachment, declare);
            }
            Action::Trust(attachment, epoch) => {
                let ends = |attached: &Arc<Attached>| matches!(attached.source, Source::Moment(_));
                if self.attached.get(&attachment).is_some_and(ends) {
                    let Some(attached) = self.attached.remove(&attachment) else { return };
                    attached.ended.cancel();
                    server.step().await;
                    if let Source::Moment(moment) = &attached.source {
                        moment.let_go(&server, true);
                    }
                    return;
                }
                self.with(attachment, move |server, _, _| async move {
                    server.step().await;
                    server.site.host().trust(epoch.0);
                });
            }
        }
    }

    fn with<F>(
        &self,
        attachment: Attachment,
        begin: impl FnOnce(Arc<Server>, Arc<Keeping>, Arc<Attached>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(attached) = self.attached.get(&attachment).cloned() else { return };
        let ended = attached.ended.clone();
        let work = begin(Arc::clone(&self.server), Arc::clone(&self.keeping), attached);
        keep_at(&self.server, &self.keeping, async move {
            ended.run_until_cancelled(work).await.unwrap_or_default()
        });
    }
}

async fn watch(server: Arc<Server>, keeping: Arc<Keeping>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        server.step().await;
        let Some(tap) = *keeping.tap.borrow() else { continue };
        let id = keeping.known.journal;
        let looked = server.site.host().tap_of(id, tap).map(|tap| tap.journal.usage());
        match looked {
            Err(_) => keeping.lose_tap(tap),
            Ok(usage) if usage.disk_bytes < 20_000 => keeping.tell(Event::Room),
            Ok(_) => {}
        }
    }
}

/// The tap that lives, or one that is launched now.
pub(crate) fn tap(server: &Server, keeping: &Keeping) -> super::tap::Result<u64> {
    let (id, known) = (keeping.known.journal, *keeping.tap.borrow());
    if let Some(tap) = known {
        if server.site.host().tap_of(id, tap).is_ok() {
            return Ok(tap);
        }
        keeping.lose_tap(tap);
    }
    let clock = server.process.env().clock;
    let flaw = server.is_broken(Broken::AcknowledgeBeforeSync).then_some(Flaw::AcknowledgeBeforeSync);
    let tap = server.site.host().tap(id, keeping.known.generation, clock, flaw)?;
    server.site.changed();
    keeping.tap.send_replace(Some(tap));
    Ok(tap)
}
