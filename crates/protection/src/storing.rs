//! What a moment holds becomes a recovery point: disk by disk, from the disks of earlier points on.

mod paced;

use std::sync::Arc;

use hypervisor::{Baseline, CaptureFacts, CapturedDisk, Chain, DiskChanges};
use image::{ChangeMap, DiskImage};
use model::{
    ByteCount, CaptureCost, CaptureId, ChangeSource, DiskName, DiskSummary, PointId, PointSummary, Timestamp,
    VmId, VmName,
};
use vault::{DiskMap, DiskSource, PointRecord, Vault, Writer};

use self::paced::{Pace, PacedImage};
use crate::{ErrorKind, Moment, Monitor, Result, error::Context as _, monitor::vault_monitor};

/// How often the disks of a moment are stored again.
const STORES_AGAIN: u32 = 3;

/// The points from which new ones start, newest first: each disk from the first that has it.
#[derive(Debug, Default)]
pub(crate) struct Parents(Vec<PointRecord>);

impl Parents {
    pub(crate) fn new(points: Vec<PointRecord>) -> Self {
        Self(points)
    }

    fn map(&self, disk: &DiskName) -> Option<DiskMap> {
        self.0.iter().find_map(|point| point.map(disk)).copied()
    }

    fn newest(&self) -> Option<&PointSummary> {
        self.0.first().map(|point| &point.summary)
    }

    /// The captures from which the changes of the disks are counted.
    pub(crate) fn baseline(&self) -> Baseline {
        let disks = self.0.iter().rev().flat_map(|point| {
            let capture_id = point.summary.capture_id;
            point.summary.disks.iter().map(move |disk| (disk.name.clone(), capture_id))
        });
        disks.collect()
    }
}

/// A point that is being made.
pub(crate) struct NewPoint<'a> {
    pub(crate) vault: &'a Vault,
    pub(crate) monitor: &'a Arc<dyn Monitor>,
    pub(crate) chain: Chain,
    pub(crate) parents: &'a Parents,
    /// The captures from which the changes of a moment were counted that was fixed before the parents were read; none where they
    /// are counted from the parents.
    pub(crate) counted_from: Option<&'a Baseline>,
    pub(crate) point_id: PointId,
    pub(crate) capture_id: CaptureId,
    pub(crate) vm_id: VmId,
    pub(crate) vm_name: &'a VmName,
    pub(crate) label: Option<String>,
    /// A reason to trust no change tracking: every disk is read and compared.
    pub(crate) distrust: Option<&'a str>,
    pub(crate) read_limit_bytes_per_second: Option<ByteCount>,
    /// Whether the moment is an old one, which the parents' may come after.
    pub(crate) is_copy: bool,
}

