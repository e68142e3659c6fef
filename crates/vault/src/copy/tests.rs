use std::sync::Arc;

use env::Env;
use futures::TryStreamExt;
use model::{PointId, VaultSettings};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

use crate::{
    CollectOptions, CopyReport, Digest, ErrorKind, KeyFile, Monitor, NewSlot, Sequence, StoreLocation,
    StoredDisk, Unlock, Vault,
    fixture::{
        MIB, OddStore, Oddity, back_up, create_in, key_file, noise, objects, open_in, restored, source,
        unlock, world::World,
    },
    log::{Change, entry::Collection},
    store::ObjectKind,
};

fn at(store: &Arc<InMemory>) -> StoreLocation {
    StoreLocation::at_hand(Arc::clone(store) as _)
}

async fn sync(vault: &Vault, copy: &Arc<InMemory>) -> CopyReport {
    vault.copy_to(&at(copy), &Monitor::default()).await.unwrap()
}

/// A vault with points of different disks, numbered from 1.
async fn vault_with(points: u8) -> (Vault, Arc<InMemory>, Vec<StoredDisk>) {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let mut stored = Vec::new();
    for number in 1..=points {
        stored.push(back_up(&vault, number, source(&disk(number))).await.unwrap());
    }
    (vault, store, stored)
}

fn disk(number: u8) -> Vec<u8> {
    noise(number.into(), 2 * MIB)
}

/// All points of the vault in this store are what was backed up. Returns how many there are.
async fn check(store: &Arc<InMemory>) -> usize {
    let vault = open_in(store.clone(), 77).await;
    let points = vault.points().await.unwrap();
    assert!(points.unreadable.is_empty());
    for point in &points.points {
        let number = (1..=9).find(|number| point.summary.id == PointId::from_random([*number; 10])).unwrap();
        assert!(restored(&vault, &point.maps[0]).await.unwrap() == disk(number), "point {number}");
    }
    let report = vault.verify(&Monitor::default()).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    points.points.len()
}

/// Deletes a point for good, with all that only it needs, and tells the log when that is done.
async fn collect(vault: &Vault, number: u8, sweeps: bool) {
    let log = &vault.shared.log;
    log.append(Change::Settings(VaultSettings { soft_delete_days: 0, ..VaultSettings::default() }))
        .await
        .unwrap();
    let points = vec![PointId::from_random([number; 10])];
    let before = log.append(Change::Delete { points: points.clone() }).await.unwrap();
    // Each point has a segment of its own, in the order in which they were written.
    let object = before.body.points[&points[0]].object;
    let mut mine = None;
    for sequence in 2.. {
        let Some(Ok((entry, _))) = log.read_entry(Sequence(sequence)).await.unwrap() else { break };
        if let Change::Commit { point, segments, .. } = entry.change
            && point.object == object
        {
            mine = Some(segments);
        }
    }
    let segments = mine.unwrap();
    let mut packs = Vec::new();
    for segment in &segments {
        packs.extend(vault.shared.load_segment(segment).await.unwrap().packs.iter().map(|pack| pack.digest));
    }
    let collection =
        Collection { points, packs: packs.clone(), segments: segments.clone(), ..Collection::default() };
    let after = log.append(Change::Collect(collection)).await.unwrap();
    let store = &vault.shared.store;
    store.delete(ObjectKind::Point, &object).await.unwrap();
    for segment in &segments {
        store.delete(ObjectKind::IndexSegment, segment).await.unwrap();
    }
    for pack in &packs {
        store.delete(ObjectKind::Pack, pack).await.unwrap();
    }
    if sweeps {
        let trimmed = log.trim(&after).await.unwrap();
        log.append(Change::Swept { through: after.sequence, trimmed }).await.unwrap();
    }
}

#[tokio::test]
async fn a_copy_is_a_vault_and_backups_go_on_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| StoreLocation::parse(directory.path().join(name).to_str().unwrap()).unwrap();
    let (primary, copy) = (place("primary"), place("far/copy"));
    let vault =
        Vault::create(&primary, &[NewSlot::unlabelled(crate::NewKey::KeyFile(key_file()))], Env::seeded(1))
            .await
            .unwrap();
    let stored = back_up(&vault, 1, source(&disk(1))).await.unwrap();
    let before = vault.copy_status(&copy).await.unwrap();
    assert_eq!((before.copied, before.points_behind), (Sequence(0), 1));
    assert!(before.behind_since.is_some());
    let report = vault.copy_to(&copy, &Monitor::default()).await.unwrap();
    assert_eq!((report.entries, report.points, report.packs, report.damaged), (2, 1, 2, 0));
    let status = vault.copy_status(&copy).await.unwrap();
    assert_eq!((status.copied, status.points_behind, status.behind_since), (status.head, 0, None));
    drop(vault);
    std::fs::remove_dir_all(directory.path().join("primary")).unwrap();
    let vault = Vault::open(&copy, &unlock(), Env::seeded(2)).await.unwrap();
    assert!(restored(&vault, &stored.map).await.unwrap() == disk(1));
    back_up(&vault, 2, source(&disk(2))).await.unwrap();
    assert!(vault.verify(&Monitor::default()).await.unwrap().is_clean());
}

