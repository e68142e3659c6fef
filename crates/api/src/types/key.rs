//! The keys of vaults.

use model::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A way to open a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeySlotView {
    /// The slot's id.
    pub id: String,
    /// What opens it: passphrase, key file or recipient; null for one that opens nothing.
    pub kind: Option<String>,
    /// What people call it.
    pub label: String,
    /// When it was made.
    #[schema(value_type = Option<String>)]
    pub created_at: Option<Timestamp>,
    /// Why it opens nothing: it is damaged, or a stranger planted it.
    pub problem: Option<String>,
}

/// What will open a vault.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NewKeyWith {
    /// A passphrase.
    Passphrase(String),
    /// The text of a key file.
    KeyFile(String),
    /// Somebody's recipient, whose identity file opens it.
    Recipient(String),
}

impl std::fmt::Debug for NewKeyWith {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("NewKeyWith(…)")
    }
}

/// Gives a vault another key, or puts one in the place of an old one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddKey {
    /// What people call it; at most 48 bytes.
    #[serde(default)]
    pub label: Option<String>,
    /// What it is; none makes a key file, which the answer holds.
    #[serde(default)]
    pub with: Option<NewKeyWith>,
}

/// A key that was added.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddedKey {
    /// Its slot.
    pub slot: KeySlotView,
    /// The text of the key file that was made. The site does not keep it.
    pub key_file: Option<String>,
}

impl std::fmt::Debug for AddedKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AddedKey").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// Makes a recovery kit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeRecoveryKit {
    /// Where the vault is, as somebody elsewhere would reach it; defaults to its URL.
    #[serde(default)]
    pub place: Option<String>,
}

/// A recovery kit: whoever has the page and reaches the store reads the vault.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecoveryKitView {
    /// The key slot that it opens.
    pub slot: KeySlotView,
    /// The page to print: plain text, lines of at most 80 characters.
    pub page: String,
}

impl std::fmt::Debug for RecoveryKitView {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RecoveryKitView").field("slot", &self.slot).finish_non_exhaustive()
    }
}
