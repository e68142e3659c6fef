mod beside;
mod loss;

use std::{collections::BTreeSet, sync::Arc};

use env::{Env, SeededEntropy, random};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

use crate::{
    Cure, DamagedObject, ErrorKind, KeyFile, Monitor, NewSlot, RepairOptions, RepairReport, StoreLocation,
    Vault,
    fixture::{
        MIB, OddStore, Oddity, back_up, key_file, noise, object, objects, open_in, open_write_only, restored,
        source, unlock,
    },
};

fn at(store: &Arc<InMemory>) -> StoreLocation {
    StoreLocation::at_hand(Arc::clone(store) as _)
}

fn disk(number: u8) -> Vec<u8> {
    noise(number.into(), MIB)
}

/// A vault with two slots and two points, a state in the midst of its log, and its copy.
async fn vault_and_copy() -> (Vault, Arc<InMemory>, Arc<InMemory>) {
    let (store, copy) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
    let other = NewSlot::unlabelled(crate::NewKey::KeyFile(KeyFile::generate(&SeededEntropy::new(3))));
    let slots = [NewSlot::unlabelled(crate::NewKey::KeyFile(key_file())), other];
    let vault = Vault::create(&at(&store), &slots, Env::seeded(1)).await.unwrap();
    back_up(&vault, 1, source(&disk(1))).await.unwrap();
    let log = &vault.shared.log;
    log.write_state(&log.refresh().await.unwrap()).await.unwrap();
    back_up(&vault, 2, source(&disk(2))).await.unwrap();
    vault.copy_to(&at(&copy), &Monitor::default()).await.unwrap();
    (vault, store, copy)
}

async fn snapshot(store: &InMemory) -> Vec<(Path, Vec<u8>)> {
    let mut all = Vec::new();
    for path in objects(store).await {
        let bytes = object(store, &path).await;
        all.push((path, bytes));
    }
    all
}

async fn store_of(objects: &[(Path, Vec<u8>)]) -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    for (path, bytes) in objects {
        store.put(path, bytes.clone().into()).await.unwrap();
    }
    store
}

async fn repair(vault: &Vault, copies: &[StoreLocation]) -> RepairReport {
    vault.repair(copies, RepairOptions::default(), &Monitor::default()).await.unwrap()
}

async fn is_clean(vault: &Vault) -> bool {
    vault.verify(&Monitor::default()).await.unwrap().is_clean()
}

async fn all_restored(vault: &Vault) -> bool {
    let points = vault.points().await.unwrap().points;
    for (number, point) in points.iter().enumerate() {
        match restored(vault, &point.maps[0]).await {
            Ok(bytes) if bytes == disk(number as u8 + 1) => {}
            _ => return false,
        }
    }
    points.len() == 2
}

async fn assert_whole(store: &Arc<InMemory>) {
    let vault = open_in(store.clone(), 50).await;
    let points = vault.points().await.unwrap().points;
    assert_eq!(points.len(), 2);
    for (number, point) in points.iter().enumerate() {
        assert!(restored(&vault, &point.maps[0]).await.unwrap() == disk(number as u8 + 1));
    }
    assert!(is_clean(&vault).await);
    back_up(&vault, 3, source(&disk(3))).await.unwrap();
}

/// The vault of somebody who has its master key: a damaged slot or config does not keep it shut.
async fn open(store: &Arc<InMemory>, vault: &Vault) -> Vault {
    let unlock = vault.kept_key().into();
    Vault::open(&at(store), &unlock, Env::seeded(9)).await.unwrap()
}

#[tokio::test]
async fn a_sound_vault_is_left_as_it_is() {
    let (vault, store, copy) = vault_and_copy().await;
    let before = snapshot(&store).await;
    assert_eq!(repair(&vault, &[at(&copy)]).await, RepairReport::default());
    assert_eq!(repair(&vault, &[]).await, RepairReport::default());
    assert!(snapshot(&store).await == before);
}

