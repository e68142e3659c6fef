//! What a repair does about what is lost for good.

use std::sync::Arc;

use model::{Immutability, VaultSettings};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

use super::{at, disk, repair};
use crate::{
    ErrorKind, Monitor, RepairOptions, Vault,
    fixture::{
        OddStore, Oddity, back_up, create_in, object, objects, open_in, point, restored, source,
        world::{self, DAY_US, World, id},
    },
    log::Sequence,
};

async fn flip(store: &InMemory, path: &Path) {
    let mut bytes = object(store, path).await;
    bytes[90] ^= 1;
    store.put(path, bytes.into()).await.unwrap();
}

fn entry(number: u64) -> Path {
    Path::from(Sequence(number).entry_name())
}

/// Whatever of the log is damaged at once, every point is found again, and the vault is used on.
#[tokio::test]
async fn no_damage_to_the_log_loses_a_point() {
    for damaged in 1_u32.. {
        let store = Arc::new(InMemory::new());
        let vault = create_in(store.clone()).await;
        for number in 1..=4 {
            back_up(&vault, number, source(&disk(number))).await.unwrap();
            let log = &vault.shared.log;
            if number < 4 {
                log.trim(&log.refresh().await.unwrap()).await.unwrap();
            }
        }
        let of_log = |path: &Path| path.as_ref().starts_with("log/") || path.as_ref().starts_with("states/");
        let parts: Vec<Path> = objects(&*store).await.into_iter().filter(of_log).collect();
        assert_eq!(parts.len(), 5, "three entries and two states");
        if damaged >> parts.len() != 0 {
            break;
        }
        for (_, path) in parts.iter().enumerate().filter(|(place, _)| damaged >> place & 1 == 1) {
            flip(&store, path).await;
        }
        let report = repair(&open_in(store.clone(), 5).await, &[]).await;
        assert!(report.healed_count >= damaged.count_ones().into(), "{damaged:05b} {report:?}");
        assert_eq!(report.finding_count, report.healed_count, "{damaged:05b} {report:?}");
        let fresh = open_in(store.clone(), 6).await;
        let points = fresh.points().await.unwrap().points;
        assert_eq!(points.len(), 4, "{damaged:05b} {report:?}");
        for (number, point) in points.iter().enumerate() {
            assert!(restored(&fresh, &point.maps[0]).await.unwrap() == disk(number as u8 + 1));
        }
        back_up(&fresh, 5, source(&disk(5))).await.unwrap();
        assert!(fresh.verify(&Monitor::default()).await.unwrap().is_clean(), "{damaged:05b}");
        assert_eq!(repair(&open_in(store, 7).await, &[]).await.finding_count, 0, "{damaged:05b}");
    }
}

/// Whatever entry is lost: nobody can delete what it may have protected, before somebody has looked.
#[tokio::test]
async fn holds_and_locks_outlast_any_entry() {
    let locked =
        VaultSettings { immutability: Immutability::Locked, min_retention_days: 30, ..Default::default() };
    for number in 1..=7 {
        let (world, vault) = World::new().await;
        vault.set_settings(locked).await.unwrap();
        for number in 1..=3 {
            world.pass(DAY_US);
            world::back_up(&vault, number, &disk(number)).await;
        }
        vault.hold_points(&[id(1)], "a court asks").await.unwrap();
        vault.set_settings(VaultSettings { min_retention_days: 40, ..locked }).await.unwrap();
        let before = vault.fates().await.unwrap();
        flip(&world.memory, &entry(number)).await;
        let report = repair(&world.open().await, &[]).await;
        let fresh = world.open().await;
        let after = fresh.fates().await.unwrap();
        assert_eq!(after.len(), 3);
        for (place, (before, after)) in before.iter().zip(&after).enumerate() {
            assert!(after.committed_at >= before.committed_at, "{number} {after:?}");
            // The entries 3 to 5 committed the points, and of what came after the loss all is known: 6 holds the first.
            let is_known_held = place == 0 && ![3, 6].contains(&number);
            let is_unsure = number >= place as u64 + 3 && !is_known_held;
            let is_reported = report.held.iter().any(|point| point.id == after.id);
            assert_eq!(is_reported, is_unsure, "{number} {after:?}");
            assert!(after.hold.is_some() || !is_unsure && before.hold.is_none(), "{number} {after:?}");
        }
        assert_eq!(fresh.settings().await.unwrap().immutability, Immutability::Locked, "{number}");
        let refused = fresh.delete_points(&[id(1)]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Refused);
    }
}

