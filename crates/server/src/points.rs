//! Recovery points across all vaults of a site. A point carries its VM's id and name, so that it is found also when its
//! VM is no longer known.

mod change;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api::{PointView, shell_word};
use catalog::{ImageSource, KnownCopy, KnownSnapshot, KnownVault, PointTest};
use futures::future;
use model::{
    DiskName, ImageReference, PointId, PointReference, PointSelector, SnapshotId, SnapshotName,
    SnapshotReference, VmId,
};
use vault::{PointFate, PointRecord, Vault};

pub(crate) use self::change::{check_deletable, delete, delete_known, hold, release, undelete};
use crate::{
    copies,
    failure::{Failure, Result},
    site::Site,
    snapshots::{self, HeldSnapshot},
    work,
};

/// How long a vault may take to list its points, where an answer without them is worth more than a late one.
const GLANCE_LIMIT: Duration = Duration::from_secs(3);

/// A recovery point, and where it is.
#[derive(Debug, Clone)]
pub(crate) struct FoundPoint {
    pub(crate) vault: KnownVault,
    /// The copy of the vault that it was found in, where only that was looked at.
    pub(crate) copy: Option<KnownCopy>,
    pub(crate) record: PointRecord,
    /// What the vault's rules say of it, where that was asked.
    pub(crate) fate: Option<PointFate>,
    /// How it did when it was last booted, where that was asked.
    pub(crate) test: Option<PointTest>,
    /// The snapshot that it is.
    pub(crate) snapshot: Option<OfSnapshot>,
}

/// That a recovery point is a snapshot, in the snapshot store or on the way there.
#[derive(Debug, Clone)]
pub(crate) struct OfSnapshot {
    pub(crate) id: SnapshotId,
    pub(crate) name: SnapshotName,
    /// The only disk of its family that it holds.
    pub(crate) disk: Option<DiskName>,
    /// Where it is read from while it is on the way. Its record has no maps then.
    pub(crate) held: Option<Arc<HeldSnapshot>>,
}

impl FoundPoint {
    /// What a snapshot is to whoever reads it.
    pub(crate) fn of_snapshot(
        store: KnownVault,
        record: PointRecord,
        snapshot: &KnownSnapshot,
        held: Option<Arc<HeldSnapshot>>,
    ) -> Self {
        let snapshot =
            OfSnapshot { id: snapshot.id, name: snapshot.name.clone(), disk: snapshot.disk.clone(), held };
        Self { vault: store, copy: None, record, fate: None, test: None, snapshot: Some(snapshot) }
    }

    /// What it is read from, where that is not the vault.
    pub(crate) fn held(&self) -> Option<&Arc<HeldSnapshot>> {
        self.snapshot.as_ref()?.held.as_ref()
    }

    /// What it is, in words.
    pub(crate) fn word(&self) -> &'static str {
        if self.snapshot.is_some() { "snapshot" } else { "recovery point" }
    }

    /// What names it, or a disk of it.
    pub(crate) fn reference(&self, disk: Option<DiskName>) -> String {
        let summary = &self.record.summary;
        match &self.snapshot {
            Some(snapshot) => SnapshotReference { snapshot: snapshot.name.to_string(), disk }.to_string(),
            None => {
                let point = PointSelector::IdPrefix(summary.id.to_string());
                PointReference { vm: summary.vm_name.to_string(), point, disk }.to_string()
            }
        }
    }

    /// Where a disk that depends on it finds its bytes.
    pub(crate) fn image_source(&self, disk: DiskName) -> ImageSource {
        match &self.snapshot {
            Some(snapshot) => ImageSource::Snapshot { snapshot_id: snapshot.id, disk },
            None => ImageSource::Point {
                vault_id: self.vault.id,
                copy: self.copy.as_ref().map(|copy| copy.name.clone()),
                point_id: self.record.summary.id,
                disk,
            },
        }
    }

    pub(crate) fn view(&self) -> PointView {
        let view = PointView {
            test: self.test.clone().map(work::point_test_view),
            ..PointView::new(self.record.summary.clone(), self.vault.name.as_str(), None)
        };
        let Some(fate) = self.fate.clone() else { return view };
        PointView {
            hold: fate.hold,
            deleted_at: fate.deleted_at,
            purge_after: fate.purge_after,
            deletable_from: (fate.deletable_from > fate.committed_at).then_some(fate.deletable_from),
            ..view
        }
    }

    /// The view with the VM's definition.
    pub(crate) fn whole_view(&self) -> PointView {
        PointView { definition: Some(self.record.definition.clone()), ..self.view() }
    }

    /// Whether it is of the VM that has this name or id, or one of these ids.
    fn is_of(&self, vm: &str, known: &BTreeSet<VmId>) -> bool {
        let summary = &self.record.summary;
        known.contains(&summary.vm_id) || summary.vm_name.as_str() == vm || summary.vm_id.as_str() == vm
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.fate.as_ref().is_some_and(|fate| fate.deleted_at.is_some())
    }
}

/// Which points are looked for, and what is asked of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Those that are not deleted, without their fates.
    Living,
    /// Those that can still be brought back too, with their fates.
    All,
}

