use std::{
    fs::{self, File},
    sync::Arc,
    time::Duration,
};

use env::Env;
use object_store::memory::InMemory;

use super::{Created, ObjectKind, Store};
use crate::{
    Digest, ErrorKind, StoreLocation,
    fixture::{OddStore, Oddity},
};

async fn open(location: &StoreLocation) -> Store {
    Store::open(location, &Env::seeded(1)).await.unwrap()
}

async fn memory() -> Store {
    open(&StoreLocation::at_hand(Arc::new(InMemory::new()))).await
}

async fn odd(inner: &Arc<InMemory>, oddity: Oddity) -> Store {
    open(&StoreLocation::at_hand(Arc::new(OddStore::new(inner.clone(), oddity)))).await
}

#[tokio::test]
async fn a_name_is_created_once_and_the_first_bytes_stay() {
    let store = memory().await;
    assert_eq!(store.create_named("log/1", &b"one"[..]).await.unwrap(), Created::New);
    assert_eq!(store.create_named("log/1", &b"two"[..]).await.unwrap(), Created::Exists);
    assert_eq!(store.create_named("log/1", &b"longer"[..]).await.unwrap(), Created::Exists);
    assert_eq!(store.get_named("log/1", 3).await.unwrap().unwrap(), &b"one"[..]);
}

#[tokio::test]
async fn whose_object_it_is_shows_when_answers_are_lost() {
    let inner = Arc::new(InMemory::new());
    let store = odd(&inner, Oddity::LosesAnswers(1)).await;
    assert_eq!(store.create_named("log/1", &b"mine"[..]).await.unwrap(), Created::New);
    let store = odd(&inner, Oddity::LosesAnswers(1)).await;
    assert_eq!(store.create_named("log/1", &b"late"[..]).await.unwrap(), Created::Exists);
    assert_eq!(store.get_named("log/1", 4).await.unwrap().unwrap(), &b"mine"[..]);
}

/// What failed may be in the memory of the store alone: only when it says itself that the object is there, it has flushed it.
#[tokio::test]
async fn a_creation_without_an_answer_is_asked_for_again() {
    let odd = Arc::new(OddStore::new(Arc::new(InMemory::new()), Oddity::LosesAnswers(1)));
    let store = open(&StoreLocation::at_hand(odd.clone())).await;
    assert_eq!(store.create_named("log/1", &b"mine"[..]).await.unwrap(), Created::New);
    assert_eq!(odd.creations(), 2);
    let odd = Arc::new(OddStore::new(Arc::new(InMemory::new()), Oddity::LosesAnswers(u64::MAX)));
    let error =
        open(&StoreLocation::at_hand(odd)).await.create_named("log/1", &b"mine"[..]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_creation_that_never_arrives_is_tried_again_and_given_up() {
    let inner = Arc::new(InMemory::new());
    let store = odd(&inner, Oddity::LosesRequests(3)).await;
    assert_eq!(store.create_named("log/1", &b"mine"[..]).await.unwrap(), Created::New);
    let store = odd(&inner, Oddity::LosesRequests(u64::MAX)).await;
    let error = store.create_named("log/2", &b"mine"[..]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn named_objects_are_written_read_listed_and_deleted() {
    let store = memory().await;
    store.put_named("states/2", vec![2; 20]).await.unwrap();
    store.put_named("states/1", vec![1; 10]).await.unwrap();
    store.put_named("states/1", vec![1; 11]).await.unwrap();
    store.put_named("statesman", vec![1; 1]).await.unwrap();
    assert_eq!(store.list_named("states").await.unwrap(), [("1".into(), 11), ("2".into(), 20)]);
    assert_eq!(store.list_named("absent").await.unwrap(), []);
    assert_eq!(store.get_named("states/1", 10).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.get_named("states/3", 10).await.unwrap(), None);
    for _ in 0..2 {
        store.delete_named("states/1").await.unwrap();
    }
    assert_eq!(store.list_named("states").await.unwrap(), [("2".into(), 20)]);
}

#[tokio::test]
async fn objects_are_looked_for_dated_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&StoreLocation::parse(directory.path().to_str().unwrap()).unwrap()).await;
    let earlier = store.now().await.unwrap();
    let digest = store.put(ObjectKind::Pack, vec![7; 70]).await.unwrap();
    let later = store.now().await.unwrap();
    assert_eq!(store.head(ObjectKind::Pack, &digest).await.unwrap(), Some(70));
    let listed = store.list_dated(ObjectKind::Pack).await.unwrap();
    assert!(matches!(listed[..], [(found, 70, at)] if found == digest && earlier <= at && at <= later));
    assert_eq!(store.list_named("clock").await.unwrap(), []);
    for _ in 0..2 {
        store.delete(ObjectKind::Pack, &digest).await.unwrap();
    }
    assert_eq!(store.head(ObjectKind::Pack, &digest).await.unwrap(), None);
}

#[tokio::test]
async fn old_remains_of_interrupted_writes_are_swept_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&StoreLocation::parse(directory.path().to_str().unwrap()).unwrap()).await;
    let digest = Digest::of(b"object").to_string();
    let packs = directory.path().join("packs/ab");
    fs::create_dir_all(&packs).unwrap();
    fs::create_dir_all(directory.path().join("copied")).unwrap();
    let now = tempfile::tempfile_in(directory.path()).unwrap().metadata().unwrap().modified().unwrap();
    let two_days_ago = now - Duration::from_secs(2 * 24 * 3600);
    let write = |name: String, is_old: bool| {
        let path = directory.path().join(name);
        let file = File::create(&path).unwrap();
        if is_old {
            file.set_modified(two_days_ago).unwrap();
        }
        path
    };
    let swept = [
        write(format!("packs/ab/{digest}#1"), true),
        write(format!("copied/0000000000000007-{digest}#1"), true),
        write("config#12".into(), true),
    ];
    let kept = [
        write(format!("packs/ab/{digest}#2"), false),
        write(format!("packs/ab/{digest}"), true),
        write(format!("packs/ab/{digest}#x"), true),
        write("notes#1".into(), true),
    ];
    assert_eq!(store.sweep_remains().await.unwrap(), 3);
    assert!(swept.iter().all(|path| !path.exists()));
    assert!(kept.iter().all(|path| path.exists()));
    assert_eq!(memory().await.sweep_remains().await.unwrap(), 0);
}
