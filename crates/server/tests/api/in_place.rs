//! Restores of stopped VMs in place.

use std::{
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use api::{
    AddVm, ChangeSourceView, Code, JobResult, JobView, PointView, RestoreDiskRequest, RestoreVmRequest,
    RestoredInPlaceView, StopVm,
};
use model::{ByteCount, JobState};

use crate::site::{TestSite, code, into_vault, pattern, problem};

/// A site with the stopped VM "own", protected, whose disks "root" and "data" are raw files.
pub async fn site_with_vm() -> TestSite {
    let site = TestSite::start().await;
    std::fs::write(disk(&site, "root"), pattern(1)).unwrap();
    std::fs::write(disk(&site, "data"), pattern(2)).unwrap();
    let definition = serde_json::json!({
        "name": "own", "memory": "1GiB", "uuid": "11111111-1111-1111-1111-111111111111",
        "disk": [{"name": "root", "path": disk(&site, "root")}, {"name": "data", "path": disk(&site, "data")}],
    });
    let definition = Some(serde_json::from_value(definition).unwrap());
    site.client.add_vm(&AddVm { definition, ..AddVm::default() }).await.unwrap();
    site.create_vault("main").await;
    site.client.protect("own", &into_vault("main")).await.unwrap();
    site
}

pub fn disk(site: &TestSite, name: &str) -> PathBuf {
    site.path(&format!("{name}.img"))
}

pub fn holds(path: &Path, bytes: &[u8]) -> bool {
    std::fs::read(path).unwrap() == bytes
}

/// The same bytes, but for a few blocks.
pub fn changed(mut bytes: Vec<u8>) -> Vec<u8> {
    for place in [0, 5000, bytes.len() - 1] {
        bytes[place] ^= 0xff;
    }
    bytes
}

fn vm_request(point: &str) -> RestoreVmRequest {
    let reference = format!("point:own/{point}");
    serde_json::from_value(serde_json::json!({"reference": reference, "replace": true})).unwrap()
}

fn disk_request(site: &TestSite, point: &PointView, name: &str) -> RestoreDiskRequest {
    let reference = format!("point:own/{}/{name}", point.id);
    let request = serde_json::json!({"reference": reference, "path": disk(site, name), "replace": true});
    serde_json::from_value(request).unwrap()
}

async fn restored(site: &TestSite, job: JobView) -> RestoredInPlaceView {
    let ended = site.end(&job).await;
    match ended.result {
        Some(JobResult::RestoredInPlace(view)) if ended.state == JobState::Succeeded => view,
        other => panic!("{other:?}, {:?}", ended.problem),
    }
}

fn written(view: &RestoredInPlaceView, disk: &str) -> ByteCount {
    view.disks.iter().find(|it| it.name == disk).unwrap().written_bytes
}

async fn restore(site: &TestSite, request: &RestoreVmRequest) -> RestoredInPlaceView {
    restored(site, site.client.restore_vm(request).await.unwrap()).await
}

#[tokio::test]
async fn a_vm_goes_back_to_a_point_and_forth_to_its_safety_point() {
    let site = site_with_vm().await;
    let point = site.backup("own").await;
    let id = site.client.vm("own").await.unwrap().id;
    let (root, data) = (changed(pattern(1)), pattern(2));
    std::fs::write(disk(&site, "root"), &root).unwrap();

    let back = restore(&site, &vm_request(point.id.as_str())).await;
    assert!(holds(&disk(&site, "root"), &pattern(1)) && holds(&disk(&site, "data"), &data));
    assert_eq!(written(&back, "root"), ByteCount(3 * 4096), "only blocks that differ");
    assert_eq!(written(&back, "data"), ByteCount(0));
    assert_eq!(back.vm_id, id.to_string(), "it is the same VM");

    let safety_point = back.safety_point_id.unwrap();
    let points = site.client.points(Some("own"), false).await.unwrap();
    let label = points.iter().find(|point| point.id.as_str() == safety_point).unwrap().label.clone();
    assert_eq!(label, Some(format!("before the restore of {}", point.id)));

    // The next backup finds what the restore wrote.
    let next = site.backup("own").await;
    std::fs::write(disk(&site, "root"), vec![0; pattern(1).len()]).unwrap();
    restore(&site, &vm_request(next.id.as_str())).await;
    assert!(holds(&disk(&site, "root"), &pattern(1)));

    restore(&site, &vm_request(&safety_point)).await;
    assert!(holds(&disk(&site, "root"), &root) && holds(&disk(&site, "data"), &data));
    site.client.start_vm("own").await.unwrap();
}

#[tokio::test]
async fn one_disk_goes_back_only_while_its_vm_is_stopped() {
    let site = site_with_vm().await;
    let point = site.backup("own").await;
    let (root, data) = (changed(pattern(1)), changed(pattern(2)));
    std::fs::write(disk(&site, "root"), &root).unwrap();
    std::fs::write(disk(&site, "data"), &data).unwrap();
    let request = disk_request(&site, &point, "data");

    site.client.start_vm("own").await.unwrap();
    let job = site.client.restore_disk(&request).await.unwrap();
    let refused = site.failure(&job).await;
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.hint.unwrap().contains("holdfast vm stop own"));
    assert!(holds(&disk(&site, "data"), &data));

    site.client.stop_vm("own", StopVm { force: false }).await.unwrap();
    let view = restored(&site, site.client.restore_disk(&request).await.unwrap()).await;
    assert_eq!(view.disks.len(), 1);
    assert!(view.safety_point_id.is_some());
    assert!(holds(&disk(&site, "data"), &pattern(2)) && holds(&disk(&site, "root"), &root));

    let other = RestoreDiskRequest { path: disk(&site, "root").display().to_string(), ..request };
    assert_eq!(code(site.client.restore_disk(&other).await), Code::Conflict, "that is another disk");
    assert!(holds(&disk(&site, "root"), &root));
}

