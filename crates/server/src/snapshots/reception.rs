//! What other sites send becomes a snapshot here.
//!
//! What always holds: the catalog says which snapshot a transfer becomes before there is anything of it, so that a transfer
//! that is taken again finds what the first attempt made, whole or not at all.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use catalog::{Catalog, KnownSnapshot};
use env::Env;
use hypervisor::{Baseline, CaptureFacts, CapturedDisk, DiskChanges};
use image::{DiskImage, FixedChanges};
use model::{
    CaptureId, ConsistencyReached, DiskName, Progress, SiteId, SnapshotId, SnapshotName, SnapshotState,
    Timestamp, TransferId, VmDefinition, VmId, VmName,
};
use peer::{
    ErrorKind,
    reception::{DeliveredDisk, Delivery, Reception},
    transfer::Offer,
};
use protection::{Moment, Monitor, SnapshotOrder, SnapshotRun, Treatment};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use vault::{PointRecord, Vault};

use super::{check_tags, earlier};
use crate::{
    failure::{Failure, Result},
    vaults::Vaults,
};

/// What a snapshot is called among the things that travel.
pub(crate) const KIND: &str = "snapshot";

/// Names that are tried for what arrives.
const NAMES_TRIED: u32 = 1000;

/// What a site tells of a snapshot that it sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SentSnapshot {
    /// The snapshot, by its sender's id.
    pub(crate) id: SnapshotId,
    pub(crate) family: VmId,
    pub(crate) family_name: VmName,
    pub(crate) source: String,
    pub(crate) disk: Option<DiskName>,
    pub(crate) capture_id: CaptureId,
    pub(crate) taken_at: Timestamp,
    pub(crate) consistency: ConsistencyReached,
    pub(crate) definition: VmDefinition,
    pub(crate) tags: BTreeMap<String, String>,
}

impl SentSnapshot {
    /// What the image of a disk is called between sites.
    pub(crate) fn image_name(id: SnapshotId, disk: &DiskName) -> String {
        format!("{id}/{disk}")
    }

    /// Reads what a peer says of what it sends.
    fn read(offer: &Offer) -> Result<(SnapshotName, Self)> {
        let name =
            offer.name.parse().map_err(|error| Failure::invalid(format!("the snapshot's name: {error}")))?;
        let sent: Self = serde_json::from_value(offer.metadata.clone()).map_err(|error| {
            Failure::invalid(format!("what is told of the snapshot makes no sense: {error}"))
        })?;
        check_tags(&sent.tags)?;
        Ok((name, sent))
    }
}

/// Takes snapshots from peers.
pub(crate) struct SnapshotReception {
    catalog: Catalog,
    vaults: Arc<Vaults>,
    env: Env,
}

impl SnapshotReception {
    pub(crate) fn new(catalog: Catalog, vaults: Arc<Vaults>, env: Env) -> Self {
        Self { catalog, vaults, env }
    }

    /// The snapshot that a transfer has become. What an attempt has left that came to nothing is forgotten.
    async fn taken(&self, from: SiteId, id: TransferId) -> Result<Option<KnownSnapshot>> {
        let Some(id) = self.catalog.received_snapshot(from, id).await? else { return Ok(None) };
        let Some(snapshot) = self.catalog.snapshot(id).await? else { return Ok(None) };
        if matches!(snapshot.state, SnapshotState::Ready | SnapshotState::Deleted) {
            return Ok(Some(snapshot));
        }
        self.forget(snapshot).await?;
        Ok(None)
    }

    async fn forget(&self, mut snapshot: KnownSnapshot) -> Result<()> {
        if snapshot.state != SnapshotState::Failed {
            snapshot.state = SnapshotState::Failed;
            self.catalog.move_snapshot(&snapshot).await?;
        }
        Ok(self.catalog.remove_snapshot(snapshot.id).await?)
    }

