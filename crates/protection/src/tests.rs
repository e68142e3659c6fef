//! Operations over the fake hypervisor and a real vault in a directory.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use env::Env;
use hypervisor::{FakeDisk, FakeHypervisor, FakeVm, Power, VmAccess, VmOrigin};
use model::{
    ByteCount, ChangeSource, Consistency, DiskFormat, DiskName, PointSummary, Progress, ProtectionSettings,
    VmId,
};
use tokio_util::sync::CancellationToken;
use vault::{NewKey, NewSlot, Passphrase, StoreLocation, Vault};

use crate::{
    BackupOrder, DiskRestore, ErrorKind, Monitor, RestoreSource, Result, VmRestore, backup, partial_path,
    restore_disk, restore_vm, verify,
};

const DISK_SIZE_BYTES: usize = 9 << 20;

#[derive(Default)]
struct Watcher {
    cancellation: CancellationToken,
    warnings: Mutex<Vec<String>>,
}

impl Monitor for Watcher {
    fn progress(&self, _progress: Progress) {}

    fn warn(&self, warning: String) {
        self.warnings.lock().unwrap().push(warning);
    }

    fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }
}

struct World {
    env: Env,
    directory: tempfile::TempDir,
    hypervisor: FakeHypervisor,
    vault: Vault,
    order: BackupOrder,
    watcher: Arc<Watcher>,
}

impl World {
    /// A VM of two disks, protected into a new vault.
    async fn new() -> Self {
        let env = Env::seeded(7);
        let directory = tempfile::tempdir().unwrap();
        let location = StoreLocation::parse(&format!("file://{}/vault", directory.path().display())).unwrap();
        let slot = NewSlot::unlabelled(NewKey::Passphrase(Passphrase::new("correct horse")));
        let vault = Vault::create(&location, &[slot], env.clone()).await.unwrap();
        let vm_id = VmId::from_random([1; 10]);
        let definition: model::VmDefinition = serde_json::from_str(
            r#"{"name":"web-1","memory":1,"uuid":"u","disk":[{"name":"root"},{"name":"data"}],"network":[{"mac":"52:54:00:00:00:01"}]}"#,
        )
        .unwrap();
        let hypervisor = FakeHypervisor::default();
        let disks = [(name("root"), FakeDisk::new(noise(1))), (name("data"), FakeDisk::new(noise(2)))];
        let vm = FakeVm {
            definition,
            disks: disks.into(),
            consistency: Consistency::FileSystem,
            power: Power::Running,
        };
        let access = VmAccess {
            vm_id,
            name: "web-1".parse().unwrap(),
            origin: VmOrigin::Managed { definition: Box::new(vm.definition.clone()) },
        };
        hypervisor.insert(vm_id, vm);
        let mut settings = ProtectionSettings::into_vault(vault.id());
        settings.consistency = Consistency::FileSystem;
        let order = BackupOrder { vm: access, settings, label: None, distrust: None };
        Self { env, directory, hypervisor, vault, order, watcher: Arc::default() }
    }

    fn monitor(&self) -> Arc<dyn Monitor> {
        Arc::clone(&self.watcher) as Arc<dyn Monitor>
    }

    fn source(&self) -> RestoreSource {
        RestoreSource::Vault(self.vault.clone())
    }

    async fn backup(&self) -> Result<PointSummary> {
        backup(&self.env, &self.hypervisor, &self.vault, &self.order, &self.monitor()).await
    }

