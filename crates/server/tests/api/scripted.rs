//! A hypervisor in memory whose guests and mishaps a test writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hypervisor::{
    Baseline, Capture, CaptureFacts, CaptureOutcome, CaptureRequest, CapturedDisk, Chain, DiskAtRest, Error,
    ErrorKind, FakeDisk, FakeHypervisor, FakeTapTargets, FakeVm, GuestExit, GuestFiles, GuestProgram,
    Hydration, HydrationListener, Hypervisor, Inspection, Power, Quiet, Result, Tap, TapRequest, VmAccess,
    VmOrigin,
};
use image::{ByteRange, DiskImage, DiskTarget, Extent};
use model::{CaptureCost, Consistency, DiskFormat, JournalId, VmDefinition, VmId};
use nbd::{Endpoint, NbdTarget};
use tokio::sync::watch;

/// Guests by the QMP socket that reaches them, and managed ones by what their disk files hold.
#[derive(Default)]
pub struct Scripted {
    fake: FakeHypervisor,
    guests: Mutex<BTreeMap<PathBuf, FakeVm>>,
    ids: Mutex<BTreeMap<PathBuf, VmId>>,
    /// Reads of captured disks stand still while this is closed, but for short ones.
    pub held: Gate,
    /// Hydrations in running VMs stand still while this is set.
    pub hydrations: Gate,
    /// Inspections never answer while this is set.
    pub is_silent: AtomicBool,
    /// Captures panic while this is set.
    pub is_defective: AtomicBool,
    /// Captures fail while this is set.
    pub has_no_captures: AtomicBool,
    /// Guests do not shut down while this is set.
    pub is_stubborn: AtomicBool,
    /// VMs do not start while this is set.
    pub has_no_room: AtomicBool,
    pub captures: AtomicUsize,
    /// The VMs out of which taps were taken while their tracking goes on.
    pub released: Mutex<Vec<VmId>>,
    /// Bridges that the host does not have; it has all others.
    pub missing_bridges: Mutex<BTreeSet<String>>,
    recoveries: Mutex<Vec<(VmId, Chain, Baseline)>>,
    /// What each recovery of backups says it did.
    pub recovered: Mutex<Vec<String>>,
    /// The taps that a server has launched, by their control sockets. They outlive it.
    taps: Mutex<BTreeMap<PathBuf, tap::Serving>>,
}

/// Keeps those who pass through waiting, and tells the test of them.
pub struct Gate {
    is_closed: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { is_closed: watch::Sender::new(false), waiting: watch::Sender::new(0) }
    }
}

impl Gate {
    pub fn close(&self) {
        self.is_closed.send_replace(true);
    }

    pub fn open(&self) {
        self.is_closed.send_replace(false);
        self.waiting.send_replace(0);
    }

    /// Waits until somebody waits.
    pub async fn reached(&self) {
        self.waiting.subscribe().wait_for(|&waiting| waiting > 0).await.unwrap();
    }

    async fn pass(&self) {
        if *self.is_closed.borrow() {
            self.waiting.send_modify(|waiting| *waiting += 1);
            self.is_closed.subscribe().wait_for(|is_closed| !is_closed).await.unwrap();
        }
    }
}

impl Scripted {
    /// A guest with one raw disk of these bytes, behind a QMP socket.
    pub fn add_guest(&self, qmp: &Path, name: &str, bytes: Vec<u8>) {
        let definition = serde_json::json!({"name": name, "memory": "1GiB", "disk": [{"name": "root"}]});
        let guest = FakeVm {
            definition: serde_json::from_value(definition).unwrap(),
            disks: [("root".parse().unwrap(), FakeDisk::new(bytes))].into(),
            consistency: Consistency::Application,
            power: Power::Running,
            guest: None,
        };
        self.guests.lock().unwrap().insert(qmp.to_owned(), guest);
    }

    /// Writes as the guest would.
    pub fn write(&self, qmp: &Path, offset_bytes: usize, data: &[u8]) {
        self.edit(qmp, |vm| vm.disks.values_mut().for_each(|disk| disk.write(offset_bytes, data)));
    }

