//! Files put into a guest whose agent is the test's own, but whose files and shell are real.

mod host_agent;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use bytes::Bytes;
use env::Env;
use hypervisor::{
    ErrorKind, GuestContent, GuestFiles, GuestItem, GuestItemKind, GuestItemOutcome, Hypervisor as _,
    VmAccess, VmOrigin,
};
use hypervisor_qemu::{QemuConfig, QemuHypervisor};
use model::VmId;
use tempfile::TempDir;

use host_agent::{HostAgent, Rules};

/// A guest that is this host, as far as the test's directory goes.
struct Bench {
    directory: TempDir,
    agent: HostAgent,
}

impl Bench {
    fn new(rules: Rules) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("guest")).unwrap();
        let agent = HostAgent::listen(&directory.path().join("agent.sock"), rules);
        Self { directory, agent }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("guest").join(name)
    }

    async fn open(&self) -> hypervisor::Result<Box<dyn GuestFiles>> {
        let agent = Some(self.directory.path().join("agent.sock"));
        let qmp = self.directory.path().join("qmp.sock");
        open(self.directory.path(), VmOrigin::External { qmp, qmp_out_of_band: None, agent, last_seen: None })
            .await
    }

    fn item(&self, name: &str, kind: GuestItemKind, mode: u32) -> GuestItem {
        GuestItem {
            path: self.path(name).display().to_string(),
            kind,
            mode,
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
            modified: (1_000_000_000, 500_000_000),
        }
    }

    fn file(&self, name: &str, content: &[u8]) -> GuestItem {
        self.item(name, GuestItemKind::File { size_bytes: content.len() as u64 }, 0o640)
    }

    /// Everything in the guest.
    fn found(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![self.path("")];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap().flatten() {
                let name = entry.path().strip_prefix(self.path("")).unwrap().display().to_string();
                found.push(name);
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }
}

async fn open(directory: &Path, origin: VmOrigin) -> hypervisor::Result<Box<dyn GuestFiles>> {
    let config = QemuConfig {
        runtime_dir: directory.join("run"),
        scratch_dir: directory.join("scratch"),
        guard_command: Vec::new(),
        qemu_program: "qemu-system-x86_64".into(),
        env: Env::system(),
    };
    let vm = VmAccess { vm_id: VmId::from_random([7; 10]), name: "web-1".parse().unwrap(), origin };
    QemuHypervisor::new(config).guest_files(&vm).await
}

/// Contents by place; zeros are holes. Those that are not there cannot be read.
struct Contents(BTreeMap<usize, Vec<u8>>);

impl Contents {
    fn of<const N: usize>(contents: [(usize, &[u8]); N]) -> Self {
        Self(contents.into_iter().map(|(place, bytes)| (place, bytes.to_vec())).collect())
    }
}

#[async_trait]
impl GuestContent for Contents {
    async fn data(&self, item: usize, offset_bytes: u64) -> Result<Option<(u64, Bytes)>, String> {
        let bytes = self.0.get(&item).ok_or("it is damaged")?;
        let rest = bytes.get(offset_bytes as usize..).unwrap_or_default();
        let Some(start) = rest.iter().position(|&byte| byte != 0) else { return Ok(None) };
        let data = rest[start..].split(|&byte| byte == 0).next().unwrap_or_default();
        Ok(Some((offset_bytes + start as u64, Bytes::copy_from_slice(data))))
    }
}

fn written(lost: &[&str]) -> GuestItemOutcome {
    GuestItemOutcome::Written { lost: lost.iter().map(|&word| word.to_owned()).collect() }
}

fn is_failed(outcome: &GuestItemOutcome) -> bool {
    matches!(outcome, GuestItemOutcome::Failed { .. })
}

