//! A snapshot is sent to another site.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use catalog::{KnownSnapshot, SnapshotCopy};
use image::{ByteRange, ChangeMap, DiskImage as _};
use model::{Progress, SnapshotState, TransferId};
use peer::{
    ErrorKind, Patience, PeerClient,
    send::{Bandwidth, SendOptions, SendProgress, Shipment, ShippedBase, ShippedDisk, send},
};
use protection::Monitor as _;
use vault::{PointRecord, Vault, VaultImage};

use super::Arrived;
use crate::{
    failure::{Failure, Result},
    jobs::JobMonitor,
    peers,
    site::Site,
    snapshots::{KIND, SentSnapshot},
};

/// How long a copy waits for a site that does not answer.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// The unit in which disks are compared, and what is compared at once, in bytes.
const BLOCK_BYTES: usize = 4096;
const COMPARED_BYTES: u64 = 4 << 20;

/// How often the job tells how far it is.
const TELL_INTERVAL: Duration = Duration::from_millis(500);

/// Sends what the site lacks of it, from the newest snapshot of its family on that is there.
pub(super) async fn copy(
    site: &Site,
    snapshot: &KnownSnapshot,
    copy: &mut SnapshotCopy,
    monitor: &Arc<JobMonitor>,
) -> Result<Arrived> {
    let peer = peers::find(site, &copy.place).await?;
    let patience = Patience { total: PATIENCE, ..Patience::default() };
    let client = site.peers.client(&peer, patience)?.ok_or_else(|| {
        Failure::conflict(format!("the site {} cannot be called: it has no address here", peer.name))
            .with_hint("make it listen for peers, or pair it again, so that its address is known")
    })?;
    let store = super::store_of(site).await?;
    let vault = site.vaults.open(&store).await?;
    let point = vault.point(snapshot.id.point_id()).await?;
    let base = base(site, &vault, copy, &point).await?;
    settle_base(site, &client, copy, base.as_ref()).await?;
    let shipment = shipment(snapshot, copy, &vault, &point, base.as_ref()).await?;
    let arrived = ship(site, &client, &shipment, copy, monitor).await?;
    if arrived.name_there != copy.name.as_str() {
        let there = &arrived.name_there;
        monitor.warn(format!(
            "it is called {there} there: another snapshot of the site {} has the name {}",
            peer.name, copy.name
        ));
    }
    Ok(arrived)
}

/// A snapshot that the other site has.
struct Base {
    id: model::SnapshotId,
    point: PointRecord,
}

/// The newest other snapshot of the family that has arrived there and is still here.
async fn base(site: &Site, vault: &Vault, copy: &SnapshotCopy, point: &PointRecord) -> Result<Option<Base>> {
    let mut newest: Option<KnownSnapshot> = None;
    for arrived in site.catalog.arrived_snapshot_copies(&copy.place, copy.family).await? {
        let found = site.catalog.snapshot(arrived.snapshot_id).await?;
        let shares = |known: &KnownSnapshot| known.disks.iter().any(|disk| point.map(&disk.name).is_some());
        let found = found.filter(|known| known.state == SnapshotState::Ready && shares(known));
        if let Some(found) = found
            && newest.as_ref().is_none_or(|newest| newest.taken_at < found.taken_at)
        {
            newest = Some(found);
        }
    }
    match newest {
        Some(known) => Ok(Some(Base { id: known.id, point: vault.point(known.id.point_id()).await? })),
        None => Ok(None),
    }
}

/// A transfer sends the changes of one base. Where that is another than when it was begun, it is begun anew.
async fn settle_base(
    site: &Site,
    client: &PeerClient,
    copy: &mut SnapshotCopy,
    base: Option<&Base>,
) -> Result<()> {
    let base = base.map(|base| base.id);
    if copy.base != base {
        let left = client.clone().with_patience(Patience::NONE).abandon_transfer(copy.transfer_id).await;
        if let Err(error) = left {
            tracing::debug!(transfer = %copy.transfer_id, %error, "a transfer was left to itself");
        }
        copy.transfer_id = TransferId::from_random(env::random(&*site.env.entropy));
        copy.base = base;
        site.catalog.put_snapshot_copy(copy).await?;
    }
    Ok(())
}

