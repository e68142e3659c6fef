//! What is durable in the journal here goes to the other site, in order.
//!
//! The other side says what it wants next, and that is all that is known: so whatever happened before, sending begins where it
//! is told to. Segments before that go here.

use std::{sync::Arc, time::Duration};

use catalog::KnownPeer;
use journal::SegmentNumber;
use model::JournalId;
use peer::{
    ErrorKind, Patience, PeerClient,
    replicas::{ReplicaOffer, ReplicaProgress},
    send::Throttle,
};
use replication::{Event, pause};
use tokio::time::Instant;

use super::{
    link::{Batch, bandwidth},
    tasks::Shared,
};
use crate::{
    failure::{Failure, Result},
    groups, peers, vms,
};

/// How long parts are waited for before the other side is asked how it is.
const PARTS_WAIT: Duration = Duration::from_secs(10);

/// The pauses after calls that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why sending stopped.
enum Stopped {
    /// The link, or the other side for a moment.
    Down(String),
    /// The other side takes nothing, and waiting does not help.
    Refused(String),
    /// The other side has taken the VM over.
    Fenced(String),
    /// The tap, which comes back or does not.
    Tap(String),
    /// Something is to be said anew.
    Anew,
}

/// Sends until the replication is kept no more.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut failures = 0;
    let mut ships = shared.ships.subscribe();
    loop {
        // Neither sender goes while this runs.
        ships.wait_for(|ships| *ships).await.ok();
        let stopped = tokio::select! {
            stopped = send(&shared, &mut failures) => stopped,
            _ = ships.wait_for(|ships| !*ships) => continue,
        };
        let now = shared.site.env.clock.now();
        match stopped {
            Stopped::Anew => continue,
            Stopped::Fenced(why) => {
                shared.figures().note_refused(why.clone());
                shared.tell(Event::Fenced(why));
                return;
            }
            Stopped::Down(why) => shared.figures().note_down(why, now),
            Stopped::Refused(why) => shared.figures().note_refused(why),
            Stopped::Tap(why) => tracing::debug!(vm = %shared.vm_id(), why, "nothing can be sent"),
        }
        failures += 1;
        // A site that looks more often is in a hurry.
        let longest = LONGEST_PAUSE.min(shared.site.look_interval * 20);
        let pause = pause(failures, FIRST_PAUSE, longest);
        tokio::time::sleep(pause).await;
    }
}

/// Sends until something is in the way.
async fn send(shared: &Shared, failures: &mut u32) -> Stopped {
    match try_send(shared, failures).await {
        Ok(()) => Stopped::Anew,
        Err(stopped) => stopped,
    }
}

async fn try_send(shared: &Shared, failures: &mut u32) -> std::result::Result<(), Stopped> {
    let tap = tap_with_journal(shared).await?;
    let peer = client(shared).await.map_err(|failure| Stopped::Refused(failure.detail().to_owned()))?;
    let journal = shared.known.journal_id;
    let mut settings = shared.settings.subscribe();
    settings.mark_unchanged();
    let start = tap.start().await.map_err(of_tap)?.segment;
    let offer =
        offer(shared, start).await.map_err(|failure| Stopped::Refused(failure.detail().to_owned()))?;
    let mut link = Link {
        shared,
        tap,
        peer,
        journal,
        released: start,
        batch: Batch::default(),
        throttle: Throttle::new(bandwidth(&settings.borrow()), shared.site.env.clone()),
    };
    let progress = link.peer.offer_replica(journal, &offer).await.map_err(of_peer)?;
    let mut wanted = link.acknowledged(progress).await?;
    loop {
        *failures = 0;
        // What is wanted has changed: it is offered anew, and sent at another pace.
        if settings.has_changed().unwrap_or(true) {
            return Ok(());
        }
        wanted = tokio::select! {
            next = link.step(wanted) => next?,
            _ = settings.changed() => return Ok(()),
        };
    }
}

/// What is sent by.
struct Link<'a> {
    shared: &'a Shared,
    tap: tap::Client,
    peer: PeerClient,
    journal: JournalId,
    /// Segments before this one are gone here.
    released: SegmentNumber,
    batch: Batch,
    throttle: Throttle,
}

