use std::sync::Arc;

use futures::FutureExt;
use model::VaultSettings;
use object_store::{ObjectStoreExt, path::Path};

use crate::{
    CollectOptions, ErrorKind, Monitor, Vault,
    fixture::{
        noise, restored, source,
        world::{self, DAY_US, HOUR_US, World, assert_restores, back_up, id},
    },
};

const KIB: usize = 1024;

async fn collect(vault: &Vault) -> crate::CollectReport {
    vault.collect(&CollectOptions::default(), &Monitor::default()).await.unwrap()
}

async fn purge_at_once(vault: &Vault) {
    let settings = VaultSettings { soft_delete_days: 0, ..VaultSettings::default() };
    vault.set_settings(settings).await.unwrap();
}

/// Three disks: the first two share a half, the third is by itself.
fn disk(number: u8) -> Vec<u8> {
    let own = noise(number.into(), 400 * KIB);
    match number {
        1 | 2 => [noise(100, 400 * KIB), own].concat(),
        _ => own,
    }
}

/// A vault with points 1 to 3, of which 1 and 3 are deleted and due.
async fn with_garbage() -> (World, Vault) {
    let (world, vault) = World::new().await;
    purge_at_once(&vault).await;
    for number in 1..4 {
        back_up(&vault, number, &disk(number)).await;
    }
    vault.delete_points(&[id(1), id(3)]).await.unwrap();
    (world, vault)
}

/// Everything that is there is needed, and nothing is missing.
async fn assert_tidy(world: &World, expected: &[u8]) {
    let vault = world.open().await;
    for number in expected {
        assert_restores(&vault, *number, &disk(*number)).await;
    }
    let state = vault.shared.refresh().await.unwrap().state;
    assert!(state.body.garbage.is_empty());
    let objects = world.objects().await;
    let count = |folder: &str| objects.iter().filter(|(name, _)| name.starts_with(folder)).count();
    assert_eq!(count("points/"), expected.len());
    assert_eq!(count("index/"), state.body.segments.len());
    let packs: std::collections::BTreeSet<_> =
        vault.shared.index.packs().iter().map(|pack| pack.digest).collect();
    assert_eq!(count("packs/"), packs.len());
    assert_eq!(count("clock/"), 0);
    assert!(vault.verify(&Monitor::default()).await.unwrap().is_clean());
}

#[tokio::test]
async fn what_nothing_needs_gives_its_room_back() {
    let (world, vault) = with_garbage().await;
    let before_bytes = world.bytes_in("packs").await;
    let plan = vault.plan_collection(&CollectOptions::default(), &Monitor::default()).await.unwrap();
    assert_eq!(plan.points, [id(1), id(3)]);
    assert!(!plan.drop.is_empty() && !plan.repack.is_empty() && plan.orphans.is_empty(), "{plan:?}");
    assert_eq!(world.bytes_in("packs").await, before_bytes, "a plan changes nothing");
    let report = collect(&vault).await;
    let freed = before_bytes - world.bytes_in("packs").await;
    assert!(freed > 790 * KIB as u64, "{freed}");
    assert!(
        report.deleted_bytes.0.abs_diff(freed + report.rewritten_bytes.0) < 20_000,
        "{report:?}, {freed}"
    );
    assert!(plan.freed_bytes.0.abs_diff(freed) < 20_000, "{plan:?}, {freed}");
    assert_tidy(&world, &[2]).await;
    assert!(collect(&vault).await.points == 0);
    let again = vault.plan_collection(&CollectOptions::default(), &Monitor::default()).await.unwrap();
    assert!(again.is_empty(), "{again:?}");
}

#[tokio::test]
async fn packs_with_little_garbage_stay_as_they_are() {
    let (world, vault) = with_garbage().await;
    let options = CollectOptions { repack_dead_percent: 101, ..CollectOptions::default() };
    let plan = vault.plan_collection(&options, &Monitor::default()).await.unwrap();
    assert!(plan.repack.is_empty() && plan.partly_dead.bytes.0 > 390 * KIB as u64, "{plan:?}");
    vault.collect(&options, &Monitor::default()).await.unwrap();
    assert_tidy(&world, &[2]).await;
}

