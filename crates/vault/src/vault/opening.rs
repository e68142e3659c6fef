//! Opening a vault: its config first, and then the key, which proves the config.

use env::Env;

use super::{Vault, key_slots};
use crate::{
    Error, ErrorKind, Result, StoreLocation, Unlock,
    config::{self, CONFIG_BYTES_MAX, Config},
    location::versions::Versions,
    log::ENTRIES,
    store::Store,
};

impl Vault {
    /// Opens a vault.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no vault, [`ErrorKind::Corrupt`] where its config is damaged or lost,
    /// [`ErrorKind::WrongKey`] when the key is not the vault's; all before anything else is read.
    pub async fn open(location: &StoreLocation, unlock: &Unlock, env: Env) -> Result<Self> {
        let store = open_store(location, &env).await?;
        let (config, proof) = own_config(&store).await?;
        Self::open_with(store, config, &proof, unlock, env).await
    }

    /// As [`Vault::open`]; but where the vault's config is damaged or lost, it is opened by the newest earlier version of it that
    /// the store keeps and the key proves, or by that of the first of its copies. [`Vault::repair`] puts it back.
    ///
    /// # Errors
    /// As [`Vault::open`]; [`ErrorKind::Corrupt`] where no copy has the config either.
    pub async fn open_with_copies(
        location: &StoreLocation,
        copies: &[StoreLocation],
        unlock: &Unlock,
        env: Env,
    ) -> Result<Self> {
        let failure = match Self::open(location, unlock, env.clone()).await {
            Err(error) if is_config_lost(location, &env, &error).await? => error,
            opened => return opened,
        };
        for (config, proof) in hidden_configs(&open_store(location, &env).await?).await {
            let store = open_store(location, &env).await?;
            match Self::open_with(store, config, &proof, unlock, env.clone()).await {
                Ok(vault) => {
                    tracing::warn!(error = %failure, "the vault is opened by an earlier version of its config");
                    return Ok(vault);
                }
                Err(error) => tracing::debug!(%error, "an earlier version of the config opens nothing"),
            }
        }
        for copy in copies {
            match Self::open_with_config_of(copy, location, unlock, env.clone()).await {
                Ok(vault) => {
                    tracing::warn!(error = %failure, %copy, "the vault is opened by the config of a copy");
                    return Ok(vault);
                }
                Err(error) => tracing::debug!(%error, %copy, "the copy lends no config"),
            }
        }
        Err(failure)
    }

    async fn open_with_config_of(
        copy: &StoreLocation,
        location: &StoreLocation,
        unlock: &Unlock,
        env: Env,
    ) -> Result<Self> {
        let (config, proof) = own_config(&Store::open(copy, &env).await?).await?;
        Self::open_with(open_store(location, &env).await?, config, &proof, unlock, env).await
    }

    async fn open_with(
        store: Store,
        config: Config,
        proof: &[u8; 32],
        unlock: &Unlock,
        env: Env,
    ) -> Result<Self> {
        let keys = key_slots::unlock(&store, &config, proof, unlock, env.threads).await?;
        Ok(Self::assemble(store, keys.into(), config, env))
    }
}

async fn open_store(location: &StoreLocation, env: &Env) -> Result<Store> {
    match Store::open(location, env).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(absent(&location.to_string()).with_source(error))
        }
        opened => opened,
    }
}

/// The config in a store, which no key has proven yet.
async fn own_config(store: &Store) -> Result<(Config, [u8; 32])> {
    match store.read_config().await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if store.list_named(ENTRIES).await?.is_empty() {
                if hidden_configs(store).await.is_empty() {
                    return Err(absent(store.place()).with_source(error));
                }
                let context =
                    format!("the vault in {} was deleted; its store keeps earlier versions", store.place());
                return Err(Error::corrupt(context).with_guidance(DELETED_GUIDANCE).with_source(error));
            }
            Err(Error::corrupt(format!("the config of the vault in {} is lost", store.place()))
                .with_guidance(CONFIG_GUIDANCE)
                .with_source(error))
        }
        Err(error) => Err(error),
        Ok(bytes) => Config::decode(&bytes).map_err(|error| match error.kind() {
            ErrorKind::Corrupt => {
                Error::corrupt(format!("the config of the vault in {} is damaged", store.place()))
                    .with_guidance(CONFIG_GUIDANCE)
                    .with_source(error)
            }
            _ => error,
        }),
    }
}

/// The configs that were deleted or written over, where the store keeps them, newest first. No key has proven them yet.
async fn hidden_configs(store: &Store) -> Vec<(Config, [u8; 32])> {
    let read = async {
        let mut found = Vec::new();
        let Some(versions) = Versions::of(store.location())? else { return Ok(found) };
        for version in versions.of_object("config").await?.into_iter().filter(|it| !it.is_marker) {
            let bytes = versions.get(&version, CONFIG_BYTES_MAX).await?;
            found.extend(bytes.and_then(|bytes| Config::decode(&bytes).ok()));
        }
        Ok::<_, Error>(found)
    };
    read.await.unwrap_or_else(|error| {
        tracing::debug!(%error, "earlier versions of the config cannot be read");
        Vec::new()
    })
}

/// Whether a vault could not be opened because of its config. One of an unknown version is no damage unless it does not even
/// match its checksum.
async fn is_config_lost(location: &StoreLocation, env: &Env, error: &Error) -> Result<bool> {
    Ok(match error.kind() {
        ErrorKind::Corrupt => true,
        ErrorKind::UnsupportedVersion => {
            !config::is_intact(&Store::open(location, env).await?.read_config().await?)
        }
        _ => false,
    })
}

const DELETED_GUIDANCE: &str = "bring it back with: holdfast vault repair";

const CONFIG_GUIDANCE: &str = "every copy of the vault has the same: heal it with: holdfast vault repair; or put the object \
                               config of a copy, or of a backup of the store, in its place";

fn absent(place: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no vault in {place}"))
        .with_guidance("check the place, and whether its disk or share is mounted; or create a vault there")
}

#[cfg(test)]
mod tests;
