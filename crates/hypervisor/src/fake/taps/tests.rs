use std::sync::Mutex;

use model::{Consistency, DiskName, Firmware, VmDefinition};

use super::*;
use crate::{FakeDisk, Hypervisor, TappedDisk, VmOrigin};

type Log = Arc<Mutex<Vec<(String, u64, Vec<u8>)>>>;

/// Keeps what comes, until it is told to fail.
struct Logged {
    export: String,
    log: Log,
    fails: Arc<AtomicBool>,
}

#[async_trait]
impl DiskTarget for Logged {
    fn size_bytes(&self) -> u64 {
        512
    }

    fn starts_zeroed(&self) -> bool {
        true
    }

    async fn write_at(&self, offset_bytes: u64, data: &[u8]) -> image::Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(image::Error::new(image::ErrorKind::Gone, "the tap died"));
        }
        self.log.lock().expect("no panic").push((self.export.clone(), offset_bytes, data.to_vec()));
        Ok(())
    }

    async fn write_zeroes(&self, _: ByteRange) -> image::Result<()> {
        Ok(())
    }

    async fn flush(&self) -> image::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Logs {
    log: Log,
    fails: Arc<AtomicBool>,
}

#[async_trait]
impl FakeTapTargets for Logs {
    async fn connect(&self, _: &Path, export: &str) -> image::Result<Arc<dyn DiskTarget>> {
        let (log, fails) = (self.log.clone(), self.fails.clone());
        Ok(Arc::new(Logged { export: export.to_owned(), log, fails }))
    }
}

fn name(disk: &str) -> DiskName {
    disk.parse().expect("a name")
}

fn vm_id() -> VmId {
    VmId::from_random([1; 10])
}

struct Fixture {
    hypervisor: FakeHypervisor,
    request: TapRequest,
    log: Log,
    fails: Arc<AtomicBool>,
}

impl Fixture {
    fn new() -> Self {
        let definition = VmDefinition {
            name: "web".parse().expect("a name"),
            uuid: None,
            cpus: 1,
            memory: model::ByteCount(1 << 20),
            machine: "q35".to_owned(),
            firmware: Firmware::Bios,
            disks: Vec::new(),
            networks: Vec::new(),
            agent: true,
        };
        let disks = ["a", "b"].map(|disk| (name(disk), FakeDisk::new(vec![0; 512]))).into();
        let vm = FakeVm {
            definition: definition.clone(),
            disks,
            consistency: Consistency::FileSystem,
            power: Power::Running,
            guest: None,
        };
        let hypervisor = FakeHypervisor::default();
        hypervisor.insert(vm_id(), vm);
        let logs = Logs::default();
        let (log, fails) = (logs.log.clone(), logs.fails.clone());
        hypervisor.set_tap_targets(Arc::new(logs));
        let origin = VmOrigin::Managed { definition: Box::new(definition.clone()) };
        let tapped = |disk| TappedDisk { disk: name(disk), export: format!("of-{disk}") };
        let request = TapRequest {
            vm: VmAccess { vm_id: vm_id(), name: definition.name, origin },
            journal_id: JournalId::from_random([1; 10]),
            socket: "tap.sock".into(),
            disks: vec![tapped("a"), tapped("b")],
            trusted: None,
        };
        Self { hypervisor, request, log, fails }
    }

    async fn begin(&self, trusted: Option<TrackingEpoch>) -> Box<dyn Tap> {
        let request = TapRequest { trusted, ..self.request.clone() };
        self.hypervisor.begin_tap(&request).await.expect("a tap")
    }

    async fn write(&self, disk: &str, offset_bytes: usize, byte: u8) {
        self.hypervisor.write(vm_id(), &name(disk), offset_bytes, &[byte; 2]).await;
    }

    fn taken(&self) -> Vec<(String, u64, u8)> {
        self.log
            .lock()
            .expect("no panic")
            .iter()
            .map(|(disk, at, data)| (disk.clone(), *at, data[0]))
            .collect()
    }
}

