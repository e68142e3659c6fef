//! What is wanted for a protected VM.

use serde::{Deserialize, Serialize};

use crate::{ByteCount, Consistency, VaultId};

/// How a VM is protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProtectionSettings {
    /// Where its recovery points go.
    pub vault_id: VaultId,
    /// The consistency to ask for.
    pub consistency: Consistency,
    /// Fail the backup when that consistency cannot be reached, rather than take a weaker point.
    pub strict: bool,
    /// The longest time for which the guest's file systems may stay frozen, in milliseconds.
    pub freeze_limit_ms: u32,
    /// The fastest rate at which the guest's disks are read, in bytes a second; none reads as fast as it can.
    pub read_limit_bytes_per_second: Option<ByteCount>,
    /// A program on the host that runs before the capture, with the argument `pre`.
    pub pre_script: Option<String>,
    /// A program on the host that runs after the moment is fixed, with the argument `post`.
    pub post_script: Option<String>,
}

impl ProtectionSettings {
    /// Freezes longer than this hurt: Windows' VSS gives up after ten seconds, and so do many clients of a frozen server.
    pub const FREEZE_LIMIT_DEFAULT_MS: u32 = 10_000;

    /// Protection into a vault with everything else at its default.
    #[must_use]
    pub fn into_vault(vault_id: VaultId) -> Self {
        Self {
            vault_id,
            consistency: Consistency::Application,
            strict: false,
            freeze_limit_ms: Self::FREEZE_LIMIT_DEFAULT_MS,
            read_limit_bytes_per_second: None,
            pre_script: None,
            post_script: None,
        }
    }
}
