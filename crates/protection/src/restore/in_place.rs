//! Disks of a stopped VM become those of a recovery point where they lie. Only blocks that differ are written.
//!
//! There is no partial: from the first write to the last, the disks are neither what they were nor what they are to be. What
//! makes that bearable is the caller's: a safety point before, and a durable note between [`InPlaceRestore::open`] and
//! [`InPlaceRestore::run`] that is taken back only afterwards. The same restore run again completes what a dead one began.

use std::{path::PathBuf, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use image::{ByteRange, DiskImage, ExtentKind};
use image_formats::{FileTarget, OverwrittenFile, Usage, info, open_image, open_in_place};
use model::{ByteCount, DiskFormat, DiskName, ImageFormat, PointId, Progress};
use vault::{DiskMap, PointRecord, Vault, VaultImage};

use super::RestoredDisk;
use crate::{Error, ErrorKind, Monitor, Result, error::Context as _};

/// The unit in which disks are compared, in bytes.
const BLOCK_BYTES: usize = 4096;

/// What is compared at once, in bytes: a region of a vault's map.
const WINDOW_BYTES: u64 = 4 << 20;

/// Windows on their way at once.
const WINDOWS_AT_ONCE: usize = 3;

/// What is looked at between two looks at whether to stop, in bytes.
const STRETCH_BYTES: u64 = 64 << 20;

/// Which disks to overwrite, and with what.
#[derive(Debug, Clone)]
pub struct InPlaceOrder {
    /// The recovery point.
    pub point_id: PointId,
    /// The disks, under the names that they have in the point.
    pub disks: Vec<InPlaceDisk>,
    /// A point of what the disks hold, or held when an earlier run of the same restore began, every byte of it read from
    /// them. Where it is the same as the wanted point nothing is read, and nothing written.
    pub safety_point: Option<PointId>,
    /// Write nothing; only count.
    pub dry_run: bool,
}

/// A disk that is overwritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlaceDisk {
    /// Its name.
    pub name: DiskName,
    /// Its file or block device.
    pub path: PathBuf,
    /// The file's format.
    pub format: DiskFormat,
}

/// A restore that holds all of its files locked, and has written nothing.
pub struct InPlaceRestore {
    disks: Vec<OpenDisk>,
}

struct OpenDisk {
    disk: InPlaceDisk,
    wanted: Arc<VaultImage>,
    /// What the disk is known to have held.
    safe: Option<VaultImage>,
    present: Arc<dyn DiskImage>,
    /// None where nothing is to be written.
    target: Option<Box<dyn FileTarget>>,
}

impl InPlaceRestore {
    /// Finds out what would keep a restore from beginning, and leaves no file open. That a VM runs from them keeps nobody who is
    /// going to stop it.
    ///
    /// # Errors
    /// As [`InPlaceRestore::open`].
    pub async fn check(vault: &Vault, order: &InPlaceOrder, usage: Usage) -> Result<()> {
        let point = vault.point(order.point_id).await.context("the recovery point cannot be read")?;
        for disk in &order.disks {
            let info = info(&disk.path, disk.format, usage).await;
            let info = info.context(format!("{} cannot be overwritten", disk.path.display()))?;
            check_size(disk, info.size_bytes, map_of(&point, disk)?.size_bytes)?;
        }
        Ok(())
    }

    /// Opens and locks all files, so that nobody starts the VM until this is run or dropped.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a disk that the point does not have, [`ErrorKind::Unsupported`] for one of another size,
    /// [`ErrorKind::Busy`] when a file is in use.
    pub async fn open(vault: &Vault, order: &InPlaceOrder) -> Result<Self> {
        let point = vault.point(order.point_id).await.context("the recovery point cannot be read")?;
        let safety_point = match order.safety_point {
            Some(id) => Some(vault.point(id).await.context("the safety point cannot be read")?),
            None => None,
        };
        let mut disks = Vec::with_capacity(order.disks.len());
        for disk in &order.disks {
            disks.push(OpenDisk::open(vault, disk, &point, safety_point.as_ref(), order.dry_run).await?);
        }
        Ok(Self { disks })
    }

    /// Overwrites one disk after the other. When this returns, all of them are durable.
    ///
    /// # Errors
    /// After any error the disks are half-overwritten.
    pub async fn run(self, monitor: &Arc<dyn Monitor>) -> Result<Vec<RestoredDisk>> {
        let mut restored = Vec::with_capacity(self.disks.len());
        for disk in self.disks {
            restored.push(disk.restore(monitor).await?);
        }
        Ok(restored)
    }
}

impl OpenDisk {
    async fn open(
        vault: &Vault,
        disk: &InPlaceDisk,
        point: &PointRecord,
        safety_point: Option<&PointRecord>,
        dry_run: bool,
    ) -> Result<Self> {
        let (name, shown) = (&disk.name, disk.path.display());
        let map = map_of(point, disk)?;
        let unreadable = || format!("the disk {name} of the recovery point cannot be read");
        let wanted = Arc::new(vault.image(map).await.context(unreadable())?);
        let safe = match safety_point.and_then(|point| point.map(name)) {
            Some(map) => Some(vault.image(map).await.context("the safety point cannot be read")?),
            None => None,
        };
        let in_use = format!("{shown} cannot be overwritten");
        let (present, target) = if dry_run {
            let format = match disk.format {
                DiskFormat::Raw => ImageFormat::Raw,
                DiskFormat::Qcow2 => ImageFormat::Qcow2,
            };
            (open_image(&disk.path, Some(format)).await.context(in_use)?, None)
        } else {
            let OverwrittenFile { present, target } =
                open_in_place(&disk.path, disk.format).await.context(in_use)?;
            (present, Some(target))
        };
        check_size(disk, present.size_bytes(), wanted.size_bytes())?;
        Ok(Self { disk: disk.clone(), wanted, safe, present, target })
    }

