//! What every store must do for a vault.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use env::{Entropy, Env, SeededEntropy};
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use image::{ByteRange, FixedChanges, MemoryImage, MemoryTarget};
use model::{
    ByteCount, CaptureCost, CaptureId, ChangeSource, Consistency, ConsistencyReached, DiskSummary, PointId,
    PointSummary, Timestamp, VmId,
};
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, path::Path};
use vault::{
    DiskSource, ErrorKind, KeyFile, Monitor, NewKey, NewSlot, PointRecord, StoreLocation, StoredDisk, Unlock,
    Vault, Verdict,
};

pub const MIB: usize = 1 << 20;

/// Creators of one object at the same time.
const RACERS: u8 = 16;

/// More than one page of any store's listing.
const MANY: usize = 3_000;

pub async fn run(location: &StoreLocation) {
    let report = vault::probe(location, &Env::system()).await.unwrap();
    let mut needed = report.checks.iter().filter(|check| check.name != "object lock");
    assert!(needed.all(|check| check.verdict == Verdict::Passed), "{report:#?}");
    assert!(report.checks.len() >= 7, "{report:#?}");
    assert!(report.clock_skew_us.is_some(), "{report:#?}");
    assert_eq!(names(location).await, BTreeSet::new(), "a probe leaves nothing behind");

    a_vault_is_created_once(location).await;
    let before = names(location).await;
    assert!(vault::probe(location, &Env::system()).await.unwrap().is_fit());
    assert_eq!(names(location).await, before, "a probe leaves a vault as it is");

    backups_come_back(location).await;
    one_creator_wins(location).await;
    reads_end_where_objects_end(location).await;
    listings_are_whole(location).await;
}

async fn a_vault_is_created_once(location: &StoreLocation) {
    let slots = [NewSlot::unlabelled(NewKey::KeyFile(key_file()))];
    let outcomes = join_all((0..4).map(|seed| Vault::create(location, &slots, Env::seeded(seed)))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }
    let stranger = Unlock::KeyFile(KeyFile::generate(&SeededEntropy::new(1234)));
    let refused = Vault::open(location, &stranger, Env::seeded(9)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongKey);
}

async fn backups_come_back(location: &StoreLocation) {
    let vault = open(location, 20).await;
    let mut bytes = noise(1, 24 * MIB);
    bytes[8 * MIB..16 * MIB].fill(0);
    let full = back_up(&vault, 1, image(&bytes)).await;

    let vault = open(location, 21).await;
    let parent = vault.points().await.unwrap().points.remove(0).maps.remove(0);
    let before = bytes.clone();
    bytes[20 * MIB..20 * MIB + 4096].copy_from_slice(&noise(2, 4096));
    let changed = ByteRange::new(20 * MIB as u64, 4096);
    let changes = Arc::new(FixedChanges::new(vec![changed]));
    let source = DiskSource { parent: Some(parent), changes: Some(changes), ..image(&bytes) };
    let incremental = back_up(&vault, 2, source).await;
    assert!(incremental.stored_bytes < full.stored_bytes / 10, "{incremental:?} after {full:?}");

    let vault = open(location, 22).await;
    let mut points = vault.points().await.unwrap().points;
    points.sort_by_key(|point| point.summary.captured_at);
    assert_eq!(points.len(), 2);
    for (point, expected) in points.iter().zip([&before, &bytes]) {
        let target = MemoryTarget::new(point.maps[0].size_bytes);
        vault.restore_disk(&point.maps[0], &target, &Monitor::default()).await.unwrap();
        assert!(target.into_bytes() == **expected, "point {} differs", point.summary.id);
    }
    let report = vault.verify(&Monitor::default()).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
}

async fn one_creator_wins(location: &StoreLocation) {
    let (store, prefix) = location.object_store().await.unwrap();
    let path = prefix.join("raced").join("by all");
    let create = |racer: u8| {
        let payload = vec![racer; 5000].into();
        let (store, path) = (store.clone(), path.clone());
        async move { store.put_opts(&path, payload, PutMode::Create.into()).await }
    };
    let outcomes = join_all((0..RACERS).map(create)).await;
    let winners: Vec<u8> = (0..RACERS).filter(|&racer| outcomes[usize::from(racer)].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    for error in outcomes.into_iter().filter_map(Result::err) {
        let is_refusal = matches!(error, StoreError::AlreadyExists { .. } | StoreError::Precondition { .. });
        assert!(is_refusal, "{error:?}");
    }
    let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes, vec![winners[0]; 5000], "the winner's bytes, whole");
    store.delete(&path).await.unwrap();
    assert!(matches!(store.get(&path).await, Err(StoreError::NotFound { .. })));
}

