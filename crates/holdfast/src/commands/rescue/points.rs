//! The recovery points of a vault without a site.

use std::collections::BTreeMap;

use api::PointView;
use model::{PointId, PointReference, PointSelector, PointSummary};
use vault::{PointFate, PointList, PointRecord, Vault};

use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    output::{Tone, tell},
};

/// What a point is in, where the vault has no name.
const NO_NAME: &str = "-";

/// Lists points.
pub async fn list(context: &Context, vault: &Vault, vm: Option<&str>, deleted: bool) -> Result<(), Failure> {
    let mut points = living(vault).await?;
    if deleted {
        points.extend(readable(vault.deleted_points().await?));
        points.sort_by_key(|point| (point.summary.captured_at, point.summary.id));
    }
    let fates = fates(vault).await;
    points.retain(|point| vm.is_none_or(|vm| is_of(&point.summary, vm)));
    let views: Vec<PointView> = points
        .into_iter()
        .map(|point| PointView { definition: None, ..whole_view_of(&fates, point) })
        .collect();
    context.output.list(&views, "no recovery points")
}

/// The point that a reference names; a deleted one too, where no other fits.
pub async fn find(
    vault: &Vault,
    reference: &PointReference,
) -> Result<(PointRecord, Option<PointFate>), Failure> {
    let fates = fates(vault).await;
    match select(living(vault).await?, reference) {
        Ok(found) => {
            let fate = fates.get(&found.summary.id).cloned();
            Ok((found, fate))
        }
        Err(absent) => {
            let Ok(found) = select(readable(vault.deleted_points().await?), reference) else {
                return Err(absent);
            };
            tell(
                Tone::Warning,
                &format!("the recovery point {} is deleted, and not yet gone", found.summary.id),
            );
            let fate = fates.get(&found.summary.id).cloned();
            Ok((found, fate))
        }
    }
}

/// The view of a point with the VM's definition.
pub fn whole_view(point: PointRecord, fate: Option<&PointFate>) -> PointView {
    let view = PointView::new(point.summary, NO_NAME, Some(point.definition));
    let Some(fate) = fate.cloned() else { return view };
    PointView {
        hold: fate.hold,
        deleted_at: fate.deleted_at,
        purge_after: fate.purge_after,
        deletable_from: (fate.deletable_from > fate.committed_at).then_some(fate.deletable_from),
        ..view
    }
}

fn whole_view_of(fates: &BTreeMap<PointId, PointFate>, point: PointRecord) -> PointView {
    let fate = fates.get(&point.summary.id);
    whole_view(point, fate)
}

async fn living(vault: &Vault) -> Result<Vec<PointRecord>, Failure> {
    Ok(readable(vault.points().await?))
}

/// The points that can be read; of the others the person is told.
fn readable(list: PointList) -> Vec<PointRecord> {
    for (object, error) in &list.unreadable {
        tell(Tone::Warning, &format!("the recovery point {object} cannot be read: {error}"));
    }
    list.points
}

/// What becomes of the points: worth showing, and nothing that a rescue fails for.
async fn fates(vault: &Vault) -> BTreeMap<PointId, PointFate> {
    match vault.fates().await {
        Ok(fates) => fates.into_iter().map(|fate| (fate.id, fate)).collect(),
        Err(error) => {
            tell(Tone::Warning, &format!("what becomes of the recovery points cannot be told: {error}"));
            BTreeMap::new()
        }
    }
}

fn select(points: Vec<PointRecord>, reference: &PointReference) -> Result<PointRecord, Failure> {
    let of_vm: Vec<_> = points.into_iter().filter(|point| is_of(&point.summary, &reference.vm)).collect();
    if of_vm.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("the vault has no recovery point of {}", reference.vm),
        )
        .with_hint("holdfast rescue list shows all that there are"));
    }
    let summaries: Vec<_> = of_vm.iter().map(|point| point.summary.clone()).collect();
    let id = match protection::select_point(&summaries, &reference.point) {
        Ok(selected) => selected.id,
        Err(error) => {
            let failure = Failure::new(Exit::NotFound, error.to_string());
            return Err(match &reference.point {
                PointSelector::IdPrefix(_) => {
                    failure.with_hint("holdfast rescue list shows the ids of all recovery points")
                }
                _ => failure,
            });
        }
    };
    let found = of_vm.into_iter().find(|point| point.summary.id == id);
    found.ok_or_else(|| Failure::new(Exit::NotFound, format!("there is no {reference}")))
}

fn is_of(summary: &PointSummary, vm: &str) -> bool {
    summary.vm_name.as_str() == vm || summary.vm_id.as_str() == vm
}