#[tokio::test]
async fn what_dead_writers_left_goes_after_the_grace() {
    let (world, vault) = World::new().await;
    back_up(&vault, 2, &disk(2)).await;
    let mut writer = vault.writer().await.unwrap();
    let stored = writer.store_disk(source(&disk(3)), &Monitor::default()).await.unwrap();
    let mut elsewhere = crate::fixture::point(3, &stored);
    elsewhere.maps[0].root = Some(crate::ChunkId([9; 32]));
    writer.commit(elsewhere).await.unwrap_err();
    let left = world.bytes_in("packs").await;
    collect(&vault).await;
    assert_eq!(world.bytes_in("packs").await, left);
    let plan = vault.plan_collection(&CollectOptions::default(), &Monitor::default()).await.unwrap();
    assert!(plan.is_empty() && !plan.young.is_empty(), "{plan:?}");
    world.local.turn(80 * HOUR_US);
    let plan = vault.plan_collection(&CollectOptions::default(), &Monitor::default()).await.unwrap();
    assert!(plan.is_empty(), "young by the store's clock");
    world.store.turn(80 * HOUR_US);
    collect(&vault).await;
    assert!(world.bytes_in("packs").await < left - 390 * KIB as u64);
    assert_tidy(&world, &[2]).await;
}

#[tokio::test]
async fn a_collection_that_is_killed_anywhere_is_finished_by_the_next() {
    for operations in 0.. {
        let (world, _) = with_garbage().await;
        let view = world.view();
        let vault = world.open_by(Arc::clone(&view)).await;
        view.die_after(operations);
        let outcome = vault.collect(&CollectOptions::default(), &Monitor::default()).await;
        assert_restores(&world.open().await, 2, &disk(2)).await;
        // What it left behind is nobody's after the grace.
        world.pass(4 * DAY_US);
        collect(&world.open().await).await;
        let objects = world.objects().await;
        for (name, _) in objects.iter().filter(|(name, _)| name.starts_with("clock/")) {
            world.memory.delete(&Path::from(name.as_str())).await.unwrap();
        }
        assert_tidy(&world, &[2]).await;
        if outcome.is_ok() {
            assert!(operations > 20, "{operations}");
            return;
        }
    }
}

#[tokio::test]
async fn a_backup_that_is_committed_at_any_moment_of_a_collection_is_whole() {
    for operation in 0.. {
        let (world, _) = with_garbage().await;
        let world = Arc::new(world);
        let (early, view) = (world.open().await, world.view());
        let vault = world.open_by(Arc::clone(&view)).await;
        // It started before, relies on what is garbage by now, and commits in the middle.
        let mut writer = early.writer().await.unwrap();
        let stored = writer.store_disk(source(&disk(3)), &Monitor::default()).await.unwrap();
        let late = Arc::clone(&world);
        let commit = async move {
            match writer.commit(crate::fixture::point(9, &stored)).await {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Overtaken, "{error}");
                    world::back_up(&late.open().await, 9, &disk(3)).await;
                }
            }
        };
        view.let_happen_before(operation, commit.boxed());
        vault.collect(&CollectOptions::default(), &Monitor::default()).await.unwrap();
        let happened = view.has_happened();
        let fresh = world.open().await;
        assert_restores(&fresh, 2, &disk(2)).await;
        if !happened {
            assert!(operation > 20);
            return;
        }
        assert_restores(&fresh, 9, &disk(3)).await;
        assert!(fresh.verify(&Monitor::default()).await.unwrap().is_clean());
        world.pass(4 * DAY_US);
        collect(&fresh).await;
        assert_restores(&world.open().await, 9, &disk(3)).await;
    }
}

#[tokio::test]
async fn two_collections_at_once_leave_what_is_needed() {
    for operation in 0.. {
        let (world, other) = with_garbage().await;
        let view = world.view();
        let vault = world.open_by(Arc::clone(&view)).await;
        let options = CollectOptions { grace_hours: 0, ..CollectOptions::default() };
        let theirs = options.clone();
        let collection = async move {
            other.collect(&theirs, &Monitor::default()).await.unwrap();
        };
        view.let_happen_before(operation, collection.boxed());
        vault.collect(&options, &Monitor::default()).await.unwrap();
        let happened = view.has_happened();
        world.pass(1_000_000);
        vault.collect(&options, &Monitor::default()).await.unwrap();
        assert_tidy(&world, &[2]).await;
        if !happened {
            return;
        }
    }
}

