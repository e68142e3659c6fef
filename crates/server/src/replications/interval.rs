//! One epoch of a VM that is replicated at intervals: a moment of all its disks is held, what was written since the last one that
//! the journal has is copied from it, and a mark closes it.
//!
//! # Why no moment but that one is shown
//!
//! The epoch begins in the journal before anything of it is copied, which makes its disks not whole; they are called whole after all
//! of it is there; and nothing enters the journal from then on until the next epoch begins. So the disks are whole only while
//! they are as they were at a moment that was held. The journal's time stands at it, so that it is also shown as of then.
//!
//! # Why nothing is lost
//!
//! What is read is what changed since the *trusted* epoch: its dirty bitmap says so, and where there is none, all of the disk is
//! compared. An epoch becomes trusted only when the journal durably has it and the catalog knows; then its moment is let go of as
//! kept, which drops the older bitmap. Whatever ends earlier lets go of it as abandoned, which merges what was written since into
//! the older bitmap. A server that dies leaves both bitmaps, and the next capture settles them by what the catalog says.

mod held;

use std::{sync::atomic::Ordering, time::Duration};

use hypervisor::{
    Baseline, Capture, CaptureOutcome, CaptureRequest, CapturedDisk, Chain, DiskChanges, Missed, Power,
};
use image::ByteRange;
use model::{CaptureId, Consistency, ProtectionSettings, ReplicationSettings};
use replication::{Attachment, End, Epoch, Event, Mode, Record};
use tap::{Checkpoint, CheckpointKind};
use tokio::time::{sleep, timeout};

pub(crate) use self::held::Moment;
use self::held::{HeldImage, Lent};
use super::{
    attach::{
        ATTACH_LIMIT, Attached, AttachedDisk, Source, broken, check_journal, journal_disks, of_hypervisor,
        of_tap,
    },
    tasks::Shared,
};
use crate::{failure::Failure, vms};

/// Changes are asked for in stretches of this size.
const STRETCH_BYTES: u64 = 4 << 30;

/// Ranges of a disk that are told apart; where there are more, neighbours are copied with what is between them.
const RANGES_MAX: usize = 1 << 20;

/// How long the copy of a moment may stand still: the guest's writes are copied away for as long as it is held.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// How soon a freeze is tried again that failed.
const FREEZE_RETRY_SECONDS: u32 = 60;

/// A journal that is fuller has kept the copy waiting, in per cent of its share.
const FULL_PERCENT: u64 = 70;

/// How a replication with these settings gets what its VM writes.
pub(super) fn mode(settings: &ReplicationSettings) -> Mode {
    settings.interval_seconds.map_or(Mode::Tap, |seconds| Mode::Interval(Duration::from_secs(seconds.into())))
}

/// The capture of an epoch: its bitmaps are named after it.
fn capture_of(epoch: Epoch) -> CaptureId {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&epoch.0.to_be_bytes());
    CaptureId::from_random(bytes)
}

/// Holds a moment, and begins its epoch in the journal.
pub(super) async fn try_attach(
    shared: &Shared,
    attachment: Attachment,
    trusted: Option<Epoch>,
    is_at_rest: bool,
) -> Result<Attached, replication::Obstacle> {
    // The sender is this replication's own.
    shared.letting_go.subscribe().wait_for(|count| *count == 0).await.ok();
    let vm = shared.vm().await.map_err(broken)?;
    let inspection = vms::refresh(&shared.site, &vm).await.map_err(replication::Obstacle::Broken)?;
    let rests = inspection.power == Power::Stopped;
    if rests && !is_at_rest {
        return Err(replication::Obstacle::VmStopped);
    }
    let turn = shared.turn(&vm)?;
    let trusted = check_journal(shared, trusted).await?;
    let client = shared.tap().await.map_err(|error| of_tap(shared, &error))?;
    // One that came to nothing has a name that is never given again. The catalog's numbers have a sign.
    let epoch = Epoch(u64::from_be_bytes(env::random(&*shared.site.env.entropy)) >> 1);
    let protection = shared.site.catalog.protection(vm.id).await.map_err(|error| broken(error.into()))?;
    let limit_ms =
        protection.map_or(ProtectionSettings::FREEZE_LIMIT_DEFAULT_MS, |known| known.freeze_limit_ms);
    let request = CaptureRequest {
        vm: vms::access(&vm),
        chain: Chain::Replication,
        capture_id: capture_of(epoch),
        baseline: baseline(&inspection, trusted),
        disk: None,
        consistency: if is_freeze_due(shared) { Consistency::Application } else { Consistency::Crash },
        strict: false,
        freeze_limit: Duration::from_millis(limit_ms.into()),
        on_phase: std::sync::Arc::new(|_| ()),
    };
    let capture = timeout(ATTACH_LIMIT, shared.site.hypervisor.capture(request)).await;
    let capture =
        capture.map_err(|_| replication::Obstacle::Broken("the hypervisor did not answer".to_owned()))?;
    let capture = capture.map_err(of_hypervisor)?;
    let kind = kind(shared, capture.as_ref());
    let begun = begin(shared, &client, capture.as_ref()).await;
    let moment = Moment::new(epoch, kind, rests, capture, turn);
    let (tap_epoch, begun, disks) = match begun {
        Ok(begun) => begun,
        Err(why) => {
            moment.let_go(CaptureOutcome::Abandoned).await;
            return Err(why);
        }
    };
    let disks = disks
        .into_iter()
        .map(|(disk, image)| {
            moment.note(&image);
            disk
        })
        .collect();
    Ok(Attached {
        attachment,
        is_partial: trusted.is_some(),
        client,
        epoch: tap_epoch,
        begun,
        source: Source::Moment(moment),
        disks,
        ended: shared.stop.child_token(),
    })
}

