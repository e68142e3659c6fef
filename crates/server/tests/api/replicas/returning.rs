//! A VM that was handed over comes back to the site that has its old self.

use std::{path::Path, time::Duration};

use api::{Code, FailOver, JobResult, ReplicationState, ReplicationView, StartReplication};
use journal::{Generation, Sequence};
use model::VmId;
use peer::{
    ErrorKind, PeerClient,
    replicas::{Compare, PIECE_MIN_BYTES, Prepare, Prepared, ReplicaOffer, piece_digest},
};

use super::{DISK_BYTES, PATIENCE, Source, read};
use crate::{
    disks::shows,
    site::{TestSite, code, pattern, problem},
    sites::{call_as, pair, site},
};

fn latest() -> FailOver {
    FailOver { point: "latest".to_owned(), rate_limit_bytes_per_second: None }
}

async fn until(site: &TestSite, holds: impl Fn(&ReplicationView) -> bool) {
    let waiting = async {
        while !holds(&site.client.replication("db").await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "{:?}", site.client.replication("db").await);
}

/// The VM db of west, which is replicated to east.
async fn replicated(bytes: Vec<u8>) -> (TestSite, TestSite, VmId) {
    let (east, west) = (site("east").await, site("west").await);
    pair(&east, &west).await;
    let vm = west.add_guest("db", bytes).await;
    let to_east: StartReplication = serde_json::from_value(serde_json::json!({"to": "east"})).unwrap();
    west.client.start_replication("db", &to_east).await.unwrap();
    until(&west, |view| view.state == ReplicationState::Protected).await;
    (east, west, vm.id)
}

async fn until_ready(peer: &PeerClient, source: &Source, through: Sequence) -> Prepared {
    let preparing = async {
        loop {
            let prepared = peer.prepare_replica(source.id, Prepare { through }).await.unwrap();
            if prepared.is_ready {
                return prepared;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, preparing).await.expect("it is ready some time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_comes_back_begins_with_its_old_disks_and_takes_their_place() {
    let old: Vec<u8> = pattern(1).into_iter().take(DISK_BYTES).collect();
    let (east, west, id) = replicated(old.clone()).await;
    west.end(&west.client.hand_over("db", false).await.unwrap()).await;
    assert_eq!(code(west.client.start_vm("db").await), Code::Fenced);

    // What the VM writes at east comes by a journal of its own.
    let peer = call_as(&east, &west).await;
    let mut back = Source::returning(9, "db", id);
    let offer = ReplicaOffer { compares: true, generation: Generation(2), ..back.offer() };
    peer.offer_replica(back.id, &offer).await.unwrap();
    let through = back.write(3, 7);
    back.ship(&peer).await.unwrap();
    let whole = Compare {
        disk: back.disk,
        through,
        offset_bytes: 0,
        length_bytes: DISK_BYTES as u64,
        piece_bytes: PIECE_MIN_BYTES,
    };
    assert_eq!(peer.compare_replica(back.id, whole).await.unwrap_err().kind(), ErrorKind::Conflict);
    let prepared = until_ready(&peer, &back, through).await;
    assert!(
        prepared.from.is_some() && prepared.problem.is_none() && prepared.fresh.is_empty(),
        "{prepared:?}"
    );
    let mut expected = old;
    expected[3 * 4096..4 * 4096].fill(7);
    let digests = peer.compare_replica(back.id, whole).await.unwrap();
    let own: Vec<_> = expected.chunks(PIECE_MIN_BYTES as usize).map(piece_digest).collect();
    assert!(digests == own, "the old disk, and what was written since");
    back.journal.disk_is_whole(back.disk).unwrap();
    back.ship(&peer).await.unwrap();
    assert!(read(&west, "replica:db").await == expected);

    west.hypervisor.hydrations.close();
    let plan = west.client.plan_failover("db", &latest()).await.unwrap();
    assert_eq!(plan.replaces.map(|old| old.vm_name), Some("db".to_owned()));
    let done = west.end(&west.client.fail_over("db", &latest()).await.unwrap()).await;
    let Some(JobResult::RestoredVm(vm)) = done.result else { panic!("{:?}", done.problem) };
    assert_eq!((vm.vm_id.as_str(), vm.vm_name.as_str(), vm.started), (id.as_str(), "db", true));
    assert!(shows(&west, Path::new(&vm.disks[0].path), &expected));
    assert_eq!(code(west.client.replication("db").await), Code::NotFound, "the old one is over");
    let view = west.client.replica("db").await.unwrap();
    assert!(view.failover.is_some_and(|failover| failover.replaced.is_some()));
    west.client.commit_failover("db").await.unwrap();
    let west = west.restart().await;
    assert_eq!(west.client.vm("db").await.unwrap().id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_self_that_runs_is_not_replaced_and_another_vm_of_that_id_neither() {
    let (east, west, id) = replicated(pattern(1)).await;
    let peer = call_as(&east, &west).await;
    // East has taken it over, and west has not heard of it: it still runs here.
    let mut back = Source::returning(9, "db", id);
    let offer = ReplicaOffer { compares: true, generation: Generation(2), ..back.offer() };
    peer.offer_replica(back.id, &offer).await.unwrap();
    back.write(3, 7);
    back.journal.disk_is_whole(back.disk).unwrap();
    back.ship(&peer).await.unwrap();
    let refused = problem(west.client.fail_over("db", &latest()).await);
    assert!(refused.code == Code::Conflict && refused.detail.contains("runs"), "{refused:?}");
    assert_eq!(west.client.vm("db").await.unwrap().power, "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_disks_differ_is_not_handed_over() {
    let (east, west, _) = replicated(pattern(1)).await;
    // A byte that the tap has not seen.
    west.hypervisor.edit(&west.path("db"), |vm| vm.disks.values_mut().for_each(|disk| disk.bytes[5000] ^= 1));
    let refused = west.failure(&west.client.hand_over("db", false).await.unwrap()).await;
    assert_eq!(refused.code, Code::Damaged);
    assert!(refused.detail.contains("digest") && refused.detail.contains("byte 0"), "{refused:?}");
    assert!(east.client.replica("db").await.unwrap().failover.is_none(), "nothing runs there");
    until(&west, |view| view.state != ReplicationState::Fenced).await;
    // Whoever knows better may say so.
    let given = west.end(&west.client.hand_over("db", true).await.unwrap()).await;
    assert!(matches!(given.result, Some(JobResult::HandedOver(view)) if view.proof.is_none()));
}