impl Link<'_> {
    /// Sends what there is from a position on, or asks how the other side is; what it wants then.
    async fn step(&mut self, wanted: journal::Position) -> std::result::Result<journal::Position, Stopped> {
        let most_bytes = self.batch.bytes(self.throttle.rate());
        let parts = self.tap.parts(wanted, most_bytes, PARTS_WAIT).await.map_err(of_tap)?;
        if parts.is_empty() {
            let progress = self.peer.replica_progress(self.journal).await.map_err(of_peer)?;
            return self.acknowledged(progress).await;
        }
        let length_bytes: u64 = parts.iter().map(journal::Part::length_bytes).sum();
        self.throttle.pass(length_bytes).await;
        let begun = Instant::now();
        let progress = self.peer.send_parts(self.journal, &parts).await.map_err(of_peer)?;
        if length_bytes >= most_bytes / 2 {
            self.batch.took(begun.elapsed());
        }
        self.shared.figures().note_sent(length_bytes);
        let next = self.acknowledged(progress).await?;
        if next <= wanted {
            // It took nothing, and said nothing of why.
            return Err(Stopped::Down("the other site makes no progress".to_owned()));
        }
        Ok(next)
    }

    /// Everything before what is wanted is durable there: it goes here.
    async fn acknowledged(
        &mut self,
        progress: ReplicaProgress,
    ) -> std::result::Result<journal::Position, Stopped> {
        self.shared.figures().note_progress(progress);
        self.shared.there.send_replace(progress.durable_through);
        let wanted = progress.wanted;
        if wanted.segment > self.released {
            self.tap.release(wanted.segment).await.map_err(of_tap)?;
            self.released = wanted.segment;
        }
        Ok(wanted)
    }
}

/// The tap, once there is a journal.
async fn tap_with_journal(shared: &Shared) -> std::result::Result<tap::Client, Stopped> {
    let mut taps = shared.tap.subscribe();
    let known = taps.borrow_and_update().clone();
    if let Some(tap) = known {
        return Ok(tap);
    }
    if shared.has_journal() {
        // What was taken before a restart waits to be sent, whether the VM runs or not.
        return shared.tap().await.map_err(of_tap);
    }
    let appeared = taps.wait_for(Option::is_some).await.ok().and_then(|tap| tap.clone());
    appeared.ok_or_else(|| Stopped::Tap("there is no tap".to_owned()))
}

pub(super) async fn client(shared: &Shared) -> Result<PeerClient> {
    let known = peer(shared).await?;
    if known.ended_at.is_some() {
        return Err(Failure::conflict(format!("the site {} has ended the pairing", known.name)));
    }
    let client = shared.site.peers.client(&known, Patience::NONE)?;
    client.ok_or_else(|| Failure::conflict(format!("the site {} has no address, and only calls", known.name)))
}

async fn peer(shared: &Shared) -> Result<KnownPeer> {
    peers::find(&shared.site, shared.known.peer_id.as_str()).await
}

async fn offer(shared: &Shared, start: SegmentNumber) -> Result<ReplicaOffer> {
    let vm = shared.vm().await?;
    let definition = vms::known_definition(&vm).cloned();
    let definition =
        definition.ok_or_else(|| Failure::conflict("nobody has seen yet what the VM is made of"))?;
    let seed = shared.site.catalog.seed_wish(shared.known.journal_id).await?;
    let group = groups::offer(&shared.site, vm.id).await?;
    Ok(ReplicaOffer {
        vm_id: vm.id,
        vm_name: vm.name,
        definition,
        generation: journal::Generation(shared.known.generation),
        retention_seconds: Some(u64::from(shared.settings.borrow().retention_hours) * 3600),
        start,
        compares: true,
        seed,
        group,
        settings: Some(shared.settings.borrow().clone()),
    })
}

fn of_tap(error: tap::Error) -> Stopped {
    let told = Failure::of(api::Code::Failed, &error, None).detail().to_owned();
    match error.kind() {
        // The other side lacks what is no longer here.
        tap::ErrorKind::NotFound => {
            let why = "it lacks what the journal has let go of; stop the replication and start it anew";
            Stopped::Refused(why.to_owned())
        }
        _ => Stopped::Tap(told),
    }
}

fn of_peer(error: peer::Error) -> Stopped {
    let kind = error.kind();
    let failure = Failure::from(error);
    let told = match failure.hint() {
        Some(hint) => format!("{}; {hint}", failure.detail()),
        None => failure.detail().to_owned(),
    };
    match kind {
        ErrorKind::Fenced => Stopped::Fenced(told),
        ErrorKind::Unreachable | ErrorKind::Busy => Stopped::Down(told),
        _ => Stopped::Refused(told),
    }
}
