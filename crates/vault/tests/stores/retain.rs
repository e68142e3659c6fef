//! Immutable vaults that their store holds.

use std::collections::{BTreeMap, BTreeSet};

use env::{Clock, Env, SystemClock};
use futures::TryStreamExt;
use image::MemoryTarget;
use model::{Immutability, PointId, Timestamp, VaultSettings};
use object_store::ObjectStoreExt;
use testkit::stores::S3Server;
use vault::{
    CollectOptions, Cure, ErrorKind, Monitor, NewKey, NewSlot, ObjectLock, RepairOptions, RepairReport,
    Retained, Retention, RetentionMode, Retentions, StoreLocation, Unlock, Vault,
};

use super::{
    lock::bucket,
    suite::{MIB, back_up, image, key_file, noise, open},
};

const DAY_US: i64 = 86_400_000_000;

async fn create(location: &StoreLocation) -> Vault {
    let slots = [NewSlot::unlabelled(NewKey::KeyFile(key_file()))];
    Vault::create(location, &slots, Env::seeded(1)).await.unwrap()
}

async fn promise(vault: &Vault, immutability: Immutability, soft_delete_days: u32, min_retention_days: u32) {
    let settings = VaultSettings { soft_delete_days, immutability, min_retention_days };
    vault.set_settings(settings).await.unwrap();
}

async fn retain(vault: &Vault, known: &mut Retentions) -> Option<Retained> {
    vault.retain(known, &Monitor::default()).await.unwrap()
}

/// All objects of the vault by name, and how they are retained.
async fn retentions(location: &StoreLocation) -> BTreeMap<String, Option<Retention>> {
    let (store, prefix) = location.object_store().await.unwrap();
    let lock = ObjectLock::of(location).await.unwrap().unwrap();
    let listed: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
    let mut found = BTreeMap::new();
    for meta in listed {
        let parts: Vec<_> = meta.location.prefix_match(&prefix).unwrap().collect();
        let name = parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("/");
        found.insert(name.clone(), lock.retention_of(&name).await.unwrap());
    }
    found
}

fn days_from_now(days: i64) -> Timestamp {
    Timestamp::from_microseconds(SystemClock.now().as_microseconds() + days * DAY_US)
}

async fn assert_whole(vault: &Vault, disks: &[Vec<u8>]) {
    let mut points = vault.points().await.unwrap().points;
    points.sort_by_key(|point| point.summary.captured_at);
    assert_eq!(points.len(), disks.len());
    for (point, expected) in points.iter().zip(disks) {
        let target = MemoryTarget::new(point.maps[0].size_bytes);
        vault.restore_disk(&point.maps[0], &target, &Monitor::default()).await.unwrap();
        assert!(target.into_bytes() == *expected);
    }
    let report = vault.verify(&Monitor::default()).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}

async fn repair(vault: &Vault, dry_run: bool) -> RepairReport {
    vault.repair(&[], RepairOptions { dry_run }, &Monitor::default()).await.unwrap()
}

/// Deletes all that the vault has, as far as the store lets somebody who has its credentials. Returns how many versions are left.
async fn delete_everything(server: &S3Server, location: &StoreLocation, name: &str) -> usize {
    for (key, version) in server.versions(name).await.unwrap() {
        server.delete_version(name, &key, &version).await.unwrap();
    }
    let kept = server.versions(name).await.unwrap().len();
    let (store, prefix) = location.object_store().await.unwrap();
    let listed: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
    for (number, meta) in listed.iter().enumerate() {
        // Some are written over, too.
        if number % 5 == 0 {
            store.put(&meta.location, noise(number as u64, 300).into()).await.unwrap();
        }
        store.delete(&meta.location).await.unwrap();
    }
    let left: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
    assert_eq!(left, []);
    kept
}