    /// Writes as the guest would, and waits until the guest would be told that it is done.
    pub async fn write_through(&self, qmp: &Path, offset_bytes: usize, data: &[u8]) {
        let id = self.ids.lock().unwrap()[qmp];
        self.fake.write(id, &"root".parse().unwrap(), offset_bytes, data).await;
    }

    /// What a guest's disk holds now.
    pub fn bytes(&self, qmp: &Path) -> Vec<u8> {
        let id = self.ids.lock().unwrap()[qmp];
        self.fake.edit(id, |vm| vm.disks.values().next().unwrap().bytes.clone())
    }

    /// Breaks the tap of a guest, as a mirror does whose target fails.
    pub fn break_tap(&self, qmp: &Path, reason: &str) {
        let id = self.ids.lock().unwrap()[qmp];
        self.fake.break_tap(id, reason);
    }

    /// The same, and with it all change tracking is lost, as in a power cut.
    pub fn break_tap_untracked(&self, qmp: &Path, reason: &str) {
        let id = self.ids.lock().unwrap()[qmp];
        self.fake.break_tap_untracked(id, reason);
    }

    /// Ends all taps, as if their processes were killed.
    pub fn kill_taps(&self) {
        self.taps.lock().unwrap().clear();
    }

    /// Changes a guest that is known.
    pub fn edit(&self, qmp: &Path, edit: impl FnOnce(&mut FakeVm)) {
        self.edit_of(qmp, edit);
    }

    /// The same with an answer.
    pub fn edit_of<T>(&self, qmp: &Path, edit: impl FnOnce(&mut FakeVm) -> T) -> T {
        let id = self.ids.lock().unwrap()[qmp];
        self.fake.edit(id, edit)
    }

    /// What a VM is made of that was looked at or started.
    pub fn definition(&self, vm: VmId) -> VmDefinition {
        self.fake.edit(vm, |vm| vm.definition.clone())
    }

    /// The recoveries that were asked for.
    pub fn recoveries(&self) -> MutexGuard<'_, Vec<(VmId, Chain, Baseline)>> {
        self.recoveries.lock().unwrap()
    }

    fn meet(&self, vm: &VmAccess) {
        self.fake.set_tap_targets(Arc::new(OverNbd));
        let found = match &vm.origin {
            VmOrigin::External { qmp, .. } => {
                let guest = self.guests.lock().unwrap().remove(qmp);
                if guest.is_some() {
                    self.ids.lock().unwrap().insert(qmp.clone(), vm.vm_id);
                } else if let Some(old) = self.ids.lock().unwrap().get(qmp)
                    && *old != vm.vm_id
                {
                    // The same guest, known anew under another id.
                    let guest = self.fake.edit(*old, |guest| guest.clone());
                    self.fake.insert(vm.vm_id, guest);
                }
                guest
            }
            VmOrigin::Managed { definition } => managed(definition),
        };
        let is_managed = matches!(vm.origin, VmOrigin::Managed { .. });
        let mut managed_ids = self.ids.lock().unwrap();
        let key = PathBuf::from(vm.vm_id.as_str());
        let Some(guest) = found else { return };
        if !is_managed || !managed_ids.contains_key(&key) {
            self.fake.insert(vm.vm_id, guest);
            managed_ids.insert(key, vm.vm_id);
            return;
        }
        // Files that changed while the VM was stopped: nobody has tracked how.
        self.fake.edit(vm.vm_id, |known| {
            known.definition = guest.definition;
            let mut new = guest.disks;
            new.retain(|name, disk| known.disks.get(name).is_none_or(|old| old.bytes != disk.bytes));
            if known.power == Power::Stopped {
                known.disks.extend(new);
            }
        });
    }
}

