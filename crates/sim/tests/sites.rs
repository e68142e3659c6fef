//! The worlds of two sites that every change has to survive, and the mistakes that they have to find.

use sim::sites::{AT_INTERVALS_FROM, Broken, first_failure, run_seed};

/// Seeds that every change has to survive.
const SEEDS: u64 = 1500;

/// Seeds within which every mistake has to be found.
const SEEDS_TO_FIND: u64 = 2500;

fn is_found(broken: Broken) {
    is_found_from(0, broken);
}

fn is_found_from(seed: u64, broken: Broken) {
    let (failure, count) = first_failure(seed..seed + SEEDS_TO_FIND, Some(broken));
    assert!(failure.is_some(), "{broken} was not noticed in {count} worlds");
}

#[test]
fn sound_worlds_break_no_rule() {
    let (failure, _) = first_failure(0..SEEDS, None);
    if let Some(outcome) = failure {
        let violation = outcome.violation.unwrap_or_default();
        panic!("{violation}\nreplay: cargo xtask sim sites --seed {}", outcome.seed);
    }
}

#[test]
fn sound_worlds_at_intervals_break_no_rule() {
    let (failure, _) = first_failure(AT_INTERVALS_FROM..AT_INTERVALS_FROM + SEEDS, None);
    if let Some(outcome) = failure {
        let violation = outcome.violation.unwrap_or_default();
        panic!("{violation}\nreplay: cargo xtask sim sites --seed {}", outcome.seed);
    }
}

#[test]
fn moments_between_those_that_were_held_are_noticed() {
    is_found_from(AT_INTERVALS_FROM, Broken::WholeTooSoon);
}

#[test]
fn writes_that_are_in_no_epoch_are_noticed() {
    is_found_from(AT_INTERVALS_FROM, Broken::FailedEpochForgotten);
    is_found_from(AT_INTERVALS_FROM, Broken::TrustUndurable);
}

#[test]
fn a_seed_tells_everything() {
    for seed in 0..4 {
        let (first, second) = (run_seed(seed, None), run_seed(seed, None));
        assert_eq!((first.digest, first.event_count), (second.digest, second.event_count), "seed {seed}");
        assert_ne!(first.digest, run_seed(seed + 1000, None).digest, "seed {seed}");
    }
}

#[test]
fn what_is_not_durable_and_called_so_is_noticed() {
    is_found(Broken::ReceiveBeforeSync);
    is_found(Broken::AcknowledgeBeforeSync);
}

#[test]
fn moments_that_lack_writes_are_noticed() {
    is_found(Broken::TrustUndurable);
    is_found(Broken::BeginLate);
}

#[test]
fn a_vm_that_may_run_at_two_sites_is_noticed() {
    is_found(Broken::StartIgnoresFence);
    is_found(Broken::AskBeforeFence);
    is_found(Broken::SilenceIsRefusal);
    is_found(Broken::SameGeneration);
    is_found(Broken::ReplicateUncommitted);
    is_found(Broken::OldReplicaFailsOver);
}

#[test]
fn fences_that_are_lost_are_noticed() {
    is_found(Broken::StopForgetsFence);
}

#[test]
fn writes_of_an_older_generation_that_are_taken_are_noticed() {
    is_found(Broken::LookBeforeTurn);
    is_found(Broken::OtherReplicaUnfenced);
    is_found(Broken::BuildBeforeStanding);
}

#[test]
fn a_hand_over_that_loses_something_is_noticed() {
    is_found(Broken::HandOverEarly);
    is_found(Broken::StoppedIsWhole);
}

#[test]
fn a_test_whose_moment_goes_is_noticed() {
    is_found(Broken::TestUnpinned);
}
