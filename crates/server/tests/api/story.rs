use api::{ChangeSourceView, JobResult, RestoreDiskRequest, RestoreVmRequest, VerifyRequest, VmOriginView};
use model::{ByteCount, Consistency, DiskFormat, JobState};

use crate::site::{DISK_SIZE_BYTES, TestSite, pattern};

fn restore_disk(reference: &str, path: &std::path::Path) -> RestoreDiskRequest {
    RestoreDiskRequest {
        reference: reference.to_owned(),
        from_copy: None,
        path: path.display().to_string(),
        format: None,
        replace: false,
        no_safety_point: false,
        dry_run: false,
        stop: false,
        force: false,
    }
}

fn restore_vm(reference: &str) -> RestoreVmRequest {
    serde_json::from_value(serde_json::json!({"reference": reference})).unwrap()
}

#[tokio::test]
async fn a_vm_is_protected_backed_up_lost_and_restored() {
    let site = TestSite::start().await;
    let vm = site.protected_guest("db").await;
    assert_eq!(vm.protection.as_ref().map(|protection| protection.vault.as_str()), Some("main"));
    assert_eq!(vm.power, "running");

    let full = site.backup("db").await;
    assert_eq!(full.disks[0].source, ChangeSourceView::Full);
    assert_eq!(full.consistency_reached, Consistency::Application);

    site.hypervisor.write(&site.path("db"), 1 << 20, b"changed");
    let mut changed = pattern(1);
    changed[1 << 20..(1 << 20) + 7].copy_from_slice(b"changed");
    let incremental = site.backup("db").await;
    assert_eq!(incremental.disks[0].source, ChangeSourceView::Bitmap);
    assert_eq!(incremental.parent, Some(full.id));
    assert!(incremental.read_bytes < ByteCount(1 << 20), "{:?}", incremental.read_bytes);
    let vm = site.client.vm("db").await.unwrap();
    assert_eq!(vm.latest_point.map(|point| point.id), Some(incremental.id));
    assert_eq!(vm.current_job, None);

    site.client.remove_vm("db").await.unwrap();
    let points = site.client.points(Some("db"), false).await.unwrap();
    assert_eq!(points.iter().map(|point| point.id).collect::<Vec<_>>(), [full.id, incremental.id]);

    for (reference, name, bytes) in [
        (format!("point:db/{}", full.id), "old", pattern(1)),
        ("point:db/latest/root".to_owned(), "new", changed),
    ] {
        let path = site.path(name);
        let job = site.client.restore_disk(&restore_disk(&reference, &path)).await.unwrap();
        let ended = site.end(&job).await;
        let Some(JobResult::RestoredDisk(disk)) = ended.result else { panic!("{:?}", ended.problem) };
        assert_eq!((disk.size_bytes, disk.format), (ByteCount(DISK_SIZE_BYTES as u64), DiskFormat::Raw));
        assert!(std::fs::read(&path).unwrap() == bytes, "{name} has the bytes of its moment");
    }

    let job = site.client.verify_vault("main", &VerifyRequest::default()).await.unwrap();
    let verified = site.end(&job).await;
    assert_eq!(verified.state, JobState::Succeeded);
    let Some(JobResult::Verified(report)) = verified.result else { panic!("a verification has a report") };
    assert_eq!((report.intact_point_count, report.damages.len()), (2, 0));
}

#[tokio::test]
async fn a_lost_vm_comes_back_as_a_vm_of_ours() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    let point = site.backup("db").await;
    let taken = site.client.restore_vm(&restore_vm("point:db/latest")).await;
    assert_eq!(crate::site::code(taken), api::Code::Conflict, "the name is still taken");
    site.client.remove_vm("db").await.unwrap();

    let mut request = restore_vm(&format!("point:db/{}", &point.id.as_str()[..12]));
    request.format = Some(DiskFormat::Raw);
    request.start = true;
    let job = site.client.restore_vm(&request).await.unwrap();
    let ended = site.end(&job).await;
    let Some(JobResult::RestoredVm(restored)) = ended.result else { panic!("{:?}", ended.problem) };
    assert_eq!((restored.vm_name.as_str(), restored.started), ("db", true));
    assert!(std::fs::read(&restored.disks[0].path).unwrap() == pattern(1));
    let vm = site.client.vm("db").await.unwrap();
    assert_eq!(
        (vm.origin, vm.power.as_str(), vm.id.to_string()),
        (VmOriginView::Managed, "running", restored.vm_id)
    );
}

#[tokio::test]
async fn a_restore_never_overwrites_by_itself() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.backup("db").await;
    let path = site.path("precious");
    std::fs::write(&path, "precious").unwrap();
    let mut request = restore_disk("point:db/latest", &path);
    assert_eq!(crate::site::code(site.client.restore_disk(&request).await), api::Code::Conflict);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    request.replace = true;
    let job = site.client.restore_disk(&request).await.unwrap();
    assert_eq!(site.end(&job).await.state, JobState::Succeeded);
    assert!(std::fs::read(&path).unwrap() == pattern(1));
}

#[tokio::test]
async fn damage_is_found_and_named() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    let point = site.backup("db").await;
    let packs = std::fs::read_dir(site.path("vaults/main/packs")).unwrap();
    let largest = packs
        .flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .max_by_key(|pack| pack.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();

    let job = site.client.verify_vault("main", &VerifyRequest::default()).await.unwrap();
    let ended = site.end(&job).await;
    assert_eq!(ended.state, JobState::Failed);
    assert_eq!(ended.problem.unwrap().code, api::Code::Damaged);
    let Some(JobResult::Verified(report)) = ended.result else {
        panic!("also a bad verification has a report")
    };
    assert!(report.damages.iter().any(|damage| damage.chunk.is_some()), "{:?}", report.damages);
    assert_eq!(report.hurt_points[0].id, point.id);
    assert!(report.hurt_points[0].disks[0].lost_bytes > ByteCount(0));
    assert!(report.hurt_points[0].disks[0].intact_bytes > ByteCount(0));

    let job = site.client.restore_disk(&restore_disk("point:db/latest", &site.path("out"))).await.unwrap();
    assert_eq!(site.failure(&job).await.code, api::Code::Damaged);
    assert!(!site.path("out").exists());
}
