use catalog::CopyFailure;
use model::Timestamp;

use super::is_due;

const MINUTE_US: i64 = 60_000_000;

fn failed(count: u32) -> CopyFailure {
    CopyFailure { at: Timestamp::from_microseconds(0), count, problem: "gone".to_owned() }
}

#[test]
fn a_copy_is_left_alone_for_longer_each_time_it_fails_but_not_for_ever() {
    let due =
        |count, minutes| is_due(Some(&failed(count)), Timestamp::from_microseconds(minutes * MINUTE_US));
    assert!(is_due(None, Timestamp::from_microseconds(0)));
    assert!(!due(1, 0) && due(1, 1));
    assert!(!due(2, 1) && due(2, 2));
    assert!(!due(9, 255) && due(9, 256));
    assert!(!due(u32::MAX, 359) && due(u32::MAX, 360));
    assert!(due(5, -1), "the clock was set back");
}
