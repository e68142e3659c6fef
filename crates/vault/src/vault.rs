//! Creating and opening vaults.

mod chunks;
pub(crate) mod key_slots;
mod opening;
pub(crate) mod recovery_kit;
mod tiny;

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex},
};

use env::Env;
use futures::{StreamExt, stream};
use model::{ByteCount, Timestamp, VaultId};

use crate::{
    Digest, Error, ErrorKind, KeptKey, MasterKey, NewSlot, PointRecord, ReaderKey, Result, Sizes,
    StoreLocation, WriterKey,
    config::Config,
    frame::{Decompressors, FrameCache},
    index::{Index, SEGMENT_BYTES_MAX, Segment},
    keys::{Keys, slot::Slot},
    log::{Log, Sequence, State},
    pool::BufferPool,
    probe,
    store::{ObjectKind, Store},
};
use chunks::SealCache;
pub(crate) use chunks::Way;

/// Chunks after which an index segment is written, and another begun.
const SEGMENT_CHUNKS: usize = 64 << 10;

/// Index segments that are loaded side by side, each of about 6 MiB as it is taken apart.
const SEGMENTS_AT_ONCE: usize = 3;

/// Expanded frames that an open vault keeps: what reading in order takes twice, as several disks of regions do that share a
/// frame, and the nodes of a few disks.
const DATA_FRAMES: ByteCount = ByteCount(16 << 20);
const TREE_FRAMES: ByteCount = ByteCount(4 << 20);

/// An open vault. Cheap to clone; clones share one index and one cache.
#[derive(Clone)]
pub struct Vault {
    pub(crate) shared: Arc<Shared>,
}

/// What all users of an open vault share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) keys: Arc<Keys>,
    pub(crate) log: Log,
    pub(crate) config: Config,
    pub(crate) env: Env,
    /// Chunks after which an index segment is written, so that a writer that dies has not worked in vain.
    pub(crate) segment_chunks: usize,
    pub(crate) index: Arc<Index>,
    /// The state that the index follows; held while it follows to another.
    indexed: tokio::sync::Mutex<Sequence>,
    /// Frames of data, for whoever reads in order.
    pub(crate) data_frames: FrameCache,
    /// Frames of nodes: apart from data, which would push them out between two reads.
    pub(crate) tree_frames: FrameCache,
    pub(crate) seals: SealCache,
    /// Buffers for frames that are fetched.
    pub(crate) sealed_frames: BufferPool,
    pub(crate) decompressors: Decompressors,
    /// What points take, at the state with this number.
    pub(crate) sizes: tokio::sync::Mutex<Option<(Sequence, Arc<Sizes>)>>,
    /// Points that were read before: they never change.
    pub(crate) points: Mutex<HashMap<Digest, Arc<PointRecord>>>,
    #[cfg(feature = "flaws")]
    pub(crate) flaw: Option<crate::flaw::Flaw>,
}

/// What a vault is at this moment, and what of its index cannot be read.
pub(crate) struct Fresh {
    pub(crate) state: Arc<State>,
    pub(crate) unreadable: Vec<(Digest, Error)>,
}

/// What the vault's state is wanted for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// Something is to be built on it, and so it has to be sure.
    Writing,
    Reading,
}

impl Vault {
    /// Creates a vault that the given slots open. The config is written last: without it there is no vault.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when there is a vault at the place; it is not touched. [`ErrorKind::Invalid`] when the
    /// store creates objects over those that are there.
    pub async fn create(location: &StoreLocation, slots: &[NewSlot], env: Env) -> Result<Self> {
        Self::create_with(location, slots, env, Config::new).await
    }

