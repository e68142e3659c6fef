//! Disks and VMs made from images: usable at once, and whole by and by.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use api::{
    AddVm, Code, CreateDisk, CreateVm, DeletePoints, DiskState, HydrateRequest, JobResult, JobView,
    RestoredVmView, SiteDiskView, StopVm,
};
use model::{ByteCount, JobState};

use crate::site::{DISK_SIZE_BYTES, TestSite, code, pattern, problem};

/// So slow that it does not end while a test looks.
const SLOW_BYTES_PER_SECOND: u64 = 64 << 10;

/// A site with the point `point:db/latest` of a disk that holds `pattern(1)`.
async fn site_with_point() -> TestSite {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    site.backup("db").await;
    site
}

fn request(name: &str, more: serde_json::Value) -> CreateDisk {
    let mut request = serde_json::json!({"name": name, "reference": "point:db/latest"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(request).unwrap()
}

async fn create(site: &TestSite, request: &CreateDisk) -> SiteDiskView {
    let ended = site.end(&site.client.create_disk(request).await.unwrap()).await;
    match ended.result {
        Some(JobResult::CreatedDisk(disk)) => disk,
        other => panic!("no disk but {other:?}, {:?}", ended.problem),
    }
}

/// Follows the job that makes a disk whole.
async fn whole(site: &TestSite, disk: &SiteDiskView) {
    let job = site.client.job(disk.hydration_job.unwrap().as_str()).await.unwrap();
    let ended = site.end(&job).await;
    assert_eq!(ended.state, JobState::Succeeded, "{:?}", ended.problem);
    let view = site.client.disk(&disk.name).await.unwrap();
    assert_eq!((view.state, view.reads_from), (DiskState::Whole, None));
    assert!(!needs_another(Path::new(&disk.path)));
}

fn needs_another(path: &Path) -> bool {
    let info = Command::new("qemu-img").args(["info", "-U", "--output=json"]).arg(path).output().unwrap();
    assert!(info.status.success(), "{info:?}");
    String::from_utf8(info.stdout).unwrap().contains("backing-filename")
}

/// Whether a disk shows these bytes, and zeros behind them.
pub fn shows(site: &TestSite, disk: &Path, bytes: &[u8]) -> bool {
    let expected = site.path("expected.raw");
    std::fs::write(&expected, bytes).unwrap();
    let mut compare = Command::new("qemu-img");
    compare.args(["compare", "-U", "-q", "-f", "qcow2", "-F", "raw"]).arg(disk).arg(expected);
    compare.status().unwrap().success()
}

fn is_in_use(path: &Path) -> bool {
    // Writing needs the lock that every program has which writes.
    let image = Command::new("qemu-io").args(["-f", "qcow2", "-c", "quit"]).arg(path).output().unwrap();
    !image.status.success()
}

/// A program that has an image open to write to it.
struct User(Child);

impl User {
    fn of(path: &Path) -> Self {
        let mut command = Command::new("qemu-io");
        command.args(["-f", "qcow2"]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        // It answers once it has the lock.
        process.stdin.as_mut().unwrap().write_all(b"length\n").unwrap();
        let mut answer = [0];
        process.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        assert!(is_in_use(path));
        Self(process)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn add_vm(name: &str, disk: &str) -> AddVm {
    let definition =
        serde_json::json!({"name": name, "memory": "1GiB", "disk": [{"name": "d", "path": disk}]});
    AddVm { definition: Some(serde_json::from_value(definition).unwrap()), ..AddVm::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_usable_at_once_and_becomes_whole() {
    let site = site_with_point().await;
    let slow = serde_json::json!({"rate_limit_bytes_per_second": SLOW_BYTES_PER_SECOND});
    let disk = create(&site, &request("data", slow)).await;
    assert_eq!((disk.state, disk.size_bytes.0), (DiskState::Hydrating, DISK_SIZE_BYTES as u64));
    assert!(shows(&site, Path::new(&disk.path), &pattern(1)));
    let again = site.client.create_disk(&request("data", serde_json::json!({}))).await;
    assert_eq!(code(again), Code::Conflict, "the name is taken");

    // Another pace for the same job.
    let job = site.client.hydrate_disk("data", &HydrateRequest::default()).await.unwrap();
    assert_eq!(Some(job.id), disk.hydration_job);
    whole(&site, &disk).await;
    assert!(shows(&site, Path::new(&disk.path), &pattern(1)));
    let once_more = site.client.hydrate_disk("data", &HydrateRequest::default()).await;
    assert_eq!(code(once_more), Code::Conflict, "it is whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_may_grow_and_not_shrink() {
    let site = site_with_point().await;
    let sized = |size: usize| {
        request("data", serde_json::json!({"size_bytes": size, "directory": site.path("elsewhere")}))
    };
    let refused = problem(site.client.create_disk(&sized(DISK_SIZE_BYTES - 512)).await);
    assert!(refused.code == Code::Invalid && refused.hint.is_some(), "{refused:?}");
    assert_eq!(code(site.client.create_disk(&sized(DISK_SIZE_BYTES + 1)).await), Code::Invalid);
    let disk = create(&site, &sized(2 * DISK_SIZE_BYTES)).await;
    assert_eq!(disk.size_bytes, ByteCount(2 * DISK_SIZE_BYTES as u64));
    assert_eq!(PathBuf::from(&disk.path), site.path("elsewhere/data.qcow2"));
    whole(&site, &disk).await;
    let mut grown = pattern(1);
    grown.resize(2 * DISK_SIZE_BYTES, 0);
    assert!(shows(&site, Path::new(&disk.path), &grown));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_disk_reads_from_stays_until_it_is_whole_also_after_a_restart() {
    let site = site_with_point().await;
    let disk = create(&site, &request("data", serde_json::json!({"hydrate": false}))).await;
    assert_eq!((disk.state, disk.hydration_job), (DiskState::Dependent, None));
    let site = site.restart().await;
    assert!(shows(&site, Path::new(&disk.path), &pattern(1)));
    let delete = DeletePoints { references: vec!["point:db/latest".to_owned()], dry_run: false };
    let refused = problem(site.client.delete_points(&delete).await);
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.hint.unwrap().contains("holdfast disk hydrate data"));

    let slow = HydrateRequest { rate_limit_bytes_per_second: Some(SLOW_BYTES_PER_SECOND) };
    site.client.hydrate_disk("data", &slow).await.unwrap();
    let site = site.restart().await;
    let going_on = hydration(&site, "data").await;
    site.client.hydrate_disk("data", &HydrateRequest::default()).await.unwrap();
    whole(&site, &going_on).await;
    site.client.delete_points(&delete).await.unwrap();
    assert!(shows(&site, Path::new(&disk.path), &pattern(1)));
}

/// A disk once a job makes it whole.
async fn hydration(site: &TestSite, name: &str) -> SiteDiskView {
    loop {
        let view = site.client.disk(name).await.unwrap();
        if view.hydration_job.is_some() {
            return view;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_takes_its_disk_and_gives_it_back() {
    let site = site_with_point().await;
    let slow = serde_json::json!({"rate_limit_bytes_per_second": SLOW_BYTES_PER_SECOND});
    let disk = create(&site, &request("data", slow)).await;
    let path = Path::new(&disk.path);
    site.client.add_vm(&add_vm("web", &disk.path)).await.unwrap();
    assert_eq!(site.client.disk("data").await.unwrap().vm.as_deref(), Some("web"));
    site.hypervisor.hydrations.close();
    site.client.start_vm("web").await.unwrap();
    site.hypervisor.hydrations.reached().await;
    assert!(!is_in_use(path), "the VM has it for itself");
    site.client.hydrate_disk("data", &HydrateRequest::default()).await.unwrap();
    site.client.stop_vm("web", StopVm { force: true }).await.unwrap();
    site.hypervisor.hydrations.open();
    whole(&site, &disk).await;
    assert!(shows(&site, path, &pattern(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_somebody_uses_waits_and_is_not_deleted() {
    let site = site_with_point().await;
    let disk = create(&site, &request("data", serde_json::json!({"hydrate": false}))).await;
    let path = Path::new(&disk.path);
    let user = User::of(path);
    assert_eq!(code(site.client.delete_disk("data", false).await), Code::Conflict);
    assert_eq!(code(site.client.delete_disk("data", true).await), Code::Conflict);
    let job = site.client.hydrate_disk("data", &HydrateRequest::default()).await.unwrap();
    until_phase(&site, &job, "waiting until nobody uses").await;
    drop(user);
    assert_eq!(site.end(&job).await.state, JobState::Succeeded);

    site.client.add_vm(&add_vm("web", &disk.path)).await.unwrap();
    assert_eq!(code(site.client.delete_disk("data", false).await), Code::Conflict, "a VM has it");
    site.client.remove_vm("web").await.unwrap();
    let reader = CreateDisk {
        reference: format!("file:{}", disk.path),
        ..request("copy", serde_json::json!({"hydrate": false}))
    };
    create(&site, &reader).await;
    let refused = problem(site.client.delete_disk("data", false).await);
    assert!(refused.detail.contains("the disk copy reads from"), "{refused:?}");
    site.client.delete_disk("copy", false).await.unwrap();
    site.client.delete_disk("data", true).await.unwrap();
    assert!(path.exists());
    site.client.delete_disk("data", false).await.unwrap();
    assert!(!path.exists() && site.client.disks().await.unwrap().is_empty());
}

async fn until_phase(site: &TestSite, job: &JobView, phase: &str) {
    let mut events = site.client.job_events(job.id).await.unwrap();
    while let Some(job) = events.next().await.unwrap() {
        if job.progress.phase.starts_with(phase) {
            return;
        }
    }
    panic!("the job has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_deleted_while_it_becomes_whole() {
    let site = site_with_point().await;
    let slow = serde_json::json!({"rate_limit_bytes_per_second": SLOW_BYTES_PER_SECOND});
    let disk = create(&site, &request("data", slow)).await;
    site.client.delete_disk("data", false).await.unwrap();
    assert!(!Path::new(&disk.path).exists());
    let job = site.client.job(disk.hydration_job.unwrap().as_str()).await.unwrap();
    assert_eq!(site.end(&job).await.state, JobState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_with_the_disk() {
    let site = site_with_point().await;
    let disk = create(&site, &request("data", serde_json::json!({"hydrate": false}))).await;
    let folders = std::fs::read_dir(site.path("vaults/main/packs")).unwrap();
    for file in folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap()) {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.iter_mut().skip(64).step_by(1000).for_each(|byte| *byte ^= 1);
        std::fs::write(&path, bytes).unwrap();
    }
    let site = site.restart().await;
    let job = site.client.hydrate_disk("data", &HydrateRequest::default()).await.unwrap();
    let failed = site.failure(&job).await;
    assert_eq!(failed.code, Code::Damaged, "{failed:?}");
    assert!(failed.hint.unwrap().ends_with("holdfast disk hydrate data"));
    let view = site.client.disk("data").await.unwrap();
    assert!(view.state == DiskState::Failed && view.failure.is_some(), "{view:?}");
    assert!(!is_in_use(Path::new(&disk.path)));
}

async fn create_vm(site: &TestSite, request: serde_json::Value) -> RestoredVmView {
    let request: CreateVm = serde_json::from_value(request).unwrap();
    let ended = site.end(&site.client.create_vm(&request).await.unwrap()).await;
    match ended.result {
        Some(JobResult::RestoredVm(vm)) => vm,
        other => panic!("no VM but {other:?}, {:?}", ended.problem),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_made_from_a_point_and_becomes_whole_without_running() {
    let site = site_with_point().await;
    let vm = create_vm(&site, serde_json::json!({"reference": "point:db/latest", "name": "db-2"})).await;
    assert!(!vm.started && vm.point_id.is_some());
    let path = Path::new(&vm.disks[0].path);
    assert!(shows(&site, path, &pattern(1)));
    let job = site.client.job(vm.hydration_job.unwrap().as_str()).await.unwrap();
    assert_eq!(site.end(&job).await.state, JobState::Succeeded);
    let view = site.client.vm("db-2").await.unwrap();
    assert!(view.power == "stopped" && view.dependent_disks.is_empty(), "{view:?}");
    assert!(!needs_another(path) && shows(&site, path, &pattern(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_made_from_an_image_file_and_what_is_said_of_it() {
    let site = TestSite::start().await;
    let image = site.path("image.raw");
    std::fs::write(&image, pattern(3)).unwrap();
    let reference = format!("file:{}", image.display());
    let unsaid = CreateVm { ..serde_json::from_value(serde_json::json!({"reference": reference})).unwrap() };
    let refused = problem(site.client.create_vm(&unsaid).await);
    assert!(refused.hint.unwrap().contains("--memory"));
    let definition = serde_json::json!({"name": "one", "memory": "1GiB", "cpus": 2});
    let vm = create_vm(
        &site,
        serde_json::json!({"reference": reference, "definition": definition, "name": "two", "start": true, "hydrate": false}),
    )
    .await;
    assert!(vm.started && vm.vm_name == "two" && vm.point_id.is_none());
    assert!(shows(&site, Path::new(&vm.disks[0].path), &pattern(3)));
    assert_eq!(site.client.vm("two").await.unwrap().cpus, 2);
}