#[tokio::test]
async fn every_write_is_handed_on_in_order() {
    let fixture = Fixture::new();
    fixture.write("a", 0, 1).await;
    let tap = fixture.begin(None).await;
    assert!(matches!(tap.disks()[0].missed, Missed::All(_)));
    fixture.write("b", 2, 2).await;
    fixture.hypervisor.edit(vm_id(), |vm| {
        vm.disks.get_mut(&name("a")).expect("a disk").write(4, &[3]);
        vm.disks.get_mut(&name("b")).expect("a disk").write(6, &[4]);
    });
    tap.begin_epoch().await.expect("an epoch");
    let order = [("of-b".to_owned(), 2, 2), ("of-a".to_owned(), 4, 3), ("of-b".to_owned(), 6, 4)];
    assert_eq!(fixture.taken(), order);
    let mut live = [0; 5];
    tap.disks()[0].live.read_at(0, &mut live).await.expect("it is read");
    assert_eq!(live, [1, 1, 0, 0, 3]);
    tap.end_reading().await.expect("it ends");
    assert!(tap.disks()[0].live.read_at(0, &mut live).await.is_err());
}

#[tokio::test]
async fn what_a_broken_tap_missed_is_known_by_epochs() {
    let fixture = Fixture::new();
    let tap = fixture.begin(None).await;
    fixture.write("a", 0, 1).await;
    let epoch = tap.begin_epoch().await.expect("an epoch");
    tap.trust(epoch).await.expect("trusted");
    fixture.write("a", 8, 2).await;
    fixture.fails.store(true, Ordering::Relaxed);
    fixture.write("a", 16, 3).await;
    assert!(matches!(tap.ended().await, TapEnd::Broken(reason) if reason.contains("died")));
    assert!(tap.begin_epoch().await.is_err(), "not everything is taken");
    fixture.write("a", 32, 4).await;

    fixture.fails.store(false, Ordering::Relaxed);
    let tap = fixture.begin(Some(epoch)).await;
    let ranges = [8, 16, 32].map(|offset| ByteRange::new(offset, 2));
    assert_eq!(tap.disks()[0].missed, Missed::Ranges(ranges.into()));
    assert_eq!(tap.disks()[1].missed, Missed::Ranges(Vec::new()));
    fixture.hypervisor.edit(vm_id(), |vm| vm.disks.get_mut(&name("a")).expect("a disk").lose_tracking());
    let tap = fixture.begin(Some(epoch)).await;
    assert!(matches!(tap.disks()[0].missed, Missed::All(_)));
}

#[tokio::test]
async fn a_tap_that_runs_is_gone_on_with_and_ends_with_its_vm() {
    let fixture = Fixture::new();
    let first = fixture.begin(None).await;
    let epoch = first.begin_epoch().await.expect("an epoch");
    fixture.write("a", 0, 1).await;
    drop(first);
    let tap = fixture.begin(Some(epoch)).await;
    assert_eq!(tap.disks()[0].missed, Missed::Ranges(Vec::new()), "the tap has it all");
    assert_eq!(fixture.taken().len(), 1);
    let other = TapRequest { journal_id: JournalId::from_random([2; 10]), ..fixture.request.clone() };
    assert_eq!(
        fixture.hypervisor.begin_tap(&other).await.err().map(|error| error.kind()),
        Some(ErrorKind::Busy)
    );

    fixture.hypervisor.edit(vm_id(), |vm| vm.disks.insert(name("c"), FakeDisk::new(vec![0; 512])));
    assert_eq!(tap.ended().await, TapEnd::DisksChanged);
    let tap = fixture.begin(Some(epoch)).await;
    fixture.hypervisor.stop(&fixture.request.vm, false).await.expect("it stops");
    assert_eq!(tap.ended().await, TapEnd::VmEnded);
    assert_eq!(
        fixture.hypervisor.begin_tap(&fixture.request).await.err().map(|error| error.kind()),
        Some(ErrorKind::Gone)
    );
}