async fn reads_end_where_objects_end(location: &StoreLocation) {
    let (store, prefix) = location.object_store().await.unwrap();
    let path = prefix.join("measured");
    let bytes = Bytes::from(noise(3, 100_000));
    store.put(&path, bytes.clone().into()).await.unwrap();
    assert_eq!(store.head(&path).await.unwrap().size, 100_000);
    assert_eq!(store.get_range(&path, 40_000..90_001).await.unwrap(), bytes.slice(40_000..90_001));
    // Stores differ in whether they fail; none may make something up.
    if let Ok(read) = store.get_range(&path, 99_000..101_000).await {
        assert_eq!(read, bytes.slice(99_000..));
    }
    assert!(store.get_range(&path, 200_000..200_010).await.is_err());
    store.put(&path, Bytes::new().into()).await.unwrap();
    assert!(store.get(&path).await.unwrap().bytes().await.unwrap().is_empty(), "replaced, and empty");
    store.delete(&path).await.unwrap();
}

async fn listings_are_whole(location: &StoreLocation) {
    let (store, prefix) = location.object_store().await.unwrap();
    let folder = prefix.join("many");
    let name =
        |number: usize| folder.clone().join(format!("{:02x}", number % 16)).join(format!("{number:04}"));
    let wanted: BTreeSet<Path> = (0..MANY).map(name).collect();
    let put = |path: Path| {
        let store = store.clone();
        async move { store.put(&path, Bytes::from_static(b"entry").into()).await }
    };
    let puts: Vec<_> =
        stream::iter(wanted.clone()).map(put).buffer_unordered(16).try_collect().await.unwrap();
    assert_eq!(puts.len(), MANY);
    let listed: Vec<_> = store.list(Some(&folder)).try_collect().await.unwrap();
    assert_eq!(listed.len(), MANY);
    assert!(listed.iter().all(|meta| meta.size == 5));
    assert_eq!(listed.into_iter().map(|meta| meta.location).collect::<BTreeSet<_>>(), wanted);
    let absent: Vec<_> = store.list(Some(&folder.join("absent"))).try_collect().await.unwrap();
    assert_eq!(absent, []);
}

async fn names(location: &StoreLocation) -> BTreeSet<Path> {
    let (store, prefix) = location.object_store().await.unwrap();
    store.list(Some(&prefix)).map_ok(|meta| meta.location).try_collect().await.unwrap()
}

pub async fn open(location: &StoreLocation, seed: u64) -> Vault {
    Vault::open(location, &Unlock::KeyFile(key_file()), Env::seeded(seed)).await.unwrap()
}

pub fn key_file() -> KeyFile {
    KeyFile::generate(&SeededEntropy::new(77))
}

/// Bytes without any pattern, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SeededEntropy::new(seed).fill(&mut bytes);
    bytes
}

pub fn image(bytes: &[u8]) -> DiskSource {
    DiskSource { image: Arc::new(MemoryImage::new(bytes.to_vec())), parent: None, changes: None }
}

/// Stores one disk and commits a point of it.
pub async fn back_up(vault: &Vault, number: u8, source: DiskSource) -> StoredDisk {
    let mut writer = vault.writer().await.unwrap();
    let stored = writer.store_disk(source, &Monitor::default()).await.unwrap();
    writer.commit(point(number, &stored)).await.unwrap();
    stored
}

fn point(number: u8, stored: &StoredDisk) -> PointRecord {
    let disk = DiskSummary {
        name: "vda".parse().unwrap(),
        size_bytes: ByteCount(stored.map.size_bytes),
        read_bytes: ByteCount(stored.read_bytes),
        stored_bytes: ByteCount(stored.stored_bytes),
        source: ChangeSource::Compared { reason: "the VM was power-cycled".into() },
    };
    let crash = Consistency::Crash;
    let summary = PointSummary {
        id: PointId::from_random([number; 10]),
        vm_id: VmId::from_random([7; 10]),
        vm_name: "db".parse().unwrap(),
        captured_at: Timestamp::from_microseconds(1_767_225_600_000_000 + i64::from(number)),
        capture_id: CaptureId::from_random([number; 10]),
        parent: None,
        consistency: ConsistencyReached { asked: crash, reached: crash, shortfall: None },
        disks: vec![disk],
        cost: CaptureCost::default(),
        label: None,
    };
    let definition = r#"{"name":"db","memory":"2GiB","cpus":2,"disk":[{"name":"vda"}]}"#;
    PointRecord { summary, definition: serde_json::from_str(definition).unwrap(), maps: vec![stored.map] }
}
