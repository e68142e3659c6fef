//! A hypervisor in memory: VMs whose disks a test writes by hand, with honest change tracking.

mod guest_files;
mod quiet;
mod taps;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use image::{ByteRange, FaultyImage, FixedChanges, MemoryImage};
use model::{
    CaptureCost, CaptureId, Consistency, ConsistencyReached, DiskFormat, DiskName, JournalId, Timestamp,
    VmDefinition, VmId,
};

use tokio::sync::oneshot;

use crate::{
    AgentState, Baseline, Capture, CaptureFacts, CaptureOutcome, CaptureRequest, CapturedDisk, Chain,
    DiskAtRest, DiskChanges, DiskInspection, Error, ErrorKind, GuestExit, GuestFiles, GuestProgram,
    Hydration, HydrationListener, Hypervisor, Inspection, Power, Quiet, Result, Tap, TapRequest, Tracking,
    VmAccess,
};

use guest_files::FakeGuestFiles;
pub use guest_files::{FakeGuest, FakeGuestNode};
pub use taps::FakeTapTargets;

/// A VM in memory.
#[derive(Debug, Clone)]
pub struct FakeVm {
    /// Its definition.
    pub definition: VmDefinition,
    /// Its disks.
    pub disks: BTreeMap<DiskName, FakeDisk>,
    /// The strongest consistency that it can reach.
    pub consistency: Consistency,
    /// Whether it runs.
    pub power: Power,
    /// Its files, as far as they can be reached through an agent; none where it has no agent.
    pub guest: Option<FakeGuest>,
}

/// A disk in memory. `dirty` holds, for each capture of a chain, what was written since.
#[derive(Debug, Clone, Default)]
pub struct FakeDisk {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// After how many reads a capture of it is lost; none never loses it.
    pub reads_until_lost: Option<u64>,
    dirty: BTreeMap<(Chain, CaptureId), Vec<ByteRange>>,
    epochs: taps::Epochs,
    outlet: Option<taps::Outlet>,
}

impl FakeDisk {
    /// A disk of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Writes as the guest would. While the disk is tapped, the write is handed on, and nobody waits until it is taken: see
    /// [`FakeHypervisor::write`].
    pub fn write(&mut self, offset_bytes: usize, data: &[u8]) {
        drop(self.write_and_hand_on(offset_bytes, data));
    }

    fn write_and_hand_on(&mut self, offset_bytes: usize, data: &[u8]) -> Option<oneshot::Receiver<()>> {
        self.bytes[offset_bytes..offset_bytes + data.len()].copy_from_slice(data);
        let range = ByteRange::new(offset_bytes as u64, data.len() as u64);
        self.dirty.values_mut().for_each(|ranges| ranges.push(range));
        taps::track(&mut self.epochs, range);
        self.outlet.as_ref().map(|outlet| outlet.hand_on(range.offset_bytes, data))
    }

    /// Loses all change tracking, as a power cut does.
    pub fn lose_tracking(&mut self) {
        self.dirty.clear();
        self.epochs.clear();
    }
}

/// A hypervisor in memory.
#[derive(Debug, Clone, Default)]
pub struct FakeHypervisor {
    vms: Arc<Mutex<BTreeMap<VmId, FakeVm>>>,
    time_us: Arc<AtomicI64>,
    targets: Arc<Mutex<Option<taps::Targets>>>,
}

impl FakeHypervisor {
    /// Adds or replaces a VM.
    pub fn insert(&self, vm_id: VmId, vm: FakeVm) {
        if let Some(earlier) = self.lock().insert(vm_id, vm) {
            taps::end_with(&earlier);
        }
    }

    /// Sets the clock, in microseconds since the epoch. Each capture moves it on by a second.
    pub fn set_time(&self, time_us: i64) {
        self.time_us.store(time_us, Ordering::Relaxed);
    }

