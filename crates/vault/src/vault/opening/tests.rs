use std::sync::Arc;

use env::Env;
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};

use crate::{
    Damage, ErrorKind, Monitor, RepairOptions, Result, StoreLocation, Unlock, Vault,
    fixture::{MIB, back_up, create_in, noise, object, objects, restored, source, unlock},
};

fn at(store: &Arc<InMemory>) -> StoreLocation {
    StoreLocation::at_hand(Arc::clone(store) as _)
}

async fn open(store: &Arc<InMemory>) -> Result<Vault> {
    Vault::open(&at(store), &unlock(), Env::seeded(2)).await
}

async fn open_by(copy: &Arc<InMemory>, store: &Arc<InMemory>, unlock: &Unlock) -> Result<Vault> {
    Vault::open_with_copies(&at(store), &[at(copy)], unlock, Env::seeded(3)).await
}

fn config() -> Path {
    Path::from("config")
}

/// A vault with a point, and its copy.
async fn copied() -> (Vault, Arc<InMemory>, Arc<InMemory>) {
    let (store, copy) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
    let vault = create_in(store.clone()).await;
    back_up(&vault, 1, source(&noise(1, MIB))).await.unwrap();
    vault.copy_to(&at(&copy), &Monitor::default()).await.unwrap();
    (vault, store, copy)
}

#[tokio::test]
async fn a_lost_config_comes_back_from_a_copy() {
    let (vault, store, copy) = copied().await;
    let sound = object(&*store, &config()).await;
    store.delete(&config()).await.unwrap();
    let error = open(&store).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.guidance().unwrap().contains("vault repair"));

    for key in [unlock(), vault.kept_key().into(), Unlock::WriterKey(vault.writer_key())] {
        open_by(&copy, &store, &key).await.unwrap();
    }
    let opened = open_by(&copy, &store, &unlock()).await.unwrap();
    let points = opened.points().await.unwrap().points;
    assert!(restored(&opened, &points[0].maps[0]).await.unwrap() == noise(1, MIB));
    let damage = opened.verify(&Monitor::default()).await.unwrap().damage;
    assert!(matches!(&damage[..], [Damage::Config { .. }]), "{damage:?}");
    let report = opened.repair(&[at(&copy)], RepairOptions::default(), &Monitor::default()).await.unwrap();
    assert_eq!((report.finding_count, report.healed_count), (1, 1), "{report:?}");
    assert_eq!(object(&*store, &config()).await, sound);
    open(&store).await.unwrap();
}

#[tokio::test]
async fn whatever_byte_of_the_config_is_damaged_the_copy_opens_the_vault() {
    let (vault, store, copy) = copied().await;
    let sound = object(&*store, &config()).await;
    let key = vault.kept_key().into();
    for place in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[place] ^= 0x10;
        store.put(&config(), damaged.into()).await.unwrap();
        let error = open(&store).await.unwrap_err();
        let version = place == 6 || place == 7;
        let kind = if version { ErrorKind::UnsupportedVersion } else { ErrorKind::Corrupt };
        assert_eq!(error.kind(), kind, "byte {place}");
        open_by(&copy, &store, &key).await.unwrap();
    }
}

#[tokio::test]
async fn the_config_of_a_newer_release_is_no_damage() {
    let (vault, store, copy) = copied().await;
    let mut newer = object(&*store, &config()).await;
    newer.truncate(newer.len() - 32);
    newer[6] = 2;
    newer.extend([7; 100]);
    newer.extend(*blake3::hash(&newer).as_bytes());
    store.put(&config(), newer.clone().into()).await.unwrap();
    assert_eq!(open(&store).await.unwrap_err().kind(), ErrorKind::UnsupportedVersion);
    assert_eq!(open_by(&copy, &store, &unlock()).await.unwrap_err().kind(), ErrorKind::UnsupportedVersion);
    let repaired = vault.repair(&[at(&copy)], RepairOptions::default(), &Monitor::default()).await;
    assert_eq!(repaired.unwrap_err().kind(), ErrorKind::UnsupportedVersion);
    assert_eq!(object(&*store, &config()).await, newer);
}

#[tokio::test]
async fn an_empty_place_is_no_vault_whatever_its_copies_say() {
    let (vault, store, copy) = copied().await;
    for path in objects(&*store).await {
        store.delete(&path).await.unwrap();
    }
    assert_eq!(open_by(&copy, &store, &unlock()).await.unwrap_err().kind(), ErrorKind::NotFound);
    let error = vault.head().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("is gone") && error.guidance().unwrap().contains("mount"), "{error}");
    assert!(back_up(&vault, 2, source(&noise(2, MIB))).await.is_err());
}

#[tokio::test]
async fn another_vault_lends_no_config() {
    let (_, store, _) = copied().await;
    let other = Arc::new(InMemory::new());
    let slots = [crate::fixture::key_file_slot()];
    Vault::create(&at(&other), &slots, Env::seeded(99)).await.unwrap();
    store.delete(&config()).await.unwrap();
    assert_eq!(open_by(&other, &store, &unlock()).await.unwrap_err().kind(), ErrorKind::Corrupt);
}
