//! After a repair, every point is whole or named as hurt.

use std::collections::{BTreeMap, BTreeSet};

use model::PointId;
use vault::{Monitor, RepairOptions};

use crate::world::World;

/// Repairs the vault from its copy, which may be damaged too, and looks whether the report tells the truth.
pub(super) async fn check(world: &World) -> Result<(), String> {
    let process = world.sound_process("healer");
    let opened = world.open_soundly(&process).await;
    let vault = opened.map_err(|error| format!("the vault cannot be opened: {error}"))?;
    let copies = [world.copy_location(&process)];
    let repaired = vault.repair(&copies, RepairOptions::default(), &Monitor::default()).await;
    let report = repaired.map_err(|error| format!("the vault cannot be repaired: {error}"))?;
    world.trace.add("healer", format!("{report:?}"));
    let hurt: BTreeSet<PointId> = report.hurt.iter().map(|point| point.id).collect();
    let opened = world.open_soundly(&process).await;
    let vault = opened.map_err(|error| format!("the repaired vault cannot be opened: {error}"))?;
    let listed =
        vault.points().await.map_err(|error| format!("the repaired vault cannot be listed: {error}"))?;
    let found: BTreeMap<PointId, _> =
        listed.points.iter().map(|record| (record.summary.id, record)).collect();
    let needed: Vec<PointId> = {
        let model = world.model();
        let needed = model.points.iter().filter(|(_, facts)| facts.must_be_live());
        needed.map(|(id, _)| *id).filter(|id| !hurt.contains(id)).collect()
    };
    for id in needed {
        let Some(record) = found.get(&id) else {
            return Err(format!("point {id} is gone after a repair that did not name it"));
        };
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
    Ok(())
}
