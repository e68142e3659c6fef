//! Carries out what the machine decides.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use catalog::KnownReplication;
use hypervisor::{CaptureOutcome, TapEnd};
use replication::{Action, Attachment, End, Epoch, Event, Machine, Record, Standing, Wish};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{
    Handle,
    attach::{Attached, Source, attach},
    copying,
    figures::Figures,
    interval, ship,
    tasks::Shared,
    watch,
};
use crate::{failure::Failure, site::Site, vms};

/// How long the journal may take to note that writes are missed, before the tap is cut off all the same.
const MARK_LIMIT: Duration = Duration::from_secs(1);

/// How long it may take to cut a tap off.
const CUT_LIMIT: Duration = Duration::from_secs(5);

/// How long the hypervisor may take to begin an epoch, or to drop one.
const EPOCH_LIMIT: Duration = Duration::from_secs(15);

/// How long it may take to take out of a VM what was cut off.
const RELEASE_LIMIT: Duration = Duration::from_secs(30);

/// How soon it is tried again to keep something in the catalog.
const KEEP_PAUSE: Duration = Duration::from_secs(5);

/// What the keeper is told.
pub(super) enum Told {
    /// Something has come to pass.
    Event(Event),
    /// The hypervisor hands over all writes, or holds a moment.
    Attached(Arc<Attached>),
}

struct Keeper {
    shared: Arc<Shared>,
    machine: Machine,
    attached: BTreeMap<Attachment, Arc<Attached>>,
    tasks: JoinSet<()>,
    /// Moments that are being let go of.
    endings: JoinSet<()>,
}

/// Begins to keep a replication.
pub(super) fn spawn(site: &Site, known: KnownReplication) -> Handle {
    let (told, incoming) = mpsc::unbounded_channel();
    let trusted = known.trusted_epoch.map(Epoch);
    let machine = match (&known.fenced, known.is_paused) {
        (Some(why), _) => Machine::fenced(why.clone(), trusted),
        (None, is_paused) => {
            let wish = if is_paused { Wish::Pause } else { Wish::Replicate };
            Machine::new(wish, trusted, Duration::ZERO).with_mode(interval::mode(&known.settings))
        }
    };
    let figures = Figures::new(&known, machine.standing(), site.env.clock.now());
    let figures = Arc::new(Mutex::new(figures));
    let shared = Arc::new(Shared::new(site, known, told.clone(), figures.clone()));
    let (settings, stop) = (shared.settings.clone(), shared.stop.clone());
    let (tap, attached) = (shared.tap.subscribe(), shared.attached.subscribe());
    let (lends_turn, holds_turn) = (shared.lends_turn.clone(), shared.holds_turn.subscribe());
    let keeper =
        Keeper { shared, machine, attached: BTreeMap::new(), tasks: JoinSet::new(), endings: JoinSet::new() };
    let task = tokio::spawn(keeper.run(incoming));
    Handle { told, settings, tap, attached, figures, stop, task, lends_turn, holds_turn }
}

