use model::{Immutability, Timestamp, VaultSettings};

use crate::{
    CollectOptions, ErrorKind, Monitor, PointFate, Vault,
    fixture::{
        noise,
        world::{DAY_US, World, assert_restores, back_up, id},
    },
};

async fn fate(vault: &Vault, number: u8) -> PointFate {
    vault.fates().await.unwrap().into_iter().find(|fate| fate.id == id(number)).unwrap()
}

fn day(fate: &PointFate, at: Option<Timestamp>) -> i64 {
    at.unwrap().microseconds_since(fate.committed_at) / DAY_US
}

async fn purged(vault: &Vault) -> u64 {
    vault.collect(&CollectOptions::default(), &Monitor::default()).await.unwrap().points
}

#[tokio::test]
async fn a_deleted_point_can_be_brought_back_until_its_time_is_over() {
    let (world, vault) = World::new().await;
    back_up(&vault, 1, &noise(1, 9000)).await;
    vault.delete_points(&[id(1)]).await.unwrap();
    assert!(vault.points().await.unwrap().points.is_empty());
    let deleted = fate(&vault, 1).await;
    assert_eq!((day(&deleted, deleted.deleted_at), day(&deleted, deleted.purge_after)), (0, 14));
    world.pass(13 * DAY_US);
    assert_eq!(purged(&vault).await, 0);
    vault.undelete_points(&[id(1)]).await.unwrap();
    world.pass(13 * DAY_US);
    assert_eq!(purged(&vault).await, 0);
    assert_restores(&world.open().await, 1, &noise(1, 9000)).await;
    vault.delete_points(&[id(1)]).await.unwrap();
    world.pass(14 * DAY_US + 1_000_000);
    assert_eq!(purged(&vault).await, 1);
    assert_eq!(vault.undelete_points(&[id(1)]).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(vault.fates().await.unwrap().is_empty());
}

#[tokio::test]
async fn all_points_are_changed_or_none() {
    let (_, vault) = World::new().await;
    back_up(&vault, 1, &noise(1, 9000)).await;
    assert_eq!(vault.delete_points(&[id(1), id(2)]).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fate(&vault, 1).await.deleted_at, None);
    assert_eq!(vault.undelete_points(&[id(1)]).await.unwrap_err().kind(), ErrorKind::Refused);
    vault.delete_points(&[]).await.unwrap();
}

#[tokio::test]
async fn a_hold_outlives_everything_but_its_release() {
    let (_, vault) = World::new().await;
    back_up(&vault, 1, &noise(1, 9000)).await;
    vault.hold_points(&[id(1)], "case 12").await.unwrap();
    assert_eq!(fate(&vault, 1).await.hold.as_deref(), Some("case 12"));
    let error = vault.delete_points(&[id(1)]).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("legal hold"), "{error}");
    vault.release_points(&[id(1)]).await.unwrap();
    assert_eq!(vault.release_points(&[id(1)]).await.unwrap_err().kind(), ErrorKind::Refused);
    vault.delete_points(&[id(1)]).await.unwrap();
    assert_eq!(vault.hold_points(&[id(1)], "late").await.unwrap_err().kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn a_locked_vault_can_only_be_made_stricter_and_keeps_young_points() {
    let (world, vault) = World::new().await;
    let locked =
        VaultSettings { immutability: Immutability::Locked, min_retention_days: 30, soft_delete_days: 7 };
    vault.set_settings(locked).await.unwrap();
    assert_eq!(vault.settings().await.unwrap(), locked);
    for weaker in [
        VaultSettings { immutability: Immutability::Enabled, ..locked },
        VaultSettings { min_retention_days: 29, ..locked },
        VaultSettings { soft_delete_days: 0, ..locked },
    ] {
        assert_eq!(vault.set_settings(weaker).await.unwrap_err().kind(), ErrorKind::Refused);
    }
    vault.set_settings(VaultSettings { min_retention_days: 31, ..locked }).await.unwrap();
    back_up(&vault, 1, &noise(1, 9000)).await;
    let kept = fate(&vault, 1).await;
    assert_eq!(day(&kept, Some(kept.deletable_from)), 31);
    world.pass(30 * DAY_US);
    assert_eq!(vault.delete_points(&[id(1)]).await.unwrap_err().kind(), ErrorKind::Refused);
    world.local.turn(3650 * DAY_US);
    let error = vault.delete_points(&[id(1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "one clock alone shortens no retention");
    world.local.turn(-3650 * DAY_US);
    world.pass(DAY_US + 1_000_000);
    vault.delete_points(&[id(1)]).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_jumps_purges_nothing_early_and_moves_no_other_clock() {
    for local_jumps in [true, false] {
        let (world, vault) = World::new().await;
        for number in 1..4 {
            back_up(&vault, number, &noise(number.into(), 9000)).await;
        }
        vault.delete_points(&[id(1)]).await.unwrap();
        let clock = if local_jumps { &world.local } else { &world.store };
        clock.turn(3650 * DAY_US);
        assert_eq!(purged(&vault).await, 0);
        back_up(&vault, 4, &noise(4, 9000)).await;
        vault.hold_points(&[id(2)], "an entry by both clocks").await.unwrap();
        vault.delete_points(&[id(3)]).await.unwrap();
        clock.turn(-3650 * DAY_US);
        vault.release_points(&[id(2)]).await.unwrap();
        vault.delete_points(&[id(2)]).await.unwrap();
        let late = fate(&vault, 3).await;
        assert!(day(&late, late.purge_after) >= 3650, "deleted by the later clock");
        let usual = fate(&vault, 2).await;
        assert_eq!(day(&usual, usual.purge_after), 14, "nobody else was delayed");
        world.pass(15 * DAY_US);
        assert_eq!(purged(&vault).await, 2);
    }
}

#[tokio::test]
async fn a_slow_clock_shortens_no_retention_of_the_points_that_are_committed_by_it() {
    let (world, vault) = World::new().await;
    let locked =
        VaultSettings { immutability: Immutability::Locked, min_retention_days: 30, soft_delete_days: 0 };
    vault.set_settings(locked).await.unwrap();
    world.local.turn(-365 * DAY_US);
    back_up(&vault, 1, &noise(1, 9000)).await;
    world.local.turn(365 * DAY_US);
    world.pass(29 * DAY_US);
    assert_eq!(vault.delete_points(&[id(1)]).await.unwrap_err().kind(), ErrorKind::Refused);
    world.pass(2 * DAY_US);
    vault.delete_points(&[id(1)]).await.unwrap();
}
