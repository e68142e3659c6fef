//! The worlds that every change has to survive, and the mistakes that they have to find.

use std::process::Command;

use sim::{Broken, Outcome, first_failure, run_seed};

/// Seeds that every change has to survive.
const SEEDS: u64 = 2000;

/// Seeds within which every mistake has to be found.
const SEEDS_TO_FIND: u64 = 200;

fn is_found(broken: Broken) {
    let (failure, count) = first_failure(0..SEEDS_TO_FIND, Some(broken));
    assert!(failure.is_some(), "{broken} was not noticed in {count} worlds");
}

#[test]
fn sound_worlds_break_no_rule() {
    let (failure, _) = first_failure(0..SEEDS, None);
    if let Some(outcome) = failure {
        let violation = outcome.violation.unwrap_or_default();
        panic!("{violation}\nreplay: cargo xtask sim vault --seed {}", outcome.seed);
    }
}

/// What a run says in one line at its end.
fn told(outcome: &Outcome) -> String {
    format!("seed {}: {} events, digest {:016x}", outcome.seed, outcome.event_count, outcome.digest)
}

#[test]
fn a_seed_tells_everything() {
    for seed in 0..4 {
        let first = run_seed(seed, None);
        assert_eq!(told(&first), told(&run_seed(seed, None)));
        assert_ne!(first.digest, run_seed(seed + 1000, None).digest, "seed {seed}");
    }
}

#[test]
fn another_process_lives_through_the_same_world() {
    for seed in 0..4 {
        let here = told(&run_seed(seed, None));
        for (threads, language) in [("1", "C"), ("7", "de_DE.UTF-8")] {
            let mut other = Command::new(env!("CARGO_BIN_EXE_sim"));
            other.args(["vault", "--last", "0", "--seed", &seed.to_string()]);
            other.env("TOKIO_WORKER_THREADS", threads).env("RAYON_NUM_THREADS", threads);
            other.env("LANG", language).env("TZ", "Asia/Kathmandu").env("TMPDIR", "/nowhere");
            let output = other.current_dir("/").output().unwrap();
            let there = String::from_utf8(output.stdout).unwrap();
            assert_eq!(there.lines().next(), Some(here.as_str()), "{threads} threads");
        }
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

#[test]
fn a_repair_that_hides_what_is_lost_is_noticed() {
    is_found(Broken::RepairHidesHurt);
}

#[test]
fn a_repair_that_lists_condemned_packs_is_noticed() {
    is_found(Broken::RepairListsCondemned);
}