    async fn create_with(
        location: &StoreLocation,
        slots: &[NewSlot],
        env: Env,
        config: fn(VaultId, Timestamp, ReaderKey) -> Config,
    ) -> Result<Self> {
        if slots.is_empty() {
            return Err(Error::invalid("a vault without a key slot could not be opened again"));
        }
        let store = Store::create(location, &env).await?;
        match store.read_config().await {
            Ok(_) => return Err(already_exists(&store)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                return Err(already_exists(&store).with_source(error));
            }
            Err(error) => return Err(error),
        }
        for folder in ["log", "states", "packs", "index", "points"] {
            if !store.list_named(folder).await?.is_empty() {
                let context = format!("there are the remains of a vault in {}", store.place());
                return Err(Error::new(ErrorKind::AlreadyExists, context).with_guidance(
                    "choose an empty place; a copy of the vault may have the config that is missing here",
                ));
            }
        }
        probe::require_create_if_absent(&store).await?;
        let vault_id = VaultId::from_random(env::random(&*env.entropy));
        let created_at = env.clock.now();
        let master = MasterKey::from_bytes(env::random(&*env.entropy));
        let keys = Arc::new(Keys::full(master, vault_id));
        let config = config(vault_id, created_at, keys.reader_key());
        for slot in slots {
            let (slot, keys, env) = (slot.clone(), Arc::clone(&keys), env.clone());
            let threads = env.threads;
            let wrapped = threads.run(move || Slot::wrap(&keys, &slot, &env)).await??;
            store.put(ObjectKind::KeySlot, wrapped.encode()).await?;
        }
        Log::new(store.clone(), Arc::clone(&keys), env.clone()).create().await?;
        let created = store.create_config(config.encode(&keys)).await;
        created.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => already_exists(&store).with_source(error),
            _ => error,
        })?;
        let vault = Self::assemble(store, keys, config, env);
        if vault.shared.store.wants_reserve() {
            vault.shared.keep_reserve().await;
        }
        Ok(vault)
    }

    /// Keeps the index in files of this directory, which is created when there is need of it, and so in little memory:
    /// without a directory it takes 44 bytes a chunk. The files have no names and are gone with the process. Belongs before
    /// the first use; clones of the vault share it.
    #[must_use]
    pub fn with_index_directory(self, directory: &Path) -> Self {
        self.shared.index.use_directory(directory);
        self
    }

    /// The vault's id.
    #[must_use]
    pub fn id(&self) -> VaultId {
        self.shared.config.vault_id
    }

    /// What the vault was created with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Whether this handle reads the data of disks. One that was opened with the writer key only adds to the vault: it lists
    /// points, stores disks and commits points, and checks objects by their digests.
    #[must_use]
    pub fn can_read_data(&self) -> bool {
        self.shared.keys.check_can_read().is_ok()
    }

    /// The key with which this handle can be opened again unattended, for a server's key store.
    #[must_use]
    pub fn kept_key(&self) -> KeptKey {
        match self.shared.keys.master() {
            Ok(master) => KeptKey::Master(master.clone()),
            Err(_) => KeptKey::Writer(self.writer_key()),
        }
    }

    /// The key for a host that is to add to the vault and not to read the data in it.
    #[must_use]
    pub fn writer_key(&self) -> WriterKey {
        self.shared.keys.writer().clone()
    }

    fn assemble(store: Store, keys: Arc<Keys>, config: Config, env: Env) -> Self {
        Self { shared: Arc::new(Shared::new(store, keys, config, env)) }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Vault")
            .field("id", &self.id())
            .field("place", &self.shared.store.place())
            .finish()
    }
}

impl Shared {
    fn new(store: Store, keys: Arc<Keys>, config: Config, env: Env) -> Self {
        Self {
            log: Log::new(store.clone(), Arc::clone(&keys), env.clone()),
            store,
            keys,
            config,
            env,
            segment_chunks: SEGMENT_CHUNKS,
            index: Arc::default(),
            indexed: tokio::sync::Mutex::default(),
            data_frames: FrameCache::with_budget(DATA_FRAMES),
            tree_frames: FrameCache::with_budget(TREE_FRAMES),
            seals: SealCache::new(),
            sealed_frames: BufferPool::of_capacity(0),
            decompressors: Decompressors::new(),
            sizes: tokio::sync::Mutex::default(),
            points: Mutex::default(),
            #[cfg(feature = "flaws")]
            flaw: None,
        }
    }

    /// Brings the index to the vault's state at this moment.
    pub(crate) async fn refresh(&self) -> Result<Fresh> {
        self.refresh_for(Purpose::Writing).await
    }

    /// Brings the index to the vault's state, as far as that is known where the log is damaged.
    pub(crate) async fn refresh_to_read(&self) -> Result<Fresh> {
        self.refresh_for(Purpose::Reading).await
    }

