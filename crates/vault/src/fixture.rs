//! What the tests of this crate share: vaults in memory, disks of noise, stores that fail on purpose.

pub(crate) mod world;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use env::{Entropy, Env, SeededEntropy};
use futures::stream::BoxStream;
use image::{ByteRange, ChangeMap, DiskImage, FixedChanges, MemoryImage, MemoryTarget};
use model::{
    ByteCount, CaptureCost, CaptureId, ChangeSource, Consistency, ConsistencyReached, DiskSummary, PointId,
    PointSummary, Timestamp, VmId,
};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, memory::InMemory, path::Path,
};

use crate::{
    DiskMap, DiskSource, KeyFile, Monitor, NewSlot, PointRecord, StoreLocation, StoredDisk, Unlock, Vault,
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

pub(crate) fn unlock() -> Unlock {
    Unlock::KeyFile(key_file())
}

/// A new vault in this store.
pub(crate) async fn create_in(store: Arc<dyn ObjectStore>) -> Vault {
    let slots = [NewSlot::KeyFile(key_file())];
    Vault::create(&StoreLocation::at_hand(store), &slots, Env::seeded(1)).await.unwrap()
}

/// The vault in this store, as another process would open it.
pub(crate) async fn open_in(store: Arc<dyn ObjectStore>, seed: u64) -> Vault {
    Vault::open(&StoreLocation::at_hand(store), &unlock(), Env::seeded(seed)).await.unwrap()
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
    let stored = writer.store_disk(source, &Monitor::default()).await?;
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

/// A store that takes some puts and then fails them all in one way.
pub(crate) struct FailingStore {
    inner: Arc<InMemory>,
    puts_left: AtomicU64,
    error: fn() -> std::io::Error,
}

impl FailingStore {
    pub(crate) fn after_puts(inner: Arc<InMemory>, puts: u64, error: fn() -> std::io::Error) -> Self {
        Self { inner, puts_left: AtomicU64::new(puts), error }
    }
}

impl fmt::Debug for FailingStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FailingStore")
    }
}

impl fmt::Display for FailingStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a failing store")
    }
}

#[async_trait]
impl ObjectStore for FailingStore {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        match self.puts_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => self.inner.put_opts(path, payload, options).await,
            Err(_) => {
                Err(object_store::Error::Generic { store: "failing", source: Box::new((self.error)()) })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
