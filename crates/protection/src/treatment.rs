//! How a VM is treated for a moment.

use model::{ByteCount, Consistency, ProtectionSettings};

/// How a VM is treated when its moment is fixed, and how fast that is read. Where it goes to is nothing to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Treatment {
    /// The consistency to ask for.
    pub consistency: Consistency,
    /// Fail when that consistency cannot be reached, rather than take a weaker moment.
    pub strict: bool,
    /// The longest time for which the guest's file systems may stay frozen, in milliseconds.
    pub freeze_limit_ms: u32,
    /// The fastest rate at which the disks are read, in bytes a second; none reads as fast as it can.
    pub read_limit_bytes_per_second: Option<ByteCount>,
    /// A program on the host that runs before the capture, with the argument `pre`.
    pub pre_script: Option<String>,
    /// A program on the host that runs after the moment is fixed, with the argument `post`.
    pub post_script: Option<String>,
}

impl Treatment {
    /// That of a VM without protection: its disks as a crash would leave them.
    #[must_use]
    pub fn unprotected() -> Self {
        Self {
            consistency: Consistency::Crash,
            strict: false,
            freeze_limit_ms: ProtectionSettings::FREEZE_LIMIT_DEFAULT_MS,
            read_limit_bytes_per_second: None,
            pre_script: None,
            post_script: None,
        }
    }
}

impl From<&ProtectionSettings> for Treatment {
    fn from(settings: &ProtectionSettings) -> Self {
        Self {
            consistency: settings.consistency,
            strict: settings.strict,
            freeze_limit_ms: settings.freeze_limit_ms,
            read_limit_bytes_per_second: settings.read_limit_bytes_per_second,
            pre_script: settings.pre_script.clone(),
            post_script: settings.post_script.clone(),
        }
    }
}
