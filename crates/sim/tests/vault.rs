//! The worlds that every change has to survive, and the mistakes that they have to find.

use sim::{Broken, first_failure, run_seed};

/// Seeds that every change has to survive.
const SEEDS: u64 = 60;

fn survives(seeds: std::ops::Range<u64>) {
    let (failure, _) = first_failure(seeds, None);
    if let Some(outcome) = failure {
        let violation = outcome.violation.unwrap_or_default();
        panic!("{violation}\nreplay: cargo xtask sim vault --seed {}", outcome.seed);
    }
}

fn is_found(broken: Broken) {
    let (failure, count) = first_failure(0..SEEDS, Some(broken));
    assert!(failure.is_some(), "{broken} was not noticed in {count} worlds");
}

#[test]
fn sound_worlds_break_no_rule() {
    survives(0..SEEDS);
}

#[test]
fn a_seed_tells_everything() {
    for seed in 0..4 {
        let (first, second) = (run_seed(seed, None), run_seed(seed, None));
        assert_eq!((first.event_count, first.digest), (second.event_count, second.digest), "seed {seed}");
        assert_ne!(first.digest, run_seed(seed + 1000, None).digest, "seed {seed}");
    }
}

#[test]
fn a_store_that_replaces_what_exists_is_noticed() {
    is_found(Broken::StoreCreateReplaces);
}

#[test]
fn a_store_that_forgets_is_noticed() {
    is_found(Broken::StoreForgets);
}

#[test]
fn a_collection_that_deletes_before_it_logs_is_noticed() {
    is_found(Broken::CollectDeletesBeforeLogging);
}

#[test]
fn a_collection_that_trusts_listings_is_noticed() {
    is_found(Broken::CollectTrustsPointListing);
}

#[test]
fn a_collection_that_forgets_new_commits_is_noticed() {
    is_found(Broken::CollectForgetsNewCommits);
}

#[test]
fn a_writer_that_does_not_look_at_collections_is_noticed() {
    is_found(Broken::WriterSkipsOutlive);
}

#[test]
fn unasked_orphans_are_noticed() {
    is_found(Broken::OrphansUnasked);
}

#[test]
fn repacking_that_deletes_first_is_noticed() {
    is_found(Broken::RepackDropsOld);
}
