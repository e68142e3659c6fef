//! VMs that become what a snapshot of them holds.

use api::{Code, CreateSnapshot, DeleteSnapshot, JobResult, RestoredInPlaceView, RevertVm, StopVm};
use model::{ByteCount, JobState, SnapshotState};

use crate::{
    in_place::{changed, damage, disk, holds, site_with_vm},
    site::{TestSite, code, pattern, problem},
};

async fn snapshot(site: &TestSite, source: &str, name: &str) {
    let name = Some(name.parse().unwrap());
    let request = CreateSnapshot { source: source.to_owned(), name, ..CreateSnapshot::default() };
    let created = site.client.create_snapshot(&request).await.unwrap();
    let ended = site.end(&created.job).await;
    assert_eq!(ended.state, JobState::Succeeded, "{:?}", ended.problem);
}

fn own() -> RevertVm {
    RevertVm { vm: "own".to_owned(), ..RevertVm::default() }
}

async fn revert(site: &TestSite, to: &str, request: &RevertVm) -> (RestoredInPlaceView, Vec<String>) {
    let ended = site.end(&site.client.revert_vm(to, request).await.unwrap()).await;
    match ended.result {
        Some(JobResult::RestoredInPlace(view)) if ended.state == JobState::Succeeded => {
            (view, ended.warnings)
        }
        other => panic!("{other:?}, {:?}", ended.problem),
    }
}

#[tokio::test]
async fn a_vm_goes_back_to_a_snapshot_and_forth_to_the_one_that_was_made_first() {
    let site = site_with_vm().await;
    snapshot(&site, "own", "monday").await;
    let root = changed(pattern(1));
    std::fs::write(disk(&site, "root"), &root).unwrap();

    let (dry, _) = revert(&site, "monday", &RevertVm { dry_run: true, ..own() }).await;
    assert!(dry.dry_run && dry.safety_snapshot.is_none() && holds(&disk(&site, "root"), &root));
    assert_eq!(site.client.snapshots(&Default::default()).await.unwrap().snapshots.len(), 1);

    let (back, _) = revert(&site, "monday", &own()).await;
    assert!(holds(&disk(&site, "root"), &pattern(1)) && holds(&disk(&site, "data"), &pattern(2)));
    let written: Vec<_> = back.disks.iter().map(|disk| disk.written_bytes).collect();
    assert!(written.contains(&ByteCount(3 * 4096)) && written.contains(&ByteCount(0)), "{written:?}");
    assert!(!back.started && back.safety_point_id.is_none());

    let safety = back.safety_snapshot.unwrap();
    assert!(safety.starts_with("own-before-revert-"), "{safety}");
    let view = site.client.snapshot(&safety).await.unwrap();
    assert_eq!((view.state, view.disks.len()), (SnapshotState::Ready, 2));
    let without = RevertVm { no_safety: true, start: true, ..own() };
    let (forth, _) = revert(&site, &safety, &without).await;
    assert!(forth.started && forth.safety_snapshot.is_none());
    assert!(holds(&disk(&site, "root"), &root));
}

#[tokio::test]
async fn a_vm_that_runs_is_refused_or_stopped() {
    let site = site_with_vm().await;
    snapshot(&site, "own", "monday").await;
    let root = changed(pattern(1));
    std::fs::write(disk(&site, "root"), &root).unwrap();
    site.client.start_vm("own").await.unwrap();
    let refused = site.failure(&site.client.revert_vm("monday", &own()).await.unwrap()).await;
    let hint = refused.hint.unwrap();
    assert!(hint.contains("holdfast vm stop own") && hint.contains("--stop"), "{hint}");
    assert!(holds(&disk(&site, "root"), &root));

    let (back, _) = revert(&site, "monday", &RevertVm { stop: true, ..own() }).await;
    assert!(back.started && back.safety_snapshot.is_some());
    assert!(holds(&disk(&site, "root"), &pattern(1)));
    assert_eq!(site.client.vm("own").await.unwrap().power, "running");
    site.client.stop_vm("own", StopVm { force: false }).await.unwrap();
}

