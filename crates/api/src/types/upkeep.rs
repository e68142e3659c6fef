//! Keeping a vault in order: whether its store is fit, giving space back, checking and healing.

use model::{ByteCount, PointId, Timestamp, VmId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::CheckView;

/// Tries out whether a store can hold a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeStore {
    /// A store's URL, or the name of a vault that is in it.
    pub store: String,
}

/// What a store showed of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProbeView {
    /// Where it is.
    pub url: String,
    /// Whether a vault can be kept in it.
    pub is_fit: bool,
    /// What was tried, in order; the hint says what it means for a vault.
    pub checks: Vec<CheckView>,
    /// How far its clock is ahead of the server's, in microseconds; negative when it is behind.
    pub clock_skew_us: Option<i64>,
}

/// Starts a garbage collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectRequest {
    /// Say what would go, and delete nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// How long what no point needs yet is left alone, in hours, for the sake of backups at work; defaults to 72.
    #[serde(default)]
    pub grace_hours: Option<u32>,
    /// Points that are damaged, by id, and are no reason to stop: what cannot be found of them counts as not needed.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub ignore_damaged: Vec<PointId>,
}

/// What a garbage collection did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CollectView {
    /// The vault's name.
    pub vault: String,
    /// Whether nothing was deleted.
    pub dry_run: bool,
    /// Deleted points whose time is over, which are gone for good.
    pub purged_point_count: u64,
    /// Packs that nothing needs.
    pub dropped_pack_count: u64,
    /// Packs whose living chunks were stored again in new ones.
    pub repacked_pack_count: u64,
    /// Space that was given back.
    #[schema(value_type = u64)]
    pub freed_bytes: ByteCount,
    /// Packs that stay although a part of them is not needed; only of a dry run.
    pub kept_pack_count: Option<u64>,
    /// Bytes that nothing needs in those.
    #[schema(value_type = Option<u64>)]
    pub kept_dead_bytes: Option<ByteCount>,
    /// Packs that are left alone because a backup at work may need them; only of a dry run.
    pub waiting_pack_count: Option<u64>,
    /// From when on all of those may go.
    #[schema(value_type = Option<String>)]
    pub waits_until: Option<Timestamp>,
}

/// Starts a verification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// Read only so many per cent of the packs, chosen at random; 1 to 100.
    #[serde(default)]
    pub sample_percent: Option<u8>,
    /// Read only packs that have not been read for so many hours.
    #[serde(default)]
    pub older_than_hours: Option<u32>,
}

/// Starts a repair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairRequest {
    /// The copies to take sound objects from, by name; none means all.
    #[serde(default)]
    pub from_copies: Vec<String>,
    /// Say what would be healed, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a repair did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepairView {
    /// The vault's name.
    pub vault: String,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How many objects were damaged or missing and are sound again.
    pub healed_count: u64,
    /// How many stay damaged.
    pub unhealed_count: u64,
    /// The first of those that are sound again.
    pub healed: Vec<FindingView>,
    /// The first of those that stay damaged.
    pub unhealed: Vec<FindingView>,
    /// The points that are not whole afterwards; of a dry run, before.
    pub hurt_points: Vec<HurtView>,
    /// The points that are under a hold from now on, because it is lost whether they were under one.
    #[serde(default)]
    pub held_points: Vec<HeldView>,
}

/// An object of a vault that was found damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// The object.
    pub object: String,
    /// What is wrong with it, and what heals it or why nothing does.
    pub detail: String,
}

/// A recovery point that nobody can delete until it is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeldView {
    /// The point.
    #[schema(value_type = String)]
    pub id: PointId,
    /// The VM.
    #[schema(value_type = String)]
    pub vm_id: VmId,
    /// The moment that it shows.
    #[schema(value_type = String)]
    pub captured_at: Timestamp,
}

/// A recovery point that cannot be restored whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HurtView {
    /// The point.
    #[schema(value_type = String)]
    pub id: PointId,
    /// The VM.
    #[schema(value_type = String)]
    pub vm_id: VmId,
    /// The moment that it shows.
    #[schema(value_type = String)]
    pub captured_at: Timestamp,
    /// Bytes of its disks that are lost; null where the point itself is.
    #[schema(value_type = Option<u64>)]
    pub lost_bytes: Option<ByteCount>,
}