#[tokio::test]
async fn items_get_their_names_when_they_are_whole_and_keep_what_can_be_kept() {
    let bench = Bench::new(Rules::default());
    let mut guest = bench.open().await.unwrap();
    assert!(guest.abilities().programs);
    let odd = "it's a $(name)\nwith \"all\" of it -n";
    let sparse = [vec![0; 5000], b"middle".to_vec(), vec![0; 300_000], b"x".to_vec(), vec![0; 7]].concat();
    let items = [
        bench.item("d", GuestItemKind::Directory, 0o750),
        bench.file("d/sparse", &sparse),
        bench.file(&format!("d/{odd}"), b"content"),
        bench.file("d/empty", b""),
        bench.item("d/link", GuestItemKind::Symlink { target: "-sparse".to_owned() }, 0o777),
        bench.file("new/parent/file", b"content"),
    ];
    let contents = Contents::of([(1, &sparse), (2, b"content"), (3, b""), (5, b"content")]);
    let outcomes = guest.put(&items, &contents, false).await.unwrap();
    assert_eq!(outcomes, vec![written(&[]); 6]);
    assert_eq!(guest.settle(&items[..1]).await.unwrap(), [written(&[])]);

    assert_eq!(fs::read(bench.path("d/sparse")).unwrap(), sparse);
    assert_eq!(fs::read(bench.path(&format!("d/{odd}"))).unwrap(), b"content");
    assert_eq!(fs::read_link(bench.path("d/link")).unwrap(), Path::new("-sparse"));
    let metadata = fs::metadata(bench.path("d/sparse")).unwrap();
    assert_eq!(
        (metadata.mode() & 0o7777, metadata.mtime(), metadata.mtime_nsec()),
        (0o640, 1_000_000_000, 500_000_000)
    );
    let metadata = fs::metadata(bench.path("d")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o750, 1_000_000_000));
    let left = bench.found();
    assert!(left.iter().all(|name| !name.contains(".holdfast")), "{left:?}");
}

#[tokio::test]
async fn what_is_there_stays_unless_it_is_to_be_overwritten() {
    let bench = Bench::new(Rules::default());
    fs::write(bench.path("file"), "old").unwrap();
    fs::create_dir(bench.path("directory")).unwrap();
    fs::set_permissions(bench.path("directory"), fs::Permissions::from_mode(0o711)).unwrap();
    symlink("directory", bench.path("link")).unwrap();
    let mut guest = bench.open().await.unwrap();
    let paths = ["file", "none", "link"].map(|name| bench.path(name).display().to_string());
    assert_eq!(guest.exist(&paths).await.unwrap(), [true, false, true]);
    let items = [
        bench.item("directory", GuestItemKind::Directory, 0o700),
        bench.file("file", b"new"),
        bench.file("link", b"new"),
        bench.file("directory", b"new"),
        bench.item("file", GuestItemKind::Directory, 0o700),
    ];
    let contents = || Contents::of([(1, b"new"), (2, b"new"), (3, b"new")]);
    let outcomes = guest.put(&items, &contents(), false).await.unwrap();
    assert_eq!(outcomes[..3], vec![GuestItemOutcome::Kept; 3]);
    assert!(is_failed(&outcomes[3]) && is_failed(&outcomes[4]), "{outcomes:?}");
    assert_eq!(fs::read(bench.path("file")).unwrap(), b"old");

    let outcomes = guest.put(&items, &contents(), true).await.unwrap();
    assert_eq!(outcomes[..3], [GuestItemOutcome::Kept, written(&[]), written(&[])]);
    assert!(is_failed(&outcomes[3]) && is_failed(&outcomes[4]), "{outcomes:?}");
    assert_eq!(fs::read(bench.path("file")).unwrap(), b"new");
    assert_eq!(fs::read(bench.path("link")).unwrap(), b"new");
    assert_eq!(fs::metadata(bench.path("directory")).unwrap().mode() & 0o777, 0o711);
    assert_eq!(bench.found(), ["directory", "file", "link"]);
}