    async fn store(&self, delivery: Delivery) -> Result<SnapshotName> {
        let (name, sent) = SentSnapshot::read(&delivery.offer)?;
        if let Some(taken) = self.taken(delivery.from, delivery.id).await? {
            return Ok(taken.name);
        }
        let id = SnapshotId::from_random(env::random(&*self.env.entropy));
        let now = self.env.clock.now();
        self.catalog.put_received_snapshot(delivery.from, delivery.id, sent.id, id, now).await?;
        let mut snapshot = self.admit(id, name, &sent).await?;
        match Box::pin(self.copy(&mut snapshot, sent, delivery)).await {
            Ok(()) => Ok(snapshot.name),
            Err(failure) => {
                if let Err(failure) = self.forget(snapshot).await {
                    tracing::warn!(reason = failure.detail(), "what arrived in vain could not be forgotten");
                }
                Err(failure)
            }
        }
    }

    /// Makes the snapshot known under its name, or one that is like it.
    async fn admit(
        &self,
        id: SnapshotId,
        wanted: SnapshotName,
        sent: &SentSnapshot,
    ) -> Result<KnownSnapshot> {
        let mut snapshot = KnownSnapshot {
            id,
            name: wanted.clone(),
            family: sent.family,
            family_name: sent.family_name.clone(),
            source: sent.source.clone(),
            disk: sent.disk.clone(),
            state: SnapshotState::Waiting,
            capture_id: sent.capture_id,
            created_at: self.env.clock.now(),
            taken_at: Some(sent.taken_at),
            ready_at: None,
            consistency: Some(sent.consistency.clone()),
            disks: Vec::new(),
            tags: sent.tags.clone(),
            locked_until: None,
            deleted_at: None,
            purge_after: None,
            policy: None,
            job_id: None,
            problem: None,
        };
        for number in 2..=NAMES_TRIED {
            match self.catalog.add_snapshot(&snapshot).await {
                Ok(()) => return Ok(snapshot),
                Err(error) if error.kind() == catalog::ErrorKind::Exists => {
                    let name = format!("{wanted}-{number}");
                    snapshot.name = name.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::conflict(format!("no name like {wanted} is free"))
            .with_hint("give it another: --name NAME"))
    }

    async fn copy(&self, snapshot: &mut KnownSnapshot, sent: SentSnapshot, delivery: Delivery) -> Result<()> {
        let store = self.vaults.snapshot_store_or_new().await?;
        let vault = self.vaults.open_checked(&store).await?;
        let base = self.base_point(&vault, &delivery).await?;
        let disks = delivery.disks.into_iter().map(|disk| captured(disk, base.is_some())).collect();
        let facts = CaptureFacts {
            captured_at: sent.taken_at,
            consistency: sent.consistency,
            definition: sent.definition,
            omitted: Vec::new(),
        };
        let run = SnapshotRun::new(SnapshotOrder {
            id: snapshot.id.point_id(),
            capture_id: snapshot.capture_id,
            vm_id: snapshot.family,
            vm_name: snapshot.family_name.clone(),
            disk: snapshot.disk.clone(),
            name: snapshot.name.to_string(),
            treatment: Treatment::unprotected(),
            distrust: None,
            baseline: Baseline::default(),
        });
        let earlier = match base {
            Some(base) => vec![base],
            None => earlier(&self.catalog, &vault, snapshot.family).await?,
        };
        let monitor: Arc<dyn Monitor> = Arc::new(Unwatched(CancellationToken::new()));
        let point = Box::pin(run.store_copy(&vault, &Moment::kept(facts, disks), earlier, &monitor)).await?;
        snapshot.state = SnapshotState::Ready;
        snapshot.ready_at = Some(self.env.clock.now());
        snapshot.disks = point.disks;
        self.catalog.move_snapshot(snapshot).await?;
        tracing::info!(snapshot = %snapshot.name, peer = %delivery.from, "a snapshot of another site has arrived");
        Ok(())
    }

    /// What all disks of a delivery are changes of.
    async fn base_point(&self, vault: &Vault, delivery: &Delivery) -> Result<Option<PointRecord>> {
        let mut found = None;
        for delivered in &delivery.disks {
            let base = delivered.disk.base.as_deref().filter(|_| delivered.changed.is_some());
            let Some(snapshot) = self.find(delivery.from, base.unwrap_or_default()).await? else {
                return Ok(None);
            };
            if found.get_or_insert(snapshot.id) != &snapshot.id {
                return Ok(None);
            }
        }
        match found {
            Some(id) => Ok(Some(vault.point(id.point_id()).await?)),
            None => Ok(None),
        }
    }

    /// The snapshot that an image of a peer's is of, as long as it is in the store.
    async fn find(&self, from: SiteId, image: &str) -> Result<Option<KnownSnapshot>> {
        let Some((Ok(source), _)) = image.split_once('/').map(|(id, disk)| (id.parse::<SnapshotId>(), disk))
        else {
            return Ok(None);
        };
        for id in self.catalog.received_snapshots_from(from, source).await? {
            if let Some(snapshot) =
                self.catalog.snapshot(id).await?.filter(|it| it.state == SnapshotState::Ready)
            {
                return Ok(Some(snapshot));
            }
        }
        Ok(None)
    }

    async fn image(&self, from: SiteId, image: &str) -> Result<Option<Arc<dyn DiskImage>>> {
        let Some(snapshot) = self.find(from, image).await? else { return Ok(None) };
        let Some(store) = self.vaults.snapshot_store().await? else { return Ok(None) };
        let vault = self.vaults.open(&store).await?;
        let point = vault.point(snapshot.id.point_id()).await?;
        let disk = image.split_once('/').and_then(|(_, disk)| disk.parse().ok());
        match disk.as_ref().and_then(|disk| point.map(disk)) {
            Some(map) => Ok(Some(Arc::new(vault.image(map).await?))),
            None => Ok(None),
        }
    }
}

/// A disk that has arrived, as the disk of a moment.
fn captured(delivered: DeliveredDisk, has_base: bool) -> CapturedDisk {
    let changes = match delivered.changed.filter(|_| has_base) {
        Some(changed) => DiskChanges::Since(Arc::new(FixedChanges::new(changed))),
        None => DiskChanges::Unknown { reason: "it was sent whole".to_owned() },
    };
    CapturedDisk { name: delivered.disk.name, image: delivered.image, changes }
}

#[async_trait]
impl Reception for SnapshotReception {
    async fn accepts(&self, _: SiteId, offer: &Offer) -> peer::Result<()> {
        if offer.kind != KIND {
            let detail = format!("this site takes a {KIND} and no {}", offer.kind);
            return Err(peer::Error::new(ErrorKind::Invalid, detail)
                .with_guidance("bring the receiving site up to date first"));
        }
        SentSnapshot::read(offer).map(drop).map_err(told)
    }

    async fn base(&self, from: SiteId, image: &str) -> peer::Result<Option<Arc<dyn DiskImage>>> {
        self.image(from, image).await.map_err(told)
    }

    async fn take(&self, delivery: Delivery) -> peer::Result<String> {
        self.store(delivery).await.map(String::from).map_err(told)
    }
}

/// A failure as a peer is told of it.
fn told(failure: Failure) -> peer::Error {
    let kind = match failure.code() {
        api::Code::Invalid => ErrorKind::Invalid,
        api::Code::Conflict => ErrorKind::Conflict,
        api::Code::NoSpace => ErrorKind::NoSpace,
        _ => ErrorKind::Failed,
    };
    let error = peer::Error::new(kind, failure.detail());
    match failure.hint() {
        Some(hint) => error.with_guidance(hint),
        None => error,
    }
}

/// Nobody watches what is taken from a peer: the sender asks until it has ended.
struct Unwatched(CancellationToken);

impl Monitor for Unwatched {
    fn progress(&self, _: Progress) {}

    fn warn(&self, warning: String) {
        tracing::warn!(warning, "taking a snapshot of another site");
    }

    fn cancellation(&self) -> &CancellationToken {
        &self.0
    }
}
