use std::sync::Arc;

use model::{PointId, Timestamp, VaultSettings};
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};

use crate::{
    Damage, ErrorKind, Monitor, Sequence, StoredDisk, Vault,
    fixture::{MIB, back_up, create_in, noise, object, open_in, restored, source},
    log::Change,
};

fn entry(number: u64) -> Path {
    Path::from(Sequence(number).entry_name())
}

async fn flip(store: &InMemory, path: &Path) {
    let mut bytes = object(store, path).await;
    bytes[90] ^= 1;
    store.put(path, bytes.into()).await.unwrap();
}

/// Three points, in the entries 2, 3 and 4.
async fn three_points() -> (Vault, Arc<InMemory>, Vec<StoredDisk>) {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let mut stored = Vec::new();
    for number in 1..=3 {
        stored.push(back_up(&vault, number, source(&noise(number.into(), 2 * MIB))).await.unwrap());
    }
    (vault, store, stored)
}

async fn assert_readable(store: &Arc<InMemory>, stored: &[StoredDisk]) {
    let vault = open_in(store.clone(), 5).await;
    let points = vault.points().await.unwrap().points;
    assert_eq!(points.len(), stored.len());
    for (number, stored) in stored.iter().enumerate() {
        assert!(restored(&vault, &stored.map).await.unwrap() == noise(number as u64 + 1, 2 * MIB));
    }
}

#[tokio::test]
async fn a_damaged_or_lost_entry_hides_no_point_and_keeps_writers_out() {
    for number in 1..=4 {
        for is_lost in [false, true] {
            let (_, store, stored) = three_points().await;
            match is_lost {
                false => flip(&store, &entry(number)).await,
                // That the last one is gone cannot be told from its never having been there.
                true if number == 4 => continue,
                true => store.delete(&entry(number)).await.unwrap(),
            }
            assert_readable(&store, &stored).await;
            let vault = open_in(store.clone(), 6).await;
            let error = back_up(&vault, 9, source(&noise(9, MIB))).await.unwrap_err();
            assert!(error.guidance().is_some(), "{error}");
            let report = vault.verify(&Monitor::default()).await.unwrap();
            let expected = Sequence(number);
            assert!(
                matches!(&report.damage[..], [Damage::LogEntry { sequence, .. }] if *sequence == expected),
                "{number} {is_lost} {report:?}"
            );
            assert_eq!(report.points.len(), 3);
        }
    }
}

#[tokio::test]
async fn a_damaged_state_without_entries_hides_no_point() {
    let (vault, store, stored) = three_points().await;
    let log = &vault.shared.log;
    log.trim_all(&log.refresh().await.unwrap()).await.unwrap();
    flip(&store, &Path::from(Sequence(4).state_name())).await;
    assert_readable(&store, &stored).await;
    let report = open_in(store.clone(), 6).await.verify(&Monitor::default()).await.unwrap();
    assert!(report.damage.contains(&Damage::State {
        sequence: Sequence(4),
        reason: "a state of the vault's log, number 4, is damaged".into(),
    }));
}

#[tokio::test]
async fn a_damaged_state_that_the_entries_say_again_costs_nothing() {
    let (vault, store, _) = three_points().await;
    let known = vault.shared.log.refresh().await.unwrap();
    vault.shared.log.write_state(&known).await.unwrap();
    flip(&store, &Path::from(Sequence(4).state_name())).await;
    let salvaged = open_in(store.clone(), 6).await.shared.log.salvage(Timestamp::default()).await.unwrap();
    assert_eq!(salvaged, *known);
    assert!(!salvaged.is_salvaged);
}

/// The entry that brought it back may be the one that is lost.
#[tokio::test]
async fn where_in_doubt_a_point_is_not_deleted() {
    let (vault, store, stored) = three_points().await;
    let point = vec![PointId::from_random([1; 10])];
    let log = &vault.shared.log;
    log.append(Change::Delete { points: point.clone() }).await.unwrap();
    log.append(Change::Undelete { points: point }).await.unwrap();
    log.append(Change::Settings(VaultSettings { soft_delete_days: 30, ..VaultSettings::default() }))
        .await
        .unwrap();
    flip(&store, &entry(6)).await;
    assert_readable(&store, &stored).await;
    let salvaged = open_in(store.clone(), 7).await.shared.log.salvage(Timestamp::default()).await.unwrap();
    assert_eq!((salvaged.sequence, salvaged.body.settings.soft_delete_days), (Sequence(7), 30));
    let refused = vault.shared.log.try_append(&salvaged, Change::Index { segments: Vec::new() }).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
}
