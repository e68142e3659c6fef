//! After a repair, every point is whole or named as hurt; and no more is lost than must be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use model::PointId;
use tokio::time::{Instant, sleep};
use vault::{CollectOptions, Monitor, RepairOptions, RepairReport, StoreLocation, Vault};

use crate::{
    process::{DAY, Fate, HOUR, Process},
    world::World,
};

/// Repairs the vault from its copy, which may be damaged too, and looks whether the report tells the truth.
pub(super) async fn check_truth(world: &World) -> Result<(), String> {
    let process = world.sound_process("healer");
    let report = repair(world, &process, &[world.copy_location(&process)]).await?;
    check_report(world, &process, &report).await.map(drop)
}

/// Damages anything in the vault, and repairs it from the copy, which has all of it.
pub(super) async fn check_with_copy(world: &World) -> Result<(), String> {
    damage(world, &["log/", "log/", "states/", "packs/", "index/", "points/"]);
    let process = world.sound_process("healer");
    let report = repair(world, &process, &[world.copy_location(&process)]).await?;
    if let Some(hurt) = report.hurt.first() {
        return Err(format!("the copy has point {}, and a repair from it has not", hurt.id));
    }
    let vault = check_report(world, &process, &report).await?;
    check_clean(world, &vault).await
}

/// Damages the index, and repairs the vault from nothing but itself, while the packs wait to be deleted that a collector has
/// condemned. Where that one is dead, damages the log too; one that lives goes on later, and what it deletes nobody could
/// know without its entry.
pub(super) async fn check_alone(world: &World) -> Result<(), String> {
    if world.dice.chance(500) {
        let process = world.process("collector", Fate { crash: 60, ..Fate::default() });
        process.run(Box::pin(condemn(world, &process))).await;
        damage(world, &["log/", "log/", "states/", "index/"]);
        return repair_alone(world).await;
    }
    let process = world.sound_process("collector");
    let repaired = async {
        let entry_count =
            || world.store.objects().paths().filter(|path| path.as_ref().starts_with("log/")).count();
        let (before, deadline) = (entry_count(), Instant::now() + HOUR / 60);
        while entry_count() == before && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        process.stand_still(DAY);
        damage(world, &["index/"]);
        repair_alone(world).await
    };
    tokio::join!(Box::pin(condemn(world, &process)), Box::pin(repaired)).1
}

/// Condemns what can be, and deletes it.
async fn condemn(world: &World, process: &Arc<Process>) {
    let options = CollectOptions { grace_hours: 0, repack_dead_percent: 1, ..CollectOptions::default() };
    let collect = async {
        let vault = world.open_soundly(process).await?;
        vault.collect(&options, &Monitor::default()).await
    };
    let collected = collect.await;
    world.trace.add("collector", format!("{collected:?}"));
}

async fn repair_alone(world: &World) -> Result<(), String> {
    let process = world.sound_process("healer");
    let report = repair(world, &process, &[]).await?;
    let needed = world.model().needed();
    if let Some(hurt) = report.hurt.iter().find(|point| needed.contains(&point.id)) {
        return Err(format!("point {} is said to be lost, and nothing of it was damaged", hurt.id));
    }
    let vault = check_report(world, &process, &report).await?;
    match report.hurt.is_empty() {
        true => check_clean(world, &vault).await,
        false => Ok(()),
    }
}

/// Flips a few bits in objects of the vault.
fn damage(world: &World, folders: &[&str]) {
    for _ in 0..world.dice.number(1..7) {
        world.store.rot(world.dice.pick(folders).unwrap_or(&"packs/"));
    }
}

async fn repair(
    world: &World,
    process: &Arc<Process>,
    copies: &[StoreLocation],
) -> Result<RepairReport, String> {
    let opened = world.open(process).await;
    let vault = opened.map_err(|error| format!("the vault cannot be opened: {error}"))?;
    let repaired = vault.repair(copies, RepairOptions::default(), &Monitor::default()).await;
    let report = repaired.map_err(|error| format!("the vault cannot be repaired: {error}"))?;
    world.trace.add("healer", format!("{report:?}"));
    Ok(report)
}

/// Checks that what a report does not name as hurt is there, and whole.
async fn check_report(world: &World, process: &Arc<Process>, report: &RepairReport) -> Result<Vault, String> {
    let hurt: BTreeSet<PointId> = report.hurt.iter().map(|point| point.id).collect();
    let needed = world.model().needed();
    let opened = world.open_soundly(process).await;
    let vault = opened.map_err(|error| format!("the repaired vault cannot be opened: {error}"))?;
    let listed =
        vault.points().await.map_err(|error| format!("the repaired vault cannot be listed: {error}"))?;
    let found: BTreeMap<PointId, _> =
        listed.points.iter().map(|record| (record.summary.id, record)).collect();
    if let Some(id) = needed.iter().find(|id| !hurt.contains(id) && !found.contains_key(id)) {
        return Err(format!("point {id} is gone after a repair that did not name it"));
    }
    for (id, record) in found.into_iter().filter(|(id, _)| !hurt.contains(id)) {
        match super::restore(world, &vault, record).await {
            Ok(None) => {}
            Ok(Some(wrong)) => return Err(format!("after a repair, {wrong}")),
            Err(error) => {
                return Err(format!(
                    "point {id} cannot be restored after a repair that did not name it: {error}"
                ));
            }
        }
    }
    Ok(vault)
}

/// Checks that a vault that is whole again stays so when it is used, and when the packs are gone that were condemned before.
async fn check_clean(world: &World, vault: &Vault) -> Result<(), String> {
    let process = world.sound_process("survivor");
    for _ in 0..4 {
        let before = world.model().needed().len();
        world.back_up(&process, vault.clone()).await;
        if world.model().needed().len() == before {
            return Err("nothing can be stored in the repaired vault".to_owned());
        }
    }
    sleep(10 * DAY).await;
    let collected = vault.collect(&CollectOptions::default(), &Monitor::default()).await;
    collected.map_err(|error| format!("the repaired vault cannot be collected: {error}"))?;
    let verified = vault.verify(&Monitor::default()).await;
    let report = verified.map_err(|error| format!("the repaired vault cannot be verified: {error}"))?;
    world.trace.add("survivor", format!("{report:?}"));
    match report.is_clean() {
        true => Ok(()),
        false => Err(format!("the repaired vault is damaged: {:?}", report.damage.first())),
    }
}
