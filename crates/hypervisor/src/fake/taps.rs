//! Taps of VMs in memory. What a test writes to a disk goes to a target, in order, as QEMU's mirrors hand writes on.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use image::{ByteRange, DiskImage, DiskTarget, Extent, ExtentKind, coalesce};
use model::{DiskName, JournalId, VmId};
use tokio::sync::{mpsc, oneshot, watch};

use super::{FakeHypervisor, FakeVm};
use crate::{
    Error, ErrorKind, Missed, Power, Result, Tap, TapDisk, TapEnd, TapRequest, TrackingEpoch, VmAccess,
};

/// Finds what takes the writes of a tapped disk: an NBD client, or whatever a test wants.
#[async_trait]
pub trait FakeTapTargets: Send + Sync {
    /// The target behind an export on a socket. Asked once for each disk of each tap that begins.
    async fn connect(&self, socket: &Path, export: &str) -> image::Result<Arc<dyn DiskTarget>>;
}

/// What was written in an epoch of a journal's tracking.
pub(super) type Epochs = BTreeMap<(JournalId, TrackingEpoch), Vec<ByteRange>>;

/// Notes a write in the newest epoch of each journal.
pub(super) fn track(epochs: &mut Epochs, range: ByteRange) {
    let mut newer = None;
    for ((journal_id, _), ranges) in epochs.iter_mut().rev() {
        if newer != Some(*journal_id) {
            ranges.push(range);
        }
        newer = Some(*journal_id);
    }
}

/// The way of a disk's writes to its tap.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    index: usize,
    tap: LiveTap,
}

impl Outlet {
    /// Hands a write on. Returns what tells when it is taken, or will never be.
    pub(super) fn hand_on(&self, offset_bytes: u64, data: &[u8]) -> oneshot::Receiver<()> {
        let (done, taken) = oneshot::channel();
        let write = Order::Write { index: self.index, offset_bytes, data: data.to_vec(), done };
        let _ = self.tap.queue.send(write); // a tap that has ended takes nothing, and the guest goes on
        taken
    }
}

#[derive(Debug)]
enum Order {
    Write {
        index: usize,
        offset_bytes: u64,
        data: Vec<u8>,
        done: oneshot::Sender<()>,
    },
    /// Everything before this is taken.
    Barrier(oneshot::Sender<()>),
}

/// A tap that runs, whether somebody holds it or not.
#[derive(Clone)]
pub(super) struct LiveTap {
    journal_id: JournalId,
    socket: PathBuf,
    /// The tapped disks in their order, and the sizes of all disks of the VM.
    disks: Vec<DiskName>,
    sizes: BTreeMap<DiskName, usize>,
    /// The first epoch that it has taken whole.
    first: TrackingEpoch,
    queue: mpsc::UnboundedSender<Order>,
    end: watch::Sender<Option<TapEnd>>,
}

impl fmt::Debug for LiveTap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LiveTap").field("journal_id", &self.journal_id).finish_non_exhaustive()
    }
}

impl LiveTap {
    /// Ends it once: the first reason counts.
    fn finish(&self, end: TapEnd) {
        self.end.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert(end);
            is_first
        });
    }

    fn is_over(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Takes orders until the tap is over. A write that is under way then is given up, and those that wait with it.
    fn start(&self, mut orders: mpsc::UnboundedReceiver<Order>, targets: Vec<Arc<dyn DiskTarget>>) {
        let tap = self.clone();
        tokio::spawn(async move {
            let mut end = tap.end.subscribe();
            let taking = async {
                while let Some(order) = orders.recv().await {
                    match order {
                        Order::Write { index, offset_bytes, data, done } => {
                            if let Err(error) = targets[index].write_at(offset_bytes, &data).await {
                                return tap.finish(TapEnd::Broken(error.to_string()));
                            }
                            let _ = done.send(()); // nobody needs to wait
                        }
                        Order::Barrier(passed) => drop(passed.send(())),
                    }
                }
            };
            tokio::select! {
                () = taking => {}
                _ = end.wait_for(Option::is_some) => {}
            }
        });
    }
}

impl FakeHypervisor {
    /// Says where the writes of tapped disks go. Without this, no tap begins.
    pub fn set_tap_targets(&self, targets: Arc<dyn FakeTapTargets>) {
        *self.targets.lock().unwrap_or_else(PoisonError::into_inner) = Some(Targets(targets));
    }

