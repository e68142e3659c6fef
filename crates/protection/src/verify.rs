//! Verification of a vault.

use std::sync::Arc;

use vault::{Vault, VerifyReport};

use crate::{Monitor, Result, error::Context as _, monitor::vault_monitor};

/// Reads everything in a vault back and says what is damaged, which points that hurts, and what is still restorable.
/// Damage is a finding, not an error.
///
/// # Errors
/// Whatever keeps the vault from being read at all.
pub async fn verify(vault: &Vault, monitor: &Arc<dyn Monitor>) -> Result<VerifyReport> {
    let step = vault_monitor(monitor, "reading the vault back".to_owned());
    vault.verify(&step).await.context("the vault could not be verified")
}
