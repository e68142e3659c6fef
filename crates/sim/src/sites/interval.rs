//! A replication at intervals, at its source: epochs of moments that are held, in the steps in which the server makes them.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use journal::Sequence;
use replication::{Attachment, End, Epoch, Event, Mode, Obstacle, Record};
use tokio_util::sync::CancellationToken;

use super::{
    Broken,
    attachment::{Attached, JOURNAL_GONE, Source, tell_when_durable},
    guest::{DISK_NAMES, Span, all_sectors},
    keeper::{Keeping, tap},
    server::{Claim, Server},
    site::KnownReplication,
    tap::Tap,
};

const INTERVAL: Duration = Duration::from_secs(15);

/// How long a copy waits for room in the journal.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(30);

/// Why a copy waits no longer.
pub(super) const FULL: &str = "the journal has no room";

/// A moment that is held.
pub(super) struct Moment {
    pub(super) epoch: u64,
    trusted: Option<u64>,
    is_at_rest: bool,
    /// Given up with the moment; none where whoever hands the VM over has it.
    claim: Mutex<Option<Claim>>,
}

impl Moment {
    /// Lets go of it, once.
    pub(super) fn let_go(&self, server: &Server, is_kept: bool) {
        let committed = if is_kept { Some(self.epoch) } else { self.trusted };
        let forgets = server.is_broken(Broken::FailedEpochForgotten);
        server.site.host().let_go(self.epoch, committed, forgets);
        self.claim.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

pub(super) fn mode(known: &KnownReplication) -> Mode {
    if known.is_at_intervals { Mode::Interval(INTERVAL) } else { Mode::Tap }
}

pub(super) async fn try_attach(
    server: &Arc<Server>,
    keeping: &Keeping,
    attachment: Attachment,
    (trusted, is_at_rest): (Option<Epoch>, bool),
) -> Result<Attached, Obstacle> {
    let broken = |why: String| Obstacle::Broken(why);
    server.step().await;
    if !server.site.host().runs() && !is_at_rest {
        return Err(Obstacle::VmStopped);
    }
    let claim = match keeping.lends_turn.load(Ordering::Relaxed) {
        true => None,
        false => Some(server.claim().map_err(|_| Obstacle::Busy("the VM is busy".to_owned()))?),
    };
    let id = keeping.known.journal;
    server.step().await;
    if server.site.host().has_lost_journal(id) {
        return Err(Obstacle::Unsupported(JOURNAL_GONE.to_owned()));
    }
    let tap = tap(server, keeping).map_err(broken)?;
    server.step().await;
    let trusted = trusted.map(|epoch| epoch.0);
    let captured = server.site.host().capture(trusted).map_err(broken)?;
    let moment =
        Moment { epoch: captured.epoch, trusted, is_at_rest: captured.is_at_rest, claim: Mutex::new(claim) };
    let captured_at = server.process.env().clock.now();
    server.step().await;
    let disks = Arc::clone(&captured.disks);
    let begin = |tap: &mut Tap| Ok((tap.begin_epoch_at(captured_at, disks)?, tap.add_disks()?));
    let begun = server.site.host().with_tap(id, tap, begin);
    let (epoch, is_new) = match begun {
        Ok(begun) => begun,
        Err(why) => {
            moment.let_go(server, false);
            return Err(broken(why));
        }
    };
    if server.is_broken(Broken::WholeTooSoon) {
        let _ = call_whole(server, keeping, (tap, epoch)).await; // what is refused is refused again
    }
    let missed = captured.missed.filter(|_| !is_new);
    let is_partial = missed.is_some();
    let missed = Span::of_sectors(&missed.unwrap_or_else(all_sectors));
    let (source, ended) = (Source::Moment(moment), CancellationToken::new());
    Ok(Attached { attachment, is_partial, tap, epoch, source, missed, ended })
}

/// What it means that a moment could not be copied.
pub(super) fn failed(server: &Server, attachment: Attachment, moment: &Moment, why: String) -> Event {
    match moment.is_at_rest {
        _ if why == FULL => Event::Ended(attachment, End::JournalFull),
        false if !server.site.host().runs() => Event::Ended(attachment, End::VmStopped),
        _ => Event::NotCopied(attachment, why),
    }
}

/// Closes the epoch with a mark.
pub(super) async fn close(server: &Server, keeping: &Keeping, attached: &Attached, moment: &Moment) {
    let (attachment, id) = (attached.attachment, keeping.known.journal);
    let marked = match call_whole(server, keeping, (attached.tap, attached.epoch)).await {
        Ok(()) => {
            server.step().await;
            server.site.host().with_tap(id, attached.tap, |tap| tap.mark())
        }
        Err(why) => Err(why),
    };
    let through = match marked {
        Ok(through) => through,
        Err(why) => return keeping.tell(Event::NotDeclared(attachment, why)),
    };
    let (epoch, is_at_rest) = (Epoch(moment.epoch), moment.is_at_rest);
    keeping.tell(Event::Closed { attachment, epoch, through: Record(through.0), is_at_rest });
    tell_when_durable(server, keeping, attached, through).await;
}

async fn call_whole(
    server: &Server,
    keeping: &Keeping,
    (tap, epoch): (u64, Sequence),
) -> super::tap::Result<()> {
    for place in 0..DISK_NAMES.len() {
        server.step().await;
        server.site.host().with_tap(keeping.known.journal, tap, |tap| tap.declare(place, epoch))?;
    }
    Ok(())
}