    /// Writes to a disk as the guest would, and returns when the guest would be told that it is done: when the tap has taken
    /// the write, or has ended.
    ///
    /// # Panics
    /// When there is no such VM or disk.
    pub async fn write(&self, vm_id: VmId, disk: &DiskName, offset_bytes: usize, data: &[u8]) {
        let taken = self.edit(vm_id, |vm| {
            vm.disks.get_mut(disk).expect("the test made this disk").write_and_hand_on(offset_bytes, data)
        });
        if let Some(taken) = taken {
            let _ = taken.await; // a tap that has ended drops it
        }
    }

    /// Breaks the tap of a VM, as a mirror does whose target fails.
    pub fn break_tap(&self, vm_id: VmId, reason: &str) {
        if let Some(tap) = self.live_tap(vm_id) {
            tap.finish(TapEnd::Broken(reason.to_owned()));
        }
    }

    /// The same, and with it all change tracking is lost, as in a power cut: no epoch begins in between.
    pub fn break_tap_untracked(&self, vm_id: VmId, reason: &str) {
        self.edit(vm_id, |vm| {
            vm.disks.values_mut().for_each(crate::FakeDisk::lose_tracking);
            if let Some(tap) = tap_of(vm) {
                tap.finish(TapEnd::Broken(reason.to_owned()));
            }
        });
    }

    fn live_tap(&self, vm_id: VmId) -> Option<LiveTap> {
        self.lock().get(&vm_id).and_then(tap_of)
    }

    /// Begins a tap, or goes on with the one that runs; see [`crate::Hypervisor::begin_tap`].
    pub(super) async fn tap(&self, request: &TapRequest) -> Result<Box<dyn Tap>> {
        let running = self.with(&request.vm, |vm| running_tap(vm, request))?;
        let fresh = match running {
            Some(_) => None,
            None => Some(self.connect(request).await?),
        };
        let (live, missed) = self.with(&request.vm, |vm| {
            let next = next_epoch(vm, request.journal_id, request.trusted);
            let live = match (running, fresh) {
                (None, Some((queue, orders, targets))) => {
                    let live = LiveTap {
                        journal_id: request.journal_id,
                        socket: request.socket.clone(),
                        disks: request.disks.iter().map(|tapped| tapped.disk.clone()).collect(),
                        sizes: sizes(vm),
                        first: next,
                        queue,
                        end: watch::Sender::new(None),
                    };
                    live.start(orders, targets);
                    live
                }
                (Some(live), _) => live,
                (None, None) => return Err(failed("the fake tap is gone")),
            };
            let missed =
                live.disks.iter().map(|name| missed(vm, name, request, live.first)).collect::<Vec<_>>();
            begin_epoch(vm, &live, next);
            Ok((live, missed))
        })?;
        let reads = Arc::new(AtomicBool::new(true));
        let disks = live.disks.iter().zip(missed).map(|(name, missed)| {
            let size_bytes = live.sizes.get(name).copied().unwrap_or_default() as u64;
            let image = LiveDisk {
                hypervisor: self.clone(),
                vm: request.vm.clone(),
                name: name.clone(),
                size_bytes,
                reads: reads.clone(),
            };
            TapDisk { name: name.clone(), size_bytes, missed, live: Arc::new(image) }
        });
        let disks = disks.collect();
        Ok(Box::new(FakeTap { hypervisor: self.clone(), vm: request.vm.clone(), live, disks, reads }))
    }

    async fn connect(&self, request: &TapRequest) -> Result<Fresh> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Targets(targets) = targets.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "the test does not say where the writes of a tapped disk go")
        })?;
        let mut connected = Vec::with_capacity(request.disks.len());
        for tapped in &request.disks {
            let target = targets.connect(&request.socket, &tapped.export).await;
            connected.push(target.map_err(|source| failed("the tap cannot be reached").with_source(source))?);
        }
        let (queue, orders) = mpsc::unbounded_channel();
        Ok((queue, orders, connected))
    }

    /// Removes what the taps of a journal left; see [`crate::Hypervisor::end_tap`].
    pub(super) fn untap(&self, vm: &VmAccess, journal_id: JournalId) -> Result<()> {
        self.with(vm, |vm| {
            if tap_of(vm).is_some_and(|tap| tap.journal_id == journal_id) {
                end_tap(vm, TapEnd::Broken("it was taken down".to_owned()));
            }
            for disk in vm.disks.values_mut() {
                disk.epochs.retain(|(found, _), _| *found != journal_id);
            }
            Ok(())
        })
    }
}