fn managed(definition: &VmDefinition) -> Option<FakeVm> {
    let disks = definition.disks.iter().map(|disk| {
        let is_raw = disk.format == Some(DiskFormat::Raw);
        let bytes = disk.path.as_deref().filter(|_| is_raw).and_then(|path| std::fs::read(path).ok());
        (disk.name.clone(), FakeDisk::new(bytes.unwrap_or_default()))
    });
    Some(FakeVm {
        definition: definition.clone(),
        disks: disks.collect(),
        consistency: Consistency::Crash,
        power: Power::Stopped,
        guest: None,
    })
}

/// The hypervisor that a site is given; the test keeps the other handle.
pub struct Handle(pub Arc<Scripted>);

#[async_trait]
impl Hypervisor for Handle {
    async fn inspect(&self, vm: &VmAccess) -> Result<Inspection> {
        if self.0.is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.0.meet(vm);
        self.0.fake.inspect(vm).await
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Box<dyn Capture>> {
        self.0.captures.fetch_add(1, Ordering::Relaxed);
        assert!(!self.0.is_defective.load(Ordering::Relaxed), "the test asked for a defect");
        if self.0.has_no_captures.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Failed, "the test asked for a failure"));
        }
        self.0.meet(&request.vm);
        if request.chain == Chain::Replication {
            // How old such a moment is is what counts.
            self.0.fake.set_time(env::Clock::now(&env::SystemClock).as_microseconds());
        }
        let inner = self.0.fake.capture(request).await?;
        let held = |disk: &CapturedDisk| CapturedDisk {
            name: disk.name.clone(),
            image: Arc::new(HeldImage { image: disk.image.clone(), scripted: self.0.clone() }),
            changes: disk.changes.clone(),
        };
        let disks = inner.disks().iter().map(held).collect();
        Ok(Box::new(HeldCapture { inner, disks }))
    }

    async fn free(&self, vm: &VmAccess) -> Result<Vec<String>> {
        self.0.meet(vm);
        self.0.fake.free(vm).await
    }

    async fn recover(&self, vm: &VmAccess, chain: Chain, committed: &Baseline) -> Result<Vec<String>> {
        self.0.recoveries().push((vm.vm_id, chain, committed.clone()));
        self.0.meet(vm);
        self.0.fake.recover(vm, chain, committed).await?;
        match chain {
            Chain::Backup => Ok(self.0.recovered.lock().unwrap().clone()),
            Chain::Snapshot | Chain::Replication => Ok(Vec::new()),
        }
    }

    async fn forget_shutdown(&self, vm: &VmAccess) {
        self.0.fake.forget_shutdown(vm).await;
    }

    async fn start(&self, vm: &VmAccess) -> Result<()> {
        if let VmOrigin::External { .. } = vm.origin {
            return Err(Error::new(ErrorKind::Unsupported, "somebody else starts this VM"));
        }
        if self.0.has_no_room.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Failed, "cannot set up guest memory"));
        }
        self.0.meet(vm);
        self.0.fake.start(vm).await
    }

    async fn stop(&self, vm: &VmAccess, force: bool) -> Result<()> {
        if self.0.is_stubborn.load(Ordering::Relaxed) && !force {
            return Err(Error::new(ErrorKind::Busy, "the guest has not shut down"));
        }
        self.0.meet(vm);
        self.0.fake.stop(vm, force).await
    }

    async fn hydrate(&self, vm: &VmAccess, order: &Hydration, listener: &HydrationListener) -> Result<()> {
        self.0.meet(vm);
        if self.0.fake.inspect(vm).await?.power == Power::Running {
            self.0.hydrations.pass().await;
        }
        self.0.fake.hydrate(vm, order, listener).await
    }

    async fn run_in_guest(
        &self,
        vm: &VmAccess,
        program: &GuestProgram,
        limit: Duration,
    ) -> Result<GuestExit> {
        self.0.fake.run_in_guest(vm, program, limit).await
    }

    async fn guest_files(&self, vm: &VmAccess) -> Result<Box<dyn GuestFiles>> {
        self.0.meet(vm);
        self.0.fake.guest_files(vm).await
    }

    async fn screenshot(&self, vm: &VmAccess) -> Result<Vec<u8>> {
        self.0.fake.screenshot(vm).await
    }

    async fn console(&self, vm: &VmAccess, limit_bytes: u64) -> Result<Vec<u8>> {
        self.0.fake.console(vm, limit_bytes).await
    }

    async fn stop_hydration(&self, vm: &VmAccess) -> Result<()> {
        self.0.meet(vm);
        self.0.fake.stop_hydration(vm).await
    }

    async fn disks_at_rest(&self, vm: &VmAccess) -> Result<Vec<DiskAtRest>> {
        self.0.meet(vm);
        self.0.fake.disks_at_rest(vm).await
    }

    async fn begin_tap(&self, request: &TapRequest) -> Result<Box<dyn Tap>> {
        self.0.meet(&request.vm);
        self.0.fake.begin_tap(request).await
    }

    async fn end_tap(&self, vm: &VmAccess, journal_id: JournalId) -> Result<()> {
        self.0.meet(vm);
        self.0.fake.end_tap(vm, journal_id).await
    }

    async fn release_tap(&self, vm: &VmAccess, journal_id: JournalId) -> Result<()> {
        self.0.meet(vm);
        self.0.released.lock().unwrap().push(vm.vm_id);
        self.0.fake.release_tap(vm, journal_id).await
    }

    async fn quiesce(&self, vm: &VmAccess, limit: Duration) -> Result<Box<dyn Quiet>> {
        self.0.fake.quiesce(vm, limit).await
    }

    fn has_bridge(&self, name: &str) -> bool {
        !self.0.missing_bridges.lock().unwrap().contains(name)
    }
}

