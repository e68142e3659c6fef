//! Spreading what is due at the same moment.

/// How long after the scheduled moment a run begins: the same for a VM's id, or the name of a plan, at each run, evenly spread over
/// 0 to `limit_seconds` among them.
#[must_use]
pub fn jitter_seconds(name: &str, limit_seconds: u32) -> u32 {
    // FNV-1a, 64 bits: draft-eastlake-fnv, §6.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    u32::try_from(hash % (u64::from(limit_seconds) + 1)).unwrap_or(limit_seconds)
}

#[cfg(test)]
mod tests;
