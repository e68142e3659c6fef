//! When packs were last found sound: what makes a verification by age possible. Losing it costs time, nothing else.

use std::collections::BTreeMap;

use catalog::{KnownVault, PackCheck};
use model::Timestamp;
use vault::{Damage, Digest, VerifyReport, VerifyScope};

use crate::{failure::Result, site::Site};

/// The packs of a vault that were found sound, and when.
pub(super) struct PackChecks(BTreeMap<String, Timestamp>);

impl PackChecks {
    pub(super) async fn of(site: &Site, known: &KnownVault) -> Result<Self> {
        let checks = site.catalog.pack_checks(known.id).await?;
        Ok(Self(checks.into_iter().map(|check| (check.pack, check.checked_at)).collect()))
    }

    /// The same by digest.
    pub(super) fn as_known(&self) -> BTreeMap<Digest, Timestamp> {
        let parsed = self.0.iter().filter_map(|(pack, at)| Some((pack.parse().ok()?, *at)));
        parsed.collect()
    }

    /// Keeps what a verification has found sound, and forgets what it has found damaged or gone.
    pub(super) async fn keep(
        mut self,
        site: &Site,
        known: &KnownVault,
        scope: &VerifyScope,
        report: &VerifyReport,
    ) {
        match scope {
            VerifyScope::Everything => self.0.clear(),
            // Whatever is older was read, if it is there.
            VerifyScope::NotCheckedSince { since, .. } => {
                self.0.retain(|_, checked_at| *checked_at >= *since)
            }
            VerifyScope::Sample { .. } => {}
        }
        for damage in &report.damage {
            if let Damage::Pack { pack, .. } | Damage::MissingPack { pack } | Damage::Chunk { pack, .. } =
                damage
            {
                self.0.remove(&pack.to_string());
            }
        }
        self.0.extend(report.sound_packs.iter().map(|(pack, checked_at)| (pack.to_string(), *checked_at)));
        let checks: Vec<_> =
            self.0.into_iter().map(|(pack, checked_at)| PackCheck { pack, checked_at }).collect();
        if let Err(error) = site.catalog.set_pack_checks(known.id, &checks).await {
            tracing::warn!(vault = %known.name, %error, "when packs were checked could not be kept");
        }
    }
}