#[tokio::test]
async fn a_copy_catches_up_and_sends_only_what_is_new() {
    let (vault, _, _) = vault_with(2).await;
    let copy = Arc::new(InMemory::new());
    assert_eq!(sync(&vault, &copy).await.entries, 3);
    assert_eq!(sync(&vault, &copy).await, CopyReport::default());
    back_up(&vault, 3, source(&disk(3))).await.unwrap();
    let report = sync(&vault, &copy).await;
    assert_eq!((report.entries, report.points, report.packs), (1, 1, 2));
    assert_eq!(check(&copy).await, 3);
}

#[tokio::test]
async fn key_slots_follow_the_vaults() {
    let (vault, store, _) = vault_with(1).await;
    let copy = Arc::new(InMemory::new());
    sync(&vault, &copy).await;
    let other = KeyFile::generate(&env::SeededEntropy::new(3));
    let scratch = Arc::new(InMemory::new());
    let slots = [NewSlot::unlabelled(crate::NewKey::KeyFile(other.clone()))];
    Vault::create(&at(&scratch), &slots, Env::seeded(1)).await.unwrap();
    for (from, to) in [(&scratch, &store)] {
        let keys: Vec<Path> =
            from.list(Some(&"keys".into())).map_ok(|meta| meta.location).try_collect().await.unwrap();
        for old in
            to.list(Some(&"keys".into())).map_ok(|meta| meta.location).try_collect::<Vec<_>>().await.unwrap()
        {
            to.delete(&old).await.unwrap();
        }
        for key in keys {
            let bytes = crate::fixture::object(&**from, &key).await;
            to.put(&key, bytes.into()).await.unwrap();
        }
    }
    sync(&vault, &copy).await;
    assert_eq!(
        Vault::open(&at(&copy), &unlock(), Env::seeded(5)).await.unwrap_err().kind(),
        ErrorKind::WrongKey
    );
    assert!(Vault::open(&at(&copy), &Unlock::KeyFile(other), Env::seeded(5)).await.is_ok());
}

#[tokio::test]
async fn a_copy_that_somebody_wrote_to_is_left_alone() {
    let (vault, _, _) = vault_with(1).await;
    let copy = Arc::new(InMemory::new());
    sync(&vault, &copy).await;
    back_up(&open_in(copy.clone(), 8).await, 2, source(&disk(2))).await.unwrap();
    back_up(&vault, 3, source(&disk(3))).await.unwrap();
    let before = objects(&*copy).await;
    let error = vault.copy_to(&at(&copy), &Monitor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.guidance().is_some());
    assert_eq!(objects(&*copy).await, before);
    let (other, _, _) = vault_with(0).await;
    let another = Arc::new(InMemory::new());
    Vault::create(&at(&another), &[NewSlot::unlabelled(crate::NewKey::KeyFile(key_file()))], Env::seeded(99))
        .await
        .unwrap();
    assert_eq!(
        other.copy_to(&at(&another), &Monitor::default()).await.unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
}

#[tokio::test]
async fn collections_reach_the_copy_whether_it_is_close_behind_or_far() {
    for (copied_before, sweeps) in [(false, false), (false, true), (true, false), (true, true)] {
        let (vault, _, _) = vault_with(3).await;
        let copy = Arc::new(InMemory::new());
        if copied_before {
            sync(&vault, &copy).await;
        }
        collect(&vault, 2, false).await;
        if sweeps {
            sync(&vault, &copy).await;
            let log = &vault.shared.log;
            let state = log.refresh().await.unwrap();
            let trimmed = log.trim(&state).await.unwrap();
            log.append(Change::Swept { through: state.sequence, trimmed }).await.unwrap();
        }
        sync(&vault, &copy).await;
        assert_eq!(check(&copy).await, 2, "{copied_before} {sweeps}");
        if sweeps {
            let packs = objects(&*copy).await.iter().filter(|it| it.as_ref().starts_with("packs/")).count();
            assert_eq!(packs, 4, "what was collected is gone from the copy");
        }
        back_up(&vault, 4, source(&disk(4))).await.unwrap();
        sync(&vault, &copy).await;
        assert_eq!(check(&copy).await, 3);
    }
}

/// A store that fails for good at some put stands for a process that is killed there.
#[tokio::test]
async fn a_copy_that_is_killed_anywhere_is_whole_and_goes_on() {
    let gone = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    for has_collection in [false, true] {
        let mut puts = 0;
        loop {
            let (vault, _, _) = vault_with(2).await;
            let copy = Arc::new(InMemory::new());
            if has_collection {
                sync(&vault, &copy).await;
                collect(&vault, 1, true).await;
                back_up(&vault, 3, source(&disk(3))).await.unwrap();
            }
            let failing: Arc<dyn ObjectStore> =
                Arc::new(OddStore::new(copy.clone(), Oddity::FailsAfterPuts(puts, gone)));
            let killed = vault.copy_to(&StoreLocation::at_hand(failing), &Monitor::default()).await;
            if Vault::open(&at(&copy), &unlock(), Env::seeded(3)).await.is_ok() {
                assert!(check(&copy).await <= 2);
            }
            sync(&vault, &copy).await;
            assert_eq!(check(&copy).await, 2, "after {puts} puts");
            puts += 1;
            if killed.is_ok() {
                break;
            }
        }
        assert!(puts > 5);
    }
}

#[tokio::test]
async fn damage_in_the_vault_does_not_stop_its_copy() {
    let (vault, store, _) = vault_with(1).await;
    let pack = objects(&*store).await.into_iter().find(|path| path.as_ref().starts_with("packs/")).unwrap();
    store.delete(&pack).await.unwrap();
    let copy = Arc::new(InMemory::new());
    let report = sync(&vault, &copy).await;
    assert_eq!((report.entries, report.packs, report.damaged), (2, 1, 1));
}

#[tokio::test]
async fn a_copy_that_is_gone_is_not_made_anew_by_the_next_run() {
    let (vault, _, _) = vault_with(1).await;
    let copy = Arc::new(InMemory::new());
    let update = async || vault.update_copy(&at(&copy), &Monitor::default()).await;
    let error = update().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.guidance().unwrap().contains("mount"), "{error}");
    assert_eq!(objects(&*copy).await, []);

    sync(&vault, &copy).await;
    copy.delete(&"config".into()).await.unwrap();
    update().await.unwrap();
    assert_eq!(check(&copy).await, 1, "the config alone comes back");
    let directory = tempfile::tempdir().unwrap();
    let unmounted = directory.path().join("copy");
    let place = StoreLocation::parse(unmounted.to_str().unwrap()).unwrap();
    assert_eq!(vault.update_copy(&place, &Monitor::default()).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!unmounted.exists());
}

