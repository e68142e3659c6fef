use std::sync::Mutex;

use files::MemoryTree;
use hypervisor::{
    FakeGuest, FakeHypervisor, FakeVm, GuestAbilities, Hypervisor as _, Power, VmAccess, VmOrigin,
};
use model::{Consistency, VmId};
use tokio_util::sync::CancellationToken;

use super::*;

/// A monitor that keeps what it is told.
#[derive(Default)]
struct Told {
    warnings: Mutex<Vec<String>>,
    progress: Mutex<Vec<Progress>>,
    cancellation: CancellationToken,
    /// Cancels once so many bytes are done.
    cancel_at_bytes: Option<u64>,
}

impl Monitor for Told {
    fn progress(&self, progress: Progress) {
        if self.cancel_at_bytes.is_some_and(|limit| progress.done_bytes >= limit) {
            self.cancellation.cancel();
        }
        self.progress.lock().unwrap().push(progress);
    }

    fn warn(&self, warning: String) {
        self.warnings.lock().unwrap().push(warning);
    }

    fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }
}

struct Bench {
    hypervisor: FakeHypervisor,
    vm: VmAccess,
    told: Arc<Told>,
}

impl Bench {
    fn new(guest: FakeGuest) -> Self {
        let vm_id = VmId::from_random([1; 10]);
        let definition: model::VmDefinition =
            serde_json::from_str(r#"{"name":"web-1","memory":1,"uuid":"u","disk":[{"name":"root"}]}"#)
                .unwrap();
        let vm = VmAccess {
            vm_id,
            name: "web-1".parse().unwrap(),
            origin: VmOrigin::Managed { definition: Box::new(definition.clone()) },
        };
        let hypervisor = FakeHypervisor::default();
        let fake = FakeVm {
            definition,
            disks: BTreeMap::new(),
            consistency: Consistency::Crash,
            power: Power::Running,
            guest: Some(guest),
        };
        hypervisor.insert(vm_id, fake);
        Self { hypervisor, vm, told: Arc::default() }
    }

    async fn restore(&self, tree: MemoryTree, order: &GuestFilesOrder) -> Result<RestoredGuestFiles> {
        let tree: Arc<dyn FileTree> = Arc::new(tree);
        let mut guest = self.hypervisor.guest_files(&self.vm).await.unwrap();
        let monitor: Arc<dyn Monitor> = self.told.clone();
        restore_guest_files(&tree, guest.as_mut(), order, &monitor).await
    }

    fn guest(&self) -> FakeGuest {
        self.hypervisor.edit(self.vm.vm_id, |vm| vm.guest.clone().unwrap())
    }

    fn warnings(&self) -> Vec<String> {
        self.told.warnings.lock().unwrap().clone()
    }
}

/// The root of a system with a few files.
fn tree() -> MemoryTree {
    let mut tree = MemoryTree::new();
    tree.add(b"/v/etc", Kind::Directory).mode = 0o755;
    tree.add_file(b"/v/etc/fstab", &[(0, b"UUID=1")], 6);
    tree.add(b"/v/srv", Kind::Directory).mode = 0o500;
    tree.add_file(b"/v/srv/sparse", &[(2, b"abc"), (9, b"d")], 20).user = 7;
    tree.add(b"/v/srv/link", Kind::Symlink { target: b"sparse".to_vec() });
    tree.add(b"/v/srv/pipe", Kind::Fifo);
    tree.add(b"/v/srv/na\xffme", Kind::Directory);
    tree.add(b"/v/srv/na\xffme/below", Kind::Directory);
    tree
}

fn order(paths: &[&str], target: Option<&str>) -> GuestFilesOrder {
    GuestFilesOrder {
        paths: paths.iter().map(|path| FilePath::parse(path.as_bytes()).unwrap()).collect(),
        target: target.map(str::to_owned),
        overwrite: false,
        dry_run: false,
    }
}

#[tokio::test]
async fn files_go_to_their_own_places_with_all_that_agents_can_keep() {
    let bench = Bench::new(FakeGuest::default());
    let restored = bench.restore(tree(), &order(&["/v/srv"], None)).await.unwrap();
    let expected = RestoredGuestFiles {
        files: 1,
        directories: 1,
        links: 1,
        written_bytes: 20,
        kept: 0,
        // The pipe, and the name that is not UTF-8 with what is below it.
        failed: 2,
    };
    assert_eq!(restored, expected);
    let guest = bench.guest();
    let paths: Vec<_> = guest.nodes.keys().map(String::as_str).collect();
    assert_eq!(paths, ["/srv", "/srv/link", "/srv/sparse"]);
    assert_eq!(guest.nodes["/srv/sparse"].bytes, b"\0\0abc\0\0\0\0d\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(guest.nodes["/srv/sparse"].item.user, 7);
    assert_eq!(guest.nodes["/srv"].item.mode, 0o500, "directories are settled");
    let warnings = bench.warnings();
    assert!(warnings.iter().any(|warning| warning.contains("/v/srv/pipe is left out")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("not UTF-8")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("extended attributes")), "{warnings:?}");
}

#[tokio::test]
async fn a_target_gets_what_was_asked_for_under_its_last_name() {
    let bench = Bench::new(FakeGuest::default());
    bench.restore(tree(), &order(&["/v/srv/sparse", "/v/etc"], Some("/tmp/out/"))).await.unwrap();
    let paths: Vec<_> = bench.guest().nodes.into_keys().collect();
    assert_eq!(paths, ["/tmp/out/etc", "/tmp/out/etc/fstab", "/tmp/out/sparse"]);
}

#[tokio::test]
async fn what_exists_is_kept_unless_it_is_to_be_overwritten() {
    let bench = Bench::new(FakeGuest::default());
    let own = GuestFilesOrder { overwrite: true, ..order(&["/v/etc"], None) };
    bench.restore(tree(), &own).await.unwrap();
    let mut other = tree();
    other.add_file(b"/v/etc/fstab", &[(0, b"UUID=2")], 6);
    let kept = bench.restore(other, &order(&["/v/etc"], None)).await.unwrap();
    assert_eq!((kept.files, kept.directories, kept.kept), (0, 0, 1));
    assert_eq!(bench.guest().nodes["/etc/fstab"].bytes, b"UUID=1");
    let mut other = tree();
    other.add_file(b"/v/etc/fstab", &[(0, b"UUID=2")], 6);
    assert_eq!(bench.restore(other, &own).await.unwrap().files, 1);
    assert_eq!(bench.guest().nodes["/etc/fstab"].bytes, b"UUID=2");
}

#[tokio::test]
async fn a_dry_run_counts_and_writes_nothing() {
    let bench = Bench::new(FakeGuest::default());
    bench.restore(tree(), &order(&["/v/etc"], None)).await.unwrap();
    let before = bench.guest();
    let dry = GuestFilesOrder { dry_run: true, ..order(&["/v/etc", "/v/srv"], None) };
    let counted = bench.restore(tree(), &dry).await.unwrap();
    assert_eq!((counted.files, counted.directories, counted.links, counted.kept), (1, 1, 1, 1));
    assert_eq!(bench.guest(), before);
}

#[tokio::test]
async fn an_agent_without_programs_still_gets_contents() {
    let abilities = GuestAbilities { programs: false, is_windows: false };
    let bench = Bench::new(FakeGuest { abilities, ..FakeGuest::default() });
    let restored = bench.restore(tree(), &order(&["/v/srv/sparse"], Some("/tmp"))).await.unwrap();
    assert_eq!((restored.files, restored.failed), (1, 0));
    let warnings = bench.warnings();
    assert!(warnings[0].contains("runs no programs"), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("the owner of /tmp/sparse")), "{warnings:?}");
}

#[tokio::test]
async fn names_lead_nowhere_else_on_windows() {
    let abilities = GuestAbilities { programs: false, is_windows: true };
    let bench = Bench::new(FakeGuest { abilities, ..FakeGuest::default() });
    let mut tree = MemoryTree::new();
    tree.add(b"/v/d", Kind::Directory);
    tree.add_file(b"/v/d/..\\..\\evil", &[(0, b"x")], 1);
    tree.add_file(b"/v/d/C:", &[(0, b"x")], 1);
    tree.add_file(b"/v/d/good", &[(0, b"x")], 1);
    let restored = bench.restore(tree, &order(&["/v/d"], Some(r"C:\out"))).await.unwrap();
    assert_eq!((restored.files, restored.failed), (1, 2));
    assert_eq!(bench.guest().nodes.into_keys().collect::<Vec<_>>(), [r"C:\out\d\good"]);
}

#[tokio::test]
async fn where_files_belong_is_never_guessed() {
    let bench = Bench::new(FakeGuest::default());
    let mut data = MemoryTree::new();
    data.add_file(b"/v/data", &[(0, b"x")], 1);
    for (tree, path) in [(data, "/v/data"), (tree(), "/v")] {
        let error = bench.restore(tree, &order(&[path], None)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.guidance().unwrap().contains("--to"));
    }
    let error = bench.restore(tree(), &order(&["/v/etc"], Some("relative"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = bench.restore(tree(), &order(&["/v/etc", "/v/none"], Some("/tmp"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(bench.guest().nodes.is_empty(), "nothing is written before all is known to be there");
}

#[tokio::test]
async fn a_restore_that_is_cancelled_settles_what_it_made_and_leaves_no_half_file() {
    let mut bench = Bench::new(FakeGuest::default());
    bench.told = Arc::new(Told { cancel_at_bytes: Some(1), ..Told::default() });
    let mut tree = tree();
    tree.add_file(b"/v/srv/a", &[(0, b"first"), (7, b"second")], 13);
    let error = bench.restore(tree, &order(&["/v/srv"], None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let guest = bench.guest();
    assert!(!guest.nodes.contains_key("/srv/a"), "{:?}", guest.nodes.keys());
    assert_eq!(guest.nodes["/srv"].item.mode, 0o500);
}

#[tokio::test]
async fn a_file_where_a_directory_should_be_takes_what_is_below_with_it() {
    let bench = Bench::new(FakeGuest::default());
    let mut other = MemoryTree::new();
    other.add_file(b"/v/srv", &[(0, b"x")], 1);
    bench.restore(other, &order(&["/v/srv"], Some("/"))).await.unwrap();
    let restored = bench.restore(tree(), &order(&["/v/srv"], None)).await.unwrap();
    assert_eq!((restored.files, restored.links), (0, 0));
    assert_eq!(bench.guest().nodes["/srv"].bytes, b"x");
    assert!(bench.warnings().iter().any(|warning| warning.starts_with("/srv: it is no directory")));
}