#[tokio::test]
async fn a_vm_that_runs_is_stopped_for_it_and_runs_again() {
    let site = site_with_vm().await;
    let point = site.backup("own").await;
    std::fs::write(disk(&site, "root"), changed(pattern(1))).unwrap();
    let request = RestoreVmRequest { stop: true, ..vm_request(point.id.as_str()) };
    let view = restore(&site, &request).await;
    assert!(!view.started, "it did not run before");

    site.client.start_vm("own").await.unwrap();
    let view = restore(&site, &request).await;
    assert!(view.started && view.safety_point_id.is_some());
    assert!(holds(&disk(&site, "root"), &pattern(1)));
    assert_eq!(site.client.vm("own").await.unwrap().power, "running");

    let request = RestoreDiskRequest { stop: true, ..disk_request(&site, &point, "data") };
    let view = restored(&site, site.client.restore_disk(&request).await.unwrap()).await;
    assert!(view.started);
    let dry = RestoreVmRequest { stop: true, dry_run: true, ..vm_request(point.id.as_str()) };
    assert_eq!(code(site.client.restore_vm(&dry).await), Code::Invalid);
    let new = RestoreVmRequest { stop: true, name: Some("new".to_owned()), ..vm_request("latest") };
    assert_eq!(code(site.client.restore_vm(&new).await), Code::Invalid, "nothing runs that could be stopped");
}

#[tokio::test]
async fn a_guest_that_does_not_shut_down_keeps_its_vm_from_being_restored_unless_forced() {
    let site = site_with_vm().await;
    let point = site.backup("own").await;
    let root = changed(pattern(1));
    std::fs::write(disk(&site, "root"), &root).unwrap();
    site.client.start_vm("own").await.unwrap();
    site.hypervisor.is_stubborn.store(true, Ordering::Relaxed);
    let request = RestoreVmRequest { stop: true, ..vm_request(point.id.as_str()) };
    let refused = site.failure(&site.client.restore_vm(&request).await.unwrap()).await;
    assert!(refused.detail.contains("nothing is overwritten"), "{}", refused.detail);
    assert!(holds(&disk(&site, "root"), &root));
    assert_eq!(site.client.vm("own").await.unwrap().power, "running");

    let ended = site.client.restore_vm(&RestoreVmRequest { force: true, ..request }).await.unwrap();
    let ended = site.end(&ended).await;
    assert_eq!(ended.state, JobState::Succeeded, "{:?}", ended.problem);
    assert!(ended.warnings.iter().any(|warning| warning.contains("power was cut")), "{:?}", ended.warnings);
    assert!(holds(&disk(&site, "root"), &pattern(1)));
}

#[tokio::test]
async fn a_vm_that_was_stopped_for_nothing_runs_again_and_a_half_restored_one_does_not() {
    let site = site_with_vm().await;
    let point = site.backup("own").await;
    std::fs::write(disk(&site, "root"), changed(pattern(1))).unwrap();
    site.client.start_vm("own").await.unwrap();
    let request = RestoreVmRequest { stop: true, ..vm_request(point.id.as_str()) };
    site.hypervisor.has_no_captures.store(true, Ordering::Relaxed);
    let job = site.end(&site.client.restore_vm(&request).await.unwrap()).await;
    assert_eq!(job.state, JobState::Failed, "there is no safety point");
    assert!(job.warnings.iter().any(|warning| warning.contains("runs again as it was")), "{job:?}");
    assert_eq!(site.client.vm("own").await.unwrap().power, "running");

    site.hypervisor.has_no_captures.store(false, Ordering::Relaxed);
    damage(&site.path("vaults/main/packs"));
    let job = site.end(&site.client.restore_vm(&request).await.unwrap()).await;
    assert!(job.warnings.iter().any(|warning| warning.contains("ran before")), "{job:?}");
    let vm = site.client.vm("own").await.unwrap();
    assert!(vm.half_restored.is_some() && vm.power == "stopped", "{vm:?}");
}

