//! Recovery points across all vaults of a site. A point carries its VM's id and name, so that it is found also when its
//! VM is no longer known.

use std::{collections::BTreeSet, time::Duration};

use api::PointView;
use catalog::KnownVault;
use futures::future;
use model::{PointReference, VmId};
use vault::PointRecord;

use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// How long a vault may take to list its points, where an answer without them is worth more than a late one.
const GLANCE_LIMIT: Duration = Duration::from_secs(3);

/// A recovery point, and where it is.
#[derive(Debug, Clone)]
pub(crate) struct FoundPoint {
    pub(crate) vault: KnownVault,
    pub(crate) record: PointRecord,
}

impl FoundPoint {
    pub(crate) fn view(&self) -> PointView {
        PointView::new(self.record.summary.clone(), self.vault.name.as_str(), None)
    }

    /// The view with the VM's definition.
    pub(crate) fn whole_view(&self) -> PointView {
        let definition = Some(self.record.definition.clone());
        PointView::new(self.record.summary.clone(), self.vault.name.as_str(), definition)
    }
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
        Self::collect(site, None).await
    }

    /// The same, without the vaults that take too long.
    pub(crate) async fn glance(site: &Site) -> Result<Self> {
        Self::collect(site, Some(GLANCE_LIMIT)).await
    }

    async fn collect(site: &Site, limit: Option<Duration>) -> Result<Self> {
        let vaults = site.vaults.list().await?;
        let reads = vaults.iter().map(|known| async move {
            let read = read(site, known);
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
                Ok(list) => {
                    let found = |record| FoundPoint { vault: known.clone(), record };
                    survey.points.extend(list.points.into_iter().map(found));
                    let damaged = list.unreadable.into_iter().map(|(_, error)| {
                        Failure::from(error).during(&format!("a recovery point in the vault {}", known.name))
                    });
                    survey.failures.extend(damaged);
                }
                Err(failure) => survey.failures.push(failure),
            }
        }
        for failure in &survey.failures {
            tracing::warn!(reason = failure.detail(), "recovery points cannot be read");
        }
        survey.points.sort_by_key(|point| (point.record.summary.captured_at, point.record.summary.id));
        Ok(survey)
    }

    /// The points of one VM, known or not, by name or id.
    pub(crate) async fn of_vm(mut self, site: &Site, vm: &str) -> Result<Self> {
        // A VM that was renamed has points under its old name.
        let known: BTreeSet<VmId> = site.catalog.vm(vm).await?.iter().map(|vm| vm.id).collect();
        self.points.retain(|point| {
            let summary = &point.record.summary;
            known.contains(&summary.vm_id) || summary.vm_name.as_str() == vm || summary.vm_id.as_str() == vm
        });
        Ok(self)
    }

    /// The newest point of a VM.
    pub(crate) fn latest(&self, vm_id: VmId) -> Option<&FoundPoint> {
        self.points.iter().rev().find(|point| point.record.summary.vm_id == vm_id)
    }
}

async fn read(site: &Site, known: &KnownVault) -> Result<vault::PointList> {
    Ok(site.vaults.open(known).await?.points().await?)
}

/// The point that a reference names.
pub(crate) async fn resolve(site: &Site, reference: &PointReference) -> Result<FoundPoint> {
    let survey = Survey::take(site).await?.of_vm(site, &reference.vm).await?;
    let summaries: Vec<_> = survey.points.iter().map(|point| point.record.summary.clone()).collect();
    match protection::select_point(&summaries, &reference.point) {
        Ok(selected) => {
            let id = selected.id;
            let found = survey.points.into_iter().find(|point| point.record.summary.id == id);
            found.ok_or_else(|| Failure::not_found(format!("there is no {reference}")))
        }
        Err(error) => Err(not_found(reference, error, survey.failures)),
    }
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

/// Reads a reference.
pub(crate) fn parse(text: &str) -> Result<PointReference> {
    text.parse().map_err(|error| Failure::invalid(format!("{error}")))
}