/// Writes of tapped disks go where QEMU would send them.
struct OverNbd;

#[async_trait]
impl FakeTapTargets for OverNbd {
    async fn connect(&self, socket: &Path, export: &str) -> image::Result<Arc<dyn DiskTarget>> {
        let endpoint = Endpoint::Unix(socket.to_owned());
        Ok(Arc::new(NbdTarget::connect(endpoint, export, false).await?))
    }
}

/// Launches taps in this process.
pub struct LocalTaps(pub Arc<Scripted>);

#[async_trait]
impl server::Taps for LocalTaps {
    async fn launch(&self, options: &tap::TapOptions) -> tap::Result<tap::Client> {
        let socket = options.control_socket();
        match tap::Client::connect(&socket).await {
            Err(error) if error.kind() == tap::ErrorKind::Gone => {}
            found => return found,
        }
        let serving = tap::serve(options.clone()).await?;
        let client = serving.client().clone();
        self.0.taps.lock().unwrap().insert(socket, serving);
        Ok(client)
    }
}

/// Whoever copies a disk reads more than this at once.
const SHORT_READ_BYTES: usize = 4096;

struct HeldCapture {
    inner: Box<dyn Capture>,
    disks: Vec<CapturedDisk>,
}

#[async_trait]
impl Capture for HeldCapture {
    fn facts(&self) -> &CaptureFacts {
        self.inner.facts()
    }

    fn disks(&self) -> &[CapturedDisk] {
        &self.disks
    }

    async fn cost(&self) -> CaptureCost {
        self.inner.cost().await
    }

    async fn finish(self: Box<Self>, outcome: CaptureOutcome) -> Result<()> {
        self.inner.finish(outcome).await
    }
}

struct HeldImage {
    image: Arc<dyn DiskImage>,
    scripted: Arc<Scripted>,
}

#[async_trait]
impl DiskImage for HeldImage {
    fn size_bytes(&self) -> u64 {
        self.image.size_bytes()
    }

    async fn extents(&self, range: ByteRange) -> image::Result<Vec<Extent>> {
        self.image.extents(range).await
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> image::Result<()> {
        if buffer.len() > SHORT_READ_BYTES {
            self.scripted.held.pass().await;
        }
        self.image.read_at(offset_bytes, buffer).await
    }
}