#[tokio::test]
async fn a_copy_that_lags_behind_collections_leaps_and_keeps_nothing_else() {
    let (vault, store, _) = vault_with(4).await;
    let copy = Arc::new(InMemory::new());
    sync(&vault, &copy).await;
    collect(&vault, 2, false).await;
    back_up(&vault, 5, source(&disk(5))).await.unwrap();
    collect(&vault, 3, true).await;
    sync(&vault, &copy).await;
    assert_eq!(check(&copy).await, 3);
    let held = async |store: &InMemory| -> Vec<Path> {
        let folders = ["packs/", "index/", "points/"];
        let all = objects(store).await.into_iter();
        all.filter(|path| folders.iter().any(|folder| path.as_ref().starts_with(folder))).collect()
    };
    assert_eq!(held(&copy).await, held(&store).await);
    let marks = async || objects(&*copy).await.iter().filter(|it| it.as_ref().starts_with("copied/")).count();
    assert_eq!(marks().await, 1, "of the entries that are still there");

    // One that somebody goes on to use as the vault gives up its marks with its collections.
    let used = open_in(copy.clone(), 8).await;
    used.delete_points(&[PointId::from_random([4; 10])]).await.unwrap();
    used.collect(&CollectOptions::default(), &Monitor::default()).await.unwrap();
    assert_eq!(marks().await, 0);
}

/// A copier that sleeps anywhere in a leap wakes up in a copy that another has brought further.
#[tokio::test]
async fn a_copier_that_slept_takes_nothing_that_the_copy_needs() {
    for number in 0.. {
        let (vault, _, _) = vault_with(3).await;
        let world = World::empty();
        sync(&vault, &world.memory).await;
        collect(&vault, 2, true).await;
        rewrite_index(&vault).await;
        let (awake, copy) = (vault.clone(), Arc::clone(&world.memory));
        let asleep = world.view();
        asleep.let_happen_before(
            number,
            Box::pin(async move {
                sync(&awake, &copy).await;
                rewrite_index(&awake).await;
                sync(&awake, &copy).await;
            }),
        );
        // It may be told that the copy is ahead of it.
        vault.copy_to(&StoreLocation::at_hand(asleep.clone()), &Monitor::default()).await.ok();
        if !asleep.has_happened() {
            break;
        }
        sync(&vault, &world.memory).await;
        assert_eq!(check(&world.memory).await, 2, "{number}");
    }
}

/// Puts other segments in the place of all, as a collection may, and deletes the old ones.
async fn rewrite_index(vault: &Vault) {
    let shared = &vault.shared;
    let segments: Vec<Digest> = shared.log.refresh().await.unwrap().body.segments.iter().copied().collect();
    let mut new_segments = Vec::new();
    for segment in &segments {
        let salt = env::random(&*shared.env.entropy);
        let bytes = shared.load_segment(segment).await.unwrap().encode(&shared.keys, salt);
        new_segments.push(shared.store.put(ObjectKind::IndexSegment, bytes).await.unwrap());
    }
    let collection = Collection { segments: segments.clone(), new_segments, ..Collection::default() };
    let after = shared.log.append(Change::Collect(collection)).await.unwrap();
    for segment in &segments {
        shared.store.delete(ObjectKind::IndexSegment, segment).await.unwrap();
    }
    let trimmed = shared.log.trim(&after).await.unwrap();
    shared.log.append(Change::Swept { through: after.sequence, trimmed }).await.unwrap();
}
