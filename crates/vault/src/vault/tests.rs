use std::sync::Arc;

use env::{Env, SeededEntropy};
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};

use crate::{
    ErrorKind, KeyFile, MasterKey, Monitor, NewSlot, Passphrase, StoreLocation, Unlock, Vault,
    fixture::{MIB, back_up, create_in, key_file, noise, object, objects, restored, source, unlock},
    log::{Change, NewPoint, entry::Collection},
};

async fn open(location: &StoreLocation, unlock: Unlock) -> crate::Result<Vault> {
    Vault::open(location, &unlock, Env::seeded(5)).await
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text)
}

#[tokio::test]
async fn every_slot_and_the_master_key_open_the_same_vault() {
    let location = StoreLocation::at_hand(Arc::new(InMemory::new()));
    let slots = [NewSlot::Passphrase(passphrase("rosebud")), NewSlot::KeyFile(key_file())];
    let vault = Vault::create(&location, &slots, Env::seeded(1)).await.unwrap();
    for unlock in [Unlock::Passphrase(passphrase("rosebud")), unlock(), Unlock::MasterKey(vault.master_key())]
    {
        let opened = open(&location, unlock).await.unwrap();
        assert_eq!(opened.id(), vault.id());
        assert!(opened.master_key() == vault.master_key());
    }
    let wrong_key_file = KeyFile::generate(&SeededEntropy::new(1234));
    let wrong_master = MasterKey::from_bytes([1; 32]);
    let wrong = [
        Unlock::Passphrase(passphrase("rosebud ")),
        Unlock::KeyFile(wrong_key_file),
        Unlock::MasterKey(wrong_master),
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
    let vault = Vault::create(&location, &[NewSlot::KeyFile(key_file())], Env::seeded(1)).await.unwrap();
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
    let slots = [NewSlot::KeyFile(key_file())];
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
    let slots = [NewSlot::KeyFile(key_file())];
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
    assert!(open(&location, unlock()).await.unwrap().master_key() == winner.master_key());
}

#[tokio::test]
async fn key_slots_of_strangers_do_not_keep_a_vault_shut() {
    let store = Arc::new(InMemory::new());
    let location = StoreLocation::at_hand(store.clone());
    let slots = [NewSlot::Passphrase(passphrase("rosebud"))];
    let vault = Vault::create(&location, &slots, Env::seeded(1)).await.unwrap();
    let slot = objects(&*store).await.into_iter().find(|path| path.as_ref().starts_with("keys/")).unwrap();
    let sound = object(&*store, &slot).await;
    let plant = |bytes: Vec<u8>| {
        let name = Path::from(format!("keys/{}", crate::Digest::of(&bytes)));
        let store = store.clone();
        async move { store.put(&name, bytes.into()).await.unwrap() }
    };
    // More than are tried, of no use: no slots, slots of another vault, and slots whose cost is refused.
    for number in 0..100u8 {
        plant(vec![number; 112]).await;
        let mut other_vault = sound.clone();
        other_vault[24..40].copy_from_slice(model::VaultId::from_random([number; 10]).as_str().as_bytes());
        plant(other_vault).await;
        let mut impossible = sound.clone();
        impossible[12..24].fill(0);
        impossible[111] = number;
        plant(impossible).await;
    }
    assert_eq!(open(&location, Unlock::Passphrase(passphrase("rosebud"))).await.unwrap().id(), vault.id());
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

#[test]
fn locations_are_read_or_refused_with_a_reason() {
    for text in [
        "/srv/v",
        "file:///srv/v",
        "s3://b/p?endpoint=http://127.0.0.1:9&region=r",
        "s3://b",
        "az://account/container/p",
    ] {
        assert!(StoreLocation::parse(text).is_ok(), "{text}");
    }
    for text in [
        "",
        "srv/v",
        "ftp://x/y",
        "s3://",
        "az://account",
        "s3://key:secret@b/p",
        "s3://b/p?acl=public",
        "file://host/x",
    ] {
        let error = StoreLocation::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
    }
}
