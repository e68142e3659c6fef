use api::{
    AddCopy, Code, CopyState, JobResult, JobView, RepairRequest, RepairView, RestoreDiskRequest,
    RestoreVmRequest, VerifyRequest,
};
use model::{JobKind, JobState};

use crate::site::{DISK_SIZE_BYTES, TestSite, code, pattern, problem};

fn copy(site: &TestSite, name: &str) -> AddCopy {
    let url = format!("file://{}", site.path(&format!("copies/{name}")).display());
    AddCopy { name: name.to_owned(), url }
}

async fn add_copy(site: &TestSite, name: &str) {
    let job = site.client.add_copy("main", &copy(site, name)).await.unwrap();
    let ended = site.end(&job).await;
    assert_eq!(ended.state, JobState::Succeeded, "{:?}", ended.problem);
}

/// Follows the newest job that works on a copy to its end. A backup asks for it before it ends itself.
async fn copied(site: &TestSite) -> JobView {
    let jobs = site.client.jobs(100).await.unwrap();
    let job = jobs.iter().find(|job| job.kind == JobKind::Copy).expect("somebody asked for the copy");
    site.end(job).await
}

fn restore(site: &TestSite, from_copy: Option<&str>) -> RestoreDiskRequest {
    RestoreDiskRequest {
        reference: "point:db/latest".to_owned(),
        from_copy: from_copy.map(str::to_owned),
        path: site.path("restored").display().to_string(),
        format: None,
        replace: true,
        no_safety_point: false,
        dry_run: false,
        stop: false,
        force: false,
    }
}

#[tokio::test]
async fn a_copy_follows_each_backup_and_restores_without_its_vault() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.backup("db").await;
    add_copy(&site, "offsite").await;
    let view = site.client.copies("main").await.unwrap().remove(0);
    assert_eq!((view.state, view.points_behind), (CopyState::UpToDate, Some(0)), "{view:?}");

    site.hypervisor.write(&site.path("db"), 0, &[7; 4096]);
    site.backup("db").await;
    match copied(&site).await.result {
        Some(JobResult::Synced(synced)) => assert_eq!(synced.point_count, 1, "{synced:?}"),
        other => panic!("{other:?}"),
    }
    let vault = site.client.vault("main").await.unwrap();
    assert_eq!((vault.copies[0].state, vault.warnings.len()), (CopyState::UpToDate, 0), "{vault:?}");
    assert!(vault.copies[0].last_synced_at.is_some());

    std::fs::remove_dir_all(site.path("vaults/main")).unwrap();
    let site = site.restart().await;
    assert_eq!(code(site.client.restore_disk(&restore(&site, None)).await), Code::NoVault);
    for name in ["offsite", "main/offsite"] {
        let ended = site.end(&site.client.restore_disk(&restore(&site, Some(name))).await.unwrap()).await;
        assert_eq!(ended.state, JobState::Succeeded, "{:?}", ended.problem);
        let mut expected = pattern(1);
        expected[..4096].fill(7);
        assert!(std::fs::read(site.path("restored")).unwrap() == expected, "the last moment, bit for bit");
    }
    let vm = RestoreVmRequest {
        reference: "point:db/latest".to_owned(),
        from_copy: Some("offsite".to_owned()),
        name: Some("db-again".to_owned()),
        directory: None,
        format: Some(model::DiskFormat::Raw),
        keep_identity: false,
        replace: false,
        start: false,
        no_safety_point: false,
        dry_run: false,
        stop: false,
        force: false,
    };
    let ended = site.end(&site.client.restore_vm(&vm).await.unwrap()).await;
    assert_eq!(ended.state, JobState::Succeeded, "{:?}", ended.problem);
    assert_eq!(code(site.client.restore_disk(&restore(&site, Some("nowhere"))).await), Code::NotFound);
}