/// What all vaults hold, and what could not be read.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Oldest first.
    pub(crate) points: Vec<FoundPoint>,
    /// Vaults that did not answer, and points that are damaged.
    pub(crate) failures: Vec<Failure>,
}

impl Survey {
    /// Reads the points of all vaults, side by side.
    pub(crate) async fn take(site: &Site) -> Result<Self> {
        Self::collect(site, Scope::Living, None).await
    }

    /// The same, with the deleted points that can still be brought back, and what becomes of each point.
    pub(crate) async fn take_all(site: &Site) -> Result<Self> {
        Self::collect(site, Scope::All, None).await
    }

    /// The living points, without the vaults that take too long.
    pub(crate) async fn glance(site: &Site) -> Result<Self> {
        Self::collect(site, Scope::Living, Some(GLANCE_LIMIT)).await
    }

    /// The points of one vault, deleted ones included, and what becomes of each.
    pub(crate) async fn of_vault(site: &Site, known: &KnownVault) -> Result<Self> {
        let mut survey = Self::default();
        survey.add(known, None, read(site, known, Scope::All).await?);
        survey.settle();
        Ok(survey)
    }

    async fn collect(site: &Site, scope: Scope, limit: Option<Duration>) -> Result<Self> {
        let vaults = site.vaults.list().await?;
        let reads = vaults.iter().map(|known| async move {
            let read = read(site, known, scope);
            match limit {
                None => read.await,
                Some(limit) => tokio::time::timeout(limit, read).await.unwrap_or_else(|_| {
                    Err(Failure::new(
                        api::Code::Unreachable,
                        format!("the vault {} is slow to answer", known.name),
                    ))
                }),
            }
        });
        let mut survey = Self::default();
        for (known, read) in vaults.iter().zip(future::join_all(reads).await) {
            match read {
                Ok(contents) => survey.add(known, None, contents),
                Err(failure) => survey.failures.push(failure),
            }
        }
        survey.settle();
        if scope == Scope::All {
            survey.add_tests(site).await?;
        }
        Ok(survey)
    }

    async fn add_tests(&mut self, site: &Site) -> Result<()> {
        let tests = site.catalog.point_tests().await?.into_iter();
        let mut tests: BTreeMap<_, _> = tests.map(|test| (test.point_id, test)).collect();
        for point in &mut self.points {
            point.test = tests.remove(&point.record.summary.id);
        }
        Ok(())
    }

    fn add(&mut self, known: &KnownVault, copy: Option<&KnownCopy>, mut contents: Contents) {
        self.points.extend(contents.points.into_iter().map(|record| FoundPoint {
            vault: known.clone(),
            copy: copy.cloned(),
            fate: contents.fates.remove(&record.summary.id),
            test: None,
            snapshot: None,
            record,
        }));
        self.failures.extend(contents.unreadable.into_iter().map(|error| {
            Failure::from(error).during(&format!("a recovery point in the vault {}", known.name))
        }));
    }

    fn settle(&mut self) {
        for failure in &self.failures {
            tracing::warn!(reason = failure.detail(), "recovery points cannot be read");
        }
        self.points.sort_by_key(|point| (point.record.summary.captured_at, point.record.summary.id));
    }

    /// The points of one VM, known or not, by name or id.
    pub(crate) async fn of_vm(mut self, site: &Site, vm: &str) -> Result<Self> {
        let known = Self::ids_of(site, vm).await?;
        self.points.retain(|point| point.is_of(vm, &known));
        Ok(self)
    }

    /// The ids by which the VM of this name or id is known now. One that was renamed has points under its old name.
    async fn ids_of(site: &Site, vm: &str) -> Result<BTreeSet<VmId>> {
        Ok(site.catalog.vm(vm).await?.iter().map(|vm| vm.id).collect())
    }

    /// The one of these points that a selector names.
    fn select(
        &self,
        selector: &PointSelector,
        is_wanted: impl Fn(&FoundPoint) -> bool,
    ) -> std::result::Result<&FoundPoint, protection::Error> {
        let wanted: Vec<_> = self.points.iter().filter(|point| is_wanted(point)).collect();
        let summaries: Vec<_> = wanted.iter().map(|point| point.record.summary.clone()).collect();
        let selected = protection::select_point(&summaries, selector)?;
        let place = summaries.iter().position(|summary| summary.id == selected.id).unwrap_or_default();
        Ok(wanted[place])
    }

    /// The newest point of a VM.
    pub(crate) fn latest(&self, vm_id: VmId) -> Option<&FoundPoint> {
        self.points.iter().rev().find(|point| point.record.summary.vm_id == vm_id)
    }
}

/// What was read of one vault.
struct Contents {
    points: Vec<PointRecord>,
    unreadable: Vec<vault::Error>,
    fates: BTreeMap<PointId, PointFate>,
}

async fn read(site: &Site, known: &KnownVault, scope: Scope) -> Result<Contents> {
    contents(&site.vaults.open(known).await?, scope).await
}

