//! The hypervisor is made to hand every write to the journal.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use hypervisor::{Missed, Power, Tap, TapRequest, TappedDisk, TrackingEpoch};
use image::DiskImage;
use journal::{DiskNumber, Sequence};
use model::DiskName;
use replication::{Attachment, End, Epoch, Event, Obstacle};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    interval::{self, Moment},
    keeper::{Told, end_of},
    tasks::Shared,
};
use crate::{failure::Failure, vms};

/// How long the hypervisor may take.
pub(super) const ATTACH_LIMIT: Duration = Duration::from_secs(120);

const SECTOR_BYTES: u64 = 512;

/// All writes of a VM are taken, or a moment of it is held.
pub(crate) struct Attached {
    pub(super) attachment: Attachment,
    pub(super) is_partial: bool,
    /// The process that takes them, and no other one after it.
    pub(crate) client: tap::Client,
    /// Since when the tap knows of none that passed it by.
    pub(crate) epoch: tap::Epoch,
    /// A record of that epoch.
    pub(super) begun: Sequence,
    pub(super) source: Source,
    pub(super) disks: Vec<AttachedDisk>,
    /// Cancelled when it has ended.
    pub(super) ended: CancellationToken,
}

/// Where the journal gets what the VM writes.
pub(super) enum Source {
    /// The hypervisor hands it every write.
    Tap(Box<dyn Tap>),
    /// What changed until a moment is copied from that.
    Moment(Moment),
}

impl Attached {
    /// What hands over every write, if something does.
    pub(crate) fn tap(&self) -> Option<&dyn Tap> {
        match &self.source {
            Source::Tap(tap) => Some(tap.as_ref()),
            Source::Moment(_) => None,
        }
    }
}

/// A disk whose writes are taken.
pub(super) struct AttachedDisk {
    pub(super) name: DiskName,
    pub(super) number: DiskNumber,
    pub(super) size_bytes: u64,
    /// What the journal lacks.
    pub(super) missed: Missed,
    /// In the journal it is all zeros yet.
    pub(super) is_new: bool,
    /// As it is now, or as it was at the moment.
    pub(super) live: Arc<dyn DiskImage>,
}

/// A disk as the journal has it.
pub(super) struct Journaled {
    pub(super) number: DiskNumber,
    export: String,
    pub(super) is_new: bool,
}

/// Tries it, and tells what came of it.
pub(super) async fn attach(
    shared: Arc<Shared>,
    attachment: Attachment,
    trusted: Option<Epoch>,
    is_at_rest: bool,
) {
    let turn = shared.attaching.lock().await;
    let tried = match shared.known.settings.interval_seconds {
        None => try_attach(&shared, attachment, trusted).await,
        Some(_) => interval::try_attach(&shared, attachment, trusted, is_at_rest).await,
    };
    match tried {
        Ok(attached) => {
            let attached = Arc::new(attached);
            drop(turn);
            // A keeper that has ended lets it go on.
            shared.told.send(Told::Attached(attached.clone())).ok();
            let ended = attached.ended.clone();
            if let Some(end) = ended.run_until_cancelled(end(&shared, &attached)).await {
                shared.tell(Event::Ended(attachment, end));
            }
        }
        Err(why) => shared.tell(Event::NotAttached(attachment, why)),
    }
}

