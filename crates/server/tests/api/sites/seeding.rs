//! What the other site has of a VM can be named as what its replica begins with.

use api::{
    BackUpReplica, CopySnapshot, CreateSnapshot, JobResult, ReplicationView, StartReplication,
    StopReplication,
};

use super::{
    caller, pair,
    replicating::{bookmark, guest, until_protected},
    site,
};
use crate::site::{TestSite, pattern};

/// The least of a disk that is compared.
const PIECE_BYTES: u64 = 64 << 10;

/// Has db replicated with this seed, and returns how that went.
async fn seeded(west: &TestSite, seed: &str) -> ReplicationView {
    let start = serde_json::json!({ "to": "east", "seed": seed });
    let start: StartReplication = serde_json::from_value(start).unwrap();
    west.client.start_replication("db", &start).await.unwrap();
    until_protected(west).await
}

/// Nothing was sent but what one write has changed since the seed, and the replica is the VM.
async fn check(east: &TestSite, west: &TestSite, view: &ReplicationView, kind: &str) {
    assert_eq!(view.seed_problem, None);
    assert!(view.seed.as_ref().is_some_and(|seed| seed.starts_with(kind)), "{view:?}");
    let bytes = west.hypervisor.bytes(&guest(west));
    assert_eq!(view.had_bytes, bytes.len() as u64 - PIECE_BYTES);
    assert!(bookmark(east, west, "seeded").await == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_a_point_of_the_vm_there_are_seeds() {
    let (east, west) = (site("east").await, caller("west").await);
    pair(&east, &west).await;
    west.add_guest("db", pattern(1)).await;
    let request = CreateSnapshot {
        source: "db".to_owned(),
        name: Some("monday".parse().unwrap()),
        ..CreateSnapshot::default()
    };
    west.end(&west.client.create_snapshot(&request).await.unwrap().job).await;
    let copy = CopySnapshot { to: "east".to_owned(), ..CopySnapshot::default() };
    west.end(&west.client.copy_snapshot("monday", &copy).await.unwrap()).await;
    west.hypervisor.write(&guest(&west), 1 << 20, &[9; 4096]);
    let view = seeded(&west, "snapshot:monday").await;
    check(&east, &west, &view, "snapshot:").await;

    east.create_vault("main").await;
    let back_up = BackUpReplica { point: "seeded".to_owned(), vault: "main".to_owned(), label: None };
    let ended = east.end(&east.client.back_up_replica("db", &back_up).await.unwrap()).await;
    let Some(JobResult::Point(point)) = ended.result else { panic!("{:?}", ended.problem) };
    west.client.stop_replication("db", &StopReplication { delete_replica: true }).await.unwrap();
    west.hypervisor.write(&guest(&west), 2 << 20, &[7; 4096]);
    let view = seeded(&west, &format!("point:db/{}", point.id)).await;
    check(&east, &west, &view, "point:").await;
}
