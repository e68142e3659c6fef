use std::sync::atomic::Ordering;

use api::{BackupRequest, Code, ProtectRequest};
use model::{Consistency, JobState};

use crate::site::{TestSite, code, into_vault, pattern};

#[tokio::test]
async fn a_second_backup_of_a_vm_waits_for_the_first() {
    let site = TestSite::start().await;
    let vm = site.protected_guest("db").await;
    site.hypervisor.held.close();
    let first = site.submit_backup("db").await;
    site.hypervisor.held.reached().await;
    let second = site.submit_backup("db").await;
    assert_eq!(second.state, JobState::Queued);
    assert_eq!(second.progress.phase, format!("waiting for job {}", first.id));
    assert_eq!(site.client.vm(vm.id.as_str()).await.unwrap().current_job, Some(first.id));

    site.hypervisor.held.open();
    assert_eq!(site.end(&first).await.state, JobState::Succeeded);
    assert_eq!(site.end(&second).await.state, JobState::Succeeded);
    assert_eq!(site.client.points(Some("db"), false).await.unwrap().len(), 2);
}

#[tokio::test]
async fn two_jobs_run_at_once_and_the_third_waits() {
    let site = TestSite::start().await;
    site.create_vault("main").await;
    site.hypervisor.held.close();
    let mut jobs = Vec::new();
    for name in ["a", "b", "c"] {
        site.add_guest(name, pattern(1)).await;
        site.client.protect(name, &into_vault("main")).await.unwrap();
        jobs.push(site.submit_backup(name).await);
    }
    let state = &jobs[2];
    assert_eq!(
        (state.state, state.progress.phase.as_str()),
        (JobState::Queued, "waiting for one of 2 running jobs to end")
    );
    site.hypervisor.held.open();
    for job in &jobs {
        assert_eq!(site.end(job).await.state, JobState::Succeeded);
    }
}

#[tokio::test]
async fn jobs_are_cancelled_in_the_queue_and_at_work() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.hypervisor.held.close();
    let running = site.submit_backup("db").await;
    site.hypervisor.held.reached().await;
    let queued = site.submit_backup("db").await;

    let cancelled = site.client.cancel_job(queued.id.as_str()).await.unwrap();
    assert_eq!(cancelled.state, JobState::Cancelled, "one that waits ends at once");
    assert_eq!(cancelled.started_at, None);

    site.client.cancel_job(running.id.as_str()).await.unwrap();
    let ended = site.end(&running).await;
    assert_eq!((ended.state, ended.problem), (JobState::Cancelled, None));
    site.hypervisor.held.open();

    assert_eq!(site.client.cancel_job(running.id.as_str()).await.unwrap().state, JobState::Cancelled);
    let point = site.backup("db").await;
    assert_eq!(site.client.points(None, false).await.unwrap().len(), 1, "a cancelled backup is no point");
    assert_eq!(point.parent, None);
    assert_eq!(code(site.client.cancel_job("latest").await), Code::Conflict, "it succeeded");
}

#[tokio::test]
async fn a_defect_ends_its_job_and_nothing_else() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.hypervisor.is_defective.store(true, Ordering::Relaxed);
    let problem = site.failure(&site.submit_backup("db").await).await;
    assert_eq!(problem.code, Code::Failed);
    assert!(!problem.detail.contains("panic"), "{}", problem.detail);
    site.hypervisor.is_defective.store(false, Ordering::Relaxed);
    site.backup("db").await;
}

#[tokio::test]
async fn jobs_are_found_by_id_by_its_start_and_as_the_latest() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    assert_eq!(code(site.client.job("latest").await), Code::NotFound);
    let first = site.submit_backup("db").await;
    let second = site.submit_backup("db").await;
    assert_eq!(site.client.job(first.id.as_str()).await.unwrap().id, first.id);
    assert_eq!(site.client.job(&second.id.as_str()[..13]).await.unwrap().id, second.id);
    assert_eq!(site.client.job("latest").await.unwrap().id, second.id);
    assert_eq!(code(site.client.job("nothing").await), Code::NotFound);
    let newest: Vec<_> = site.client.jobs(1).await.unwrap().iter().map(|job| job.id).collect();
    assert_eq!(newest, [second.id]);
    site.end(&second).await;
}

#[tokio::test]
async fn an_unprotected_vm_is_not_backed_up() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.client.unprotect("db").await.unwrap();
    let problem = crate::site::problem(site.client.backup("db", &BackupRequest::default()).await);
    assert_eq!(problem.code, Code::Conflict);
    assert!(problem.hint.is_some());
    assert_eq!(code(site.client.unprotect("db").await), Code::Conflict);
}

#[tokio::test]
async fn a_backup_that_cannot_be_as_good_as_asked_says_so() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.hypervisor.edit(&site.path("db"), |guest| guest.consistency = Consistency::Crash);
    let ended = site.end(&site.submit_backup("db").await).await;
    assert_eq!(ended.state, JobState::Succeeded);
    assert!(ended.warnings[0].contains("crash consistency instead of application"), "{:?}", ended.warnings);

    let strict = ProtectRequest { strict: true, ..into_vault("main") };
    site.client.protect("db", &strict).await.unwrap();
    assert_eq!(site.failure(&site.submit_backup("db").await).await.code, Code::Consistency);
    let weaker = BackupRequest { consistency: Some(Consistency::Crash), label: Some("weaker".to_owned()) };
    let job = site.client.backup("db", &weaker).await.unwrap();
    assert_eq!(site.end(&job).await.state, JobState::Succeeded);
    assert_eq!(site.client.point("point:db/latest").await.unwrap().label.as_deref(), Some("weaker"));
}

#[tokio::test]
async fn a_guest_that_dies_in_the_middle_fails_its_backup_and_no_more() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    let lose = |reads: Option<u64>| {
        site.hypervisor.edit(&site.path("db"), |guest| {
            guest.disks.values_mut().for_each(|disk| disk.reads_until_lost = reads);
        });
    };
    lose(Some(1));
    let problem = site.failure(&site.submit_backup("db").await).await;
    assert_eq!(problem.code, Code::Unreachable, "{problem:?}");
    assert_eq!(site.client.points(None, false).await.unwrap(), []);
    lose(None);
    site.backup("db").await;
}