#[tokio::test]
async fn a_copy_that_fails_warns_and_fails_no_backup() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    add_copy(&site, "offsite").await;
    let (gone, away) = (site.path("copies"), site.path("away"));
    std::fs::rename(&gone, &away).unwrap();
    std::fs::write(&gone, "no directory").unwrap();

    site.backup("db").await;
    assert_eq!(copied(&site).await.state, JobState::Failed);
    let vault = site.client.vault("main").await.unwrap();
    assert_eq!((vault.problem, vault.copies[0].state), (None, CopyState::Failing));
    assert!(vault.warnings[0].contains("offsite"), "{:?}", vault.warnings);
    let jobs = site.client.jobs(100).await.unwrap().len();
    site.backup("db").await;
    assert_eq!(site.client.jobs(100).await.unwrap().len(), jobs + 1, "it is left alone for a while");

    std::fs::remove_file(&gone).unwrap();
    std::fs::rename(&away, &gone).unwrap();
    let job = site.client.sync_copy("main", "offsite").await.unwrap();
    assert_eq!(site.end(&job).await.state, JobState::Succeeded, "who asks for it is served at once");
    assert_eq!(site.client.vault("main").await.unwrap().warnings, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_not_copied_is_copied_at_the_next_start() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    add_copy(&site, "offsite").await;
    let before = site.client.jobs(100).await.unwrap().len();
    let site = site.restart().await;
    while site.client.jobs(100).await.unwrap().len() == before {}
    assert_eq!(copied(&site).await.state, JobState::Succeeded);
}

#[tokio::test]
async fn names_and_places_of_copies_are_taken_once() {
    let site = TestSite::start().await;
    site.create_vault("main").await;
    add_copy(&site, "offsite").await;
    let again = |name: &str, place: &str| AddCopy { name: name.to_owned(), ..copy(&site, place) };
    assert_eq!(code(site.client.add_copy("main", &again("offsite", "b")).await), Code::Conflict);
    assert_eq!(code(site.client.add_copy("main", &again("other", "offsite")).await), Code::Conflict);
    assert_eq!(code(site.client.add_copy("main", &again("a/b", "b")).await), Code::Invalid);
    let own = AddCopy { name: "own".into(), url: site.client.vault("main").await.unwrap().url };
    assert_eq!(code(site.client.add_copy("main", &own).await), Code::Conflict);
    assert_eq!(code(site.client.sync_copy("main", "other").await), Code::NotFound);
    assert_eq!(code(site.client.remove_copy("main", "other").await), Code::NotFound);
    site.client.remove_copy("main", "offsite").await.unwrap();
    assert_eq!(site.client.copies("main").await.unwrap(), []);
    assert!(site.path("copies/offsite/config").exists(), "what is in its store stays");
    add_copy(&site, "offsite").await;
}

#[tokio::test]
async fn a_vault_is_healed_from_its_copy() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.backup("db").await;
    add_copy(&site, "offsite").await;
    let pack = a_pack(&site);
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let verify =
        async || site.end(&site.client.verify_vault("main", &VerifyRequest::default()).await.unwrap()).await;
    assert_eq!(verify().await.problem.unwrap().code, Code::Damaged);

    let repaired = async |request: &RepairRequest| -> RepairView {
        let ended = site.end(&site.client.repair("main", request).await.unwrap()).await;
        match ended.result {
            Some(JobResult::Repaired(view)) => *view,
            other => panic!("{other:?}, {:?}", ended.problem),
        }
    };
    let plan = repaired(&RepairRequest { dry_run: true, ..RepairRequest::default() }).await;
    assert_eq!((plan.dry_run, plan.healed.len(), plan.unhealed.len()), (true, 1, 0), "{plan:?}");
    assert_eq!(verify().await.problem.unwrap().code, Code::Damaged, "nothing was changed");
    let from = RepairRequest { from_copies: vec!["offsite".into()], dry_run: false };
    assert_eq!(repaired(&from).await.healed.len(), 1);
    assert_eq!(verify().await.state, JobState::Succeeded);
    let unknown = RepairRequest { from_copies: vec!["nowhere".into()], dry_run: false };
    assert_eq!(problem(site.client.repair("main", &unknown).await).code, Code::NotFound);
}

async fn verified(site: &TestSite) -> JobView {
    site.end(&site.client.verify_vault("main", &VerifyRequest::default()).await.unwrap()).await
}

