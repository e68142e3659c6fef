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
use replication::{Action, Attachment, End, Epoch, Event, Machine, Obstacle, Record, Standing, Wish};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Broken,
    guest::{DISK_NAMES, Span, all_sectors},
    host::MirrorEnd,
    interval::{self, Moment},
    server::Server,
    ship,
    site::KnownReplication,
};

/// Why a replication whose journal was removed does not go on.
pub(crate) const JOURNAL_GONE: &str = "the journal is no longer there";

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

/// All writes of the VM are taken, or a moment of it is held.
pub(crate) struct Attached {
    pub(super) attachment: Attachment,
    pub(super) is_partial: bool,
    pub(super) tap: u64,
    pub(super) epoch: Sequence,
    pub(super) source: Source,
    pub(super) missed: Vec<Span>,
    pub(super) ended: CancellationToken,
}

/// Where the journal gets what the VM writes.
pub(super) enum Source {
    Mirror(u64),
    Moment(Moment),
}

pub(crate) struct Keeping {
    pub(crate) known: KnownReplication,
    pub(crate) ships: watch::Sender<bool>,
    figures: Mutex<Figures>,
    told: mpsc::UnboundedSender<Told>,
    pub(crate) stop: CancellationToken,
    /// Which tap is known to live.
    pub(crate) tap: watch::Sender<Option<u64>>,
    attaching: tokio::sync::Mutex<()>,
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

async fn attach(
    server: Arc<Server>,
    keeping: Arc<Keeping>,
    attachment: Attachment,
    (trusted, is_at_rest): (Option<Epoch>, bool),
) {
    let turn = keeping.attaching.lock().await;
    let tried = match keeping.known.is_at_intervals {
        false => try_attach(&server, &keeping, attachment, trusted).await,
        true => interval::try_attach(&server, &keeping, attachment, (trusted, is_at_rest)).await,
    };
    let attached = match tried {
        Ok(attached) => Arc::new(attached),
        Err(why) => return keeping.tell(Event::NotAttached(attachment, why)),
    };
    drop(turn);
    keeping.told.send(Told::Attached(Arc::clone(&attached))).ok();
    let ended = attached.ended.clone();
    if let Some(end) = ended.run_until_cancelled(end_of(&server, &keeping, &attached)).await {
        keeping.tell(Event::Ended(attachment, end));
    }
}

async fn try_attach(
    server: &Arc<Server>,
    keeping: &Keeping,
    attachment: Attachment,
    trusted: Option<Epoch>,
) -> Result<Attached, Obstacle> {
    let broken = |why: String| Obstacle::Broken(why);
    server.step().await;
    if !server.site.host().runs() {
        return Err(Obstacle::VmStopped);
    }
    let _claim = server.claim().map_err(|_| Obstacle::Busy("the VM is busy".to_owned()))?;
    let id = keeping.known.journal;
    server.step().await;
    if server.site.host().has_lost_journal(id) {
        return Err(Obstacle::Unsupported(JOURNAL_GONE.to_owned()));
    }
    let tap = tap(server, keeping).map_err(broken)?;
    let is_new = server.site.host().with_tap(id, tap, |tap| tap.add_disks()).map_err(broken)?;
    server.step().await;
    server.site.host().with_tap(id, tap, super::tap::Tap::begin_epoch).map_err(broken)?;
    server.step().await;
    let trusted = trusted.map(|epoch| epoch.0).filter(|_| !is_new);
    let begun = server.site.host().begin_mirror(id, tap, trusted);
    let begun = begun.map_err(|why| match server.site.host().runs() {
        true => Obstacle::Broken(why),
        false => Obstacle::VmStopped,
    })?;
    server.site.changed();
    server.step().await;
    let epoch = server.site.host().with_tap(id, tap, super::tap::Tap::begin_epoch).map_err(broken)?;
    let is_partial = begun.missed.is_some();
    let missed = Span::of_sectors(&begun.missed.unwrap_or_else(all_sectors));
    let (source, ended) = (Source::Mirror(begun.mirror), CancellationToken::new());
    Ok(Attached { attachment, is_partial, tap, epoch, source, missed, ended })
}

/// Waits until writes may be missed.
async fn end_of(server: &Server, keeping: &Keeping, attached: &Attached) -> End {
    let (mut changes, mut taps) = (server.site.watch(), keeping.tap.subscribe());
    loop {
        let ended = match &attached.source {
            Source::Mirror(mirror) => server.site.host().mirror_end(*mirror),
            Source::Moment(_) => None,
        };
        if let Some(end) = ended {
            server.step().await;
            let lives = server.site.host().tap_of(keeping.known.journal, attached.tap).is_ok();
            return match end {
                MirrorEnd::VmStopped if lives => End::VmStopped,
                MirrorEnd::Full if lives => End::JournalFull,
                MirrorEnd::Broken(why) if lives => End::Broken(why),
                _ => End::TapLost("its process has ended".to_owned()),
            };
        }
        if *taps.borrow_and_update() != Some(attached.tap) {
            return End::TapLost("its process has ended".to_owned());
        }
        tokio::select! {
            biased;
            _ = changes.changed() => {}
            _ = taps.changed() => {}
        }
    }
}

async fn copy(server: Arc<Server>, keeping: Arc<Keeping>, attached: Arc<Attached>) {
    for span in &attached.missed {
        if let Err(why) = copy_span(&server, &keeping, &attached, *span).await {
            let event = match &attached.source {
                Source::Mirror(_) => Event::NotCopied(attached.attachment, why),
                Source::Moment(moment) => interval::failed(&server, attached.attachment, moment, why),
            };
            return keeping.tell(event);
        }
    }
    keeping.tell(Event::Copied(attached.attachment));
}

async fn copy_span(
    server: &Server,
    keeping: &Keeping,
    attached: &Attached,
    span: Span,
) -> super::tap::Result<()> {
    let (id, tap) = (keeping.known.journal, attached.tap);
    server.step().await;
    let mut ticket = server.site.host().begin_copy(id, tap, span)?;
    server.step().await;
    let bytes = match &attached.source {
        Source::Mirror(_) => server.site.host().read(span)?,
        Source::Moment(moment) => server.site.host().read_moment(moment.epoch, span)?,
    };
    let begun = Instant::now();
    loop {
        server.step().await;
        match server.site.host().finish_copy(id, tap, ticket, &bytes)? {
            None => return Ok(()),
            Some(again) => ticket = again,
        }
        if matches!(attached.source, Source::Moment(_)) && begun.elapsed() > interval::STALL_LIMIT {
            return Err(interval::FULL.to_owned());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn begin_epoch(server: Arc<Server>, keeping: Arc<Keeping>, attached: Arc<Attached>) {
    let (id, attachment) = (keeping.known.journal, attached.attachment);
    let Source::Mirror(mirror) = attached.source else { return };
    server.step().await;
    let begun = server.site.host().begin_tracking(mirror);
    server.site.changed();
    let Ok(epoch) = begun else { return keeping.tell(Event::NoEpoch(attachment)) };
    server.step().await;
    let looked = server.site.host().taken_through(id, attached.tap);
    let through = match looked {
        Err(why) => return keeping.tell(Event::Ended(attachment, End::TapLost(why))),
        Ok((_, since)) if since != attached.epoch => {
            let why = "a connection to the tap has ended".to_owned();
            return keeping.tell(Event::Ended(attachment, End::Broken(why)));
        }
        Ok((through, _)) => through,
    };
    keeping.tell(Event::EpochBegun { attachment, epoch: Epoch(epoch), through: Record(through.0) });
    tell_when_durable(&server, &keeping, &attached, through).await;
}

/// Tells when everything through a record is durable here.
pub(super) async fn tell_when_durable(
    server: &Server,
    keeping: &Keeping,
    attached: &Attached,
    through: Sequence,
) {
    if server.is_broken(Broken::TrustUndurable) {
        return keeping.tell(Event::Durable(Record(through.0)));
    }
    let mut changes = server.site.watch();
    loop {
        let durable = match server.site.host().tap_of(keeping.known.journal, attached.tap) {
            Ok(tap) => tap.journal.durable_through(),
            Err(_) => return,
        };
        if durable >= through {
            return keeping.tell(Event::Durable(Record(durable.0)));
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn declare(server: Arc<Server>, keeping: Arc<Keeping>, attached: Arc<Attached>) {
    if let Source::Moment(moment) = &attached.source {
        return interval::close(&server, &keeping, &attached, moment).await;
    }
    for place in 0..DISK_NAMES.len() {
        server.step().await;
        let declared = server
            .site
            .host()
            .with_tap(keeping.known.journal, attached.tap, |tap| tap.declare(place, attached.epoch));
        if let Err(why) = declared {
            return keeping.tell(Event::NotDeclared(attached.attachment, why));
        }
    }
    keeping.tell(Event::Declared(attached.attachment));
}