    fn edit(&self, disk: &str, edit: impl FnOnce(&mut FakeDisk)) {
        self.hypervisor.edit(self.order.vm.vm_id, |vm| edit(vm.disks.get_mut(&name(disk)).unwrap()));
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    async fn restore(&self, point: &PointSummary, disk: &str, path: &Path) -> Result<Vec<u8>> {
        let order = DiskRestore {
            point_id: point.id,
            disk: name(disk),
            path: path.to_owned(),
            format: DiskFormat::Raw,
            replace: false,
        };
        restore_disk(&self.source(), &order, &self.monitor()).await?;
        Ok(std::fs::read(path).unwrap())
    }

    /// Asserts that a point shows exactly what the VM's disks hold now.
    async fn assert_shows_now(&self, point: &PointSummary) {
        for disk in ["root", "data"] {
            let path = self.path(&format!("{}-{disk}", point.id));
            let restored = self.restore(point, disk, &path).await.unwrap();
            let now = self.hypervisor.edit(self.order.vm.vm_id, |vm| vm.disks[&name(disk)].bytes.clone());
            assert!(restored == now, "{disk} of {} shows other bytes", point.id);
        }
    }

    fn script(&self, file: &str, body: &str) -> String {
        let path = self.path(file);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn warnings(&self) -> Vec<String> {
        self.watcher.warnings.lock().unwrap().clone()
    }
}

fn name(disk: &str) -> DiskName {
    disk.parse().unwrap()
}

/// Bytes that neither compress nor repeat, with a hole in the middle.
fn noise(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; DISK_SIZE_BYTES];
    Env::seeded(seed).entropy.fill(&mut bytes);
    bytes[1 << 20..4 << 20].fill(0);
    bytes
}

#[tokio::test]
async fn a_backup_restores_and_the_next_reads_only_what_changed() {
    let world = World::new().await;
    let full = world.backup().await.unwrap();
    assert!(full.disks.iter().all(|disk| disk.source == ChangeSource::Full));
    world.assert_shows_now(&full).await;

    world.edit("root", |disk| disk.write(2 << 20, &[7; 4096]));
    let incremental = world.backup().await.unwrap();
    assert!(incremental.disks.iter().all(|disk| disk.source == ChangeSource::Bitmap));
    assert_eq!(incremental.parent, Some(full.id));
    assert!(incremental.read_bytes() < ByteCount(1 << 20), "read {}", incremental.read_bytes());
    world.assert_shows_now(&incremental).await;
}

#[tokio::test]
async fn lost_tracking_is_neither_a_silent_full_nor_a_silent_gap() {
    let world = World::new().await;
    world.backup().await.unwrap();
    world.edit("root", |disk| {
        disk.write(5 << 20, &[9; 512]);
        disk.lose_tracking();
    });
    let point = world.backup().await.unwrap();
    let sources: Vec<_> = point.disks.iter().map(|disk| (disk.name.as_str(), &disk.source)).collect();
    let compared = ChangeSource::Compared { reason: "there is no bitmap".to_owned() };
    assert_eq!(sources, [("data", &ChangeSource::Bitmap), ("root", &compared)]);
    assert!(
        point.stored_bytes() < ByteCount(2 << 20),
        "only what differs is stored, not {}",
        point.stored_bytes()
    );
    world.assert_shows_now(&point).await;
}

#[tokio::test]
async fn a_failed_backup_is_no_point_and_loses_no_changes() {
    let world = World::new().await;
    let first = world.backup().await.unwrap();
    world.edit("root", |disk| disk.write(8 << 20, &[1; 8192]));
    world.edit("root", |disk| disk.reads_until_lost = Some(0));
    assert_eq!(world.backup().await.unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(world.vault.points().await.unwrap().points.len(), 1);

    world.edit("root", |disk| disk.reads_until_lost = None);
    world.edit("data", |disk| disk.write(0, &[2; 8192]));
    let point = world.backup().await.unwrap();
    assert_eq!(point.parent, Some(first.id));
    assert!(point.disks.iter().all(|disk| disk.source == ChangeSource::Bitmap));
    world.assert_shows_now(&point).await;
}

#[tokio::test]
async fn disks_come_go_and_grow_between_backups() {
    let world = World::new().await;
    world.backup().await.unwrap();
    let vm_id = world.order.vm.vm_id;
    world.edit("root", |disk| disk.bytes.resize(DISK_SIZE_BYTES + (1 << 20), 5));
    world.hypervisor.edit(vm_id, |vm| {
        vm.disks.remove(&name("data"));
        vm.disks.insert(name("extra"), FakeDisk::new(noise(3)));
    });
    let point = world.backup().await.unwrap();
    let sources: Vec<_> = point.disks.iter().map(|disk| (disk.name.as_str(), disk.source.clone())).collect();
    let resized =
        ChangeSource::Compared { reason: "the disk was resized from 9.00 MiB to 10.0 MiB".to_owned() };
    assert_eq!(sources, [("extra", ChangeSource::Full), ("root", resized)]);
    let restored = world.restore(&point, "root", &world.path("grown")).await.unwrap();
    assert!(
        restored.len() == DISK_SIZE_BYTES + (1 << 20)
            && restored[DISK_SIZE_BYTES..].iter().all(|&byte| byte == 5)
    );
}

#[tokio::test]
async fn a_weaker_moment_is_taken_with_a_warning_or_refused() {
    let mut world = World::new().await;
    world.order.settings.consistency = Consistency::Application;
    let point = world.backup().await.unwrap();
    assert_eq!(point.consistency.reached, Consistency::FileSystem);
    assert_eq!(
        world.warnings(),
        ["file-system consistency instead of application: the fake guest can do no better"]
    );

    world.order.settings.strict = true;
    assert_eq!(world.backup().await.unwrap_err().kind(), ErrorKind::Consistency);
}

#[tokio::test]
async fn a_clock_set_back_never_makes_an_old_point_the_newest() {
    let world = World::new().await;
    world.hypervisor.set_time(2_000_000);
    let first = world.backup().await.unwrap();
    world.hypervisor.set_time(1_000_000);
    let second = world.backup().await.unwrap();
    assert!(second.captured_at > first.captured_at && second.parent == Some(first.id));
}

#[tokio::test]
async fn a_cancelled_backup_leaves_the_vault_as_it_was() {
    let world = World::new().await;
    world.watcher.cancellation.cancel();
    assert_eq!(world.backup().await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(world.vault.points().await.unwrap().points.is_empty());
}

#[tokio::test]
async fn scripts_run_around_the_capture() {
    let mut world = World::new().await;
    let log = world.path("log");
    let script = world.script("script", &format!("echo \"$1 $HOLDFAST_VM_NAME\" >> '{}'", log.display()));
    world.order.settings.pre_script = Some(script.clone());
    world.order.settings.post_script = Some(script);
    world.backup().await.unwrap();
    assert_eq!(std::fs::read_to_string(log).unwrap(), "pre web-1\npost web-1\n");

    world.order.settings.post_script = Some(world.script("post", "echo too bad >&2; exit 3"));
    world.backup().await.unwrap();
    assert!(
        world.warnings().iter().any(|warning| warning.contains("exit status: 3: too bad")),
        "{:?}",
        world.warnings()
    );

    world.order.settings.pre_script = Some(world.path("absent").to_str().unwrap().to_owned());
    assert!(world.backup().await.unwrap_err().to_string().starts_with("cannot start the pre-script"));
}

#[tokio::test]
async fn a_restore_never_replaces_a_file_unasked() {
    let world = World::new().await;
    let point = world.backup().await.unwrap();
    let path = world.path("there");
    std::fs::write(&path, "precious").unwrap();
    let error = world.restore(&point, "root", &path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");

    std::fs::write(partial_path(&path), "left by a dead restore").unwrap();
    let order = DiskRestore {
        point_id: point.id,
        disk: name("root"),
        path: path.clone(),
        format: DiskFormat::Raw,
        replace: true,
    };
    restore_disk(&world.source(), &order, &world.monitor()).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), DISK_SIZE_BYTES as u64);
    assert!(!partial_path(&path).exists());
}

#[tokio::test]
async fn a_restored_vm_has_its_own_identity_unless_it_takes_the_old_ones_place() {
    let world = World::new().await;
    let point = world.backup().await.unwrap();
    let mut order = VmRestore {
        point_id: point.id,
        name: "web-2".parse().unwrap(),
        directory: world.path("new/vm"),
        format: DiskFormat::Raw,
        keep_identity: false,
        replace: false,
        backing: None,
    };
    let restored = restore_vm(&world.source(), &order, &world.monitor()).await.unwrap();
    assert_eq!(restored.definition.name.as_str(), "web-2");
    assert_eq!((&restored.definition.uuid, &restored.definition.networks[0].mac), (&None, &None));
    let paths: Vec<_> = restored.definition.disks.iter().map(|disk| disk.path.clone().unwrap()).collect();
    assert_eq!(paths, [world.path("new/vm/1-root.img"), world.path("new/vm/0-data.img")]);
    assert!(std::fs::read(&paths[0]).unwrap() == noise(1));

    assert_eq!(
        restore_vm(&world.source(), &order, &world.monitor()).await.unwrap_err().kind(),
        ErrorKind::Exists
    );
    order.directory = world.path("other");
    order.keep_identity = true;
    let restored = restore_vm(&world.source(), &order, &world.monitor()).await.unwrap();
    assert_eq!(restored.definition.networks[0].mac.as_deref(), Some("52:54:00:00:00:01"));
}

#[tokio::test]
async fn damage_is_found_by_verify_and_by_restore_and_never_returned() {
    let world = World::new().await;
    let point = world.backup().await.unwrap();
    let report = verify(&world.vault, &vault::VerifyOptions::default(), &world.monitor()).await.unwrap();
    assert!(report.is_clean());

    let pack = largest_file(&world.path("vault/packs"));
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();

    let report = verify(&world.vault, &vault::VerifyOptions::default(), &world.monitor()).await.unwrap();
    assert!(!report.is_clean());
    let mut failures = 0;
    for disk in ["root", "data"] {
        let path = world.path(disk);
        if let Err(error) = world.restore(&point, disk, &path).await {
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(!path.exists() && !partial_path(&path).exists());
            failures += 1;
        }
    }
    assert!(failures > 0, "a chunk of one of the disks is damaged");
}

#[tokio::test]
async fn what_the_vault_has_lost_is_stored_again_by_the_next_backup() {
    let world = World::new().await;
    world.backup().await.unwrap();
    std::fs::remove_file(largest_file(&world.path("vault/packs"))).unwrap();
    let healed = world.backup().await.unwrap();
    let reason = "the vault has lost some of what the last backup stored".to_owned();
    assert!(healed.disks.iter().any(|disk| disk.source == ChangeSource::Compared { reason: reason.clone() }));
    world.assert_shows_now(&healed).await;
    assert_eq!(world.backup().await.unwrap().disks[0].source, ChangeSource::Bitmap);
}

fn largest_file(directory: &Path) -> PathBuf {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { directories.push(entry) } else { files.push(entry) }
        }
    }
    files.into_iter().max_by_key(|file| std::fs::metadata(file).unwrap().len()).unwrap()
}
