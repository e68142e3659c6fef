//! Creating and opening vaults.

mod chunks;
mod tiny;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, RwLock},
};

use env::Env;
use futures::{StreamExt, stream};
use model::{Timestamp, VaultId};

use crate::{
    Digest, Error, ErrorKind, NewSlot, PointRecord, Result, StoreLocation, Unlock,
    config::Config,
    frame::Decompressors,
    index::{Index, SEGMENT_BYTES_MAX, Segment},
    keys::{
        Keys, MasterKey,
        slot::{SLOT_BYTES, Slot},
    },
    log::{Log, Sequence, State},
    store::{ObjectKind, Store},
};
use chunks::FrameCache;

/// Chunks in an index segment, but for the last of a writer.
const SEGMENT_CHUNKS: usize = 64 << 10;

/// Index segments that are loaded side by side.
const SEGMENTS_AT_ONCE: usize = 8;

/// Key slots of the vault that are tried; a stranger who can write to the store could add any number.
const SLOTS_MAX: usize = 64;

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
    /// Chunks after which a writer lists its packs in an index segment, so that one that dies has not worked in vain.
    pub(crate) segment_chunks: usize,
    pub(crate) index: RwLock<Index>,
    /// The state that the index follows; held while it follows to another.
    indexed: tokio::sync::Mutex<Sequence>,
    pub(crate) frames: FrameCache,
    pub(crate) decompressors: Decompressors,
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

impl Vault {
    /// Creates a vault that the given slots open. The config is written last: without it there is no vault.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when there is a vault at the place; it is not touched.
    pub async fn create(location: &StoreLocation, slots: &[NewSlot], env: Env) -> Result<Self> {
        Self::create_with(location, slots, env, Config::new).await
    }