#[tokio::test]
async fn a_dry_run_counts_and_writes_nothing() {
    let site = site_with_vm().await;
    let point = site.backup("own").await;
    let root = changed(pattern(1));
    std::fs::write(disk(&site, "root"), &root).unwrap();
    let request = RestoreVmRequest { dry_run: true, ..vm_request(point.id.as_str()) };
    let view = restore(&site, &request).await;
    assert!(view.dry_run && view.safety_point_id.is_none());
    assert_eq!(written(&view, "root"), ByteCount(3 * 4096));
    assert!(holds(&disk(&site, "root"), &root));
    assert_eq!(site.client.points(Some("own"), false).await.unwrap().len(), 1);

    let elsewhere = RestoreVmRequest { name: Some("new".to_owned()), ..request };
    assert_eq!(code(site.client.restore_vm(&elsewhere).await), Code::Invalid, "nothing is there to compare");
}

#[tokio::test]
async fn a_disk_of_another_size_is_left_alone() {
    let site = site_with_vm().await;
    let point = site.backup("own").await;
    let grown = [pattern(1), vec![7; 1 << 20]].concat();
    std::fs::write(disk(&site, "root"), &grown).unwrap();
    std::fs::write(disk(&site, "data"), changed(pattern(2))).unwrap();
    let job = site.client.restore_vm(&vm_request(point.id.as_str())).await.unwrap();
    let refused = site.failure(&job).await;
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.hint.unwrap().contains("--to FILE"));
    assert!(holds(&disk(&site, "root"), &grown) && holds(&disk(&site, "data"), &changed(pattern(2))));
    assert_eq!(site.client.vm("own").await.unwrap().half_restored, None);
    assert_eq!(site.client.points(Some("own"), false).await.unwrap().len(), 1, "no safety point for nothing");
}

#[tokio::test]
async fn a_half_restored_vm_is_not_started_and_not_backed_up_until_it_is_whole() {
    let site = site_with_vm().await;
    let point = site.backup("own").await;
    std::fs::write(disk(&site, "root"), changed(pattern(1))).unwrap();
    std::fs::write(disk(&site, "data"), changed(pattern(2))).unwrap();
    let packs = site.path("vaults/main/packs");
    let damaged = damage(&packs);
    let job = site.client.restore_vm(&vm_request(point.id.as_str())).await.unwrap();
    let failed = site.failure(&job).await;
    let hint = failed.hint.clone().unwrap();
    assert!(hint.contains(&format!("point:own/{}", point.id)), "{hint}");

    let half = site.client.vm("own").await.unwrap().half_restored.unwrap();
    assert_eq!((half.point_id, half.disks), (point.id.to_string(), vec!["data".into(), "root".into()]));
    let safety_point = half.safety_point_id.unwrap();
    let site = site.restart().await;
    let refused = problem(site.client.start_vm("own").await);
    assert_eq!((refused.code, refused.hint), (Code::Conflict, Some(hint)));
    assert_eq!(site.failure(&site.submit_backup("own").await).await.code, Code::Conflict);
    assert_eq!(
        code(site.client.restore_vm(&vm_request("latest")).await),
        Code::Conflict,
        "which one is meant?"
    );
    let alone = site.client.restore_disk(&disk_request(&site, &point, "root")).await.unwrap();
    assert_eq!(site.failure(&alone).await.code, Code::Conflict, "the other disk would stay as it is");

    for (path, bytes) in damaged {
        std::fs::write(path, bytes).unwrap();
    }
    let view = restore(&site, &vm_request(point.id.as_str())).await;
    assert_eq!(view.safety_point_id, Some(safety_point), "none is taken of what is half-overwritten");
    assert!(holds(&disk(&site, "root"), &pattern(1)) && holds(&disk(&site, "data"), &pattern(2)));
    assert_eq!(site.client.vm("own").await.unwrap().half_restored, None);
    assert_eq!(site.backup("own").await.disks.len(), 2);
    site.client.start_vm("own").await.unwrap();
}

#[tokio::test]
async fn the_safety_point_is_read_from_the_disks() {
    let site = site_with_vm().await;
    let point = site.backup("own").await;
    let again = restore(&site, &vm_request(point.id.as_str())).await;
    let points = site.client.points(Some("own"), false).await.unwrap();
    let safety_point = points.iter().find(|it| Some(it.id.to_string()) == again.safety_point_id).unwrap();
    for disk in &safety_point.disks {
        assert!(matches!(disk.source, ChangeSourceView::Compared { .. }), "{:?}", disk.source);
    }
    let request = RestoreVmRequest { no_safety_point: true, ..vm_request(point.id.as_str()) };
    std::fs::write(disk(&site, "root"), changed(pattern(1))).unwrap();
    assert_eq!(restore(&site, &request).await.safety_point_id, None);
    assert!(holds(&disk(&site, "root"), &pattern(1)));
}

/// Flips a bit in the middle of every pack. Returns how they were.
pub fn damage(packs: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let folders = std::fs::read_dir(packs).unwrap().map(|folder| folder.unwrap().path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files
        .into_iter()
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            let mut bad = bytes.clone();
            bad.iter_mut().skip(64).step_by(1000).for_each(|byte| *byte ^= 1);
            std::fs::write(&path, bad).unwrap();
            (path, bytes)
        })
        .collect()
}
