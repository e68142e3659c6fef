//! What the tests of this crate share: vaults in memory, disks of noise, stores that fail on purpose.

mod odd_store;
pub(crate) mod world;

use std::sync::Arc;

use env::{Entropy, Env, SeededEntropy};
use image::{ByteRange, ChangeMap, DiskImage, FixedChanges, MemoryImage, MemoryTarget};
use model::{
    ByteCount, CaptureCost, CaptureId, ChangeSource, Consistency, ConsistencyReached, DiskSummary, PointId,
    PointSummary, Timestamp, VmId,
};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

pub(crate) use odd_store::{OddStore, Oddity};

use crate::{
    DiskMap, DiskSource, KeyFile, Monitor, NewKey, NewSlot, PointRecord, StoreLocation, StoredDisk, Unlock,
    Vault,
};

pub(crate) const MIB: usize = 1 << 20;

/// Bytes without any pattern, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SeededEntropy::new(seed).fill(&mut bytes);
    bytes
}

pub(crate) fn key_file() -> KeyFile {
    KeyFile::generate(&SeededEntropy::new(77))
}

pub(crate) fn key_file_slot() -> NewSlot {
    NewSlot::unlabelled(NewKey::KeyFile(key_file()))
}

pub(crate) fn unlock() -> Unlock {
    Unlock::KeyFile(key_file())
}

/// A new vault in this store.
pub(crate) async fn create_in(store: Arc<dyn ObjectStore>) -> Vault {
    let slots = [key_file_slot()];
    Vault::create(&StoreLocation::at_hand(store), &slots, Env::seeded(1)).await.unwrap()
}

/// The vault in this store, as another process would open it.
pub(crate) async fn open_in(store: Arc<dyn ObjectStore>, seed: u64) -> Vault {
    Vault::open(&StoreLocation::at_hand(store), &unlock(), Env::seeded(seed)).await.unwrap()
}

/// The vault in this store, as a host would open it that only backs up.
pub(crate) async fn open_write_only(store: Arc<dyn ObjectStore>, vault: &Vault, seed: u64) -> Vault {
    let unlock = Unlock::WriterKey(vault.writer_key());
    Vault::open(&StoreLocation::at_hand(store), &unlock, Env::seeded(seed)).await.unwrap()
}

pub(crate) async fn memory_vault() -> (Vault, Arc<InMemory>) {
    let store = Arc::new(InMemory::new());
    (create_in(Arc::clone(&store) as _).await, store)
}

pub(crate) fn source(bytes: &[u8]) -> DiskSource {
    DiskSource { image: Arc::new(MemoryImage::new(bytes.to_vec())), parent: None, changes: None }
}

pub(crate) fn changed_source(bytes: &[u8], parent: DiskMap, changed: Vec<ByteRange>) -> DiskSource {
    let changes: Arc<dyn ChangeMap> = Arc::new(FixedChanges::new(changed));
    DiskSource { parent: Some(parent), changes: Some(changes), ..source(bytes) }
}

/// A point with one disk.
pub(crate) fn point(number: u8, stored: &StoredDisk) -> PointRecord {
    let disk = DiskSummary {
        name: "vda".parse().unwrap(),
        size_bytes: ByteCount(stored.map.size_bytes),
        read_bytes: ByteCount(stored.read_bytes),
        stored_bytes: ByteCount(stored.stored_bytes),
        source: ChangeSource::Compared { reason: "the VM was power-cycled".into() },
    };
    let summary = PointSummary {
        id: PointId::from_random([number; 10]),
        vm_id: VmId::from_random([7; 10]),
        vm_name: "데이터 \"db\"/1".parse().unwrap(),
        captured_at: Timestamp::from_microseconds(1_767_225_600_000_000 + i64::from(number) * 1_000_000),
        capture_id: CaptureId::from_random([number; 10]),
        parent: None,
        consistency: ConsistencyReached {
            asked: Consistency::Application,
            reached: Consistency::Crash,
            shortfall: Some("no agent".into()),
        },
        disks: vec![disk],
        cost: CaptureCost { pause_us: Some(3000), ..CaptureCost::default() },
        label: Some("before the upgrade".into()),
    };
    let definition = serde_json::from_str(
        r#"{"name":"db","memory":"2GiB","cpus":2,"disk":[{"name":"vda","bus":"scsi"}],"network":[{"mac":"52:54:00:00:00:01"}]}"#,
    );
    PointRecord { summary, definition: definition.unwrap(), maps: vec![stored.map] }
}

/// Stores one disk and commits a point of it.
pub(crate) async fn back_up(vault: &Vault, number: u8, source: DiskSource) -> crate::Result<StoredDisk> {
    let mut writer = vault.writer().await?;
    let stored = Box::pin(writer.store_disk(source, &Monitor::default())).await?;
    writer.commit(point(number, &stored)).await?;
    Ok(stored)
}

/// The disk's bytes by way of a restore.
pub(crate) async fn restored(vault: &Vault, map: &DiskMap) -> crate::Result<Vec<u8>> {
    let target = MemoryTarget::new(map.size_bytes);
    vault.restore_disk(map, &target, &Monitor::default()).await?;
    Ok(target.into_bytes())
}

/// The disk's bytes by way of random reads.
pub(crate) async fn read_whole(vault: &Vault, map: &DiskMap) -> image::Result<Vec<u8>> {
    let image = vault.image(map).await?;
    let mut bytes = vec![0xaa; map.size_bytes as usize];
    for (number, part) in bytes.chunks_mut(700_416).enumerate() {
        image.read_at(number as u64 * 700_416, part).await?;
    }
    Ok(bytes)
}

/// All objects of a store, by path.
pub(crate) async fn objects(store: &dyn ObjectStore) -> Vec<Path> {
    use futures::TryStreamExt;
    let mut paths: Vec<Path> = store.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    paths.sort();
    paths
}

pub(crate) async fn object(store: &dyn ObjectStore, path: &Path) -> Vec<u8> {
    store.get(path).await.unwrap().bytes().await.unwrap().to_vec()
}
