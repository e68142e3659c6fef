use std::sync::Arc;

use env::Env;
use object_store::memory::InMemory;

use crate::{
    ErrorKind, NewKey, NewSlot, StoreLocation, Vault, Verdict,
    fixture::{OddStore, Oddity, key_file, objects},
    probe,
};

fn odd(inner: &Arc<InMemory>, oddity: Oddity) -> StoreLocation {
    StoreLocation::at_hand(Arc::new(OddStore::new(inner.clone(), oddity)))
}

#[tokio::test]
async fn a_store_that_creates_over_what_is_there_holds_no_vault() {
    for oddity in [Oddity::Overwrites, Oddity::CannotCreate] {
        let inner = Arc::new(InMemory::new());
        let location = odd(&inner, oddity);
        let report = probe(&location, &Env::seeded(1)).await.unwrap();
        assert!(!report.is_fit());
        let failed: Vec<_> = report
            .checks
            .iter()
            .filter(|check| matches!(check.verdict, Verdict::Failed(_)))
            .map(|check| check.name)
            .collect();
        assert_eq!(failed, ["create if absent", "one of many creators"], "{oddity:?}");
        let created =
            Vault::create(&location, &[NewSlot::unlabelled(NewKey::KeyFile(key_file()))], Env::seeded(2))
                .await;
        let refused = created.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{oddity:?}: {refused}");
        assert!(refused.guidance().unwrap().contains("use a store that can"), "{oddity:?}");
        assert_eq!(objects(&*inner).await, [], "{oddity:?} leaves nothing behind");
    }
}

#[tokio::test]
async fn clocks_that_differ_are_noted_and_no_failure() {
    // A seeded clock starts in the past of every real one.
    let location = StoreLocation::at_hand(Arc::new(InMemory::new()));
    let report = probe(&location, &Env::seeded(1)).await.unwrap();
    assert!(report.is_fit(), "{report:#?}");
    let clock = report.checks.last().unwrap();
    assert!(matches!(&clock.verdict, Verdict::Noted(text) if text.contains("ahead of")), "{clock:?}");
    assert!(report.clock_skew_us.unwrap() > 0);
}

#[tokio::test]
async fn a_directory_is_as_empty_after_a_probe_as_before() {
    let directory = tempfile::tempdir().unwrap();
    let location = StoreLocation::parse(directory.path().to_str().unwrap()).unwrap();
    assert!(probe(&location, &Env::system()).await.unwrap().is_fit());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