async fn contents(vault: &Vault, scope: Scope) -> Result<Contents> {
    let mut list = vault.points().await?;
    let mut fates = BTreeMap::new();
    if scope == Scope::All {
        let deleted = vault.deleted_points().await?;
        list.points.extend(deleted.points);
        list.unreadable.extend(deleted.unreadable);
        // One that is deleted between the two is in both.
        let mut seen = BTreeSet::new();
        list.points.retain(|point| seen.insert(point.summary.id));
        fates = vault.fates().await?.into_iter().map(|fate| (fate.id, fate)).collect();
    }
    let unreadable = list.unreadable.into_iter().map(|(_, error)| error).collect();
    Ok(Contents { points: list.points, unreadable, fates })
}

/// The living point that a reference names, in all vaults or in one copy of a vault. Not even the vault of that copy needs
/// to answer.
pub(crate) async fn resolve(
    site: &Site,
    reference: &PointReference,
    from_copy: Option<&str>,
) -> Result<FoundPoint> {
    let survey = match from_copy {
        None => Survey::take(site).await?,
        Some(copy) => {
            let (known, copy) = copies::find_anywhere(site, copy).await?;
            let vault = site.vaults.open_copy(&known, &copy).await?;
            let mut survey = Survey::default();
            survey.add(&known, Some(&copy), contents(&vault, Scope::Living).await?);
            survey.settle();
            survey
        }
    };
    let survey = survey.of_vm(site, &reference.vm).await?;
    match survey.select(&reference.point, |_| true) {
        Ok(point) => Ok(point.clone()),
        Err(error) if from_copy.is_none() => Err(deleted(site, reference)
            .await?
            .unwrap_or_else(|| not_found(reference, error, survey.failures))),
        Err(error) => Err(not_found(reference, error, survey.failures)),
    }
}

/// The point that a reference names, living or, where no living one fits, deleted.
pub(crate) async fn resolve_any(site: &Site, reference: &PointReference) -> Result<FoundPoint> {
    let survey = Survey::take_all(site).await?.of_vm(site, &reference.vm).await?;
    let living = survey.select(&reference.point, |point| !point.is_deleted());
    match living.or_else(|error| survey.select(&reference.point, FoundPoint::is_deleted).map_err(|_| error)) {
        Ok(point) => Ok(point.clone()),
        Err(error) => Err(not_found(reference, error, survey.failures)),
    }
}

/// That the reference names a deleted point.
async fn deleted(site: &Site, reference: &PointReference) -> Result<Option<Failure>> {
    if !matches!(reference.point, PointSelector::IdPrefix(_)) {
        return Ok(None);
    }
    let survey = Survey::take_all(site).await?.of_vm(site, &reference.vm).await?;
    Ok(survey.select(&reference.point, FoundPoint::is_deleted).ok().map(|_| {
        Failure::conflict(format!("the recovery point {reference} is deleted")).with_hint(format!(
            "bring it back first: holdfast point undelete {}",
            shell_word(&reference.to_string())
        ))
    }))
}

/// A point that is not found may be one that could not be read.
fn not_found(reference: &PointReference, error: protection::Error, failures: Vec<Failure>) -> Failure {
    let absent = Failure::from(error).during(&format!("looking for {reference}"));
    match failures.into_iter().next() {
        Some(failure) => {
            failure.during(&format!("{}; it may be among those that cannot be read", absent.detail()))
        }
        None => absent,
    }
}

/// A moment of a VM, or a disk of it, that somebody wants to build from.
pub(crate) struct Named {
    pub(crate) point: FoundPoint,
    /// The words by which it was named.
    pub(crate) selector: PointSelector,
    pub(crate) disk: Option<DiskName>,
}

/// The living point or snapshot that a reference names.
pub(crate) async fn resolve_named(site: &Site, reference: &str, from_copy: Option<&str>) -> Result<Named> {
    match reference.parse().map_err(|error| Failure::invalid(format!("{error}")))? {
        ImageReference::Point(mut reference) => {
            let point = resolve(site, &reference, from_copy).await?;
            Ok(Named { point, disk: reference.disk.take(), selector: reference.point })
        }
        ImageReference::Snapshot(_) if from_copy.is_some() => {
            Err(Failure::invalid("a snapshot is in no copy of a vault"))
        }
        ImageReference::Snapshot(mut reference) => {
            let point = snapshots::resolve(site, &reference).await?;
            let selector = PointSelector::IdPrefix(point.record.summary.id.to_string());
            Ok(Named { point, disk: reference.disk.take(), selector })
        }
        ImageReference::Replica(reference) => {
            Err(Failure::invalid(format!("{reference} is a moment of a replica, and in no vault"))
                .with_hint("a VM is made from it with holdfast boot, and tested with holdfast failover test"))
        }
        ImageReference::File(path) => {
            Err(Failure::invalid(format!("{} is an image file, and no moment of a VM", path.display()))
                .with_hint("name a recovery point or a snapshot"))
        }
    }
}

/// Reads a reference.
pub(crate) fn parse(text: &str) -> Result<PointReference> {
    text.parse().map_err(|error| Failure::invalid(format!("{error}")))
}