/// Somebody has written to the copy: its last entry is not that of the vault.
#[tokio::test]
async fn nothing_of_a_copy_that_went_its_own_way_is_taken() {
    let (store, copy) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
    let vault = create_in(store.clone()).await;
    back_up(&vault, 1, source(&disk(1))).await.unwrap();
    vault.copy_to(&at(&copy), &Monitor::default()).await.unwrap();
    let fork = open_in(copy.clone(), 8).await;
    for number in [2, 3] {
        back_up(&vault, number, source(&disk(number))).await.unwrap();
        back_up(&fork, number + 10, source(&disk(number + 10))).await.unwrap();
    }
    for damaged in [&[4][..], &[3, 4], &[3]] {
        let damaged_store = super::store_of(&super::snapshot(&store).await).await;
        for number in damaged {
            flip(&damaged_store, &entry(*number)).await;
        }
        let vault = open_in(damaged_store.clone(), 9).await;
        repair(&vault, &[at(&copy)]).await;
        let points = open_in(damaged_store, 10).await.points().await.unwrap().points;
        let ids: Vec<_> = points.iter().map(|point| point.summary.id).collect();
        assert_eq!(ids, [id(1), id(2), id(3)], "{damaged:?}");
    }
}

/// Of a writer that died, the point's object is left and a collection took the rest. When entries of the log are lost, nobody
/// knows that the point was never committed.
#[tokio::test]
async fn a_point_that_only_the_store_knows_is_named_when_it_is_not_whole() {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    back_up(&vault, 1, source(&disk(1))).await.unwrap();
    let mut dead = vault.writer().await.unwrap();
    let stored = dead.store_disk(source(&disk(2)), &Monitor::default()).await.unwrap();
    drop(dead);
    vault.shared.write_point(&point(2, &stored)).await.unwrap();
    flip(&store, &entry(2)).await;
    for dry_run in [true, false] {
        let vault = open_in(store.clone(), 3).await;
        let report = vault.repair(&[], RepairOptions { dry_run }, &Monitor::default()).await.unwrap();
        let hurt: Vec<_> = report.hurt.iter().map(|point| point.id).collect();
        assert_eq!(hurt, [id(2)], "{report:?}");
    }
}

/// A pack that could not be read when the index was made anew is listed by the repair after it can be.
#[tokio::test]
async fn an_index_that_was_made_anew_in_part_is_completed_later() {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let stored = back_up(&vault, 1, source(&disk(1))).await.unwrap();
    let paths = objects(&*store).await;
    let segment = paths.iter().find(|path| path.as_ref().starts_with("index/")).unwrap();
    store.delete(segment).await.unwrap();
    let packs: Vec<&Path> = paths.iter().filter(|path| path.as_ref().starts_with("packs/")).collect();
    for pack in packs {
        let store = super::store_of(&super::snapshot(&store).await).await;
        let sound = object(&*store, pack).await;
        flip(&store, pack).await;
        let report = repair(&open_in(store.clone(), 2).await, &[]).await;
        assert_eq!((report.finding_count, report.healed_count, report.hurt.len()), (2, 0, 1), "{report:?}");
        store.put(pack, sound.into()).await.unwrap();
        let report = repair(&open_in(store.clone(), 3).await, &[]).await;
        assert_eq!((report.finding_count, report.healed_count, report.hurt.len()), (1, 1, 0), "{report:?}");
        let vault = open_in(store.clone(), 4).await;
        assert!(restored(&vault, &stored.map).await.unwrap() == disk(1));
        assert_eq!(repair(&vault, &[]).await.finding_count, 0);
    }
}

#[tokio::test]
async fn a_short_listing_is_nothing_to_be_healed() {
    let (world, vault) = World::new().await;
    for number in 1..=3 {
        world::back_up(&vault, number, &disk(number)).await;
        let log = &vault.shared.log;
        log.trim(&log.refresh().await.unwrap()).await.unwrap();
    }
    let before = world.objects().await;
    for hidden in ["states", "log/0000000000000003"] {
        let odd =
            Arc::new(OddStore::new(world.memory.clone(), Oddity::Hides(hidden))) as Arc<dyn ObjectStore>;
        let vault: Vault = open_in(odd.clone(), 3).await;
        let report = vault.repair(&[], RepairOptions::default(), &Monitor::default()).await.unwrap();
        assert_eq!(report, Default::default(), "{hidden}");
        assert_eq!(world.objects().await, before);
    }
}