#[tokio::test]
async fn a_damaged_or_lost_config_is_told_and_comes_back_from_the_copy() {
    let mut site = TestSite::start().await;
    site.protected_guest("db").await;
    site.backup("db").await;
    add_copy(&site, "offsite").await;
    let config = site.path("vaults/main/config");
    let sound = std::fs::read(&config).unwrap();
    for is_lost in [false, true] {
        let mut damaged = sound.clone();
        damaged[40] ^= 1;
        std::fs::write(&config, damaged).unwrap();
        if is_lost {
            std::fs::remove_file(&config).unwrap();
        }
        site = site.restart().await;
        let told = site.client.vault("main").await.unwrap().problem.unwrap();
        assert!(told.contains("config") && told.contains("vault repair"), "{told}");
        let ended = verified(&site).await;
        assert_eq!(ended.problem.unwrap().code, Code::Damaged);
        match ended.result {
            Some(JobResult::Verified(view)) => assert_eq!(view.damages[0].object, "the config", "{view:?}"),
            other => panic!("{other:?}"),
        }
        let restored = site.end(&site.client.restore_disk(&restore(&site, None)).await.unwrap()).await;
        assert_eq!(restored.state, JobState::Succeeded, "{:?}", restored.problem);
        site.backup("db").await;

        let job = site.client.repair("main", &RepairRequest::default()).await.unwrap();
        assert_eq!(site.end(&job).await.state, JobState::Succeeded);
        assert_eq!(std::fs::read(&config).unwrap(), sound);
        assert_eq!(verified(&site).await.state, JobState::Succeeded);
        assert_eq!(site.client.vault("main").await.unwrap().problem, None);
    }
}

#[tokio::test]
async fn a_copy_that_is_gone_is_told_and_not_made_anew() {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    add_copy(&site, "offsite").await;
    // As a disk that is not mounted.
    let place = site.path("copies/offsite");
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    let problem = site.failure(&site.client.sync_copy("main", "offsite").await.unwrap()).await;
    let hint = problem.hint.unwrap();
    assert!(hint.contains("mount") && hint.contains("vault copy remove"), "{hint}");
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "nothing was written");
    let view = site.client.copies("main").await.unwrap().remove(0);
    assert_eq!(view.state, CopyState::Failing);
    assert!(view.problem.unwrap().contains("is gone"));

    site.client.remove_copy("main", "offsite").await.unwrap();
    add_copy(&site, "offsite").await;
    assert_eq!(site.client.copies("main").await.unwrap()[0].state, CopyState::UpToDate);
}

#[tokio::test]
async fn a_vault_that_is_gone_is_not_blamed_on_its_copy() {
    let mut site = TestSite::start().await;
    site.protected_guest("db").await;
    site.backup("db").await;
    add_copy(&site, "offsite").await;
    let place = site.path("vaults/main");
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    // By the handle that is open, and by a server that opens it anew.
    for restarts in [false, true] {
        if restarts {
            let before = site.client.jobs(100).await.unwrap().len();
            site = site.restart().await;
            while site.client.jobs(100).await.unwrap().len() == before {}
            assert_eq!(copied(&site).await.state, JobState::Failed);
        }
        let vault = site.client.vault("main").await.unwrap();
        let told = vault.problem.clone().unwrap();
        for word in ["mount", "--from-copy offsite", "holdfast rescue"] {
            assert!(told.contains(word), "{told}");
        }
        assert_eq!(vault.warnings, Vec::<String>::new());
        let copy = site.client.copies("main").await.unwrap().remove(0);
        assert_eq!(copy.state, CopyState::Unknown, "{copy:?}");
        assert!(copy.problem.unwrap().contains("--from-copy offsite"));
        let problem = site.failure(&site.submit_backup("db").await).await;
        assert_eq!(problem.code, Code::NoVault);
        assert!(problem.hint.unwrap().contains("mount"));
        let problem = site.failure(&site.client.sync_copy("main", "offsite").await.unwrap()).await;
        assert_eq!(problem.code, Code::NoVault);
    }
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "nothing was written");
    let request = api::CreateVault {
        name: "second".to_owned(),
        url: Some(site.client.vault("main").await.unwrap().url),
        unlock_with: None,
    };
    let problem = problem(site.client.create_vault(&request).await);
    assert!(problem.code == Code::Conflict && problem.hint.unwrap().contains("mounted"));
}

/// The file of the largest pack of the vault.
fn a_pack(site: &TestSite) -> std::path::PathBuf {
    let folders = std::fs::read_dir(site.path("vaults/main/packs")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let files = files.map(|file| file.unwrap().path());
    let largest = files.max_by_key(|file| file.metadata().unwrap().len()).unwrap();
    assert!(largest.metadata().unwrap().len() > DISK_SIZE_BYTES as u64 / 8);
    largest
}