impl Keeper {
    async fn run(mut self, mut incoming: mpsc::UnboundedReceiver<Told>) {
        self.tasks.spawn(ship::run(self.shared.clone()));
        self.tasks.spawn(watch::run(self.shared.clone()));
        if self.machine.standing() == Standing::Paused {
            // The server may have died before.
            self.tasks.spawn(release(self.shared.clone()));
        }
        let stop = self.shared.stop.clone();
        loop {
            let due = self.machine.due().map(|due| self.shared.instant(due));
            let until_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                () = stop.cancelled() => break,
                Some(told) = incoming.recv() => match told {
                    Told::Event(event) => event,
                    Told::Attached(attached) => self.note_attached(attached),
                },
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(vm = %self.shared.vm_id(), %error, "a part of a replication ended by a defect");
                    }
                    continue;
                }
                () = until_due => Event::Tick,
            };
            self.take(event).await;
            // What has been told already may say otherwise: nobody is to act upon how it stood in between.
            if incoming.is_empty() {
                self.publish();
            }
        }
        // The guest's writes go on being taken. A moment that is held would cost it something until the next server.
        self.tasks.shutdown().await;
        for attached in std::mem::take(&mut self.attached).into_values() {
            self.let_go(attached, CaptureOutcome::Abandoned);
        }
        if timeout(RELEASE_LIMIT, async { while self.endings.join_next().await.is_some() {} }).await.is_err()
        {
            tracing::warn!(vm = %self.shared.vm_id(), "a moment is held until the next server lets go of it");
        }
        watch::keep_figures(&self.shared).await;
    }

    fn note_attached(&mut self, attached: Arc<Attached>) -> Event {
        let event = Event::Attached { attachment: attached.attachment, is_partial: attached.is_partial };
        self.attached.insert(attached.attachment, Arc::clone(&attached));
        self.shared.attached.send_replace(Some(attached));
        event
    }

    async fn take(&mut self, event: Event) {
        match &event {
            Event::Fenced(why) => self.keep_fenced(why).await,
            Event::Want(wish) => drop(self.shared.ships.send_replace(*wish == Wish::Replicate)),
            Event::Ended(_, end) => {
                tracing::warn!(vm = %self.shared.vm_id(), ?end, "writes are not taken any more")
            }
            Event::NotAttached(_, why) => {
                tracing::debug!(vm = %self.shared.vm_id(), ?why, "writes are not taken yet")
            }
            _ => {}
        }
        let is_paused = event == Event::Want(Wish::Pause);
        let actions = self.machine.handle(event, self.shared.now());
        for action in actions {
            self.perform(action).await;
        }
        if is_paused {
            self.tasks.spawn(release(self.shared.clone()));
        }
    }

    /// Lets everybody know how it stands.
    fn publish(&self) {
        let now = self.shared.site.env.clock.now();
        let (standing, breaks) = (self.machine.standing(), self.machine.breaks());
        let mut figures = self.shared.figures();
        if figures.standing != standing {
            tracing::info!(vm = %self.shared.vm_id(), ?standing, "a replication stands otherwise");
        }
        figures.note_standing(standing, breaks, now);
    }

    async fn perform(&mut self, action: Action) {
        let shared = self.shared.clone();
        match action {
            Action::Attach { attachment, trusted, is_at_rest } => {
                self.tasks.spawn(attach(shared, attachment, trusted, is_at_rest));
            }
            Action::Detach(attachment) => self.detach(attachment).await,
            Action::Keep(epoch) => {
                self.tasks.spawn(keep(shared, epoch));
            }
            Action::Copy(attachment) => self.with(attachment, copying::run),
            Action::BeginEpoch(attachment) => self.with(attachment, begin_epoch),
            Action::Declare(attachment) => self.with(attachment, declare),
            Action::Trust(attachment, epoch) => match self.attached.get(&attachment) {
                Some(attached) if attached.tap().is_none() => {
                    let attached = self.end(attachment);
                    attached.into_iter().for_each(|attached| self.let_go(attached, CaptureOutcome::Kept));
                }
                _ => self.with(attachment, move |shared, attached| trust(shared, attached, epoch)),
            },
        }
    }

    /// Does something for an attachment that has not ended, until it does.
    fn with<F>(&mut self, attachment: Attachment, begin: impl FnOnce(Arc<Shared>, Arc<Attached>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(attached) = self.attached.get(&attachment).cloned() else { return };
        let (ended, work) = (attached.ended.clone(), begin(self.shared.clone(), attached));
        self.tasks.spawn(async move {
            ended.run_until_cancelled(work).await;
        });
    }

    /// Cuts a tap off. The journal notes first that writes are missed: no record comes after one that was.
    async fn detach(&mut self, attachment: Attachment) {
        let Some(attached) = self.end(attachment) else { return };
        let marked = timeout(MARK_LIMIT, attached.client.begin_epoch(self.shared.vm_id())).await;
        match attached.tap() {
            Some(tap) => {
                if timeout(CUT_LIMIT, tap.cut()).await.is_err() {
                    tracing::error!(vm = %self.shared.vm_id(), "a tap could not be cut off in time");
                }
            }
            None => self.let_go(attached, CaptureOutcome::Abandoned),
        }
        tracing::debug!(vm = %self.shared.vm_id(), marked = ?marked.map(|mark| mark.is_ok()), "a tap was let go");
    }

    /// Nothing is done for an attachment any more.
    fn end(&mut self, attachment: Attachment) -> Option<Arc<Attached>> {
        let attached = self.attached.remove(&attachment)?;
        attached.ended.cancel();
        self.shared.attached.send_modify(|known| {
            known.take_if(|known| known.attachment == attachment);
        });
        Some(attached)
    }

    /// Lets go of the moment that was held, if one was. From here on the next one waits for that.
    fn let_go(&mut self, attached: Arc<Attached>, outcome: CaptureOutcome) {
        while self.endings.try_join_next().is_some() {}
        let shared = self.shared.clone();
        shared.letting_go.send_modify(|count| *count += 1);
        self.endings.spawn(async move {
            if let Source::Moment(moment) = &attached.source {
                moment.let_go(outcome).await;
            }
            shared.letting_go.send_modify(|count| *count -= 1);
        });
    }

    async fn keep_fenced(&self, why: &str) {
        self.shared.ships.send_replace(false);
        if let Err(error) = self.shared.site.catalog.set_fenced(self.shared.vm_id(), why).await {
            tracing::error!(vm = %self.shared.vm_id(), %error, "that a replication is fenced could not be kept");
        }
        tracing::error!(vm = %self.shared.vm_id(), why, "a replication is fenced: the other site has taken the VM over");
    }
}

