//! What must hold whenever the store works, seen through a handle that was never used before.

mod copies;
mod leaks;
mod repairs;

use std::sync::Arc;

use model::PointId;
use vault::{DiskMap, Monitor, PointRecord, Vault};

use crate::{
    disk::{Content, SimTarget},
    rot::Rot,
    world::World,
};

/// Checks every rule that must hold at any time. The first that is broken is noted in the model.
pub(crate) async fn check(world: &World) {
    if world.rot == Rot::Objects {
        return check_bytes(world).await;
    }
    if world.changes() == world.checked_changes() {
        return world.trace.add("checker", "nothing has changed");
    }
    let checked = async {
        check_points(world).await?;
        copies::check(world).await
    };
    match checked.await {
        Ok(()) => world.note_checked(),
        Err(violation) => world.model().violated(violation),
    }
}

/// Checks that what lost bits can be repaired, and that a vault whose points are all deleted becomes empty. The world ends
/// here.
pub(crate) async fn check_end(world: &World) {
    let checked = async {
        match world.rot {
            Rot::Nothing => {}
            Rot::Objects => return repairs::check_truth(world).await,
            Rot::ShieldedByCopy => {
                repairs::check_with_copy(world).await?;
                check_points(world).await?;
                copies::check(world).await?;
            }
            Rot::Alone => repairs::check_alone(world).await?,
        }
        leaks::check(world).await
    };
    if let Err(violation) = checked.await {
        world.model().violated(violation);
    }
}

/// Checks that what can be read is right.
async fn check_bytes(world: &World) {
    let process = world.sound_process("checker");
    let Ok(vault) = world.open_soundly(&process).await else { return };
    let listed = vault.points().await.map(|listed| listed.points).unwrap_or_default();
    for record in &listed {
        if let Ok(Some(wrong)) = restore(world, &vault, record).await {
            world.model().violated(wrong);
        }
    }
}

async fn check_points(world: &World) -> Result<(), String> {
    let process = world.sound_process("checker");
    let opened = world.open_soundly(&process).await;
    let vault = opened.map_err(|error| format!("the vault cannot be opened: {error}"))?;
    // Whoever stood still until now may commit while we look.
    let committed = world.model().committed();
    let listed = vault.points().await.map_err(|error| format!("the points cannot be listed: {error}"))?;
    if let Some((digest, error)) = listed.unreadable.first() {
        return Err(format!("point object {digest} cannot be read: {error}"));
    }
    let fates = vault.fates().await.map_err(|error| format!("the fates cannot be listed: {error}"))?;
    let settings = vault.settings().await.map_err(|error| format!("the settings cannot be read: {error}"))?;
    if let Some(locked) = world.model().locked {
        settings.may_follow(&locked).map_err(|why| format!("{why}, and somebody did"))?;
    }
    let live: Vec<PointId> = listed.points.iter().map(|record| record.summary.id).collect();
    let kept: Vec<PointId> = fates.iter().map(|fate| fate.id).collect();
    let deleted: Vec<(PointId, Vec<DiskMap>)> = {
        let model = world.model();
        for (id, facts) in model.points.iter().filter(|(id, _)| committed.contains(id)) {
            if facts.must_be_live() && !live.contains(id) {
                return Err(format!("point {id} was committed and is gone"));
            }
            if model.must_be_kept(facts) && !kept.contains(id) {
                return Err(format!("point {id} was purged before its time"));
            }
        }
        let deleted = model.points.iter().filter(|(id, _)| kept.contains(id) && !live.contains(id));
        deleted.map(|(id, facts)| (*id, facts.maps.clone())).collect()
    };
    let live = listed.points.iter().map(|record| (record.summary.id, record.maps.clone()));
    for (id, maps) in live.chain(deleted) {
        match restore_maps(world, &vault, id, &maps).await {
            Ok(None) => {}
            Ok(Some(wrong)) => return Err(wrong),
            Err(error) => return Err(format!("point {id} cannot be restored: {error}")),
        }
    }
    world.trace.add("checker", format!("{} points are whole", kept.len()));
    Ok(())
}

/// Restores all disks of a point; says what is wrong with the bytes, if anything is.
pub(crate) async fn restore(
    world: &World,
    vault: &Vault,
    record: &PointRecord,
) -> vault::Result<Option<String>> {
    restore_maps(world, vault, record.summary.id, &record.maps).await
}

async fn restore_maps(
    world: &World,
    vault: &Vault,
    id: PointId,
    maps: &[DiskMap],
) -> vault::Result<Option<String>> {
    let disks: Option<Vec<Arc<Content>>> = world.model().points.get(&id).map(|facts| facts.disks.clone());
    let Some(disks) = disks.filter(|disks| disks.len() == maps.len()) else {
        return Ok(Some(format!("point {id} is in the vault, and nobody made it so")));
    };
    for (number, (map, content)) in maps.iter().zip(&disks).enumerate() {
        let target = SimTarget::new(content.size_bytes);
        vault.restore_disk(map, &target, &Monitor::default()).await?;
        if let Some(block) = target.first_difference(content) {
            return Ok(Some(format!("block {block} of disk {number} of point {id} has the wrong bytes")));
        }
    }
    Ok(None)
}
