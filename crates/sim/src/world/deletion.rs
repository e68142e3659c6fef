//! Deleting points, bringing them back, holding and releasing them, and changing the vault's promises.

use model::{Immutability, PointId, VaultSettings};
use tokio::time::Instant;

use super::server::Work;

impl Work<'_> {
    /// Does something to a point or two, or to the settings.
    pub(super) async fn change_points(&self) {
        let fates = match self.vault.fates().await {
            Ok(fates) => fates,
            Err(error) => return self.note(format!("the fates cannot be listed: {error}")),
        };
        let ids: Vec<PointId> = fates.iter().map(|fate| fate.id).collect();
        let chosen: Vec<PointId> =
            self.dice.pick(&ids).into_iter().chain(self.dice.pick(&ids)).copied().collect();
        let chosen: Vec<PointId> = if chosen.first() == chosen.last() || self.dice.chance(600) {
            chosen.into_iter().take(1).collect()
        } else {
            chosen
        };
        let (what, done) = match self.dice.number(0..10) {
            0..5 => ("delete", self.delete(&chosen).await),
            5..7 => ("undelete", self.vault.undelete_points(&chosen).await),
            7 => ("hold", self.hold(&chosen).await),
            8 => ("release", self.release(&chosen).await),
            _ => ("change the settings", self.change_settings().await),
        };
        self.note(match done {
            Ok(()) => format!("did {what} {chosen:?}"),
            Err(error) => format!("failed to {what} {chosen:?}: {error}"),
        });
    }

    async fn delete(&self, points: &[PointId]) -> vault::Result<()> {
        self.world.model().change(points, |facts| {
            facts.delete_tried_at.get_or_insert(Instant::now());
        });
        self.vault.delete_points(points).await
    }

    async fn hold(&self, points: &[PointId]) -> vault::Result<()> {
        self.vault.hold_points(points, "a lawsuit").await?;
        // Whoever tried to delete it before may have been first.
        self.world.model().change(points, |facts| facts.is_held |= facts.delete_tried_at.is_none());
        Ok(())
    }

    async fn release(&self, points: &[PointId]) -> vault::Result<()> {
        self.world.model().change(points, |facts| facts.release_tried = true);
        self.vault.release_points(points).await
    }

    async fn change_settings(&self) -> vault::Result<()> {
        let immutability = match self.dice.number(0..20) {
            0 => Immutability::Locked,
            1..6 => Immutability::Enabled,
            _ => Immutability::Disabled,
        };
        let settings = VaultSettings {
            soft_delete_days: self.dice.number(0..8) as u32,
            immutability,
            min_retention_days: self.dice.number(0..4) as u32,
        };
        {
            let mut model = self.world.model();
            model.soft_delete_days_min = model.soft_delete_days_min.min(settings.soft_delete_days);
        }
        self.vault.set_settings(settings).await?;
        if settings.immutability == Immutability::Locked {
            self.world.model().locked = Some(settings);
        }
        Ok(())
    }
}
