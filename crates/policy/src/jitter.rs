//! Spreading what is due at the same moment.

use model::VmId;

/// How long after the scheduled moment a VM's run begins: the same for a VM at each run, evenly spread over 0 to
/// `limit_seconds` among VMs.
#[must_use]
pub fn jitter_seconds(vm_id: VmId, limit_seconds: u32) -> u32 {
    // FNV-1a, 64 bits: draft-eastlake-fnv, §6. Ids are random, so that this only has to bring their bits together.
    let hash = vm_id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    u32::try_from(hash % (u64::from(limit_seconds) + 1)).unwrap_or(limit_seconds)
}

#[cfg(test)]
mod tests;
