use std::path::Path;

use api::Code;
use catalog::{Catalog, Job};
use hypervisor::Chain;
use model::{JobId, JobKind, JobState, Progress, VmId};

use crate::site::TestSite;

fn dead_job(kind: JobKind, request: serde_json::Value, vm_id: Option<VmId>) -> Job {
    let now = env::Clock::now(&env::SystemClock);
    Job {
        id: JobId::from_random(env::random(&env::SystemEntropy)),
        kind,
        subject: "db".to_owned(),
        vm_id,
        vault_id: None,
        request,
        state: JobState::Running,
        created_at: now,
        started_at: Some(now),
        ended_at: None,
        progress: Progress { phase: "reading root".to_owned(), done_bytes: 1, total_bytes: Some(2) },
        result: None,
        problem: None,
        warnings: Vec::new(),
    }
}

/// Writes what a server that was killed leaves in the catalog.
async fn leave(directory: &Path, job: &Job) {
    let catalog = Catalog::open(&directory.join("catalog.db")).await.unwrap();
    catalog.add_job(job).await.unwrap();
    catalog.close().await;
}

#[tokio::test]
async fn a_job_of_a_dead_server_is_interrupted_and_its_guest_cleaned_up() {
    let site = TestSite::start().await;
    let vm = site.protected_guest("db").await;
    site.backup("db").await;
    let left = site.stop().await;
    let job = dead_job(JobKind::Backup, serde_json::json!({}), Some(vm.id));
    leave(left.0.path(), &job).await;
    left.1.recoveries().clear();
    left.1.recovered.lock().unwrap().push("thawed the guest".to_owned());

    let site = TestSite::start_over(left).await;
    let ended = site.client.job(job.id.as_str()).await.unwrap();
    let problem = ended.problem.unwrap();
    assert_eq!((ended.state, problem.code), (JobState::Failed, Code::Interrupted));
    assert!(problem.detail.contains("reading root"), "{}", problem.detail);
    // The next backup waits for the clean-up, and then finds its dirty bitmap whole.
    let point = site.backup("db").await;
    assert_eq!(point.disks[0].source, api::ChangeSourceView::Bitmap);
    let recoveries = site.hypervisor.recoveries().clone();
    let backups = recoveries.iter().filter(|(id, chain, _)| (*id, *chain) == (vm.id, Chain::Backup));
    let root = "root".parse().unwrap();
    assert!(backups.clone().count() == 1 && backups.clone().all(|(_, _, it)| it.of(&root).is_some()));
    let warnings = site.client.job(job.id.as_str()).await.unwrap().warnings;
    assert_eq!(warnings, ["after the server's restart: thawed the guest"]);
}

#[tokio::test]
async fn what_a_dead_restore_wrote_is_removed() {
    let site = TestSite::start().await;
    let left = site.stop().await;
    let vm_id = VmId::from_random([9; 10]);
    let own = left.0.path().join("disks").join(vm_id.as_str());
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("0-root.qcow2"), "whole, but of no VM").unwrap();
    let path = left.0.path().join("out.img");
    std::fs::write(protection::partial_path(&path), "half").unwrap();
    let request = serde_json::json!({
        "reference": "point:db/latest", "paths": [&path], "format": "raw", "replace": false,
    });
    leave(left.0.path(), &dead_job(JobKind::RestoreDisk, request.clone(), None)).await;
    let mut of_vm = request;
    of_vm["paths"] = serde_json::json!([own.join("0-root.qcow2")]);
    of_vm["own_directory"] = serde_json::json!(own);
    leave(left.0.path(), &dead_job(JobKind::RestoreVm, of_vm, Some(vm_id))).await;

    let site = TestSite::start_over(left).await;
    assert!(!protection::partial_path(&path).exists());
    assert!(!own.exists());
    assert!(site.client.jobs(9).await.unwrap().iter().all(|job| job.state == JobState::Failed));
}

#[tokio::test]
async fn a_server_that_stops_interrupts_its_jobs() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.hypervisor.held.close();
    let running = site.submit_backup("db").await;
    site.hypervisor.held.reached().await;
    let queued = site.submit_backup("db").await;
    let site = site.restart().await;
    site.hypervisor.held.open();
    for job in [running, queued] {
        let ended = site.client.job(job.id.as_str()).await.unwrap();
        assert_eq!(ended.state, JobState::Failed);
        assert_eq!(ended.problem.unwrap().code, Code::Interrupted);
    }
    site.backup("db").await;
}