impl NewPoint<'_> {
    /// Stores and commits. Everything is still at hand: where what the incremental builds on is damaged, or was collected as
    /// garbage meanwhile, what is lost is stored again.
    pub(crate) async fn store_patiently(&self, moment: &Moment) -> Result<PointSummary> {
        let pace = self.read_limit_bytes_per_second.map(|limit| Arc::new(Pace::new(limit.0)));
        let mut stored = self.store(moment, pace.as_ref(), self.distrust).await;
        for _ in 0..STORES_AGAIN {
            let reason = match &stored {
                Err(error) if error.kind() == ErrorKind::Overtaken => {
                    format!("the vault's garbage was collected meanwhile: {}", chain(error))
                }
                Err(error) if error.kind() == ErrorKind::Damaged && self.parents.newest().is_some() => {
                    format!("what the last {} stored is damaged: {}", self.chain.as_str(), chain(error))
                }
                _ => break,
            };
            self.monitor.warn(reason.clone());
            stored = self.store(moment, pace.as_ref(), Some(&reason)).await;
        }
        stored
    }

    /// Stores every disk of the moment and commits the point. With a reason to distrust the parents, nothing is taken over
    /// from them unread.
    async fn store(
        &self,
        moment: &Moment,
        pace: Option<&Arc<Pace>>,
        distrust: Option<&str>,
    ) -> Result<PointSummary> {
        let facts = moment.facts();
        if let Some(shortfall) = &facts.consistency.shortfall {
            let (asked, reached) = (facts.consistency.asked, facts.consistency.reached);
            self.monitor.warn(format!("{reached} consistency instead of {asked}: {shortfall}"));
        }
        for omitted in &facts.omitted {
            self.monitor.warn(omitted.clone());
        }
        let mut writer = self.vault.writer().await.context("the vault cannot be written to")?;
        let mut stored = Vec::with_capacity(moment.disks().len());
        for disk in moment.disks() {
            stored.push(self.store_disk(&mut writer, disk, pace, distrust).await?);
        }
        self.monitor.phase("committing the point");
        let point = self.point(facts, moment.cost().await, stored);
        let summary = point.summary.clone();
        writer.commit(point).await.context("the recovery point could not be committed")?;
        Ok(summary)
    }

    async fn store_disk(
        &self,
        writer: &mut Writer,
        disk: &CapturedDisk,
        pace: Option<&Arc<Pace>>,
        distrust: Option<&str>,
    ) -> Result<(DiskSummary, DiskMap)> {
        let Basis { source, parent, changes } = self.basis_of(writer, disk, distrust).await?;
        let image: Arc<dyn DiskImage> = match pace {
            Some(pace) => Arc::new(PacedImage::new(Arc::clone(&disk.image), Arc::clone(pace))),
            None => Arc::clone(&disk.image),
        };
        let verb = match source {
            ChangeSource::Full => "reading",
            ChangeSource::Bitmap => "reading the changes of",
            ChangeSource::Compared { .. } => "comparing",
        };
        let phase = format!("{verb} {}", disk.name);
        let stored = writer
            .store_disk(DiskSource { image, parent, changes }, &vault_monitor(self.monitor, phase))
            .await
            .context(format!("the disk {} could not be stored", disk.name))?;
        let summary = DiskSummary {
            name: disk.name.clone(),
            size_bytes: ByteCount(stored.map.size_bytes),
            read_bytes: ByteCount(stored.read_bytes),
            stored_bytes: ByteCount(stored.stored_bytes),
            source,
        };
        Ok((summary, stored.map))
    }

    async fn basis_of(&self, writer: &Writer, disk: &CapturedDisk, distrust: Option<&str>) -> Result<Basis> {
        let Some(parent) = self.parents.map(&disk.name) else {
            return Ok(Basis { source: ChangeSource::Full, parent: None, changes: None });
        };
        let link = self.chain.as_str();
        let compared =
            |reason| Basis { source: ChangeSource::Compared { reason }, parent: Some(parent), changes: None };
        let (was, is) = (ByteCount(parent.size_bytes), ByteCount(disk.image.size_bytes()));
        Ok(match &disk.changes {
            _ if let Some(reason) = distrust => compared(reason.to_owned()),
            _ if was != is => compared(format!("the disk was resized from {was} to {is}")),
            DiskChanges::Unknown { reason } => compared(reason.clone()),
            DiskChanges::Since(_) if !self.counts_from_parent(&disk.name) => {
                compared(format!("the {link} that its changes are counted from cannot be read in the vault"))
            }
            DiskChanges::Since(changes) => {
                let whole = writer.is_whole(&parent).await;
                if !whole.context(format!("the last {link} cannot be looked up in the vault"))? {
                    return Ok(compared(format!("the vault has lost some of what the last {link} stored")));
                }
                let changes = Some(Arc::clone(changes));
                Basis { source: ChangeSource::Bitmap, parent: Some(parent), changes }
            }
        })
    }

    /// Whether what is known to have changed in a disk has changed since the parent.
    fn counts_from_parent(&self, disk: &DiskName) -> bool {
        let is_parents = |baseline: &Baseline| baseline.of(disk) == self.parents.baseline().of(disk);
        self.counted_from.is_none_or(is_parents)
    }

    /// The moment, but never before the parent's: a clock that was set back must not make an old point the newest.
    fn after_parent(&self, captured_at: Timestamp) -> Timestamp {
        let parent = self.parents.newest().map(|parent| parent.captured_at);
        if self.is_copy {
            return captured_at;
        }
        let earliest =
            parent.map(|parent| Timestamp::from_microseconds(parent.as_microseconds().saturating_add(1)));
        earliest.map_or(captured_at, |earliest| captured_at.max(earliest))
    }

    fn point(
        &self,
        facts: &CaptureFacts,
        cost: CaptureCost,
        stored: Vec<(DiskSummary, DiskMap)>,
    ) -> PointRecord {
        let (disks, maps) = stored.into_iter().unzip();
        PointRecord {
            summary: PointSummary {
                id: self.point_id,
                vm_id: self.vm_id,
                vm_name: self.vm_name.clone(),
                captured_at: self.after_parent(facts.captured_at),
                capture_id: self.capture_id,
                parent: self.parents.newest().map(|parent| parent.id),
                consistency: facts.consistency.clone(),
                disks,
                cost,
                label: self.label.clone(),
            },
            definition: facts.definition.clone(),
            maps,
        }
    }
}

/// An error with its causes, from the outside in.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What storing a disk starts from: the parent's map, if there is one, and with a trustworthy bitmap what changed since.
struct Basis {
    source: ChangeSource,
    parent: Option<DiskMap>,
    changes: Option<Arc<dyn ChangeMap>>,
}