#[tokio::test]
async fn a_restore_follows_chunks_that_are_moved() {
    let (world, vault) = with_garbage().await;
    let reader = world.open().await;
    let point = reader.point(id(2)).await.unwrap();
    let image = reader.image(&point.maps[0]).await.unwrap();
    collect(&vault).await;
    let mut bytes = vec![0; disk(2).len()];
    image::DiskImage::read_at(&image, 0, &mut bytes).await.unwrap();
    assert!(bytes == disk(2));
    assert!(restored(&reader, &point.maps[0]).await.unwrap() == disk(2));
}

#[tokio::test]
async fn damage_stops_a_collection_unless_the_point_is_named() {
    let (world, vault) = with_garbage().await;
    back_up(&vault, 4, &noise(4, 5000 * KIB)).await;
    let fresh = world.open().await;
    let root = fresh.shared.log.refresh().await.unwrap().body.points[&id(4)].roots[0];
    fresh.shared.refresh().await.unwrap();
    let (_, frame) = fresh.shared.find_chunk(&root).unwrap();
    let name = frame.pack.to_string();
    world.memory.delete(&Path::from(format!("packs/{}/{name}", &name[..2]))).await.unwrap();
    let before = world.objects().await;
    let error =
        world.open().await.collect(&CollectOptions::default(), &Monitor::default()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(&id(4).to_string()), "{error}");
    assert_eq!(world.objects().await, before);
    let options = CollectOptions { ignore_damaged: [id(4)].into(), ..CollectOptions::default() };
    world.open().await.collect(&options, &Monitor::default()).await.unwrap();
    assert_restores(&world.open().await, 2, &disk(2)).await;
}

#[tokio::test]
async fn an_index_segment_that_cannot_be_read_stops_a_collection() {
    let (world, _) = with_garbage().await;
    let objects = world.objects().await;
    let (segment, _) = objects.iter().find(|(name, _)| name.starts_with("index/")).unwrap();
    world.memory.put(&Path::from(segment.as_str()), vec![0; 100].into()).await.unwrap();
    world.pass(100 * DAY_US);
    let before = world.objects().await;
    let vault = world.open().await;
    let error = vault.collect(&CollectOptions::default(), &Monitor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.guidance().unwrap().contains("vault repair"));
    assert_eq!(world.objects().await.len(), before.len());
}

#[tokio::test]
async fn a_copy_goes_only_when_the_other_can_be_read() {
    for damaged in [0, 1] {
        let (world, vault) = World::new().await;
        let other = world.open().await;
        // Two writers at once store the same.
        let (mut one, mut two) = (vault.writer().await.unwrap(), other.writer().await.unwrap());
        let first = one.store_disk(source(&disk(3)), &Monitor::default()).await.unwrap();
        let second = two.store_disk(source(&disk(3)), &Monitor::default()).await.unwrap();
        one.commit(crate::fixture::point(1, &first)).await.unwrap();
        two.commit(crate::fixture::point(2, &second)).await.unwrap();
        let mut packs = world.objects().await;
        packs.retain(|(name, size)| name.starts_with("packs/") && *size > 100_000);
        assert_eq!(packs.len(), 2);
        let path = Path::from(packs[damaged].0.as_str());
        let mut bytes = crate::fixture::object(&*world.memory, &path).await;
        bytes[70_000] ^= 1;
        world.memory.put(&path, bytes.into()).await.unwrap();
        world.pass(4 * DAY_US);
        collect(&world.open().await).await;
        let fresh = world.open().await;
        let point = fresh.point(id(1)).await.unwrap();
        assert!(restored(&fresh, &point.maps[0]).await.unwrap() == disk(3));
    }
}

#[tokio::test]
async fn a_full_store_can_still_delete() {
    let (world, vault) = World::new().await;
    purge_at_once(&vault).await;
    for number in 1..4 {
        back_up(&vault, number, &disk(number)).await;
    }
    vault.shared.keep_reserve().await;
    let view = world.view();
    let full = world.open_by(Arc::clone(&view)).await;
    view.limit(world.bytes_in("").await);
    full.delete_points(&[id(1), id(3)]).await.unwrap();
    view.limit(world.bytes_in("").await);
    assert!(world.bytes_in("reserve").await > 0);
    let report = full.collect(&CollectOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.dropped_packs > 0 && report.repacked_packs == 0, "{report:?}");
    assert!(report.is_repacking_left_out, "and it says so");
    assert!(world.bytes_in("reserve").await > 0, "made anew");
    assert_tidy(&world, &[2]).await;
}