fn baseline(inspection: &hypervisor::Inspection, trusted: Option<Epoch>) -> Baseline {
    let disks = inspection.disks.iter().map(|disk| disk.name.clone());
    disks.filter_map(|disk| Some((disk, capture_of(trusted?)))).collect()
}

type Begun = (tap::Epoch, journal::Sequence, Vec<(AttachedDisk, std::sync::Arc<HeldImage>)>);

/// Begins the epoch of a moment that is held, with the disks as they were then.
async fn begin(
    shared: &Shared,
    client: &tap::Client,
    capture: &dyn Capture,
) -> Result<Begun, replication::Obstacle> {
    let failed = |error| of_tap(shared, &error);
    let epoch = client.begin_epoch_at(shared.vm_id(), capture.facts().captured_at).await.map_err(failed)?;
    let sizes: Vec<_> =
        capture.disks().iter().map(|disk| (disk.name.clone(), disk.image.size_bytes())).collect();
    let (journaled, _) = journal_disks(shared, client, &sizes).await?;
    let begun = client.status().await.map_err(failed)?.usage.taken_through;
    let mut disks = Vec::new();
    for captured in capture.disks() {
        let Some(known) = journaled.get(&captured.name) else { continue };
        let missed = match known.is_new {
            true => Missed::All("it is new in the journal".to_owned()),
            false => missed(captured).await.map_err(|error| broken(error.into()))?,
        };
        let image = std::sync::Arc::new(HeldImage::new(captured.image.clone()));
        let disk = AttachedDisk {
            name: captured.name.clone(),
            number: known.number,
            size_bytes: captured.image.size_bytes(),
            missed,
            is_new: known.is_new,
            live: image.clone(),
        };
        disks.push((disk, image));
    }
    Ok((epoch, begun, disks))
}

/// What changed on a disk since the trusted epoch.
async fn missed(captured: &CapturedDisk) -> image::Result<Missed> {
    let changes = match &captured.changes {
        DiskChanges::Unknown { reason } => return Ok(Missed::All(reason.clone())),
        DiskChanges::Since(changes) => changes,
    };
    let (size_bytes, mut start_bytes) = (captured.image.size_bytes(), 0);
    let mut found: Vec<ByteRange> = Vec::new();
    let mut gap_bytes = 0;
    while start_bytes < size_bytes {
        let window =
            ByteRange::between(start_bytes, size_bytes.min(start_bytes.saturating_add(STRETCH_BYTES)));
        found.extend(changes.changed_within(window).await?);
        while found.len() > RANGES_MAX {
            gap_bytes = (gap_bytes * 2).max(64 << 10);
            found = joined(found, gap_bytes);
        }
        start_bytes = window.end_bytes();
    }
    Ok(Missed::Ranges(found))
}

/// Ranges in ascending order, those joined that are this near to one another.
fn joined(ranges: Vec<ByteRange>, gap_bytes: u64) -> Vec<ByteRange> {
    let mut joined: Vec<ByteRange> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.offset_bytes <= last.end_bytes().saturating_add(gap_bytes) => {
                *last = ByteRange::between(last.offset_bytes, last.end_bytes().max(range.end_bytes()));
            }
            _ => joined.push(range),
        }
    }
    joined
}

fn is_freeze_due(shared: &Shared) -> bool {
    let is_wanted = shared.settings.borrow().application_every_seconds.is_some();
    let now = shared.site.env.clock.now();
    is_wanted && shared.figures().freeze_at.is_none_or(|at| at <= now)
}

/// What the moment is to its applications, and when they are asked to hold still next.
fn kind(shared: &Shared, capture: &dyn Capture) -> CheckpointKind {
    let reached = &capture.facts().consistency;
    let every = shared.settings.borrow().application_every_seconds;
    let Some(every) = every.filter(|_| reached.asked == Consistency::Application) else {
        return CheckpointKind::Crash;
    };
    let is_reached = reached.reached == Consistency::Application;
    let wait_seconds = if is_reached { every } else { every.min(FREEZE_RETRY_SECONDS) };
    let (now, wait_us) = (shared.site.env.clock.now(), i64::from(wait_seconds) * 1_000_000);
    let mut figures = shared.figures();
    figures.freeze_at =
        Some(model::Timestamp::from_microseconds(now.as_microseconds().saturating_add(wait_us)));
    figures.application_problem = reached.shortfall.clone().filter(|_| !is_reached);
    if is_reached { CheckpointKind::Application } else { CheckpointKind::Crash }
}

