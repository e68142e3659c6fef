//! Plans for another site.

use super::PeerClient;
use crate::{
    Result,
    plans::{KeptPlan, SharedPlan},
};

impl PeerClient {
    /// Has a version of a plan kept there. May be sent again.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Conflict`] when another plan has its name there, [`crate::ErrorKind::Invalid`] when it cannot be read.
    pub async fn share_plan(&self, plan: &SharedPlan) -> Result<KeptPlan> {
        self.post("/peer/v1/plans", plan).await
    }
}
