//! The upkeep of vaults: copies, keys, deletion, space and repair.

use bytes::Bytes;
use hyper::Method;

use super::{Client, Result, segment};
use crate::{
    AddCopy, AddKey, AddedKey, ChangeSettings, CollectRequest, CopyView, JobView, KeySlotView,
    MakeRecoveryKit, ProbeStore, ProbeView, RecoveryKitView, RepairRequest, SettingsView,
};

impl Client {
    /// Tries out whether a store can hold a vault.
    pub async fn probe_store(&self, request: &ProbeStore) -> Result<ProbeView> {
        self.post("/v1/stores/probe", request).await
    }

    /// Starts a garbage collection.
    pub async fn collect(&self, vault: &str, request: &CollectRequest) -> Result<JobView> {
        self.post(&of(vault, "gc"), request).await
    }

    /// Starts a repair.
    pub async fn repair(&self, vault: &str, request: &RepairRequest) -> Result<JobView> {
        self.post(&of(vault, "repair"), request).await
    }

    /// What a vault promises about deletion.
    pub async fn settings(&self, vault: &str) -> Result<SettingsView> {
        self.get(&of(vault, "settings")).await
    }

    /// Changes what a vault promises about deletion; answers what holds from then on.
    pub async fn change_settings(&self, vault: &str, request: &ChangeSettings) -> Result<SettingsView> {
        self.send(Method::PUT, &of(vault, "settings"), request).await
    }

    /// A vault's copies, by name, and how far each is behind.
    pub async fn copies(&self, vault: &str) -> Result<Vec<CopyView>> {
        self.get(&of(vault, "copies")).await
    }

    /// Gives a vault a copy, and starts to fill it.
    pub async fn add_copy(&self, vault: &str, request: &AddCopy) -> Result<JobView> {
        self.post(&of(vault, "copies"), request).await
    }

    /// Forgets a copy. What is in its store stays.
    pub async fn remove_copy(&self, vault: &str, copy: &str) -> Result<()> {
        let path = format!("{}/{}", of(vault, "copies"), segment(copy));
        self.call(Method::DELETE, &path, Bytes::new()).await
    }

    /// Brings a copy up to date.
    pub async fn sync_copy(&self, vault: &str, copy: &str) -> Result<JobView> {
        self.post(&format!("{}/{}/sync", of(vault, "copies"), segment(copy)), &()).await
    }

    /// A vault's keys, oldest first.
    pub async fn keys(&self, vault: &str) -> Result<Vec<KeySlotView>> {
        self.get(&of(vault, "keys")).await
    }

    /// Gives a vault another key.
    pub async fn add_key(&self, vault: &str, request: &AddKey) -> Result<AddedKey> {
        self.post(&of(vault, "keys"), request).await
    }

    /// Takes a key from a vault, by id or a unique start of one.
    pub async fn remove_key(&self, vault: &str, key: &str) -> Result<()> {
        let path = format!("{}/{}", of(vault, "keys"), segment(key));
        self.call(Method::DELETE, &path, Bytes::new()).await
    }

    /// Puts a new key in the place of an old one.
    pub async fn rotate_key(&self, vault: &str, key: &str, request: &AddKey) -> Result<AddedKey> {
        self.post(&format!("{}/{}/rotate", of(vault, "keys"), segment(key)), request).await
    }

    /// Makes a recovery kit.
    pub async fn make_recovery_kit(&self, vault: &str, request: &MakeRecoveryKit) -> Result<RecoveryKitView> {
        self.post(&of(vault, "recovery-kits"), request).await
    }
}

/// The path of something of a vault.
fn of(vault: &str, what: &str) -> String {
    format!("/v1/vaults/{}/{what}", segment(vault))
}