/// What comes of the copy of a moment. It is not held for ever: a journal without room and a site that does not answer let go of it.
pub(super) async fn watch_over(
    shared: &Shared,
    attached: &Attached,
    moment: &Moment,
    copied: impl Future<Output = Result<(), String>>,
) -> Event {
    let attachment = attached.attachment;
    let copied = tokio::select! {
        copied = copied => copied,
        end = stalled(shared) => return Event::Ended(attachment, end),
    };
    let Err(why) = copied else { return Event::Copied(attachment) };
    // A guest that shuts down takes its moment with it: nothing is wrong with that.
    match !moment.is_at_rest && rests(shared).await {
        true => Event::Ended(attachment, End::VmStopped),
        false => Event::NotCopied(attachment, why),
    }
}

async fn rests(shared: &Shared) -> bool {
    let Ok(vm) = shared.vm().await else { return false };
    vms::is_running(&shared.site, &vm).await.is_ok_and(|runs| !runs)
}

/// Waits until nothing was copied for a while.
async fn stalled(shared: &Shared) -> End {
    let progress = shared.figures().copy.clone();
    let mut before = progress.done_bytes.load(Ordering::Relaxed);
    loop {
        sleep(STALL_LIMIT).await;
        let done = progress.done_bytes.load(Ordering::Relaxed);
        if done == before {
            let is_full = shared.figures().journal_percent() >= FULL_PERCENT;
            let why = format!("nothing could be copied for {} s", STALL_LIMIT.as_secs());
            return if is_full { End::JournalFull } else { End::Broken(why) };
        }
        before = done;
    }
}

/// Closes the epoch: the disks are whole as they were at the moment, and that is marked.
pub(super) async fn close(shared: &Shared, attached: &Attached, moment: &Moment) {
    let attachment = attached.attachment;
    let through = match mark(shared, attached, moment).await {
        Ok(through) => through,
        Err(error) => {
            let why = format!("an epoch could not be closed: {error}");
            return shared.tell(Event::NotDeclared(attachment, why));
        }
    };
    if moment.kind == CheckpointKind::Application {
        shared.figures().application_at = Some(moment.captured_at);
    }
    let (epoch, is_at_rest) = (moment.epoch, moment.is_at_rest);
    shared.tell(Event::Closed { attachment, epoch, through: Record(through.0), is_at_rest });
    if let Ok(durable) = attached.client.durable(through).await {
        shared.tell(Event::Durable(Record(durable.0)));
    }
}

async fn mark(shared: &Shared, attached: &Attached, moment: &Moment) -> tap::Result<journal::Sequence> {
    for disk in &attached.disks {
        attached.client.disk_is_whole(disk.number, attached.epoch).await?;
    }
    let checkpoint = Checkpoint { kind: moment.kind, vm: Some(shared.vm_id()), name: String::new() };
    attached.client.checkpoint(checkpoint).await
}

/// Forgets all that was tracked for the epochs of a VM.
pub(super) async fn forget(site: &crate::site::Site, vm: &catalog::KnownVm) -> Result<(), Failure> {
    let _turn = vms::claim(site, vm, "ending its replication")?;
    site.hypervisor.recover(&vms::access(vm), Chain::Replication, &Baseline::default()).await?;
    Ok(())
}

impl Shared {
    /// The VM's turn for an epoch, unless who has it lends it.
    fn turn(&self, vm: &catalog::KnownVm) -> Result<Option<Lent>, replication::Obstacle> {
        if self.lends_turn.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let claimed = self.site.jobs.queue().claim(vm.id, "copying what it has written");
        let ticket =
            claimed.map_err(|holder| replication::Obstacle::Busy(format!("the VM is busy with {holder}")))?;
        Ok(Some(Lent::new(ticket, self.holds_turn.clone())))
    }
}

#[cfg(test)]
mod tests {
    use image::ByteRange;
    use replication::Epoch;

    use super::{capture_of, joined};

    #[test]
    fn every_epoch_has_a_capture_of_its_own() {
        let ids: std::collections::BTreeSet<_> =
            [0, 1, 256, u64::MAX >> 1].map(|epoch| capture_of(Epoch(epoch)).to_string()).into();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn ranges_that_are_near_to_one_another_become_one() {
        let ranges = vec![ByteRange::new(0, 10), ByteRange::new(12, 10), ByteRange::new(100, 1)];
        assert_eq!(joined(ranges, 2), [ByteRange::new(0, 22), ByteRange::new(100, 1)]);
    }
}
