//! Disks come, grow and go while their VM is replicated. The others are not copied again, and the moments before stay.

use api::{ReplicationState, ReplicationView};
use hypervisor::FakeDisk;
use model::DiskName;

use super::replicating::{bookmark, guest, read, replicated, until, until_protected};
use crate::site::{DISK_SIZE_BYTES, TestSite, pattern};

const MIB: usize = 1 << 20;

/// The disks of a moment at the other site, and their sizes.
async fn disks(east: &TestSite, moment: &str) -> Vec<(String, u64)> {
    let view = east.client.replica_moment("db", moment).await.unwrap();
    view.disks.into_iter().map(|disk| (disk.name, disk.size_bytes.0)).collect()
}

/// Changes the guest, and waits until all that it writes is taken again.
async fn change(west: &TestSite, what: &str, change: impl FnOnce(&mut hypervisor::FakeVm)) {
    let before =
        until(west, "in sync", |view| view.state == ReplicationState::Protected && view.lag_bytes == 0).await;
    west.hypervisor.edit(&guest(west), change);
    let is_again =
        |view: &ReplicationView| view.since > before.since && view.state == ReplicationState::Protected;
    let after = until(west, what, is_again).await;
    assert_eq!(after.breaks, 0, "nothing broke: {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_come_grow_and_go_and_the_others_are_not_copied_again() {
    let (east, west) = replicated().await;
    let data: DiskName = "data".parse().unwrap();
    let root = west.client.vm("db").await.unwrap().disks[0].name.clone();
    let all = DISK_SIZE_BYTES as u64;
    until_protected(&west).await;
    let alone = bookmark(&east, &west, "alone").await;
    let copied_bytes = east.client.replica("db").await.unwrap().size_bytes.0;
    assert!(copied_bytes > all / 3, "{copied_bytes} bytes: the disk is no zeros");

    let added = pattern(2)[..2 * MIB].to_vec();
    change(&west, "a disk more", |vm| {
        vm.disks.insert(data.clone(), FakeDisk::new(added.clone()));
    })
    .await;
    bookmark_of(&east, &west, "both", &root).await;
    let two = [("data".to_owned(), 2 * MIB as u64), (root.clone(), all)];
    assert_eq!(sorted(disks(&east, "both").await), sorted(two.to_vec()));
    assert!(read(&east, "replica:db/both/data").await.unwrap() == added);

    change(&west, "a disk that has grown", |vm| {
        vm.disks.get_mut(&data).unwrap().bytes.resize(3 * MIB, 0);
    })
    .await;
    bookmark_of(&east, &west, "grown", &root).await;
    let grown = west.hypervisor.edit_of(&guest(&west), |vm| vm.disks[&data].bytes.clone());
    assert!(read(&east, "replica:db/grown/data").await.unwrap() == grown);
    let expected = vec![("data".to_owned(), 3 * MIB as u64), (root.clone(), all)];
    assert_eq!(sorted(disks(&east, "grown").await), sorted(expected));

    change(&west, "a disk less", |vm| drop(vm.disks.remove(&data))).await;
    bookmark_of(&east, &west, "without", &root).await;
    assert_eq!(disks(&east, "without").await, [(root.clone(), all)]);

    let now_bytes = east.client.replica("db").await.unwrap().size_bytes.0;
    let more_bytes = now_bytes - copied_bytes;
    assert!(more_bytes < all / 2, "{more_bytes} bytes have come since: the first disk is not copied again");
    assert!(read(&east, "replica:db/alone").await.unwrap() == alone, "the moments before stay");
    assert_eq!(disks(&east, "alone").await, [(root, all)]);
    assert_eq!(sorted(disks(&east, "both").await), sorted(two.to_vec()));
    assert!(read(&east, "replica:db/both/data").await.unwrap() == added);
}

/// Names a moment, and waits until the other site has it as the guest was.
async fn bookmark_of(east: &TestSite, west: &TestSite, name: &str, disk: &str) {
    let request = api::MakeCheckpoint { name: name.to_owned(), application: false };
    west.client.make_checkpoint("db", &request).await.unwrap();
    until(west, "in sync", |view| view.lag_bytes == 0).await;
    let reference = format!("replica:db/{name}/{disk}");
    let reading = async {
        loop {
            match read(east, &reference).await {
                Some(bytes) => return bytes,
                None => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    let read = tokio::time::timeout(std::time::Duration::from_secs(60), reading).await;
    let expected = west.hypervisor.edit_of(&guest(west), |vm| vm.disks[&disk.parse().unwrap()].bytes.clone());
    assert!(read.is_ok_and(|bytes| bytes == expected), "{name}");
}

fn sorted(mut disks: Vec<(String, u64)>) -> Vec<(String, u64)> {
    disks.sort();
    disks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_replication_leaves_nothing_in_the_vm_that_holds_its_disks() {
    let (_east, west) = replicated().await;
    until_protected(&west).await;
    let vm = west.client.vm("db").await.unwrap().id;
    west.client.pause_replication("db").await.unwrap();
    let released = async {
        while !west.hypervisor.released.lock().unwrap().contains(&vm) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), released).await.unwrap();
    west.client.resume_replication("db").await.unwrap();
    until_protected(&west).await;
}
