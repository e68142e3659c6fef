use env::Env;

use super::{fill, load_index, look_up};
use crate::{CollectOptions, Monitor, StoreLocation, Vault, VerifyOptions, VerifyScope, fixture};

#[tokio::test]
async fn a_hollow_vault_is_sound_in_all_that_is_not_hollow_and_can_be_collected() {
    let directory = tempfile::tempdir().unwrap();
    let location = StoreLocation::parse(directory.path().to_str().unwrap()).unwrap();
    let vault = Vault::create(&location, &[fixture::key_file_slot()], Env::system()).await.unwrap();
    let totals = fill(&vault, directory.path(), 1).await.unwrap();
    assert!(load_index(&vault).await.unwrap() > 200);
    assert_eq!(look_up(&vault, totals.chunks, 1000).unwrap(), 500);
    let options = VerifyOptions { scope: VerifyScope::Sample { percent: 0 } };
    let verified = vault.verify_with(&options, &Monitor::default()).await.unwrap();
    assert!(verified.is_clean(), "{:?}", verified.damage);

    let options = CollectOptions { repack_dead_percent: 101, ..CollectOptions::default() };
    let plan = vault.plan_collection(&options, &Monitor::default()).await.unwrap();
    assert!(!plan.drop.is_empty() && plan.partly_dead.count > 0);
    let report = vault.collect(&options, &Monitor::default()).await.unwrap();
    assert_eq!((report.points, report.dropped_packs), (totals.due_points, plan.drop.len() as u64));
    assert_eq!(vault.points().await.unwrap().points.len() as u64, totals.points - totals.due_points);
    assert!(vault.plan_collection(&options, &Monitor::default()).await.unwrap().is_empty());
}
