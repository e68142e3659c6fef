use std::sync::Arc;

use env::{Env, SeededEntropy};
use image::ByteRange;
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};

use crate::{
    ErrorKind, Identity, KeptKey, KeyFile, MasterKey, Monitor, NewKey, NewSlot, Passphrase, StoreLocation,
    Unlock, Vault, WriterKey,
    fixture::{
        MIB, OddStore, Oddity, back_up, changed_source, create_in, key_file_slot, noise, object, objects,
        open_in, restored, source, unlock,
    },
    index::Index,
    log::{Change, NewPoint, entry::Collection},
};

async fn open(location: &StoreLocation, unlock: Unlock) -> crate::Result<Vault> {
    Vault::open(location, &unlock, Env::seeded(5)).await
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text)
}

fn passphrase_slot() -> NewSlot {
    NewSlot::unlabelled(NewKey::Passphrase(passphrase("rosebud")))
}

#[tokio::test]
async fn every_slot_and_every_kept_key_open_the_same_vault() {
    let location = StoreLocation::at_hand(Arc::new(InMemory::new()));
    let identity = Identity::generate(&SeededEntropy::new(8));
    let recipient = NewSlot::unlabelled(NewKey::Recipient(identity.recipient()));
    let vault = Vault::create(&location, &[passphrase_slot(), key_file_slot(), recipient], Env::seeded(1))
        .await
        .unwrap();
    let KeptKey::Master(master) = vault.kept_key() else { panic!("the creator has all keys") };
    for unlock in [
        Unlock::Passphrase(passphrase("rosebud")),
        unlock(),
        Unlock::Identity(identity),
        Unlock::MasterKey(master),
        Unlock::WriterKey(vault.writer_key()),
    ] {
        let opened = open(&location, unlock.clone()).await.unwrap();
        let is_writer = matches!(unlock, Unlock::WriterKey(_));
        assert_eq!((opened.id(), opened.can_read_data()), (vault.id(), !is_writer));
        assert_eq!(opened.kept_key() == vault.kept_key(), !is_writer);
        let again = open(&location, opened.kept_key().into()).await.unwrap();
        assert_eq!(again.can_read_data(), opened.can_read_data());
    }
    let wrong = [
        Unlock::Passphrase(passphrase("rosebud ")),
        Unlock::KeyFile(KeyFile::generate(&SeededEntropy::new(1234))),
        Unlock::Identity(Identity::generate(&SeededEntropy::new(1234))),
        Unlock::MasterKey(MasterKey::from_bytes([1; 32])),
        Unlock::WriterKey(WriterKey::new([1; 32], vault.config().reader_key)),
    ];
    for unlock in wrong {
        let error = open(&location, unlock).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKey);
        assert!(error.guidance().is_some());
    }
}

#[tokio::test]
async fn a_vault_in_a_directory_survives_being_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/볼트 #1");
    let location = StoreLocation::parse(path.to_str().unwrap()).unwrap();
    assert_eq!(open(&location, unlock()).await.unwrap_err().kind(), ErrorKind::NotFound);
    let vault = Vault::create(&location, &[key_file_slot()], Env::seeded(1)).await.unwrap();
    let stored = back_up(&vault, 1, source(&noise(1, 20 * MIB))).await.unwrap();
    drop(vault);
    let url = url::Url::from_file_path(&path).unwrap();
    let vault = open(&StoreLocation::parse(url.as_str()).unwrap(), unlock()).await.unwrap();
    let point = vault.points().await.unwrap().points.remove(0);
    assert_eq!(point, crate::fixture::point(1, &stored));
    assert_eq!(vault.point(point.summary.id).await.unwrap(), point);
    assert!(restored(&vault, &point.maps[0]).await.unwrap() == noise(1, 20 * MIB));
    assert!(vault.verify(&Monitor::default()).await.unwrap().is_clean());
}