/// A thousand bits, flipped one by one all over the vault.
#[tokio::test]
async fn every_flipped_bit_is_found_and_healed_from_a_copy_and_much_of_it_without() {
    let (vault, store, copy) = vault_and_copy().await;
    let sound = snapshot(&store).await;
    let entropy = SeededEntropy::new(2026);
    for round in 0..1000 {
        let [a, b, c, d, bit, ..]: [u8; 8] = random(&entropy);
        let (path, bytes) = &sound[usize::from(u16::from_le_bytes([a, b])) % sound.len()];
        let place = (usize::from(u16::from_le_bytes([c, d])) * bytes.len()) >> 16;
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (bit % 8);
        for copies in [&[at(&copy)][..], &[]] {
            let store = store_of(&sound).await;
            // Opened before: a damaged config keeps a vault shut.
            let vault = open(&store, &vault).await;
            store.put(path, flipped.clone().into()).await.unwrap();
            let what = format!("round {round}: {path} at {place}, {} copies", copies.len());
            if round % 8 == 0 {
                assert!(!is_clean(&vault).await, "{what}");
            }
            let report = repair(&vault, copies).await;
            assert!(report.finding_count >= 1, "{what}");
            let folder = path.as_ref().split('/').next().unwrap();
            if copies.is_empty() && matches!(folder, "packs" | "points") {
                assert_eq!(report.healed_count, 0, "{what}");
                // A pack's directory only repeats the index, and its chunks are still there.
                assert!(!report.hurt.is_empty() || all_restored(&vault).await, "{what}");
                continue;
            }
            assert_eq!(report.healed_count, report.finding_count, "{what} {report:?}");
            assert_eq!(report.hurt, [], "{what}");
            if round % 8 == 0 {
                assert!(is_clean(&vault).await, "{what}");
                assert!(is_clean(&open(&store, &vault).await).await, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn any_object_that_is_gone_comes_back_from_a_copy() {
    let (vault, store, copy) = vault_and_copy().await;
    let sound = snapshot(&store).await;
    for (path, _) in &sound {
        let folder = path.as_ref().split('/').next().unwrap();
        // Nobody knows of those that they were there, nor of the last entry, nor of one before a state.
        let is_end = ["log/0000000000000001", "log/0000000000000003"].contains(&path.as_ref());
        if matches!(folder, "keys" | "states") || is_end {
            continue;
        }
        let store = store_of(&sound).await;
        let vault = open(&store, &vault).await;
        store.delete(path).await.unwrap();
        let report = repair(&vault, &[at(&copy)]).await;
        assert_eq!((report.finding_count, report.healed_count), (1, 1), "{path} {report:?}");
        assert_whole(&store).await;
    }
}

#[tokio::test]
async fn a_dry_run_says_what_a_repair_would_do_and_does_nothing() {
    let (vault, store, copy) = vault_and_copy().await;
    for folder in ["packs", "points", "index", "log"] {
        let path = objects(&*store).await.into_iter().find(|path| path.as_ref().starts_with(folder)).unwrap();
        store.put(&path, noise(4, 300).into()).await.unwrap();
    }
    let before = snapshot(&store).await;
    let options = RepairOptions { dry_run: true };
    let vault = open(&store, &vault).await;
    let plan = vault.repair(&[at(&copy)], options, &Monitor::default()).await.unwrap();
    assert!(snapshot(&store).await == before);
    assert_eq!((plan.finding_count, plan.healed_count), (4, 4), "{plan:?}");
    let done = repair(&vault, &[at(&copy)]).await;
    assert_eq!(done.findings, plan.findings);
    assert_whole(&store).await;
}

#[tokio::test]
async fn without_a_copy_all_index_segments_are_made_anew() {
    let (vault, store, _) = vault_and_copy().await;
    for path in objects(&*store).await.into_iter().filter(|path| path.as_ref().starts_with("index/")) {
        store.delete(&path).await.unwrap();
    }
    let vault = open(&store, &vault).await;
    let report = repair(&vault, &[]).await;
    assert_eq!(report.findings.len(), 2);
    for finding in &report.findings {
        assert!(matches!(finding.object, DamagedObject::IndexSegment(_)));
        assert_eq!(finding.cure, Some(Cure::Rebuilt));
    }
    assert_whole(&store).await;
}

#[tokio::test]
async fn the_only_key_slot_is_never_removed() {
    let store = Arc::new(InMemory::new());
    let vault = Vault::create(
        &at(&store),
        &[NewSlot::unlabelled(crate::NewKey::KeyFile(key_file()))],
        Env::seeded(1),
    )
    .await
    .unwrap();
    let path = objects(&*store).await.into_iter().find(|path| path.as_ref().starts_with("keys/")).unwrap();
    let mut bytes = object(&*store, &path).await;
    bytes[100] ^= 1;
    store.put(&path, bytes.clone().into()).await.unwrap();
    let report = repair(&vault, &[]).await;
    assert_eq!((report.finding_count, report.healed_count), (1, 0));
    assert!(object(&*store, &path).await == bytes);
}

/// A store that fails for good at some put stands for a process that is killed there.
#[tokio::test]
async fn a_repair_that_is_killed_anywhere_ends_well_when_run_again() {
    let gone = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let (vault, store, copy) = vault_and_copy().await;
    let sound = snapshot(&store).await;
    for has_copy in [false, true] {
        let copies = if has_copy { vec![at(&copy)] } else { Vec::new() };
        let folders: BTreeSet<&str> =
            if has_copy { ["packs", "points", "index", "log"].into() } else { ["index", "log"].into() };
        let mut puts = 0;
        loop {
            let store = store_of(&sound).await;
            for (path, _) in &sound {
                if folders.contains(path.as_ref().split('/').next().unwrap()) {
                    store.put(path, noise(4, 300).into()).await.unwrap();
                }
            }
            let failing: Arc<dyn ObjectStore> =
                Arc::new(OddStore::new(store.clone(), Oddity::FailsAfterPuts(puts, gone)));
            let unlock_master = vault.kept_key().into();
            let doomed =
                Vault::open(&StoreLocation::at_hand(failing), &unlock_master, Env::seeded(4)).await.unwrap();
            let killed = doomed.repair(&copies, RepairOptions::default(), &Monitor::default()).await;
            if let Err(error) = &killed {
                assert_eq!(error.kind(), ErrorKind::Denied);
            }
            let fresh = Vault::open(&at(&store), &unlock(), Env::seeded(5)).await.unwrap();
            repair(&fresh, &copies).await;
            assert_whole(&store).await;
            puts += 1;
            if killed.is_ok() {
                break;
            }
        }
        assert!(puts > 3, "{puts}");
    }
}

#[tokio::test]
async fn a_host_that_only_writes_heals_all_but_lost_segments() {
    let (vault, store, copy) = vault_and_copy().await;
    let sound = snapshot(&store).await;
    let segments: Vec<Path> =
        objects(&*store).await.into_iter().filter(|path| path.as_ref().starts_with("index/")).collect();
    let pack = objects(&*store).await.into_iter().find(|path| path.as_ref().starts_with("packs/")).unwrap();
    for path in segments.iter().chain([&pack]) {
        store.delete(path).await.unwrap();
    }
    let writer = open_write_only(store.clone(), &vault, 9).await;
    let report = repair(&writer, &[]).await;
    assert_eq!(report.healed_count, 0, "{report:?}");
    assert_eq!(report.finding_count, segments.len() as u64, "{report:?}");
    let report = repair(&writer, &[at(&copy)]).await;
    assert_eq!(report.healed_count, report.finding_count, "{report:?}");
    assert_eq!(snapshot(&store).await, sound);
}