#[tokio::test]
async fn disks_that_the_snapshot_lacks_are_left_alone_and_named() {
    let site = site_with_vm().await;
    snapshot(&site, "own/root", "root-alone").await;
    let before = site.client.vm("own").await.unwrap().disks;
    let (root, data) = (changed(pattern(1)), changed(pattern(2)));
    std::fs::write(disk(&site, "root"), &root).unwrap();
    std::fs::write(disk(&site, "data"), &data).unwrap();
    let (_, warnings) = revert(&site, "root-alone", &own()).await;
    assert!(
        warnings.iter().any(|warning| warning.contains("the disk data is not in the snapshot")),
        "{warnings:?}"
    );
    assert!(holds(&disk(&site, "root"), &pattern(1)) && holds(&disk(&site, "data"), &data));
    assert_eq!(site.client.vm("own").await.unwrap().disks, before, "its hardware is as it was");
}

#[tokio::test]
async fn a_snapshot_of_something_else_is_refused() {
    let site = site_with_vm().await;
    site.add_guest("db", pattern(3)).await;
    snapshot(&site, "db", "other").await;
    let refused = problem(site.client.revert_vm("other", &own()).await);
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.hint.unwrap().contains("snapshot list --family own"));
    assert_eq!(code(site.client.revert_vm("nothing", &own()).await), Code::NotFound);
    assert!(holds(&disk(&site, "root"), &pattern(1)));
}

#[tokio::test]
async fn a_revert_that_dies_half_way_leaves_no_mixture_that_starts() {
    let site = site_with_vm().await;
    snapshot(&site, "own", "monday").await;
    let (root, data) = (changed(pattern(1)), changed(pattern(2)));
    std::fs::write(disk(&site, "root"), &root).unwrap();
    std::fs::write(disk(&site, "data"), &data).unwrap();
    let damaged = damage(&site.path("snapshots/packs"));
    let failed = site.failure(&site.client.revert_vm("monday", &own()).await.unwrap()).await;
    let hint = failed.hint.unwrap();
    assert!(hint.contains("holdfast snapshot revert own --to monday"), "{hint}");

    // Nothing is left of the server but what it has written down.
    let site = site.restart().await;
    let half = site.client.vm("own").await.unwrap().half_restored.unwrap();
    let refused = problem(site.client.start_vm("own").await);
    assert_eq!((refused.code, refused.hint.as_deref()), (Code::Conflict, Some(hint.as_str())));
    assert_eq!(site.failure(&site.submit_backup("own").await).await.code, Code::Conflict);
    let safety = half.hint.split("--to ").last().unwrap().to_owned();
    assert!(safety.starts_with("own-before-revert-"), "{safety}");
    for needed in ["monday", &safety] {
        let deleted = site.client.delete_snapshot(needed, &DeleteSnapshot::default()).await;
        assert_eq!(code(deleted), Code::Conflict, "{needed} is what makes the VM whole");
    }

    for (path, bytes) in damaged {
        std::fs::write(path, bytes).unwrap();
    }
    let (forward, _) = revert(&site, "monday", &own()).await;
    assert_eq!(forward.safety_snapshot.as_deref(), Some(safety.as_str()), "none is made of a mixture");
    assert!(holds(&disk(&site, "root"), &pattern(1)) && holds(&disk(&site, "data"), &pattern(2)));
    assert_eq!(site.client.vm("own").await.unwrap().half_restored, None);

    revert(&site, &safety, &RevertVm { start: true, ..own() }).await;
    assert!(holds(&disk(&site, "root"), &root) && holds(&disk(&site, "data"), &data));
    site.client.delete_snapshot("monday", &DeleteSnapshot::default()).await.unwrap();
}