#[tokio::test]
async fn a_chain_of_points_gets_no_dearer_with_its_length() {
    let inner = Arc::new(InMemory::new());
    create_in(inner.clone()).await;
    let store = Arc::new(OddStore::new(inner, Oddity::Counts));
    let vault = open_in(store.clone(), 2).await;
    let mut bytes = noise(1, 4 * MIB);
    let mut last = back_up(&vault, 0, source(&bytes)).await.unwrap();
    let mut costs = Vec::new();
    for number in 1..=96_u8 {
        let begun = store.requests();
        // As somebody asks who goes on from a point that he knows the id of.
        vault.point(model::PointId::from_random([number - 1; 10])).await.unwrap();
        bytes[..4096].copy_from_slice(&noise(number.into(), 4096));
        let changed = changed_source(&bytes, last.map, vec![ByteRange::new(0, 4096)]);
        last = back_up(&vault, number, changed).await.unwrap();
        costs.push(store.requests() - begun);
    }
    let sum = |costs: &[u64]| costs.iter().sum::<u64>();
    let (first, later) = (sum(&costs[..32]), sum(&costs[64..]));
    assert!(later <= first + 8, "{first} requests for the first 32, {later} for the last");
    let point = vault.point(model::PointId::from_random([96; 10])).await.unwrap();
    assert!(restored(&vault, &point.maps[0]).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_place_without_a_vault_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let empty = StoreLocation::parse(directory.path().to_str().unwrap()).unwrap();
    assert_eq!(open(&empty, unlock()).await.unwrap_err().kind(), ErrorKind::NotFound);
    let memory = StoreLocation::at_hand(Arc::new(InMemory::new()));
    assert_eq!(open(&memory, unlock()).await.unwrap_err().kind(), ErrorKind::NotFound);
    let (vault, _) = crate::fixture::memory_vault().await;
    let absent = vault.point(model::PointId::from_random([9; 10])).await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_vault_is_never_created_over_another() {
    let store = Arc::new(InMemory::new());
    create_in(store.clone()).await;
    let location = StoreLocation::at_hand(store.clone());
    let slots = [key_file_slot()];
    let again = Vault::create(&location, &slots, Env::seeded(2)).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let config = Path::from("config");
    store.put(&config, vec![1, 2, 3].into()).await.unwrap();
    let again = Vault::create(&location, &slots, Env::seeded(2)).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists, "also when the config is damaged");
    let keyless =
        Vault::create(&StoreLocation::at_hand(Arc::new(InMemory::new())), &[], Env::seeded(2)).await;
    assert_eq!(keyless.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn of_two_creators_at_once_one_wins() {
    let store = Arc::new(InMemory::new());
    let location = StoreLocation::at_hand(store);
    let slots = [key_file_slot()];
    let (one, two) = tokio::join!(
        Vault::create(&location, &slots, Env::seeded(1)),
        Vault::create(&location, &slots, Env::seeded(2))
    );
    let winner = match (one, two) {
        (Ok(vault), Err(error)) | (Err(error), Ok(vault)) => {
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            vault
        }
        both => panic!("{both:?}"),
    };
    assert!(open(&location, unlock()).await.unwrap().kept_key() == winner.kept_key());
}

/// The vault in this store, with every table of its index in a file.
async fn open_with_files(store: Arc<InMemory>, directory: &std::path::Path) -> Vault {
    let mut vault = open_in(store, 2).await;
    Arc::get_mut(&mut vault.shared).unwrap().index = Arc::new(Index::with_file_records(1));
    vault.with_index_directory(directory)
}

#[tokio::test]
async fn an_index_in_files_serves_backups_restores_and_verification() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(InMemory::new());
    let bytes = noise(1, 9 * MIB);
    let stored = back_up(&create_in(store.clone()).await, 1, source(&bytes)).await.unwrap();
    let vault = open_with_files(store.clone(), &directory.path().join("cache/index")).await;
    assert_eq!(back_up(&vault, 2, source(&bytes)).await.unwrap().stored_bytes, 0);
    assert_eq!(restored(&vault, &stored.map).await.unwrap(), bytes);
    assert!(vault.verify(&Monitor::default()).await.unwrap().is_clean());
    assert!(directory.path().join("cache/index").is_dir(), "it was used");

    let blocked = directory.path().join("blocked");
    std::fs::write(&blocked, "a file is here").unwrap();
    let vault = open_with_files(store, &blocked).await;
    let error = restored(&vault, &stored.map).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "nothing is taken for damaged: {error}");
    assert!(vault.verify(&Monitor::default()).await.is_err());
}

#[tokio::test]
async fn an_unknown_version_of_any_object_is_refused_as_such() {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let stored = back_up(&vault, 1, source(&noise(1, MIB))).await.unwrap();
    let location = StoreLocation::at_hand(store.clone());
    for path in objects(&*store).await {
        let sound = object(&*store, &path).await;
        let mut future = sound.clone();
        future[6] = 2;
        if path.as_ref() == "config" {
            store.put(&path, future.into()).await.unwrap();
            assert_eq!(open(&location, unlock()).await.unwrap_err().kind(), ErrorKind::UnsupportedVersion);
            store.put(&path, sound.into()).await.unwrap();
            continue;
        }
        // A later version has another name, and lies beside the objects of this one.
        let digest = crate::Digest::of(&future);
        let name = digest.to_string();
        let beside = Path::from(path.as_ref().replace(path.filename().unwrap(), &name));
        store.put(&beside, future.into()).await.unwrap();
        let opened = open(&location, unlock()).await.unwrap();
        match path.as_ref().split('/').next().unwrap() {
            "index" => {
                opened.shared.log.append(Change::Index { segments: vec![digest] }).await.unwrap();
                assert!(opened.writer().await.is_ok(), "the rest of the index is used");
                let damage = opened.verify(&Monitor::default()).await.unwrap().damage;
                assert!(matches!(&damage[..], [crate::Damage::IndexSegment { .. }]), "{damage:?}");
                let collection = Collection { segments: vec![digest], ..Collection::default() };
                opened.shared.log.append(Change::Collect(collection)).await.unwrap();
            }
            "points" => {
                let summary = crate::fixture::point(2, &stored).summary;
                let (vm_id, captured_at) = (summary.vm_id, summary.captured_at);
                let point =
                    NewPoint { id: summary.id, object: digest, vm_id, captured_at, roots: Vec::new() };
                let commit = Change::Commit { point, segments: Vec::new(), settled: Vec::new() };
                opened.shared.log.append(commit).await.unwrap();
                let unreadable = opened.points().await.unwrap().unreadable;
                assert_eq!(unreadable[0].1.kind(), ErrorKind::UnsupportedVersion);
            }
            _ => {}
        }
        store.delete(&beside).await.unwrap();
    }
}