/// Waits until writes may be missed.
async fn end(shared: &Shared, attached: &Attached) -> End {
    let mut taps = shared.tap.subscribe();
    let process_id = attached.client.process_id();
    let is_another =
        |tap: &Option<tap::Client>| tap.as_ref().is_none_or(|tap| tap.process_id() != process_id);
    let gone = async { drop(taps.wait_for(is_another).await) };
    let ended = async {
        match attached.tap() {
            Some(tap) => tap.ended().await,
            // Whoever reads a moment notices its end.
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        end = ended => end_of(attached, end).await,
        // The hypervisor of a guest that writes nothing does not notice.
        () = gone => End::TapLost("its process has ended".to_owned()),
    }
}

async fn try_attach(
    shared: &Shared,
    attachment: Attachment,
    trusted: Option<Epoch>,
) -> Result<Attached, Obstacle> {
    let vm = shared.vm().await.map_err(broken)?;
    let inspection = vms::refresh(&shared.site, &vm).await.map_err(Obstacle::Broken)?;
    if inspection.power == Power::Stopped {
        return Err(Obstacle::VmStopped);
    }
    let queue = shared.site.jobs.queue();
    let _claim = queue
        .claim(vm.id, "beginning to replicate it")
        .map_err(|holder| Obstacle::Busy(format!("the VM is busy with {holder}")))?;
    let trusted = check_journal(shared, trusted).await?;
    let client = shared.tap().await.map_err(|error| of_tap(shared, &error))?;
    let sizes: Vec<_> = inspection.disks.iter().map(|disk| (disk.name.clone(), disk.size_bytes.0)).collect();
    let (journaled, socket) = journal_disks(shared, &client, &sizes).await?;
    client.begin_epoch(vm.id).await.map_err(|error| of_tap(shared, &error))?;
    let disks =
        journaled.iter().map(|(name, disk)| TappedDisk { disk: name.clone(), export: disk.export.clone() });
    let request = TapRequest {
        vm: vms::access(&vm),
        journal_id: shared.known.journal_id,
        socket,
        disks: disks.collect(),
        trusted: trusted.map(|epoch| TrackingEpoch(epoch.0)),
    };
    let tap = timeout(ATTACH_LIMIT, shared.site.hypervisor.begin_tap(&request)).await;
    let tap = tap.map_err(|_| Obstacle::Broken("the hypervisor did not answer".to_owned()))?;
    let tap = tap.map_err(of_hypervisor)?;
    // Connections may have come and gone until now. From here on one that ends is one too many.
    let epoch = client.begin_epoch(vm.id).await.map_err(|error| of_tap(shared, &error))?;
    let begun = client.status().await.map_err(|error| of_tap(shared, &error))?.usage.taken_through;
    let disks: Vec<_> = tap.disks().iter().filter_map(|disk| attached_disk(disk, &journaled)).collect();
    // The moments before stay, also where a disk is new or has to be read as a whole.
    let is_partial = trusted.is_some();
    for disk in &disks {
        tracing::info!(vm = %vm.name, disk = %disk.name, missed = %in_words(&disk.missed), "all writes are taken");
    }
    let ended = shared.stop.child_token();
    let source = Source::Tap(tap);
    Ok(Attached { attachment, is_partial, client, epoch, begun, source, disks, ended })
}

fn attached_disk(
    disk: &hypervisor::TapDisk,
    journaled: &BTreeMap<DiskName, Journaled>,
) -> Option<AttachedDisk> {
    let known = journaled.get(&disk.name)?;
    // What is tracked says nothing of a disk that the journal has never had.
    let missed = match known.is_new {
        true => Missed::All("it is new in the journal".to_owned()),
        false => disk.missed.clone(),
    };
    Some(AttachedDisk {
        name: disk.name.clone(),
        number: known.number,
        size_bytes: disk.size_bytes,
        missed,
        is_new: known.is_new,
        live: disk.live.clone(),
    })
}

/// What is trusted of a journal that is there. One that is new has nothing.
pub(super) async fn check_journal(
    shared: &Shared,
    trusted: Option<Epoch>,
) -> Result<Option<Epoch>, Obstacle> {
    if shared.has_journal() {
        return Ok(trusted);
    }
    if shared.figures().progress.is_some_and(|progress| progress.durable_through.0 > 0) || trusted.is_some() {
        let why = "the journal is no longer there, and another would not continue it: stop the replication and start it anew";
        return Err(Obstacle::Unsupported(why.to_owned()));
    }
    Ok(None)
}

/// Has the journal know the disks as they are now.
pub(super) async fn journal_disks(
    shared: &Shared,
    client: &tap::Client,
    disks: &[(DiskName, u64)],
) -> Result<(BTreeMap<DiskName, Journaled>, PathBuf), Obstacle> {
    let failed = |error| of_tap(shared, &error);
    let status = client.status().await.map_err(failed)?;
    let vm_id = shared.vm_id();
    let known = status.disks.iter().filter(|disk| disk.vm_id == vm_id);
    for gone in known.clone().filter(|known| disks.iter().all(|(name, _)| *name != known.name)) {
        client.remove_disk(gone.number).await.map_err(failed)?;
    }
    let mut journaled = BTreeMap::new();
    for (name, size_bytes) in disks {
        let size_bytes = size_bytes.next_multiple_of(SECTOR_BYTES);
        let entry = match known.clone().find(|known| known.name == *name) {
            Some(known) => {
                if known.size_bytes != size_bytes {
                    client.resize_disk(known.number, size_bytes).await.map_err(failed)?;
                }
                Journaled { number: known.number, export: known.export.clone(), is_new: false }
            }
            None => {
                let added = client.add_disk(vm_id, name, size_bytes).await.map_err(failed)?;
                Journaled { number: added.number, export: added.export, is_new: true }
            }
        };
        journaled.insert(name.clone(), entry);
    }
    Ok((journaled, status.nbd_socket))
}

pub(super) fn broken(failure: Failure) -> Obstacle {
    Obstacle::Broken(failure.detail().to_owned())
}

pub(super) fn of_tap(shared: &Shared, error: &tap::Error) -> Obstacle {
    let told = Failure::of(api::Code::Failed, error, None);
    match error.kind() {
        tap::ErrorKind::Fenced => {
            shared.tell(Event::Fenced(told.detail().to_owned()));
            Obstacle::Unsupported(told.detail().to_owned())
        }
        tap::ErrorKind::Corrupt | tap::ErrorKind::UnsupportedVersion | tap::ErrorKind::Invalid => {
            Obstacle::Unsupported(format!("{}; stop the replication and start it anew", told.detail()))
        }
        tap::ErrorKind::Full => Obstacle::JournalFull,
        _ => Obstacle::Broken(told.detail().to_owned()),
    }
}

pub(super) fn of_hypervisor(error: hypervisor::Error) -> Obstacle {
    let (kind, failure) = (error.kind(), Failure::from(error));
    let told = failure.detail().to_owned();
    match kind {
        hypervisor::ErrorKind::Gone => Obstacle::VmStopped,
        hypervisor::ErrorKind::Busy => Obstacle::Busy(told),
        hypervisor::ErrorKind::Unsupported => Obstacle::Unsupported(told),
        _ => Obstacle::Broken(told),
    }
}

fn in_words(missed: &Missed) -> String {
    match missed {
        Missed::All(why) => format!("everything: {why}"),
        Missed::Ranges(ranges) => {
            let bytes: u64 = ranges.iter().map(|range| range.length_bytes).sum();
            format!("{bytes} bytes")
        }
    }
}
