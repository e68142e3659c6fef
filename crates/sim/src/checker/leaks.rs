//! Nothing that is not needed stays for ever.

use model::PointId;
use tokio::time::sleep;
use vault::{CollectOptions, Monitor, Vault};

use crate::{process::DAY, world::World};

/// Longer than any soft delete and any retention of a world, counted from the clock that is furthest ahead.
const WAIT_DAYS: u32 = 60;

/// Deletes every point, collects when their time is over, and looks at what is left in the store. The world ends here.
pub(crate) async fn check(world: &World) -> Result<(), String> {
    let process = world.sound_process("undertaker");
    let vault =
        world.open_soundly(&process).await.map_err(|error| format!("the vault cannot be opened: {error}"))?;
    sleep(WAIT_DAYS * DAY).await;
    delete_all(&vault).await.map_err(|error| format!("the points cannot be deleted: {error}"))?;
    sleep(WAIT_DAYS * DAY).await;
    let options = CollectOptions { grace_hours: 1, ..CollectOptions::default() };
    for _ in 0..2 {
        let collected = vault.collect(&options, &Monitor::default()).await;
        collected.map_err(|error| format!("the garbage cannot be collected: {error}"))?;
        sleep(DAY).await;
    }
    let objects = world.store.objects();
    let is_left = |path: &&object_store::path::Path| {
        ["packs/", "index/", "points/"].iter().any(|folder| path.as_ref().starts_with(folder))
    };
    if let Some(left) = objects.paths().find(is_left) {
        return Err(format!("nothing needs {left}, and it stays for ever"));
    }
    for (folder, most) in [("log/", 70), ("states/", 2), ("clock/", 0)] {
        let count = objects.paths().filter(|path| path.as_ref().starts_with(folder)).count();
        if count > most {
            return Err(format!("{count} objects stay in {folder} after a collection"));
        }
    }
    Ok(())
}

async fn delete_all(vault: &Vault) -> vault::Result<()> {
    let fates = vault.fates().await?;
    let held: Vec<PointId> = fates.iter().filter(|fate| fate.hold.is_some()).map(|fate| fate.id).collect();
    vault.release_points(&held).await?;
    let live = fates.iter().filter(|fate| fate.deleted_at.is_none());
    vault.delete_points(&live.map(|fate| fate.id).collect::<Vec<_>>()).await
}
