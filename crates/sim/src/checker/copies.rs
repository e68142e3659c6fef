//! A copy is a vault of its own: at every moment whole, and the same as the vault once it was brought up to date.

use std::collections::BTreeSet;

use model::PointId;
use object_store::path::Path;
use vault::{Monitor, Vault};

use crate::world::World;

/// Checks the copy as servers left it, brings it up to date, and checks it again.
pub(super) async fn check(world: &World) -> Result<(), String> {
    let process = world.sound_process("copier");
    let mut whole = match world.open_copy(&process).await {
        Ok(copy) => check_points(world, &copy, &BTreeSet::new()).await?,
        // Its config comes last: until then there is no copy.
        Err(_) if world.copy.objects().get(&Path::from("config")).is_none() => BTreeSet::new(),
        Err(error) => return Err(format!("the copy cannot be opened: {error}")),
    };
    let deletions = world.copy.objects().deletions();
    let opened = world.open_soundly(&process).await;
    let vault = opened.map_err(|error| format!("the vault cannot be opened: {error}"))?;
    // What somebody commits after this who stood still until now need not be in the copy.
    let needed = world.model().needed();
    let copied = vault.copy_to(&world.copy_location(&process), &Monitor::default()).await;
    let report = copied.map_err(|error| format!("the copy cannot be brought up to date: {error}"))?;
    if report.damaged > 0 {
        return Err(format!("a sound vault was copied in part: {report:?}"));
    }
    let opened = world.open_copy(&process).await;
    let copy = opened.map_err(|error| format!("the copy cannot be opened: {error}"))?;
    if world.copy.objects().deletions() != deletions {
        whole.clear();
    }
    let points = check_points(world, &copy, &whole).await?;
    let still_needed = world.model().needed();
    match needed.intersection(&still_needed).find(|id| !points.contains(id)) {
        Some(id) => Err(format!("point {id} is not in the copy")),
        None => Ok(()),
    }
}

/// Restores every point of the copy from the copy alone, but for those that are known to be whole. Returns which there are.
async fn check_points(
    world: &World,
    copy: &Vault,
    whole: &BTreeSet<PointId>,
) -> Result<BTreeSet<PointId>, String> {
    let listed = copy.points().await.map_err(|error| format!("the copy cannot be listed: {error}"))?;
    if let Some((digest, error)) = listed.unreadable.first() {
        return Err(format!("point object {digest} of the copy cannot be read: {error}"));
    }
    for record in listed.points.iter().filter(|record| !whole.contains(&record.summary.id)) {
        let id = record.summary.id;
        match super::restore(world, copy, record).await {
            Ok(None) => {}
            Ok(Some(wrong)) => return Err(format!("in the copy, {wrong}")),
            Err(error) => return Err(format!("point {id} cannot be restored from the copy: {error}")),
        }
    }
    Ok(listed.points.iter().map(|record| record.summary.id).collect())
}
