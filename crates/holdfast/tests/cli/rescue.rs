//! Restoring from a real vault with nothing but its place and a key.

use std::{ffi::OsStr, path::Path, sync::Arc};

use env::{Env, SeededEntropy};
use image::MemoryImage;
use model::{
    ByteCount, CaptureCost, CaptureId, ChangeSource, Consistency, ConsistencyReached, DiskSummary, PointId,
    PointSummary, VmDefinition, VmId,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use vault::{
    DiskSource, KeyFile, Monitor, NewKey, NewSlot, Passphrase, PointRecord, StoreLocation, StoredDisk, Vault,
};

use crate::{
    program::{Run, run, run_with},
    views::moment,
};

const SIZE_BYTES: usize = 5 << 20;

/// A vault with one point of a VM with one disk, and what opens it.
struct Wreck {
    directory: TempDir,
    disk: Vec<u8>,
}

impl Wreck {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = vec![0; SIZE_BYTES];
        env::Entropy::fill(&SeededEntropy::new(5), &mut disk[..SIZE_BYTES / 2]);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(back_up(directory.path(), &disk));
        Self { directory, disk }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn rescue(&self, arguments: &[&str]) -> Run {
        let (url, key) = (self.path("vault"), self.path("vault.key"));
        run(self.directory.path(), &[&["rescue", "--url", &url, "--key-file", &key], arguments].concat())
    }
}

async fn back_up(directory: &Path, disk: &[u8]) {
    let place = directory.join("vault");
    let location = StoreLocation::parse(url::Url::from_file_path(place).unwrap().as_str()).unwrap();
    let key_file = KeyFile::generate(&SeededEntropy::new(1));
    std::fs::write(directory.join("vault.key"), key_file.to_text()).unwrap();
    let slots = [
        NewSlot::unlabelled(NewKey::KeyFile(key_file)),
        NewSlot::unlabelled(NewKey::Passphrase(Passphrase::new("correct horse"))),
    ];
    let vault = Vault::create(&location, &slots, Env::seeded(1)).await.unwrap();
    let kit = vault.recovery_kit("file:///elsewhere").await.unwrap();
    std::fs::write(directory.join("kit.txt"), kit.page()).unwrap();
    let mut writer = vault.writer().await.unwrap();
    let image = Arc::new(MemoryImage::new(disk.to_vec()));
    let source = DiskSource { image, parent: None, changes: None };
    let stored = Box::pin(writer.store_disk(source, &Monitor::default())).await.unwrap();
    writer.commit(point(&stored)).await.unwrap();
}

fn point(stored: &StoredDisk) -> PointRecord {
    let definition = json!({
        "name": "db/1", "memory": "2GiB", "cpus": 2, "firmware": {"kind": "bios"},
        "disk": [{"name": "vda", "bus": "scsi"}], "network": [{"mac": "52:54:00:00:00:01"}],
    });
    let disk = DiskSummary {
        name: "vda".parse().unwrap(),
        size_bytes: ByteCount(stored.map.size_bytes),
        read_bytes: ByteCount(stored.read_bytes),
        stored_bytes: ByteCount(stored.stored_bytes),
        source: ChangeSource::Full,
    };
    let summary = PointSummary {
        id: PointId::from_random([2; 10]),
        vm_id: VmId::from_random([1; 10]),
        vm_name: "db/1".parse().unwrap(),
        captured_at: moment(),
        capture_id: CaptureId::from_random([3; 10]),
        parent: None,
        consistency: ConsistencyReached {
            asked: Consistency::Crash,
            reached: Consistency::Crash,
            shortfall: None,
        },
        disks: vec![disk],
        cost: CaptureCost::default(),
        label: None,
    };
    PointRecord { summary, definition: serde_json::from_value(definition).unwrap(), maps: vec![stored.map] }
}

#[test]
fn a_vm_comes_back_from_a_store_and_a_key() {
    let wreck = Wreck::new();
    let listed = wreck.rescue(&["list", "-o", "json"]);
    assert_eq!(listed.exit, Some(0), "{}", listed.stderr);
    let points: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(points[0]["vm_name"], "db/1");
    assert_eq!(wreck.rescue(&["list", "--vm", "other", "-q"]).stdout, "");
    assert!(wreck.rescue(&["show", "point:db%2F1/latest"]).stdout.contains("vda"));

    let to = wreck.path("restored");
    let arguments = ["restore", "vm", "point:db%2F1/latest", "--to", &to, "--format", "raw", "-o", "json"];
    let plan = wreck.rescue(&[&arguments[..], &["--dry-run"]].concat());
    assert_eq!(plan.exit, Some(0), "{}", plan.stderr);
    assert!(!Path::new(&to).exists(), "a dry run writes nothing");
    let restored = wreck.rescue(&arguments);
    assert_eq!(restored.exit, Some(0), "{}", restored.stderr);
    let restored: Value = serde_json::from_str(&restored.stdout).unwrap();
    let disk = restored["disks"][0]["path"].as_str().unwrap();
    assert!(std::fs::read(disk).unwrap() == wreck.disk, "bit for bit");

    let definition = std::fs::read_to_string(restored["definition"].as_str().unwrap()).unwrap();
    let definition: VmDefinition = toml::from_str(&definition).unwrap();
    assert_eq!((definition.name.as_str(), definition.cpus), ("db/1", 2));
    assert_eq!(definition.disks[0].path.as_deref(), Some(Path::new(disk)));
    assert!(definition.networks[0].mac.is_some(), "it takes the old one's place");

    let again = wreck.rescue(&arguments);
    assert_eq!(again.exit, Some(6), "{}", again.stderr);
    assert_eq!(wreck.rescue(&[&arguments[..], &["--replace"]].concat()).exit, Some(0));
}

#[test]
fn one_disk_comes_back_by_its_reference() {
    let wreck = Wreck::new();
    let to = wreck.path("vda.img");
    for reference in ["point:db%2F1/latest", "point:db%2F1/latest/vda"] {
        let restored = wreck.rescue(&["restore", "disk", reference, "--to", &to, "--replace"]);
        assert_eq!(restored.exit, Some(0), "{}", restored.stderr);
        assert!(std::fs::read(&to).unwrap() == wreck.disk);
        std::fs::remove_file(&to).unwrap();
    }
    let missing = wreck.rescue(&["restore", "disk", "point:db%2F1/latest/vdb", "--to", &to]);
    assert_eq!(missing.exit, Some(4));
    assert!(missing.stderr.contains("vda"), "{}", missing.stderr);
    assert_eq!(wreck.rescue(&["restore", "disk", "point:web/latest", "--to", &to]).exit, Some(4));
}

#[test]
fn each_kind_of_key_is_tried() {
    let wreck = Wreck::new();
    let url = format!("file://{}", wreck.path("vault"));
    let test = |key: &str, password: &str| {
        let variables = [("HOLDFAST_PASSWORD", OsStr::new(password))];
        run_with(wreck.directory.path(), &["rescue", "--url", &url, "key", "test", key], &variables)
    };
    let kit = format!("--kit={}", wreck.path("kit.txt"));
    let key_file = format!("--key-file={}", wreck.path("vault.key"));
    for key in [&kit, &key_file, "--passphrase"] {
        let tested = test(key, "correct horse");
        assert_eq!(tested.exit, Some(0), "{key}: {}", tested.stderr);
        assert!(tested.stdout.contains("everything: it restores"), "{}", tested.stdout);
    }
    let wrong = test("--passphrase", "wrong horse");
    assert_eq!((wrong.exit, wrong.stdout.as_str()), (Some(12), ""), "{}", wrong.stderr);
    let page = std::fs::read_to_string(wreck.path("kit.txt")).unwrap().replace("group 1 ", "group l ");
    std::fs::write(wreck.path("kit.txt"), page.replacen("\n      last\n      ", "\n      last\n      0", 1))
        .unwrap();
    assert_eq!(test(&kit, "").exit, Some(2), "a slip of the pen is told as one");
    let nowhere = wreck.path("nowhere");
    let key = wreck.path("vault.key");
    let absent =
        run(wreck.directory.path(), &["rescue", "--url", &nowhere, "--key-file", &key, "key", "test"]);
    assert_eq!(absent.exit, Some(10), "{}", absent.stderr);
}
