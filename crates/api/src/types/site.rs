//! The site itself.

use model::{SiteId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteView {
    /// The server's version.
    pub version: String,
    /// The server's data directory.
    pub data_directory: String,
    /// The server's process id.
    pub process_id: u32,
    /// Since when it has been running.
    pub started_at: String,
    /// The site's id.
    #[schema(value_type = String)]
    pub id: SiteId,
    /// What the site calls itself to its peers.
    pub name: String,
    /// Where it listens for peers; null when it does not.
    pub peer_listening: Option<String>,
    /// Where peers are told to call; null when none can.
    pub peer_address: Option<String>,
    /// The SHA-256 fingerprint of the site's certificate authority.
    pub authority: String,
    /// Until when the certificate is valid that it shows its peers. It is renewed in time.
    #[schema(value_type = String)]
    pub certificate_expires_at: Timestamp,
}

/// How a check of the host ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// Fine.
    Ok,
    /// Works, but worse than it could.
    Warning,
    /// Something will not work.
    Failed,
}

/// One check of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckView {
    /// What was checked.
    pub name: String,
    /// How it ended.
    pub status: CheckStatus,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