type Fresh = (mpsc::UnboundedSender<Order>, mpsc::UnboundedReceiver<Order>, Vec<Arc<dyn DiskTarget>>);

/// Where writes go, with something to print.
#[derive(Clone)]
pub(super) struct Targets(Arc<dyn FakeTapTargets>);

impl fmt::Debug for Targets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Targets")
    }
}

/// The tap that runs already and can be gone on with.
fn running_tap(vm: &mut FakeVm, request: &TapRequest) -> Result<Option<LiveTap>> {
    if vm.power == Power::Stopped {
        return Err(Error::new(ErrorKind::Gone, "the fake VM does not run"));
    }
    if let Some(absent) = request.disks.iter().find(|tapped| !vm.disks.contains_key(&tapped.disk)) {
        return Err(failed(&format!("the fake VM has no disk {}", absent.disk)));
    }
    let Some(tap) = tap_of(vm).filter(|tap| !tap.is_over()) else { return Ok(None) };
    if tap.journal_id != request.journal_id {
        return Err(Error::new(ErrorKind::Busy, "another journal takes the writes of the fake VM")
            .with_guidance("end that replication first"));
    }
    let is_same =
        tap.socket == request.socket && tap.disks.iter().eq(request.disks.iter().map(|tapped| &tapped.disk));
    if !is_same {
        end_tap(vm, TapEnd::Broken("another tap takes its place".to_owned()));
    }
    Ok(is_same.then_some(tap))
}

/// What takes the writes of a VM.
fn tap_of(vm: &FakeVm) -> Option<LiveTap> {
    vm.disks.values().find_map(|disk| disk.outlet.as_ref()).map(|outlet| outlet.tap.clone())
}

/// Ends the tap of a VM that is no more.
pub(super) fn end_with(vm: &FakeVm) {
    if let Some(tap) = tap_of(vm) {
        tap.finish(TapEnd::VmEnded);
    }
}

/// Does something to a VM, and ends its tap when its disks or its power are then no longer what they were.
pub(super) fn watched<T>(vm: &mut FakeVm, change: impl FnOnce(&mut FakeVm) -> T) -> T {
    let before = tap_of(vm);
    let done = change(vm);
    if let Some(tap) = before {
        if vm.power == Power::Stopped {
            tap.finish(TapEnd::VmEnded);
        } else if tap.sizes != sizes(vm) {
            tap.finish(TapEnd::DisksChanged);
        }
    }
    done
}

fn end_tap(vm: &mut FakeVm, end: TapEnd) {
    if let Some(tap) = tap_of(vm) {
        tap.finish(end);
    }
    vm.disks.values_mut().for_each(|disk| disk.outlet = None);
}

fn sizes(vm: &FakeVm) -> BTreeMap<DiskName, usize> {
    vm.disks.iter().map(|(name, disk)| (name.clone(), disk.bytes.len())).collect()
}

fn next_epoch(
    vm: &FakeVm,
    journal_id: JournalId,
    known: impl IntoIterator<Item = TrackingEpoch>,
) -> TrackingEpoch {
    let epochs = vm.disks.values().flat_map(|disk| disk.epochs.keys());
    let epochs = epochs.filter(|(found, _)| *found == journal_id).map(|&(_, epoch)| epoch);
    TrackingEpoch(epochs.chain(known).max().map_or(0, |epoch| epoch.0) + 1)
}

/// Begins an epoch on all disks at one moment, and has their writes handed on.
fn begin_epoch(vm: &mut FakeVm, live: &LiveTap, epoch: TrackingEpoch) {
    for (index, name) in live.disks.iter().enumerate() {
        let Some(disk) = vm.disks.get_mut(name) else { continue };
        disk.epochs.insert((live.journal_id, epoch), Vec::new());
        disk.outlet = Some(Outlet { index, tap: live.clone() });
    }
}

