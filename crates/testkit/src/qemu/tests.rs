use model::DiskFormat;

use super::*;
use crate::offline::examine;

const DATA_SIZE: ByteCount = ByteCount(256 << 20);

#[tokio::test]
async fn a_guest_boots_from_its_own_disk_and_keeps_its_records_through_a_power_cut() {
    let image = GuestImage::obtain().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let disks = image.create_disks(directory.path(), DiskFormat::Qcow2, DATA_SIZE).unwrap();

    let options = VmOptions { boot: Boot::Disk, ..VmOptions::default() };
    let vm = GuestVm::start(&image, &disks, &options).await.unwrap();
    let fresh = vm.guest().state_at_boot().await.unwrap().sound().unwrap();
    assert_eq!(fresh.root_last, 0);
    let before = vm.guest().state_now().await.unwrap().sound().unwrap();
    vm.cut_power().await.unwrap();

    let left = examine(&disks).unwrap();
    assert!(!left.file_systems_clean);
    let left = left.workload.sound().unwrap();
    assert!(left.data_last >= before.data_last, "{left:?} after {before:?}");

    let vm = GuestVm::start(&image, &disks, &VmOptions::default()).await.unwrap();
    let found = vm.guest().state_at_boot().await.unwrap().sound().unwrap();
    assert_eq!(found, left);
    vm.shut_down().await.unwrap();
    assert!(examine(&disks).unwrap().file_systems_clean);
}

#[tokio::test]
async fn freezing_quiesces_the_workload_and_leaves_proof() {
    let image = GuestImage::obtain().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let disks = image.create_disks(directory.path(), DiskFormat::Raw, DATA_SIZE).unwrap();
    let vm = GuestVm::start(&image, &disks, &VmOptions::default()).await.unwrap();
    vm.guest().state_at_boot().await.unwrap();
    let agent = GuestAgent::at(vm.agent_socket());

    let both_file_systems = json!(2);

    assert_eq!(agent.call("guest-fsfreeze-freeze", json!({})).await.unwrap(), both_file_systems);
    agent.call("guest-fsfreeze-thaw", json!({})).await.unwrap();
    let first_proof = proof(&vm).await;
    let thawed = vm.guest().state_now().await.unwrap().sound().unwrap();
    assert!(!thawed.quiesced);
    let latency = vm.guest().latency().await.unwrap();
    assert!(
        latency.writes > 0 && latency.p50_us <= latency.p99_us && latency.p99_us <= latency.max_us,
        "{latency:?}"
    );

    assert_eq!(agent.call("guest-fsfreeze-freeze", json!({})).await.unwrap(), both_file_systems);
    assert_ne!(proof(&vm).await, first_proof);
    vm.cut_power().await.unwrap();
    let frozen = examine(&disks).unwrap();
    assert!(frozen.file_systems_clean);
    let frozen = frozen.workload.sound().unwrap();
    assert!(frozen.quiesced && frozen.data_last >= thawed.data_last, "{frozen:?} after {thawed:?}");
}

async fn proof(vm: &GuestVm) -> String {
    let text = vm.guest().exec(&["/bin/cat", "/run/holdfast/quiesced"]).await.unwrap();
    assert!(text.starts_with("quiesced "), "{text}");
    text
}

#[tokio::test]
async fn a_failing_hook_leaves_no_proof_and_a_hanging_one_can_be_let_go() {
    let image = GuestImage::obtain().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let disks = image.create_disks(directory.path(), DiskFormat::Raw, DATA_SIZE).unwrap();
    let vm = GuestVm::start(&image, &disks, &VmOptions::default()).await.unwrap();
    let guest = vm.guest();
    let agent = GuestAgent::at(vm.agent_socket());

    guest.workload(&["hook", "fail"]).await.unwrap();
    agent.call("guest-fsfreeze-freeze", json!({})).await.unwrap();
    agent.call("guest-fsfreeze-thaw", json!({})).await.unwrap();
    assert!(guest.exec(&["/bin/cat", "/run/holdfast/quiesced"]).await.is_err());

    guest.workload(&["hook", "hang"]).await.unwrap();
    let freezing = tokio::spawn(async move { agent.call("guest-fsfreeze-freeze", json!({})).await });
    guest
        .exec(&[
            "/bin/sh",
            "-c",
            "until ps | grep '[f]sfreeze-hook.d/workload freeze'; do usleep 10000; done",
        ])
        .await
        .unwrap();
    assert!(!freezing.is_finished());
    guest.workload(&["hook", "succeed"]).await.unwrap();
    freezing.await.unwrap().unwrap();
    proof(&vm).await;
}