    /// Changes a VM.
    ///
    /// # Panics
    /// When there is no such VM.
    pub fn edit<T>(&self, vm_id: VmId, edit: impl FnOnce(&mut FakeVm) -> T) -> T {
        taps::watched(self.lock().get_mut(&vm_id).expect("the test inserted this VM"), edit)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<VmId, FakeVm>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, vm: &VmAccess, use_vm: impl FnOnce(&mut FakeVm) -> Result<T>) -> Result<T> {
        match self.lock().get_mut(&vm.vm_id) {
            Some(found) => taps::watched(found, use_vm),
            None => Err(Error::new(ErrorKind::Unreachable, format!("the VM {} does not answer", vm.name))),
        }
    }
}

#[async_trait]
impl Hypervisor for FakeHypervisor {
    async fn inspect(&self, vm: &VmAccess) -> Result<Inspection> {
        self.with(vm, |vm| {
            let disks = vm.disks.iter().map(|(name, disk)| DiskInspection {
                name: name.clone(),
                path: name.as_str().into(),
                format: DiskFormat::Raw,
                size_bytes: model::ByteCount(disk.bytes.len() as u64),
                tracking: disk
                    .dirty
                    .keys()
                    .rfind(|(chain, _)| *chain == Chain::Backup)
                    .map_or(Tracking::Off, |&(_, capture)| Tracking::Since(capture)),
            });
            Ok(Inspection {
                power: vm.power,
                hypervisor: "fake".to_owned(),
                definition: vm.definition.clone(),
                disks: disks.collect(),
                agent: AgentState::NoChannel,
                limits: Vec::new(),
            })
        })
    }

    async fn capture(&self, request: CaptureRequest) -> Result<Box<dyn Capture>> {
        self.recover(&request.vm, request.chain, &request.baseline).await?;
        self.with(&request.vm, |vm| {
            let reached = request.consistency.min(vm.consistency);
            if request.strict && reached < request.consistency {
                return Err(Error::new(ErrorKind::Consistency, format!("{reached} consistency at best")));
            }
            let wanted = |name: &DiskName| request.disk.as_ref().is_none_or(|disk| disk == name);
            if !vm.disks.keys().any(wanted) {
                let context = format!("the VM {} has no such disk", request.vm.name);
                return Err(Error::new(ErrorKind::Unsupported, context));
            }
            let disks = vm.disks.iter_mut().filter(|(name, _)| wanted(name)).map(|(name, disk)| {
                let baseline = request.baseline.of(name).map(|capture_id| (request.chain, capture_id));
                let changes = baseline.and_then(|baseline| disk.dirty.get(&baseline)).map_or_else(
                    || DiskChanges::Unknown { reason: "there is no bitmap".to_owned() },
                    |ranges| DiskChanges::Since(Arc::new(FixedChanges::new(ranges.clone()))),
                );
                disk.dirty.insert((request.chain, request.capture_id), Vec::new());
                let reads = disk.reads_until_lost.unwrap_or(u64::MAX);
                let image = MemoryImage::new(disk.bytes.clone());
                let image = FaultyImage::after_reads(image, reads, image::ErrorKind::Gone);
                CapturedDisk { name: name.clone(), image: Arc::new(image), changes }
            });
            let disks = disks.collect();
            let shortfall =
                (reached < request.consistency).then(|| "the fake guest can do no better".to_owned());
            let facts = CaptureFacts {
                captured_at: Timestamp::from_microseconds(
                    self.time_us.fetch_add(1_000_000, Ordering::Relaxed),
                ),
                consistency: ConsistencyReached { asked: request.consistency, reached, shortfall },
                definition: vm.definition.clone(),
                omitted: Vec::new(),
            };
            let capture = FakeCapture { hypervisor: self.clone(), request: request.clone(), facts, disks };
            Ok(Box::new(capture) as Box<dyn Capture>)
        })
    }

    async fn free(&self, vm: &VmAccess) -> Result<Vec<String>> {
        self.with(vm, |_| Ok(Vec::new()))
    }

    async fn recover(&self, vm: &VmAccess, chain: Chain, committed: &Baseline) -> Result<Vec<String>> {
        self.with(vm, |vm| {
            for (name, disk) in &mut vm.disks {
                disk.dirty.retain(|&(of, capture), _| of != chain || Some(capture) == committed.of(name));
            }
            Ok(Vec::new())
        })
    }

    async fn forget_shutdown(&self, _vm: &VmAccess) {}