    async fn restore(self, monitor: &Arc<dyn Monitor>) -> Result<RestoredDisk> {
        let name = &self.disk.name;
        let size_bytes = self.wanted.size_bytes();
        let phase = match self.target {
            Some(_) => format!("overwriting {name} where it differs"),
            None => format!("comparing {name}"),
        };
        let (mut done_bytes, mut written_bytes) = (0, 0);
        while done_bytes < size_bytes {
            if monitor.cancellation().is_cancelled() {
                return Err(Error::cancelled());
            }
            monitor.progress(Progress { phase: phase.clone(), done_bytes, total_bytes: Some(size_bytes) });
            let end_bytes = done_bytes.saturating_add(STRETCH_BYTES).min(size_bytes);
            for range in self.candidates(ByteRange::between(done_bytes, end_bytes)).await? {
                written_bytes += self.overwrite(range).await?;
            }
            done_bytes = end_bytes;
        }
        let Self { disk, present, target, .. } = self;
        drop(present);
        if let Some(target) = target {
            target.finish().await.context(format!("{} could not be made durable", disk.path.display()))?;
        }
        Ok(RestoredDisk {
            name: disk.name,
            path: disk.path,
            format: disk.format,
            size_bytes: ByteCount(size_bytes),
            written_bytes: ByteCount(written_bytes),
        })
    }

    /// Where the disk may differ from what it is to be.
    async fn candidates(&self, stretch: ByteRange) -> Result<Vec<ByteRange>> {
        match &self.safe {
            Some(safe) => self.wanted.may_differ(safe, stretch).await.context("comparing the two points"),
            None => Ok(vec![stretch]),
        }
    }

    /// Makes a range what it is to be. Returns the bytes that differed.
    async fn overwrite(&self, range: ByteRange) -> Result<u64> {
        let windows = stream::iter(windows(range)).map(|window| self.overwrite_window(window));
        windows
            .buffer_unordered(WINDOWS_AT_ONCE)
            .try_fold(0, |sum, bytes| async move { Ok(sum + bytes) })
            .await
    }

    async fn overwrite_window(&self, window: ByteRange) -> Result<u64> {
        let name = &self.disk.name;
        let (wanted, present) = (&*self.wanted, &*self.present);
        let cannot_read = || format!("the disk {name} could not be read");
        let both_empty = is_zero(wanted, window).await.context(cannot_read())?
            && is_zero(present, window).await.context(cannot_read())?;
        if both_empty {
            return Ok(0);
        }
        let (mut to_be, mut is) =
            (vec![0; window.length_bytes as usize], vec![0; window.length_bytes as usize]);
        wanted.read_at(window.offset_bytes, &mut to_be).await.context(cannot_read())?;
        present.read_at(window.offset_bytes, &mut is).await.context(cannot_read())?;
        let mut written_bytes = 0;
        for run in runs(&to_be, &is) {
            let data = &to_be[run.start..run.end];
            let offset_bytes = window.offset_bytes + run.start as u64;
            if let Some(target) = &self.target {
                let written = match run.is_zero {
                    true => target.write_zeroes(ByteRange::new(offset_bytes, data.len() as u64)).await,
                    false => target.write_at(offset_bytes, data).await,
                };
                written.context(format!("{} could not be written", self.disk.path.display()))?;
            }
            written_bytes += data.len() as u64;
        }
        Ok(written_bytes)
    }
}

fn map_of<'a>(point: &'a PointRecord, disk: &InPlaceDisk) -> Result<&'a DiskMap> {
    let name = &disk.name;
    let absent = || Error::new(ErrorKind::NotFound, format!("the recovery point has no disk {name}"));
    point.map(name).ok_or_else(absent)
}

fn check_size(disk: &InPlaceDisk, present_bytes: u64, wanted_bytes: u64) -> Result<()> {
    if present_bytes == wanted_bytes {
        return Ok(());
    }
    let (name, is, was) = (&disk.name, ByteCount(present_bytes), ByteCount(wanted_bytes));
    let context = format!("the disk {name} has {is} now and had {was} at the recovery point");
    Err(Error::new(ErrorKind::Unsupported, context).with_guidance(
        "restore it to a file of its own (holdfast restore disk … --to FILE), or all of it as a new VM \
         (holdfast restore vm … --name NAME)",
    ))
}

/// Cuts a range where windows end.
fn windows(range: ByteRange) -> impl Iterator<Item = ByteRange> {
    let (first, last) = (range.offset_bytes / WINDOW_BYTES, range.end_bytes().div_ceil(WINDOW_BYTES));
    (first..last).map(move |place| ByteRange::new(place * WINDOW_BYTES, WINDOW_BYTES).intersection(range))
}

async fn is_zero(image: &dyn DiskImage, window: ByteRange) -> image::Result<bool> {
    Ok(image.extents(window).await?.iter().all(|extent| extent.kind == ExtentKind::Zero))
}

/// Neighbouring blocks that differ and are to be written alike.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    start: usize,
    end: usize,
    is_zero: bool,
}

fn runs(to_be: &[u8], is: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (place, (to_be, is)) in to_be.chunks(BLOCK_BYTES).zip(is.chunks(BLOCK_BYTES)).enumerate() {
        if to_be == is {
            continue;
        }
        let start = place * BLOCK_BYTES;
        let (end, is_zero) = (start + to_be.len(), to_be.iter().all(|byte| *byte == 0));
        match runs.last_mut() {
            Some(last) if last.end == start && last.is_zero == is_zero => last.end = end,
            _ => runs.push(Run { start, end, is_zero }),
        }
    }
    runs
}