#[tokio::test]
async fn an_immutable_vault_survives_who_deletes_everything() {
    let server = S3Server::start().await.unwrap();
    let location = bucket(&server, "locked", true).await;
    let vault = create(&location).await;
    promise(&vault, Immutability::Locked, 14, 30).await;
    let disks = [noise(1, 3 * MIB), noise(2, 2 * MIB)];
    for (number, disk) in disks.iter().enumerate() {
        back_up(&vault, number as u8 + 1, image(disk)).await;
    }
    retain(&vault, &mut Retentions::default()).await.unwrap();
    let held = retentions(&location).await;

    let kept = delete_everything(&server, &location, "locked").await;
    assert_eq!(kept, held.len(), "every object is kept, and nothing else");
    let refused = Vault::open(&location, &Unlock::KeyFile(key_file()), Env::seeded(2)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.guidance().unwrap().contains("vault repair"), "{refused}");

    let unlock: Unlock = vault.kept_key().into();
    let reopened = Vault::open_with_copies(&location, &[], &unlock, Env::seeded(3)).await.unwrap();
    let plan = repair(&reopened, true).await;
    assert_eq!(retentions(&location).await.len(), 0, "a dry run changes nothing");
    let report = repair(&reopened, false).await;
    assert_eq!((report.finding_count, &report.findings), (report.healed_count, &plan.findings));
    assert_eq!((report.hurt.len(), report.held.len()), (0, 0), "{report:?}");
    let others = report.findings.iter().filter(|finding| finding.cure != Some(Cure::Uncovered));
    assert_eq!(others.count(), 1, "the config is known: {report:?}");

    let vault = open(&location, 4).await;
    assert_whole(&vault, &disks).await;
    back_up(&vault, 3, image(&noise(3, MIB))).await;
    let again = retain(&vault, &mut Retentions::default()).await.unwrap();
    assert_eq!(again.missing, 0);
    assert!(retentions(&location).await.values().all(Option::is_some));
}

#[tokio::test]
async fn what_is_held_already_is_not_asked_for_again() {
    let server = S3Server::start().await.unwrap();
    let location = bucket(&server, "locked", true).await;
    let vault = create(&location).await;
    promise(&vault, Immutability::Enabled, 14, 30).await;
    back_up(&vault, 1, image(&noise(1, 3 * MIB))).await;
    let mut known = Retentions::default();
    let first = retain(&vault, &mut known).await.unwrap();
    assert_eq!((first.mode, first.missing), (RetentionMode::Governance, 0));
    assert_eq!(first.extended, retentions(&location).await.len() as u64);
    assert!(first.first_until.unwrap() >= days_from_now(44), "{first:?}");
    assert!(first.last_until.unwrap() <= days_from_now(44 + 12), "{first:?}");

    let mut known = Retentions::decode(&known.encode()).unwrap();
    let second = retain(&vault, &mut known).await.unwrap();
    assert_eq!(second, Retained { extended: 0, ..first });
    let before = retentions(&location).await.len();
    back_up(&vault, 2, image(&noise(2, MIB))).await;
    let third = retain(&vault, &mut known).await.unwrap();
    assert_eq!(third.extended, (retentions(&location).await.len() - before) as u64);
    assert!(retentions(&location).await.values().all(Option::is_some));

    // Whatever replaces an object is another version, which nobody holds yet.
    let (store, prefix) = location.object_store().await.unwrap();
    let config = prefix.clone().join("config");
    let found = store.get(&config).await.unwrap();
    let written_at = found.meta.last_modified;
    let bytes = found.bytes().await.unwrap();
    // The store tells full seconds.
    while store.head(&config).await.unwrap().last_modified == written_at {
        store.put(&config, bytes.clone().into()).await.unwrap();
    }
    assert_eq!(retain(&vault, &mut known).await.unwrap().extended, 1);
    // What is gone is missed until it is back.
    let pack = retentions(&location).await.into_keys().find(|name| name.starts_with("packs/")).unwrap();
    let path = pack.split('/').fold(prefix, |path, part| path.join(part));
    store.delete(&path).await.unwrap();
    for _ in 0..2 {
        assert_eq!(retain(&vault, &mut known).await.unwrap().missing, 1);
    }
    assert_eq!(repair(&vault, false).await.findings[0].cure, Some(Cure::Uncovered));
    assert_eq!(retain(&vault, &mut known).await.unwrap().missing, 0);
}

#[tokio::test]
async fn retentions_grow_with_what_the_vault_promises() {
    let server = S3Server::start().await.unwrap();
    let location = bucket(&server, "locked", true).await;
    let vault = create(&location).await;
    let mut known = Retentions::default();
    back_up(&vault, 1, image(&noise(1, MIB))).await;
    assert_eq!(retain(&vault, &mut known).await, None);
    assert!(retentions(&location).await.values().all(Option::is_none), "nothing is promised");

    promise(&vault, Immutability::Enabled, 2, 1).await;
    let short = retain(&vault, &mut known).await.unwrap();
    assert!(short.last_until.unwrap() <= days_from_now(3 + 12));
    promise(&vault, Immutability::Locked, 2, 60).await;
    let long = retain(&vault, &mut known).await.unwrap();
    assert_eq!(long.mode, RetentionMode::Compliance);
    assert!(long.first_until.unwrap() >= days_from_now(62), "{long:?}");
    for (name, retention) in retentions(&location).await {
        let retention = retention.unwrap();
        assert_eq!(retention.mode, RetentionMode::Compliance, "{name}");
        assert!(retention.until >= days_from_now(62), "{name}");
    }
}

