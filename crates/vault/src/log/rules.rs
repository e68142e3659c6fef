//! What may be done to a point, when, and why not yet. The log refuses what these refuse, and whoever plans asks them
//! first.

use model::{Timestamp, VaultSettings};

use super::state::PointState;

/// Why something may not be done to a point.
pub(crate) type Rule = std::result::Result<(), &'static str>;

/// From when on a point may be deleted, but for a hold.
pub(crate) fn deletable_from(point: &PointState, settings: &VaultSettings) -> Timestamp {
    point.committed_at.plus_days(settings.retention_floor_days())
}

/// Until when a point is there whatever anybody asks of the vault, by the store's clock: if it is deleted at the first moment
/// that its retention allows, and purged at the first at which it cannot be brought back. A hold may be released now, so it
/// adds nothing. Never later than for a point that is committed now: a clock that ran ahead binds nobody for years.
pub(crate) fn kept_until(point: &PointState, settings: &VaultSettings, now: Timestamp) -> Timestamp {
    let latest = now.plus_days(settings.retention_floor_days()).plus_days(settings.soft_delete_days);
    let until = match point.deletion {
        Some(deletion) if point.hold.is_none() => deletion.purge_after,
        _ => deletable_from(point, settings).max(now).plus_days(settings.soft_delete_days),
    };
    until.min(latest)
}

/// What keeps everything that either of two settings keeps.
pub(crate) fn strictest(one: &VaultSettings, other: &VaultSettings) -> VaultSettings {
    VaultSettings {
        soft_delete_days: one.soft_delete_days.max(other.soft_delete_days),
        immutability: one.immutability.max(other.immutability),
        min_retention_days: one.min_retention_days.max(other.min_retention_days),
    }
}

/// Whether a point may be deleted. `certain` has passed by all clocks: one that runs ahead shortens no retention.
pub(crate) fn may_delete(point: &PointState, settings: &VaultSettings, certain: Option<Timestamp>) -> Rule {
    if point.deletion.is_some() {
        return Err("is deleted already");
    }
    if point.hold.is_some() {
        return Err("is under a legal hold");
    }
    let floor_days = settings.retention_floor_days();
    if floor_days > 0 && certain.is_none_or(|certain| certain < deletable_from(point, settings)) {
        return Err("is younger than the least retention of the vault, which is immutable");
    }
    Ok(())
}

/// From when on a point that is deleted now may be purged. `latest` has passed by any clock: one that runs behind shortens
/// nothing. Without soft delete there is nothing to wait for.
pub(crate) fn purge_after(
    settings: &VaultSettings,
    certain: Option<Timestamp>,
    latest: Timestamp,
) -> Timestamp {
    match settings.soft_delete_days {
        0 => certain.unwrap_or(latest),
        days => latest.plus_days(days),
    }
}

/// Whether a deleted point may be brought back: as long as nobody has purged it.
pub(crate) fn may_undelete(point: &PointState) -> Rule {
    point.deletion.map(|_| ()).ok_or("is not deleted")
}

/// Whether a point may be put under a hold.
pub(crate) fn may_hold(point: &PointState) -> Rule {
    if point.deletion.is_some() { Err("is deleted: bring it back first") } else { Ok(()) }
}

/// Whether a point may be released from its hold.
pub(crate) fn may_release(point: &PointState) -> Rule {
    point.hold.as_ref().map(|_| ()).ok_or("is under no hold")
}

/// Whether a point may be purged. `certain` has passed by all clocks: one that runs ahead purges nothing early.
pub(crate) fn may_purge(point: &PointState, certain: Option<Timestamp>) -> Rule {
    match point.deletion {
        None => Err("is not deleted"),
        Some(_) if point.hold.is_some() => Err("is under a legal hold"),
        Some(deletion) if certain.is_none_or(|certain| certain < deletion.purge_after) => {
            Err("can still be brought back")
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