    async fn refresh_for(&self, purpose: Purpose) -> Result<Fresh> {
        let mut state = self.state_for(purpose).await?;
        loop {
            let unreadable = self.follow(&state).await?;
            if unreadable.iter().all(|(_, error)| error.kind() != ErrorKind::NotFound) {
                return Ok(Fresh { state, unreadable });
            }
            // A segment that is gone is lost only if nobody replaced it since the log was read.
            let later = self.state_for(purpose).await?;
            if later.sequence == state.sequence {
                return Ok(Fresh { state, unreadable });
            }
            state = later;
        }
    }

    async fn state_for(&self, purpose: Purpose) -> Result<Arc<State>> {
        match purpose {
            Purpose::Writing => self.log.refresh().await,
            Purpose::Reading => self.log.refresh_to_read().await,
        }
    }

    /// Brings the index to this state, or leaves it at a later one of the same log. Returns the segments that cannot be read,
    /// and why: what is only in them counts as absent, so a writer stores it again, and a reader misses it.
    pub(crate) async fn follow(&self, state: &State) -> Result<Vec<(Digest, Error)>> {
        let mut indexed = self.indexed.lock().await;
        // Back again where the store was put back to an earlier time.
        if *indexed > state.sequence && self.log.has_reached(*indexed).await {
            return Ok(Vec::new());
        }
        let unseen = state.body.segments.iter().filter(|digest| !self.index.holds_segment(digest));
        let unseen: Vec<Digest> = unseen.copied().collect();
        // In order, so that of two packs with one chunk the same is chosen each time.
        let mut loaded = stream::iter(unseen)
            .map(|digest| async move { (digest, self.load_segment(&digest).await) })
            .buffered(SEGMENTS_AT_ONCE);
        let mut unreadable = Vec::new();
        while let Some((digest, segment)) = loaded.next().await {
            match segment {
                Ok(segment) => self.add_segment(digest, segment).await?,
                Err(error) if error.is_damage() => {
                    tracing::warn!(%digest, %error, "an index segment cannot be read");
                    unreadable.push((digest, error));
                }
                Err(error) => return Err(error),
            }
        }
        let (index, segments) = (Arc::clone(&self.index), state.body.segments.clone());
        self.env.threads.run(move || index.retain_segments(&segments)).await??;
        *indexed = state.sequence;
        Ok(unreadable)
    }

    /// Takes a segment into the index.
    pub(crate) async fn add_segment(&self, digest: Digest, segment: Segment) -> Result<()> {
        let index = Arc::clone(&self.index);
        self.env.threads.run(move || index.add(digest, segment)).await?
    }

    /// Compares the index with the packs that are in the store. Returns how many lost packs hold something that is nowhere
    /// else.
    pub(crate) async fn find_lost_packs(&self) -> Result<usize> {
        let next_frame = self.index.next_frame();
        let stored = self.store.list(ObjectKind::Pack).await?.into_iter().collect();
        self.index.mark_missing(next_frame, &stored);
        let index = Arc::clone(&self.index);
        let lost = self.env.threads.run(move || index.lost_pack_count()).await??;
        if lost > 0 {
            tracing::warn!(
                lost,
                place = self.store.place(),
                "packs are lost; what is in them is stored again"
            );
        }
        Ok(lost)
    }

    /// The same vault, of which nothing is known yet.
    pub(crate) fn afresh(&self) -> Self {
        let index = Arc::new(self.index.afresh());
        let keys = Arc::clone(&self.keys);
        Self {
            index,
            #[cfg(feature = "flaws")]
            flaw: self.flaw,
            ..Self::new(self.store.clone(), keys, self.config.clone(), self.env.clone())
        }
    }

    /// Puts a segment into the store. No index has it yet, nor does the log name it.
    pub(crate) async fn store_segment(&self, segment: &mut Segment) -> Result<Digest> {
        self.store.put(ObjectKind::IndexSegment, self.encode_segment(segment)).await
    }

    pub(crate) fn encode_segment(&self, segment: &mut Segment) -> Vec<u8> {
        segment.sort();
        segment.encode(&self.keys, env::random(&*self.env.entropy))
    }

    pub(crate) async fn load_segment(&self, digest: &Digest) -> Result<Segment> {
        let bytes = self.store.get(ObjectKind::IndexSegment, digest, SEGMENT_BYTES_MAX).await?;
        Segment::decode(&self.keys, &bytes)
    }
}

fn already_exists(store: &Store) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("there is a vault in {} already", store.place()))
        .with_guidance("choose an empty place, or open the vault that is there")
}

#[cfg(test)]
mod tests;