#[tokio::test]
async fn no_link_is_taken_for_a_directory() {
    let bench = Bench::new(Rules::default());
    fs::create_dir(bench.path("elsewhere")).unwrap();
    symlink("elsewhere", bench.path("d")).unwrap();
    let mut guest = bench.open().await.unwrap();
    let items = [
        bench.item("d", GuestItemKind::Directory, 0o700),
        bench.file("d/file", b"x"),
        bench.item("d/sub", GuestItemKind::Directory, 0o700),
        bench.file("d/sub/file", b"x"),
        bench.file("dd", b"x"),
    ];
    let contents = Contents::of([(1, b"x"), (3, b"x"), (4, b"x")]);
    let outcomes = guest.put(&items, &contents, true).await.unwrap();
    assert!(outcomes[..4].iter().all(is_failed), "{outcomes:?}");
    assert_eq!(outcomes[4], written(&[]));
    assert_eq!(bench.found(), ["d", "dd", "elsewhere"]);
}

#[tokio::test]
async fn a_file_that_breaks_off_is_not_there_and_what_a_dead_process_left_goes() {
    let bench = Bench::new(Rules::default());
    fs::create_dir(bench.path(".holdfast-restore")).unwrap();
    fs::write(bench.path(".holdfast-restore/0"), "half").unwrap();
    let mut guest = bench.open().await.unwrap();
    let items = [bench.file("bad", b"bad"), bench.file("good", b"good")];
    let outcomes = guest.put(&items, &Contents::of([(1, b"good")]), false).await.unwrap();
    assert_eq!(outcomes[0], GuestItemOutcome::Failed { reason: "it is damaged".to_owned() });
    assert_eq!(outcomes[1], written(&[]));
    assert_eq!(bench.found(), ["good"]);
    assert_eq!(bench.agent.open_files(), 0);
}

#[tokio::test]
async fn an_agent_that_runs_no_programs_gets_contents() {
    let bench = Bench::new(Rules { forbids_programs: true, ..Rules::default() });
    fs::create_dir(bench.path("d")).unwrap();
    fs::write(bench.path("d/old"), "old").unwrap();
    let mut guest = bench.open().await.unwrap();
    assert!(!guest.abilities().programs);
    let items = [
        bench.item("d", GuestItemKind::Directory, 0o700),
        bench.file("d/new", b"new"),
        bench.file("d/old", b"new"),
        bench.item("d/link", GuestItemKind::Symlink { target: "new".to_owned() }, 0o777),
        bench.file("none/new", b"new"),
    ];
    let contents = || Contents::of([(1, b"new"), (2, b"new"), (4, b"new")]);
    let outcomes = guest.put(&items, &contents(), false).await.unwrap();
    assert_eq!(
        outcomes[..3],
        [GuestItemOutcome::Kept, written(&["owner", "mode", "times"]), GuestItemOutcome::Kept]
    );
    assert!(is_failed(&outcomes[3]) && is_failed(&outcomes[4]), "{outcomes:?}");
    assert_eq!(fs::read(bench.path("d/new")).unwrap(), b"new");
    assert_eq!(fs::read(bench.path("d/old")).unwrap(), b"old");
    guest.put(&items, &contents(), true).await.unwrap();
    assert_eq!(fs::read(bench.path("d/old")).unwrap(), b"new");
    assert_eq!(guest.settle(&items[..1]).await.unwrap(), [GuestItemOutcome::Kept]);
}

#[tokio::test]
async fn guests_that_take_no_files_are_refused_with_what_can_be_done() {
    let bench = Bench::new(Rules { forbids_files: true, ..Rules::default() });
    let error = bench.open().await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.guidance().unwrap().contains("guest-file-open"));
    let none =
        VmOrigin::External { qmp: "/nowhere".into(), qmp_out_of_band: None, agent: None, last_seen: None };
    let error = open(bench.directory.path(), none).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let silent = VmOrigin::External {
        qmp: "/nowhere".into(),
        qmp_out_of_band: None,
        agent: Some("/nowhere/agent.sock".into()),
        last_seen: None,
    };
    let error = open(bench.directory.path(), silent).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}
