use model::{Immutability, Timestamp, VaultSettings, VmId};

use super::{super::state::Deletion, PointState, kept_until};
use crate::Digest;

const SETTINGS: VaultSettings =
    VaultSettings { soft_delete_days: 14, immutability: Immutability::Enabled, min_retention_days: 30 };

fn day(number: u32) -> Timestamp {
    Timestamp::from_microseconds(1_767_225_600_000_000).plus_days(number)
}

fn committed(at: Timestamp) -> PointState {
    PointState {
        object: Digest([1; 32]),
        vm_id: VmId::from_random([1; 10]),
        captured_at: at,
        committed_at: at,
        roots: Vec::new(),
        hold: None,
        deletion: None,
    }
}

#[test]
fn a_point_is_kept_until_it_could_be_purged_if_it_were_deleted_as_soon_as_it_may() {
    assert_eq!(kept_until(&committed(day(0)), &SETTINGS, day(10)), day(30 + 14));
    assert_eq!(kept_until(&committed(day(0)), &SETTINGS, day(100)), day(100 + 14));
    let disabled = VaultSettings { immutability: Immutability::Disabled, ..SETTINGS };
    assert_eq!(kept_until(&committed(day(0)), &disabled, day(10)), day(10 + 14));
}

#[test]
fn a_deleted_point_is_kept_until_it_may_be_purged_and_one_that_is_held_is_not_let_go() {
    let deletion = Some(Deletion { at: day(40), purge_after: day(54) });
    let deleted = PointState { deletion, ..committed(day(0)) };
    assert_eq!(kept_until(&deleted, &SETTINGS, day(41)), day(54));
    let held = PointState { hold: Some("a case".into()), ..deleted };
    assert_eq!(kept_until(&held, &SETTINGS, day(60)), day(74));
}

#[test]
fn a_clock_that_ran_ahead_binds_nobody_for_years() {
    let far = day(4000);
    assert_eq!(kept_until(&committed(far), &SETTINGS, day(1)), day(45));
    let deletion = Some(Deletion { at: far, purge_after: far.plus_days(14) });
    let deleted = PointState { deletion, ..committed(day(0)) };
    assert_eq!(kept_until(&deleted, &SETTINGS, day(1)), day(45));
}