/// Takes what was cut off out of a VM whose replication is paused: its disks can be resized then.
async fn release(shared: Arc<Shared>) {
    let _turn = shared.attaching.lock().await;
    let Ok(vm) = shared.vm().await else { return };
    if *shared.ships.borrow() {
        return;
    }
    let (access, hypervisor) = (vms::access(&vm), &shared.site.hypervisor);
    let released = timeout(RELEASE_LIMIT, hypervisor.release_tap(&access, shared.known.journal_id)).await;
    if !matches!(released, Ok(Ok(()))) {
        tracing::warn!(vm = %vm.name, ?released, "what a tap has in the VM stays until the replication goes on");
    }
}

/// Keeps the trusted epoch, however often that has to be tried.
async fn keep(shared: Arc<Shared>, epoch: Epoch) {
    while let Err(error) = shared.site.catalog.set_trusted_epoch(shared.vm_id(), Some(epoch.0)).await {
        tracing::warn!(vm = %shared.vm_id(), %error, "what the journal has could not be kept");
        tokio::time::sleep(KEEP_PAUSE).await;
    }
    shared.tell(Event::Kept(epoch));
}

/// Begins an epoch, and tells when the journal durably has what came before it.
async fn begin_epoch(shared: Arc<Shared>, attached: Arc<Attached>) {
    let attachment = attached.attachment;
    let Some(tap) = attached.tap() else { return };
    let begun = timeout(EPOCH_LIMIT, tap.begin_epoch()).await;
    let begun = begun.map_err(|_| Failure::conflict("the hypervisor did not answer"));
    let epoch = match begun.and_then(|begun| begun.map_err(Failure::from)) {
        Ok(epoch) => Epoch(epoch.0),
        Err(failure) => {
            tracing::debug!(vm = %shared.vm_id(), reason = failure.detail(), "no epoch could begin");
            return shared.tell(Event::NoEpoch(attachment));
        }
    };
    // Only after the epoch has begun: what is taken in by now holds all that was written before it.
    let status = match attached.client.status().await {
        Ok(status) => status,
        Err(error) => return shared.tell(Event::Ended(attachment, End::TapLost(error.to_string()))),
    };
    if let Some(end) = watch::missed_since(&status, shared.vm_id(), attached.epoch) {
        return shared.tell(Event::Ended(attachment, end));
    }
    let through = status.usage.taken_through;
    shared.tell(Event::EpochBegun { attachment, epoch, through: Record(through.0) });
    if let Ok(durable) = attached.client.durable(through).await {
        shared.tell(Event::Durable(Record(durable.0)));
    }
}

/// Has the journal say that the disks are whole.
async fn declare(shared: Arc<Shared>, attached: Arc<Attached>) {
    let tap = match &attached.source {
        Source::Tap(tap) => tap,
        Source::Moment(moment) => return interval::close(&shared, &attached, moment).await,
    };
    for disk in &attached.disks {
        if let Err(error) = attached.client.disk_is_whole(disk.number, attached.epoch).await {
            let why = format!("the disk {} is not whole: {error}", disk.name);
            return shared.tell(Event::NotDeclared(attached.attachment, why));
        }
    }
    if let Err(error) = tap.end_reading().await {
        tracing::warn!(vm = %shared.vm_id(), %error, "live disks stay readable for longer than needed");
    }
    tracing::info!(vm = %shared.vm_id(), "the journal has everything");
    shared.tell(Event::Declared(attached.attachment));
}

async fn trust(shared: Arc<Shared>, attached: Arc<Attached>, epoch: Epoch) {
    let Some(tap) = attached.tap() else { return };
    let trusted = timeout(EPOCH_LIMIT, tap.trust(hypervisor::TrackingEpoch(epoch.0))).await;
    if !matches!(trusted, Ok(Ok(()))) {
        tracing::debug!(vm = %shared.vm_id(), "what was tracked earlier stays for a while");
    }
}

/// What the end of a tap means, once it is known whether its process is still there and had room.
pub(super) async fn end_of(attached: &Attached, end: TapEnd) -> End {
    let status = attached.client.status().await;
    match (end, status) {
        (TapEnd::VmEnded, Err(error)) | (TapEnd::DisksChanged, Err(error)) => End::TapLost(error.to_string()),
        (TapEnd::VmEnded, Ok(_)) => End::VmStopped,
        (TapEnd::DisksChanged, Ok(_)) => End::DisksChanged,
        (TapEnd::Broken(why), Err(_)) => End::TapLost(why),
        (TapEnd::Broken(why), Ok(status)) => watch::break_of(&status).unwrap_or(End::Broken(why)),
    }
}