    async fn start(&self, vm: &VmAccess) -> Result<()> {
        self.with(vm, |vm| {
            vm.power = Power::Running;
            Ok(())
        })
    }

    async fn stop(&self, vm: &VmAccess, _force: bool) -> Result<()> {
        self.with(vm, |vm| {
            vm.power = Power::Stopped;
            Ok(())
        })
    }

    async fn hydrate(&self, vm: &VmAccess, _: &Hydration, listener: &HydrationListener) -> Result<()> {
        self.with(vm, |vm| match vm.power {
            Power::Stopped => Err(Error::new(ErrorKind::Gone, "the fake VM does not run")),
            _ => Ok(()),
        })?;
        listener(1, 1);
        Ok(())
    }

    async fn stop_hydration(&self, vm: &VmAccess) -> Result<()> {
        self.with(vm, |_| Ok(()))
    }

    async fn run_in_guest(&self, vm: &VmAccess, program: &GuestProgram, _: Duration) -> Result<GuestExit> {
        let output = program.command.join(" ").into_bytes();
        self.with(vm, |_| Ok(GuestExit { code: Some(0), output }))
    }

    async fn guest_files(&self, vm: &VmAccess) -> Result<Box<dyn GuestFiles>> {
        let none = || Error::new(ErrorKind::Unsupported, format!("the VM {} has no guest agent", vm.name));
        let abilities =
            self.with(vm, |vm| vm.guest.as_ref().map(|guest| guest.abilities).ok_or_else(none))?;
        Ok(Box::new(FakeGuestFiles { hypervisor: self.clone(), vm: vm.clone(), abilities }))
    }

    async fn screenshot(&self, vm: &VmAccess) -> Result<Vec<u8>> {
        self.with(vm, |_| Ok(b"a picture".to_vec()))
    }

    async fn console(&self, vm: &VmAccess, _: u64) -> Result<Vec<u8>> {
        self.with(vm, |_| Ok(b"login: ".to_vec()))
    }

    async fn disks_at_rest(&self, vm: &VmAccess) -> Result<Vec<DiskAtRest>> {
        self.with(vm, |vm| {
            if vm.power != Power::Stopped {
                return Err(Error::new(ErrorKind::Busy, "the fake VM runs"));
            }
            let open = |(name, disk): (&DiskName, &FakeDisk)| DiskAtRest {
                name: name.clone(),
                image: Arc::new(MemoryImage::new(disk.bytes.clone())),
                raw_file: None,
            };
            Ok(vm.disks.iter().map(open).collect())
        })
    }

    async fn begin_tap(&self, request: &TapRequest) -> Result<Box<dyn Tap>> {
        self.tap(request).await
    }

    async fn end_tap(&self, vm: &VmAccess, journal_id: JournalId) -> Result<()> {
        self.untap(vm, journal_id)
    }

    async fn quiesce(&self, vm: &VmAccess, limit: Duration) -> Result<Box<dyn Quiet>> {
        self.with(vm, |vm| quiet::quiesce(vm, limit))
    }
}

struct FakeCapture {
    hypervisor: FakeHypervisor,
    request: CaptureRequest,
    facts: CaptureFacts,
    disks: Vec<CapturedDisk>,
}

#[async_trait]
impl Capture for FakeCapture {
    fn facts(&self) -> &CaptureFacts {
        &self.facts
    }

    fn disks(&self) -> &[CapturedDisk] {
        &self.disks
    }

    async fn cost(&self) -> CaptureCost {
        CaptureCost::default()
    }

    async fn finish(self: Box<Self>, outcome: CaptureOutcome) -> Result<()> {
        let CaptureRequest { vm, chain, capture_id, baseline, .. } = &self.request;
        self.hypervisor.with(vm, |vm| {
            for captured in &self.disks {
                let retired = match outcome {
                    CaptureOutcome::Kept => baseline.of(&captured.name),
                    CaptureOutcome::Abandoned => Some(*capture_id),
                };
                let Some(disk) = vm.disks.get_mut(&captured.name) else { continue };
                disk.dirty.retain(|&(of, capture), _| of != *chain || Some(capture) != retired);
            }
            Ok(())
        })
    }
}