fn missed(vm: &FakeVm, name: &DiskName, request: &TapRequest, first: TrackingEpoch) -> Missed {
    let Some(trusted) = request.trusted else {
        return Missed::All("nothing is known of what the journal has".to_owned());
    };
    let epochs = vm.disks.get(name).map(|disk| &disk.epochs);
    let tracked = |epoch| epochs.and_then(|epochs| epochs.get(&(request.journal_id, TrackingEpoch(epoch))));
    if tracked(trusted.0).is_none() {
        return Missed::All("the disk does not carry its change tracking".to_owned());
    }
    let written: Option<Vec<_>> = (trusted.0..first.0).map(tracked).collect();
    match written {
        Some(written) => Missed::Ranges(coalesce(written.into_iter().flatten().copied().collect())),
        None => Missed::All("an epoch of its change tracking is gone".to_owned()),
    }
}

fn failed(context: &str) -> Error {
    Error::new(ErrorKind::Failed, context)
}

struct FakeTap {
    hypervisor: FakeHypervisor,
    vm: VmAccess,
    live: LiveTap,
    disks: Vec<TapDisk>,
    reads: Arc<AtomicBool>,
}

#[async_trait]
impl Tap for FakeTap {
    fn disks(&self) -> &[TapDisk] {
        &self.disks
    }

    async fn begin_epoch(&self) -> Result<TrackingEpoch> {
        let (passed, barrier) = oneshot::channel();
        let epoch = self.hypervisor.with(&self.vm, |vm| {
            let epoch = next_epoch(vm, self.live.journal_id, None);
            if !self.live.is_over() {
                begin_epoch(vm, &self.live, epoch);
                let _ = self.live.queue.send(Order::Barrier(passed)); // one that is lost is not passed
            }
            Ok(epoch)
        })?;
        barrier.await.map(|()| epoch).map_err(|_| failed("the writes of the fake VM are not all taken"))
    }

    async fn trust(&self, epoch: TrackingEpoch) -> Result<()> {
        self.hypervisor.with(&self.vm, |vm| {
            for disk in vm.disks.values_mut() {
                disk.epochs.retain(|(found, old), _| *found != self.live.journal_id || *old >= epoch);
            }
            Ok(())
        })
    }

    async fn insist(&self) -> Result<()> {
        match self.live.is_over() {
            false => Ok(()),
            true => Err(failed("the writes of the fake VM are not all taken")),
        }
    }

    async fn end_reading(&self) -> Result<()> {
        self.reads.store(false, Ordering::Release);
        Ok(())
    }

    async fn ended(&self) -> TapEnd {
        let mut end = self.live.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        ended.unwrap_or_else(|| TapEnd::Broken("it is gone".to_owned()))
    }

    async fn cut(&self) {
        self.live.finish(TapEnd::Broken("it was cut off".to_owned()));
    }
}

/// A disk in memory, while its guest writes to it.
struct LiveDisk {
    hypervisor: FakeHypervisor,
    vm: VmAccess,
    name: DiskName,
    size_bytes: u64,
    reads: Arc<AtomicBool>,
}

#[async_trait]
impl DiskImage for LiveDisk {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> image::Result<Vec<Extent>> {
        range.check_within(self.size_bytes)?;
        Ok((!range.is_empty()).then_some(Extent { range, kind: ExtentKind::Data }).into_iter().collect())
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> image::Result<()> {
        let gone = || image::Error::new(image::ErrorKind::Gone, "the fake disk cannot be read any longer");
        let range = ByteRange { offset_bytes, length_bytes: buffer.len() as u64 };
        range.check_within(self.size_bytes)?;
        if !self.reads.load(Ordering::Acquire) {
            return Err(gone());
        }
        let copied = self.hypervisor.with(&self.vm, |vm| {
            let bytes = vm.disks.get(&self.name).map(|disk| &disk.bytes);
            let part = bytes.and_then(|bytes| bytes.get(offset_bytes as usize..range.end_bytes() as usize));
            part.map(|part| buffer.copy_from_slice(part)).ok_or_else(|| failed("the fake disk has shrunk"))
        });
        copied.map_err(|_| gone())
    }
}

#[cfg(test)]
mod tests;
