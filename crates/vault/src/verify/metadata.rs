//! Checking what is neither index nor data: the config, the key slots, the log.

use super::{Damage, VerifyReport};
use crate::{
    ErrorKind, Result,
    config::{self, Config},
    keys::slot::SLOT_BYTES,
    log::LogPart,
    store::ObjectKind,
    vault::Shared,
};

pub(super) async fn check(shared: &Shared, report: &mut VerifyReport) -> Result<()> {
    if let Some(reason) = config_damage(shared).await? {
        report.add(Damage::Config { reason });
    }
    for (slot, _) in shared.store.list(ObjectKind::KeySlot).await? {
        match shared.store.get(ObjectKind::KeySlot, &slot, SLOT_BYTES as u64).await {
            Err(error) if error.is_damage() => {
                report.add(Damage::KeySlot { slot, reason: error.to_string() })
            }
            read => drop(read?),
        }
    }
    for damage in shared.log.inspect().await? {
        let reason = damage.reason;
        report.add(match damage.part {
            LogPart::Entry(sequence) => Damage::LogEntry { sequence, reason },
            LogPart::State(sequence) => Damage::State { sequence, reason },
        });
    }
    Ok(())
}

/// What is wrong with the config in the store, which must be the one that the vault was opened with.
pub(crate) async fn config_damage(shared: &Shared) -> Result<Option<String>> {
    let expected = shared.config.encode(&shared.keys);
    match shared.store.read_config().await {
        Ok(bytes) if bytes == expected => Ok(None),
        Ok(bytes) => match Config::decode(&bytes) {
            // What a newer release wrote is no damage.
            Err(error) if error.kind() == ErrorKind::UnsupportedVersion && config::is_intact(&bytes) => {
                Err(error)
            }
            Err(error) => Ok(Some(error.to_string())),
            Ok(_) => Ok(Some("it is not the one that the vault was opened with".to_owned())),
        },
        Err(error) if error.is_damage() => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}
