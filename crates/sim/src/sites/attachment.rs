//! An attachment of a replication: the VM's writes are taken, or a moment of it is held; what the journal lacks is copied, and its
//! disks are called whole.

use std::{sync::Arc, time::Duration};

use journal::Sequence;
use replication::{Attachment, End, Epoch, Event, Obstacle, Record};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Broken,
    guest::{DISK_NAMES, Span, all_sectors},
    host::MirrorEnd,
    interval::{self, Moment},
    keeper::{Keeping, tap},
    server::Server,
};

/// Why a replication whose journal was removed does not go on.
pub(crate) const JOURNAL_GONE: &str = "the journal is no longer there";

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

pub(super) async fn attach(
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
    keeping.tell_attached(&attached);
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

pub(super) async fn copy(server: Arc<Server>, keeping: Arc<Keeping>, attached: Arc<Attached>) {
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

pub(super) async fn begin_epoch(server: Arc<Server>, keeping: Arc<Keeping>, attached: Arc<Attached>) {
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

pub(super) async fn declare(server: Arc<Server>, keeping: Arc<Keeping>, attached: Arc<Attached>) {
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