#[tokio::test]
async fn an_object_is_held_as_long_as_the_last_point_that_needs_it() {
    let server = S3Server::start().await.unwrap();
    let location = bucket(&server, "locked", true).await;
    let vault = create(&location).await;
    promise(&vault, Immutability::Enabled, 1, 0).await;
    back_up(&vault, 1, image(&noise(1, MIB))).await;
    let of_first = retentions(&location).await;
    back_up(&vault, 2, image(&noise(2, MIB))).await;
    vault.delete_points(&[PointId::from_random([1; 10])]).await.unwrap();
    promise(&vault, Immutability::Enabled, 40, 0).await;
    retain(&vault, &mut Retentions::default()).await.unwrap();
    let (mut short, mut long) = (0, 0);
    for (name, retention) in retentions(&location).await {
        let until = retention.unwrap().until;
        let is_of_first = of_first.contains_key(&name)
            && ["packs/", "index/", "points/"].iter().any(|folder| name.starts_with(folder));
        if is_of_first {
            assert!(until <= days_from_now(1 + 12), "{name}");
            short += 1;
        } else {
            assert!(until >= days_from_now(40), "{name}");
            long += 1;
        }
    }
    // Two packs, a segment and the point; and beside those of the other one the log, the config and the slot.
    assert_eq!(short, 4);
    assert!(long > 8, "{long}");
}

#[tokio::test]
async fn the_end_of_a_log_that_was_deleted_comes_back() {
    let server = S3Server::start().await.unwrap();
    let location = bucket(&server, "locked", true).await;
    let vault = create(&location).await;
    promise(&vault, Immutability::Enabled, 14, 30).await;
    let disks = [noise(1, MIB), noise(2, MIB), noise(3, MIB)];
    for (number, disk) in disks.iter().enumerate() {
        back_up(&vault, number as u8 + 1, image(disk)).await;
    }
    let mut known = Retentions::default();
    retain(&vault, &mut known).await.unwrap();
    let (store, prefix) = location.object_store().await.unwrap();
    for number in [4, 5] {
        store.delete(&prefix.clone().join("log").join(format!("{number:016}"))).await.unwrap();
    }
    let vault = open(&location, 5).await;
    assert_eq!(vault.points().await.unwrap().points.len(), 1, "nobody can tell by the log alone");
    for _ in 0..2 {
        assert_eq!(retain(&vault, &mut known).await.unwrap().missing, 2, "but by what was there before");
    }
    let report = repair(&vault, false).await;
    assert_eq!((report.finding_count, report.healed_count), (2, 2), "{report:?}");
    assert_whole(&open(&location, 6).await, &disks).await;
    assert_eq!(repair(&vault, false).await, RepairReport::default());
}

#[tokio::test]
async fn of_a_trimmed_log_only_what_it_needs_comes_back() {
    let server = S3Server::start().await.unwrap();
    let location = bucket(&server, "locked", true).await;
    let vault = create(&location).await;
    let disks = [noise(1, MIB)];
    back_up(&vault, 1, image(&disks[0])).await;
    promise(&vault, Immutability::Enabled, 14, 30).await;
    let points = [PointId::from_random([1; 10])];
    // Each of these collections writes a state; the second deletes the entries before the first one's.
    for _ in 0..2 {
        for _ in 0..34 {
            vault.hold_points(&points, "to fill the log").await.unwrap();
            vault.release_points(&points).await.unwrap();
        }
        vault.collect(&CollectOptions::default(), &Monitor::default()).await.unwrap();
    }
    let before: BTreeSet<String> = retentions(&location).await.into_keys().collect();
    assert!(!before.contains("log/0000000000000001"), "{before:?}");
    assert_eq!(before.iter().filter(|name| name.starts_with("states/")).count(), 2);
    retain(&vault, &mut Retentions::default()).await.unwrap();
    let (store, prefix) = location.object_store().await.unwrap();
    let listed: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
    for meta in listed {
        store.delete(&meta.location).await.unwrap();
    }
    let unlock: Unlock = vault.kept_key().into();
    let reopened = Vault::open_with_copies(&location, &[], &unlock, Env::seeded(3)).await.unwrap();
    let report = repair(&reopened, false).await;
    assert_eq!(report.finding_count, report.healed_count, "{report:?}");
    assert_eq!(retentions(&location).await.into_keys().collect::<BTreeSet<_>>(), before);
    assert_whole(&open(&location, 4).await, &disks).await;
}

#[tokio::test]
async fn a_store_without_object_lock_holds_nothing() {
    let server = S3Server::start().await.unwrap();
    let location = bucket(&server, "open", false).await;
    let vault = create(&location).await;
    promise(&vault, Immutability::Enabled, 14, 30).await;
    back_up(&vault, 1, image(&noise(1, MIB))).await;
    assert_eq!(retain(&vault, &mut Retentions::default()).await, None);
}