async fn shipment(
    snapshot: &KnownSnapshot,
    copy: &SnapshotCopy,
    vault: &Vault,
    point: &PointRecord,
    base: Option<&Base>,
) -> Result<Shipment> {
    let mut disks = Vec::with_capacity(point.maps.len());
    for (disk, map) in point.disks() {
        let image = Arc::new(vault.image(map).await?);
        let known = base.and_then(|base| Some((base.id, base.point.map(&disk.name)?)));
        let base = match known.filter(|(_, earlier)| earlier.size_bytes == map.size_bytes) {
            Some((id, earlier)) => Some(ShippedBase {
                image_name: SentSnapshot::image_name(id, &disk.name),
                changes: Arc::new(Difference {
                    image: Arc::clone(&image),
                    base: vault.image(earlier).await?,
                }),
            }),
            None => None,
        };
        let image_name = SentSnapshot::image_name(snapshot.id, &disk.name);
        disks.push(ShippedDisk { name: disk.name.clone(), image, image_name, base });
    }
    let sent = SentSnapshot {
        id: snapshot.id,
        family: snapshot.family,
        family_name: snapshot.family_name.clone(),
        source: snapshot.source.clone(),
        disk: snapshot.disk.clone(),
        capture_id: snapshot.capture_id,
        taken_at: point.summary.captured_at,
        consistency: point.summary.consistency.clone(),
        definition: point.definition.clone(),
        tags: copy.tags.clone(),
    };
    let metadata = serde_json::to_value(sent).map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(Shipment { id: copy.transfer_id, kind: KIND.to_owned(), name: copy.name.to_string(), metadata, disks })
}

/// Sends it, and tells the job how far it is.
async fn ship(
    site: &Site,
    client: &PeerClient,
    shipment: &Shipment,
    copy: &SnapshotCopy,
    monitor: &Arc<JobMonitor>,
) -> Result<Arrived> {
    let progress = Arc::<SendProgress>::default();
    let bandwidth =
        Bandwidth { bytes_per_second: copy.rate_limit_bytes_per_second, ..Bandwidth::unlimited() };
    let options = SendOptions { bandwidth, progress: Arc::clone(&progress), env: site.env.clone() };
    let mut sending = std::pin::pin!(send(client, shipment, &options));
    let mut tell = tokio::time::interval(TELL_INTERVAL);
    let sent = loop {
        tokio::select! {
            biased;
            () = monitor.cancellation().cancelled() => {
                if !site.stopping.is_cancelled() {
                    let hasty = client.clone().with_patience(Patience::NONE);
                    if let Err(error) = hasty.abandon_transfer(shipment.id).await {
                        tracing::debug!(transfer = %shipment.id, %error, "a transfer was left to itself");
                    }
                }
                return Err(Failure::new(api::Code::Cancelled, "cancelled"));
            }
            sent = &mut sending => break sent,
            _ = tell.tick() => {
                let total_bytes = progress.total_bytes.load(Ordering::Relaxed);
                monitor.progress(Progress {
                    phase: format!("sending to {}", copy.place_name),
                    done_bytes: progress.done_bytes.load(Ordering::Relaxed).min(total_bytes),
                    total_bytes: Some(total_bytes),
                });
            }
        }
    };
    let name_there = sent.map_err(|error| {
        let is_away = error.kind() == ErrorKind::Unreachable;
        let failure = Failure::from(error).during(&format!("sending to the site {}", copy.place_name));
        match is_away {
            true => {
                failure.with_hint("ask for it again when the site is there: it goes on from what has arrived")
            }
            false => failure,
        }
    })?;
    Ok(Arrived { name_there, sent_bytes: progress.sent_bytes.load(Ordering::Relaxed) })
}

/// What differs between two disks of the snapshot store: regions of which their maps tell it, block by block.
struct Difference {
    image: Arc<VaultImage>,
    base: VaultImage,
}

impl Difference {
    /// Adds the blocks of a range that differ.
    async fn compare(&self, range: ByteRange, changed: &mut Vec<ByteRange>) -> image::Result<()> {
        let (mut is, mut was) = (vec![0; range.length_bytes as usize], vec![0; range.length_bytes as usize]);
        self.image.read_at(range.offset_bytes, &mut is).await?;
        self.base.read_at(range.offset_bytes, &mut was).await?;
        let blocks = is.chunks(BLOCK_BYTES).zip(was.chunks(BLOCK_BYTES)).enumerate();
        let differing = blocks.filter(|(_, (is, was))| is != was);
        changed.extend(differing.map(|(place, (is, _))| {
            ByteRange::new(range.offset_bytes + (place * BLOCK_BYTES) as u64, is.len() as u64)
        }));
        Ok(())
    }
}

#[async_trait]
impl ChangeMap for Difference {
    async fn changed_within(&self, window: ByteRange) -> image::Result<Vec<ByteRange>> {
        let differing = self.image.may_differ(&self.base, window).await;
        let differing =
            differing.map_err(|error| image::Error::new(image::ErrorKind::Io, error.to_string()))?;
        let mut changed = Vec::new();
        for range in differing {
            let mut rest = range;
            while !rest.is_empty() {
                let piece = ByteRange::new(rest.offset_bytes, rest.length_bytes.min(COMPARED_BYTES));
                self.compare(piece, &mut changed).await?;
                rest = ByteRange::between(piece.end_bytes(), rest.end_bytes());
            }
        }
        Ok(image::coalesce(changed))
    }
}
