//! What a capture may claim about the data inside it.

use hypervisor::{Error, ErrorKind};
use model::{Consistency, ConsistencyReached, VmName};

use crate::guard::{Quiescence, Thaw};

/// What is claimed after a freeze was tried and ended. `frozen` is the number of file systems, or why none.
pub(super) fn after_freeze(
    asked: Consistency,
    frozen: &Result<u64, String>,
    thaw: Option<&Thaw>,
) -> ConsistencyReached {
    let (reached, shortfall) = match (frozen, thaw) {
        _ if asked == Consistency::Crash => (Consistency::Crash, None),
        (Err(reason), _) => (Consistency::Crash, Some(format!("the file systems were not frozen: {reason}"))),
        (Ok(0), _) => (Consistency::Crash, Some("the guest agent found no file system to freeze".to_owned())),
        (Ok(_), Some(Thaw { early: Some(reason), .. })) => (
            Consistency::Crash,
            Some(format!("the freeze may have ended before the moment was fixed: {reason}")),
        ),
        (Ok(_), Some(Thaw { quiescence: Quiescence::Proven, .. })) => (asked, None),
        (Ok(_), Some(Thaw { quiescence: Quiescence::Unproven { reason }, .. })) => {
            (Consistency::FileSystem, (asked > Consistency::FileSystem).then(|| reason.clone()))
        }
        (Ok(_), None) => (Consistency::FileSystem, None),
    };
    ConsistencyReached { asked, reached, shortfall }
}

/// Fails when a weaker consistency than asked for is not allowed.
pub(super) fn insist(strict: bool, consistency: &ConsistencyReached, vm: &VmName) -> hypervisor::Result<()> {
    if !strict || consistency.reached >= consistency.asked {
        return Ok(());
    }
    let why = consistency.shortfall.as_deref().unwrap_or("the guest cannot do better");
    let context =
        format!("{} consistency of {vm} was asked for and cannot be reached: {why}", consistency.asked);
    Err(Error::new(ErrorKind::Consistency, context)
        .with_guidance("make the guest agent and its freeze hook work, or allow a weaker consistency"))
}
