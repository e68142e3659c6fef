//! Recovery plans that two sites keep both: for the one they are a failover, for the other the way back.

use model::{PlanName, SiteId, Timestamp};
use serde::{Deserialize, Serialize};

/// The longest body of a plan with its runbooks, in bytes.
pub const PLAN_BODY_MAX_BYTES: usize = 4 << 20;

/// The most runbooks that come with a plan.
pub const RUNBOOKS_MAX: usize = 64;

/// A version of a plan, on its way to another site that has to do with its VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPlan {
    /// Its name.
    pub name: PlanName,
    /// Which version of it. Of two with one number that is newer which was written later.
    pub version: u64,
    /// The site that wrote it.
    pub origin: SiteId,
    /// Where its VMs are at home.
    pub primary_site: SiteId,
    /// When it was written.
    pub created_at: Timestamp,
    /// What somebody wrote.
    pub text: String,
    /// How that is written.
    pub format: String,
    /// Whether the plan was forgotten; then there is no text.
    #[serde(default)]
    pub is_deleted: bool,
    /// The runbooks that it names, as far as the sender has them.
    #[serde(default)]
    pub runbooks: Vec<SharedRunbook>,
}

/// A runbook that comes with a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedRunbook {
    /// Its name.
    pub name: String,
    /// What it is, as it was written.
    pub document: String,
}

/// That a plan was kept, or that the receiver has a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPlan {
    /// The version that counts there now.
    pub version: u64,
}
