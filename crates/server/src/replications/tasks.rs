//! What the tasks of one replication share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use catalog::{KnownReplication, KnownVm};
use journal::{Generation, Sequence};
use model::{ReplicationSettings, VmId};
use replication::Event;
use tap::{ErrorKind, TapOptions};
use tokio::{
    sync::{Mutex as Turn, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{attach::Attached, figures::Figures, keeper::Told};
use crate::{failure::Result, site::Site, vms};

/// What the tasks of one replication share.
pub(super) struct Shared {
    pub(super) site: Site,
    pub(super) known: KnownReplication,
    pub(super) settings: watch::Sender<ReplicationSettings>,
    /// Whether anything is sent.
    pub(super) ships: watch::Sender<bool>,
    pub(super) told: mpsc::UnboundedSender<Told>,
    pub(super) tap: watch::Sender<Option<tap::Client>>,
    /// Through which the hypervisor hands over all writes now.
    pub(super) attached: watch::Sender<Option<Arc<Attached>>>,
    pub(super) figures: Arc<Mutex<Figures>>,
    /// The last record that is known to be durable at the other site.
    pub(super) there: watch::Sender<Sequence>,
    pub(super) stop: CancellationToken,
    /// Whoever hands the VM over has its turn, and lends it to the epochs that this needs.
    pub(super) lends_turn: Arc<AtomicBool>,
    /// How many moments are being let go of: until none is, no other is held.
    pub(super) letting_go: watch::Sender<usize>,
    /// Whether an epoch has the VM's turn.
    pub(super) holds_turn: watch::Sender<bool>,
    /// One begins to take writes at a time.
    pub(super) attaching: Turn<()>,
    launching: Turn<()>,
    started: Instant,
}

impl Shared {
    pub(super) fn new(
        site: &Site,
        known: KnownReplication,
        told: mpsc::UnboundedSender<Told>,
        figures: Arc<Mutex<Figures>>,
    ) -> Self {
        Self {
            site: site.clone(),
            settings: watch::Sender::new(known.settings.clone()),
            ships: watch::Sender::new(!known.is_paused && known.fenced.is_none()),
            known,
            told,
            tap: watch::Sender::new(None),
            attached: watch::Sender::new(None),
            figures,
            there: watch::Sender::new(Sequence(0)),
            stop: site.stopping.child_token(),
            lends_turn: Arc::default(),
            letting_go: watch::Sender::new(0),
            holds_turn: watch::Sender::new(false),
            attaching: Turn::new(()),
            launching: Turn::new(()),
            started: Instant::now(),
        }
    }

    pub(super) fn vm_id(&self) -> VmId {
        self.known.vm_id
    }

    /// The VM as it is known now.
    pub(super) async fn vm(&self) -> Result<KnownVm> {
        vms::find(&self.site, self.vm_id().as_str()).await
    }

    /// The time since this began, by a clock that never goes back.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The moment of a time since this began.
    pub(super) fn instant(&self, time: Duration) -> Instant {
        self.started + time
    }

    pub(super) fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the keeper.
    pub(super) fn tell(&self, event: Event) {
        // A keeper that has ended needs not be told.
        self.told.send(Told::Event(event)).ok();
    }

    /// Whether there is a journal already.
    pub(super) fn has_journal(&self) -> bool {
        let folder = self.options().journal_folder();
        folder.read_dir().is_ok_and(|mut entries| entries.next().is_some())
    }

    /// A tap is gone; what it had not made durable is lost.
    pub(super) fn lose_tap(&self, client: &tap::Client) {
        let is_it = |tap: &tap::Client| tap.process_id() == client.process_id();
        if self.tap.send_if_modified(|tap| tap.take_if(|tap| is_it(tap)).is_some()) {
            self.tell(Event::TapLost);
        }
    }

    /// The tap that lives, or one that is launched now.
    pub(super) async fn tap(&self) -> tap::Result<tap::Client> {
        let _turn = self.launching.lock().await;
        let known = self.tap.borrow().clone();
        if let Some(client) = known {
            match client.status().await {
                Err(error) if error.kind() == ErrorKind::Gone => self.lose_tap(&client),
                answered => return answered.map(|_| client),
            }
        }
        let client = self.site.taps.launch(&self.options()).await?;
        tracing::info!(vm = %self.vm_id(), process = client.process_id(), "a tap takes writes into the journal");
        self.tap.send_replace(Some(client.clone()));
        Ok(client)
    }

    fn options(&self) -> TapOptions {
        let directory = &self.site.directory;
        let journal_id = self.known.journal_id;
        let (folder, sockets) = (directory.journal(journal_id), directory.tap_sockets(journal_id));
        let options = TapOptions::new(folder, sockets, journal_id, Generation(self.known.generation));
        TapOptions { disk_bytes: self.settings.borrow().journal_size_bytes.0, ..options }
    }
}
