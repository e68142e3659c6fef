use model::{Timestamp, VmId};
use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_microseconds(seconds * 1_000_000)
}

fn vm(number: u8) -> VmId {
    VmId::from_random([number; 10])
}

fn fail_over() -> Event {
    Event::FailOver { vm_id: vm(1), at: at(5) }
}

/// The standing after these events, all of which are allowed.
fn after(events: &[Event]) -> Standing {
    events.iter().fold(Standing::new(1), |standing, event| step(&standing, *event).unwrap().standing)
}

fn refused(standing: &Standing, event: Event) -> Refusal {
    step(standing, event).unwrap_err()
}

#[test]
fn a_failover_raises_the_generation_before_anything_is_built() {
    let Step { standing, actions } = step(&Standing::new(3), fail_over()).unwrap();
    assert_eq!(standing.generation, 4);
    assert_eq!(actions, [Action::RaiseGeneration, Action::Build, Action::Start]);
    assert!(refused(&standing, Event::PartsCame).is_fence());
    assert!(refused(&standing, Event::Offered { generation: 3 }).is_fence());
    assert!(
        refused(&standing, Event::Offered { generation: 4 }).is_fence(),
        "only the VM here is of that generation"
    );
}

#[test]
fn an_attempt_that_broke_off_goes_on_as_the_same_vm() {
    let begun = after(&[fail_over()]);
    let again = step(&begun, Event::FailOver { vm_id: vm(2), at: at(9) }).unwrap();
    assert_eq!(again.standing, begun);
    assert_eq!(again.actions, [Action::RaiseGeneration, Action::Build, Action::Start]);
}

#[test]
fn a_second_failover_is_refused() {
    let failed_over = after(&[fail_over(), Event::FailedOver]);
    assert!(matches!(refused(&failed_over, fail_over()), Refusal::FailedOver(_)));
    let committed = after(&[fail_over(), Event::FailedOver, Event::Commit { at: at(8) }]);
    assert!(matches!(refused(&committed, fail_over()), Refusal::FailedOver(_)));
}

#[test]
fn the_moment_can_change_until_the_commit() {
    assert_eq!(refused(&Standing::new(1), Event::ChangePoint), Refusal::NotFailedOver);
    let changing = step(&after(&[fail_over(), Event::FailedOver]), Event::ChangePoint).unwrap();
    assert_eq!(changing.standing, after(&[fail_over()]));
    assert!(changing.actions.contains(&Action::TakeDown));
    let committed = after(&[fail_over(), Event::FailedOver, Event::Commit { at: at(8) }]);
    assert!(matches!(refused(&committed, Event::ChangePoint), Refusal::Committed(_)));
}

#[test]
fn what_is_not_through_is_not_committed() {
    assert!(matches!(refused(&after(&[fail_over()]), Event::Commit { at: at(8) }), Refusal::Unfinished(_)));
}

#[test]
fn a_replica_that_may_be_needed_is_not_deleted() {
    let delete = Event::Delete { running_tests: 0 };
    assert!(matches!(refused(&after(&[fail_over()]), delete), Refusal::Uncommitted(_)));
    assert!(matches!(refused(&after(&[fail_over(), Event::FailedOver]), delete), Refusal::Uncommitted(_)));
    assert_eq!(
        refused(&Standing::new(1), Event::Delete { running_tests: 2 }),
        Refusal::Tested { running_tests: 2 }
    );
    assert_eq!(step(&Standing::new(1), delete).unwrap().actions, [Action::Remove]);
}

#[test]
fn an_ended_replication_can_be_taken_up_again() {
    let ended = after(&[Event::SourceEnded { at: at(4) }]);
    assert_eq!(refused(&ended, Event::PartsCame), Refusal::Ended { at: at(4) });
    let again = step(&ended, Event::Offered { generation: 1 }).unwrap();
    assert_eq!(again.standing.ended_at, None);
    assert_eq!(step(&again.standing, Event::PartsCame).unwrap().actions, [Action::Receive]);
    assert_eq!(step(&ended, fail_over()).unwrap().standing.ended_at, Some(at(4)), "and can be failed over");
}

#[test]
fn a_standing_is_kept_as_it_is() {
    for standing in [
        Standing::new(1),
        after(&[fail_over()]),
        after(&[fail_over(), Event::FailedOver, Event::Commit { at: at(8) }]),
    ] {
        let json = serde_json::to_string(&standing).unwrap();
        assert_eq!(serde_json::from_str::<Standing>(&json).unwrap(), standing);
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..6u64).prop_map(|generation| Event::Offered { generation }),
        Just(Event::PartsCame),
        Just(Event::SourceEnded { at: at(4) }),
        Just(Event::Test),
        (1..9u8).prop_map(|number| Event::FailOver { vm_id: vm(number), at: at(5) }),
        Just(Event::FailedOver),
        Just(Event::ChangePoint),
        Just(Event::Commit { at: at(8) }),
        (0..2usize).prop_map(|running_tests| Event::Delete { running_tests }),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_the_fence_stays_and_there_is_one_vm(events in prop::collection::vec(event(), 0..40)) {
        let mut standing = Standing::new(1);
        for event in events {
            let before = standing.clone();
            let Ok(step) = step(&before, event) else { continue };
            prop_assert!(step.standing.generation >= before.generation);
            if let Some(failover) = before.failover() {
                prop_assert_eq!(step.standing.failover(), Some(failover));
                prop_assert!(!step.actions.contains(&Action::Receive));
            }
            if step.actions.contains(&Action::Build) {
                let failover = step.standing.failover().expect("nothing is built that is not known");
                prop_assert_eq!(failover.generation, step.standing.generation);
                prop_assert_eq!(step.actions[0], Action::RaiseGeneration);
            }
            standing = step.standing;
        }
    }
}

#[test]
fn a_replica_whose_generation_is_over_here_is_not_failed_over() {
    let replica = Standing::new(2);
    assert_eq!(replica.check_newest(None), Ok(()));
    assert_eq!(replica.check_newest(Some(1)), Ok(()), "the site that has taken it over again sends it");
    let older = Refusal::Older { offered: 2, known: 2 };
    assert_eq!(replica.check_newest(Some(2)), Err(older), "its VM has run here by another journal");
    let failed_over = after(&[fail_over(), Event::FailedOver]);
    assert_eq!(failed_over.check_newest(Some(2)), Ok(()), "that is its own");
    assert!(failed_over.check_newest(Some(3)).is_err());
    assert!(failed_over.uncommitted().is_some());
    assert!(after(&[fail_over(), Event::FailedOver, Event::Commit { at: at(8) }]).uncommitted().is_none());
}
