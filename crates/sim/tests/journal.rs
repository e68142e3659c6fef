//! The worlds of the journal that every change has to survive, and the mistakes that they have to find.

use sim::journal::{Broken, first_failure, run_seed};

/// Seeds that every change has to survive.
const SEEDS: u64 = 2000;

/// Seeds within which every mistake has to be found.
const SEEDS_TO_FIND: u64 = 400;

fn is_found(broken: Broken) {
    let (failure, count) = first_failure(0..SEEDS_TO_FIND, Some(broken));
    assert!(failure.is_some(), "{broken} was not noticed in {count} worlds");
}

#[test]
fn sound_worlds_break_no_rule() {
    let (failure, _) = first_failure(0..SEEDS, None);
    if let Some(outcome) = failure {
        let violation = outcome.violation.unwrap_or_default();
        panic!("{violation}\nreplay: cargo xtask sim journal --seed {}", outcome.seed);
    }
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
fn a_source_that_acknowledges_before_it_is_durable_is_noticed() {
    is_found(Broken::AcknowledgeBeforeSync);
}

#[test]
fn shipping_what_a_crash_may_take_back_is_noticed() {
    is_found(Broken::ShipBeforeSync);
}

#[test]
fn a_copy_over_what_was_written_meanwhile_is_noticed() {
    is_found(Broken::CopyOverWrites);
}

#[test]
fn a_forgotten_epoch_is_noticed() {
    is_found(Broken::EpochForgotten);
}

#[test]
fn a_replica_that_acknowledges_before_it_is_durable_is_noticed() {
    is_found(Broken::ReceiveBeforeSync);
}

#[test]
fn a_fold_that_ends_before_the_base_is_durable_is_noticed() {
    is_found(Broken::FoldBeforeSync);
}

#[test]
fn a_fold_that_is_not_announced_is_noticed() {
    is_found(Broken::FoldUnannounced);
}

#[test]
fn a_fold_of_what_is_pinned_is_noticed() {
    is_found(Broken::FoldIgnoresPins);
}
