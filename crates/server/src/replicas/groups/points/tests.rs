//! Which moments are shared.

use journal::{Checkpoint, CheckpointKind, RestorePoint, Sequence};
use model::{GroupId, MomentSelector, Timestamp};

use super::{Marks, SharedPoint, common, newest};

fn group() -> GroupId {
    GroupId::from_random([1; 10])
}

/// What a journal has: at each record a name.
fn marks(points: &[(u64, &str)]) -> Marks {
    let point = |(record, says): &(u64, &str)| RestorePoint {
        sequence: Sequence(*record),
        time: Timestamp::from_microseconds(*record as i64),
        checkpoint: Checkpoint { kind: CheckpointKind::Group, vm: None, name: format!("{}#{says}", group()) },
    };
    Marks::of(group(), points.iter().map(point).collect())
}

fn numbers(points: &[SharedPoint]) -> Vec<u64> {
    points.iter().map(|point| point.number).collect()
}

#[test]
fn a_moment_is_shared_where_all_have_it_and_one_knows_that_it_was_held() {
    let one = marks(&[(10, "1 crash"), (11, "1 held"), (20, "2 crash"), (30, "3 crash"), (31, "3 held")]);
    let other =
        marks(&[(100, "1 crash"), (200, "2 crash"), (201, "3 held"), (400, "4 crash"), (401, "4 held")]);
    let shared = common(&[one.clone(), other]);
    // Nobody knows that 2 was held, the other has no 3, and one no 4.
    assert_eq!(numbers(&shared), [1]);
    assert_eq!(shared[0].records, [Sequence(10), Sequence(100)]);
    assert_eq!(shared[0].time, Timestamp::from_microseconds(100));
    assert_eq!(numbers(&common(&[one])), [1, 3]);
    assert!(common(&[]).is_empty());
}

#[test]
fn marks_of_other_groups_and_of_none_do_not_count() {
    let mut point = RestorePoint {
        sequence: Sequence(1),
        time: Timestamp::from_microseconds(1),
        checkpoint: Checkpoint {
            kind: CheckpointKind::Group,
            vm: None,
            name: format!("{}#1 crash", GroupId::from_random([2; 10])),
        },
    };
    assert_eq!(Marks::of(group(), vec![point.clone()]), Marks::default());
    point.checkpoint =
        Checkpoint { kind: CheckpointKind::Bookmark, vm: None, name: format!("{}#1 crash", group()) };
    assert_eq!(Marks::of(group(), vec![point]), Marks::default());
}

#[test]
fn what_is_meant_is_the_newest_of_its_kind() {
    let all = marks(&[
        (1, "1 application before"),
        (2, "1 held"),
        (3, "2 crash"),
        (4, "2 held"),
        (5, "3 crash before"),
        (6, "3 held"),
    ]);
    let of = |moment: MomentSelector| {
        newest(common(std::slice::from_ref(&all)), &moment).unwrap().map(|it| it.number)
    };
    assert_eq!(of(MomentSelector::Latest), Some(3));
    assert_eq!(of(MomentSelector::LatestApplication), Some(1));
    assert_eq!(of(MomentSelector::At(Timestamp::from_microseconds(4))), Some(2));
    assert_eq!(of(MomentSelector::At(Timestamp::from_microseconds(0))), None);
    assert_eq!(of(MomentSelector::Sequence(2)), Some(2));
    assert_eq!(of(MomentSelector::Checkpoint("before".to_owned())), Some(3));
    assert_eq!(of(MomentSelector::Checkpoint("after".to_owned())), None);
}
