//! Where a restore reads from.

use std::{collections::BTreeMap, sync::Arc};

use image::{ByteRange, DiskImage, DiskTarget, ExtentKind};
use model::{DiskName, PointId, PointSummary, Progress, VmDefinition};
use vault::{DiskMap, Vault};

use crate::{Error, ErrorKind, Monitor, Result, error::Context as _, monitor::vault_monitor};

/// What is copied at once, in bytes.
const PIECE_BYTES: u64 = 1 << 20;

/// What is looked at between two looks at whether to stop, in bytes.
const WINDOW_BYTES: u64 = 256 << 20;

/// Where a restore reads from.
pub enum RestoreSource {
    /// Points in a vault.
    Vault(Vault),
    /// One point on its way into a vault, whose moment is held.
    Held(Box<HeldPoint>),
}

/// A point whose disks can be read although they are in no vault yet.
pub struct HeldPoint {
    /// What people will see of the point.
    pub summary: PointSummary,
    /// What the VM was made of.
    pub definition: VmDefinition,
    /// Its disks.
    pub images: BTreeMap<DiskName, Arc<dyn DiskImage>>,
}

/// A point that is restored.
pub(super) struct OpenPoint<'a> {
    pub(super) summary: PointSummary,
    pub(super) definition: VmDefinition,
    /// In the order of the summary.
    pub(super) disks: Vec<(DiskName, Content<'a>)>,
}

/// What a disk holds.
#[derive(Clone)]
pub(super) enum Content<'a> {
    InVault(&'a Vault, DiskMap),
    Held(Arc<dyn DiskImage>),
}

impl RestoreSource {
    /// The point with this id.
    pub(super) async fn point(&self, id: PointId) -> Result<OpenPoint<'_>> {
        match self {
            Self::Vault(vault) => {
                let point = vault.point(id).await.context("the recovery point cannot be read")?;
                let content = |map: &DiskMap| Content::InVault(vault, *map);
                let disks = point.disks().map(|(disk, map)| (disk.name.clone(), content(map))).collect();
                Ok(OpenPoint { disks, summary: point.summary, definition: point.definition })
            }
            Self::Held(held) if held.summary.id == id => {
                let names = held.summary.disks.iter().map(|disk| &disk.name);
                let content =
                    |name: &DiskName| Some((name.clone(), Content::Held(held.images.get(name)?.clone())));
                let disks = names.filter_map(content).collect();
                Ok(OpenPoint { disks, summary: held.summary.clone(), definition: held.definition.clone() })
            }
            Self::Held(_) => Err(Error::new(ErrorKind::NotFound, format!("the point {id} is not held"))),
        }
    }
}

impl Content<'_> {
    pub(super) fn size_bytes(&self) -> u64 {
        match self {
            Self::InVault(_, map) => map.size_bytes,
            Self::Held(image) => image.size_bytes(),
        }
    }

    /// Writes all of it to a new target. Returns the bytes of data written.
    pub(super) async fn write(
        &self,
        name: &DiskName,
        target: &dyn DiskTarget,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<u64> {
        let phase = format!("restoring {name}");
        match self {
            Self::InVault(vault, map) => {
                let restored = vault.restore_disk(map, target, &vault_monitor(monitor, phase)).await;
                Ok(restored.context(format!("the disk {name} could not be restored"))?.written_bytes)
            }
            Self::Held(image) => copy(&**image, target, phase, monitor).await,
        }
    }
}

/// Copies what is not zero.
async fn copy(
    image: &dyn DiskImage,
    target: &dyn DiskTarget,
    phase: String,
    monitor: &Arc<dyn Monitor>,
) -> Result<u64> {
    let size_bytes = image.size_bytes();
    let (mut done_bytes, mut written_bytes) = (0, 0);
    let mut buffer = vec![0; PIECE_BYTES as usize];
    while done_bytes < size_bytes {
        let window = ByteRange::between(done_bytes, done_bytes.saturating_add(WINDOW_BYTES).min(size_bytes));
        for extent in image.extents(window).await.context("the held moment cannot be read")? {
            if extent.kind == ExtentKind::Zero {
                if !target.starts_zeroed() {
                    target.write_zeroes(extent.range).await.context("the disk cannot be written")?;
                }
                continue;
            }
            let mut at_bytes = extent.range.offset_bytes;
            while at_bytes < extent.range.end_bytes() {
                if monitor.cancellation().is_cancelled() {
                    return Err(Error::cancelled());
                }
                let length_bytes = PIECE_BYTES.min(extent.range.end_bytes() - at_bytes);
                let piece = &mut buffer[..length_bytes as usize];
                image.read_at(at_bytes, piece).await.context("the held moment cannot be read")?;
                target.write_at(at_bytes, piece).await.context("the disk cannot be written")?;
                at_bytes += length_bytes;
                written_bytes += length_bytes;
                let total_bytes = Some(size_bytes);
                monitor.progress(Progress { phase: phase.clone(), done_bytes: at_bytes, total_bytes });
            }
        }
        done_bytes = window.end_bytes();
    }
    target.flush().await.context("the disk cannot be made durable")?;
    Ok(written_bytes)
}