    async fn create_with(
        location: &StoreLocation,
        slots: &[NewSlot],
        env: Env,
        config: fn(VaultId, Timestamp) -> Config,
    ) -> Result<Self> {
        if slots.is_empty() {
            return Err(Error::invalid("a vault without a passphrase or key file could not be opened again"));
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
        let vault_id = VaultId::from_random(env::random(&*env.entropy));
        let config = config(vault_id, env.clock.now());
        let master = MasterKey::from_bytes(env::random(&*env.entropy));
        for slot in slots {
            let (slot, master, env) = (slot.clone(), master.clone(), env.clone());
            let threads = env.threads;
            let wrapped = threads.run(move || Slot::wrap(&master, vault_id, &slot, &env)).await??;
            store.put(ObjectKind::KeySlot, wrapped.encode()).await?;
        }
        let keys = Arc::new(Keys::new(master, vault_id));
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

    /// Opens a vault.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no vault, [`ErrorKind::WrongKey`] when the key is not the vault's; both
    /// before anything else is read.
    pub async fn open(location: &StoreLocation, unlock: &Unlock, env: Env) -> Result<Self> {
        let absent = |place: &dyn fmt::Display| {
            Error::new(ErrorKind::NotFound, format!("there is no vault in {place}"))
                .with_guidance("check the place, or create a vault there")
        };
        let store = match Store::open(location, &env).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(absent(location).with_source(error));
            }
            opened => opened?,
        };
        let config = match store.read_config().await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(absent(&store.place()).with_source(error));
            }
            read => read?,
        };
        let (config, proof) = Config::decode(&config)?;
        let keys = unlock_master(&store, config.vault_id, unlock, &env).await?;
        let keys = Arc::new(Keys::new(keys, config.vault_id));
        if keys.config_proof(&config) != proof {
            return Err(match unlock {
                Unlock::MasterKey(_) => wrong_key(&store),
                _ => Error::corrupt(format!("the vault's config in {} was altered", store.place())),
            });
        }
        Ok(Self::assemble(store, keys, config, env))
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

    /// The key that opens everything in the vault, for a server's key store.
    #[must_use]
    pub fn master_key(&self) -> MasterKey {
        self.shared.keys.master().clone()
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
            index: RwLock::default(),
            indexed: tokio::sync::Mutex::default(),
            frames: FrameCache::new(),
            decompressors: Decompressors::new(),
            points: Mutex::default(),
            #[cfg(feature = "flaws")]
            flaw: None,
        }
    }

    /// Brings the index to the vault's state at this moment.
    pub(crate) async fn refresh(&self) -> Result<Fresh> {
        let mut state = self.log.refresh().await?;
        loop {
            let unreadable = self.follow(&state).await?;
            if unreadable.iter().all(|(_, error)| error.kind() != ErrorKind::NotFound) {
                return Ok(Fresh { state, unreadable });
            }
            // A segment that is gone is lost only if nobody replaced it since the log was read.
            let later = self.log.refresh().await?;
            if later.sequence == state.sequence {
                return Ok(Fresh { state, unreadable });
            }
            state = later;
        }
    }

    /// Brings the index to this state, or leaves it at a later one. Returns the segments that cannot be read, and why: what
    /// is only in them counts as absent, so a writer stores it again, and a reader misses it.
    pub(crate) async fn follow(&self, state: &State) -> Result<Vec<(Digest, Error)>> {
        let mut indexed = self.indexed.lock().await;
        if *indexed > state.sequence {
            return Ok(Vec::new());
        }
        let unseen: Vec<Digest> = {
            let index = crate::sync::read(&self.index);
            state.body.segments.iter().filter(|digest| !index.holds_segment(digest)).copied().collect()
        };
        let mut loaded = stream::iter(unseen)
            .map(|digest| async move { (digest, self.load_segment(&digest).await) })
            .buffered(SEGMENTS_AT_ONCE);
        let mut unreadable = Vec::new();
        while let Some((digest, segment)) = loaded.next().await {
            match segment {
                Ok(segment) => crate::sync::write(&self.index).add(digest, segment),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Corrupt | ErrorKind::UnsupportedVersion | ErrorKind::NotFound
                    ) =>
                {
                    tracing::warn!(%digest, %error, "an index segment cannot be read");
                    unreadable.push((digest, error));
                }
                Err(error) => return Err(error),
            }
        }
        crate::sync::write(&self.index).retain_segments(&state.body.segments);
        *indexed = state.sequence;
        Ok(unreadable)
    }

    /// Compares the index with the packs that are in the store. Returns how many lost packs hold something that is nowhere
    /// else.
    pub(crate) async fn find_lost_packs(&self) -> Result<usize> {
        let pack_count = crate::sync::read(&self.index).pack_count();
        let stored = self.store.list(ObjectKind::Pack).await?.into_iter().collect();
        let mut index = crate::sync::write(&self.index);
        index.mark_missing(pack_count, &stored);
        let lost = index.lost_pack_count();
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
        Self::new(self.store.clone(), Arc::clone(&self.keys), self.config.clone(), self.env.clone())
    }

    pub(crate) async fn load_segment(&self, digest: &Digest) -> Result<Segment> {
        let bytes = self.store.get(ObjectKind::IndexSegment, digest, SEGMENT_BYTES_MAX).await?;
        Segment::decode(&self.keys, &bytes)
    }
}

async fn unlock_master(store: &Store, vault_id: VaultId, unlock: &Unlock, env: &Env) -> Result<MasterKey> {
    if let Unlock::MasterKey(master) = unlock {
        return Ok(master.clone());
    }
    let listed = store.list(ObjectKind::KeySlot).await?;
    let mut tried = 0;
    for (digest, _) in listed {
        if tried == SLOTS_MAX {
            break;
        }
        let slot = match store.get(ObjectKind::KeySlot, &digest, SLOT_BYTES as u64).await {
            Ok(bytes) => Slot::decode(&bytes),
            Err(error) => Err(error),
        };
        let slot = match slot {
            Ok(slot) if slot.vault_id() == vault_id => slot,
            Ok(_) => continue,
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedVersion) => {
                tracing::warn!(%digest, %error, "a key slot cannot be used");
                continue;
            }
            Err(error) => return Err(error),
        };
        let unlock = unlock.clone();
        match env.threads.run(move || slot.unwrap(&unlock)).await? {
            Ok(Some(master)) => return Ok(master),
            Ok(None) => tried += 1,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(%digest, %error, "a key slot cannot be used");
            }
            Err(error) => return Err(error),
        }
    }
    Err(wrong_key(store))
}

fn wrong_key(store: &Store) -> Error {
    Error::new(ErrorKind::WrongKey, format!("this key does not open the vault in {}", store.place()))
        .with_guidance("use the passphrase or key file that was given when the vault was created")
}

fn already_exists(store: &Store) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("there is a vault in {} already", store.place()))
        .with_guidance("choose an empty place, or open the vault that is there")
}

#[cfg(test)]
mod tests;
