//! A restore of any point while everything goes on.

use vault::ErrorKind;

use super::server::Work;
use crate::{checker, rot::Rot};

impl Work<'_> {
    /// Restores a point that the vault lists. It may be deleted meanwhile; what cannot be is a wrong byte, or damage in a
    /// point that nobody deleted.
    pub(super) async fn restore_any(&self) {
        let listed = match self.vault.points().await {
            Ok(listed) => listed,
            Err(error) => return self.note(format!("the points cannot be listed: {error}")),
        };
        let Some(record) = self.dice.pick(&listed.points) else { return };
        let restored = checker::restore(self.world, &self.vault, record).await;
        let mut model = self.world.model();
        let id = record.summary.id;
        let must_be_live = model.points.get(&id).is_some_and(|facts| facts.delete_tried_at.is_none());
        match restored {
            Ok(None) => drop(model),
            Ok(Some(wrong)) => model.violated(wrong),
            Err(error)
                if must_be_live
                    && self.world.rot != Rot::Objects
                    && matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) =>
            {
                model.violated(format!("{}: point {id} cannot be restored: {error}", self.process.name));
            }
            Err(error) => {
                drop(model);
                self.note(format!("restore of {id} failed: {error}"));
            }
        }
    }
}
