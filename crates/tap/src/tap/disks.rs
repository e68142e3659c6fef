//! Disks and epochs: whose writes are taken, and since when none was missed.

use std::sync::Arc;

use image::ByteRange;
use journal::{CopyTicket, Disk, DiskNumber, Sequence};
use model::{DiskName, Timestamp, VmId};

use super::Tap;
use crate::{AddedDisk, Epoch, Error, ErrorKind, Result, target::Export};

/// The name of a disk's export.
pub(super) fn export_name(vm: VmId, name: &DiskName) -> String {
    format!("{vm}-{name}")
}

impl Tap {
    /// Lets NBD clients write to a disk, of the size that it has now.
    pub(super) fn offer(self: &Arc<Self>, number: DiskNumber, disk: &Disk) {
        let target = Export { tap: Arc::clone(self), disk: number, vm: disk.vm, size_bytes: disk.size_bytes };
        self.exports.add_target_per_client(export_name(disk.vm, &disk.name), Arc::new(target));
    }

    pub(crate) fn add_disk(self: &Arc<Self>, vm: VmId, name: DiskName, size_bytes: u64) -> Result<AddedDisk> {
        let mut state = self.state();
        if self.journal.disks().of_vm(vm).any(|(_, disk)| disk.name == name) {
            let context = format!("the journal has the disk {name} of the VM {vm} already");
            return Err(Error::new(ErrorKind::AlreadyExists, context));
        }
        let export = export_name(vm, &name);
        let number = self.journal.add_disk(vm, name, size_bytes)?;
        let now = Epoch(self.journal.usage().taken_through);
        let epoch = *state.epochs.entry(vm).or_insert(now);
        if let Some(disk) = self.journal.disks().get(number)
            && !state.is_shut_out(vm)
        {
            self.offer(number, disk);
        }
        drop(state);
        self.wake_flusher();
        Ok(AddedDisk { number, export, epoch })
    }

    pub(crate) fn resize_disk(self: &Arc<Self>, number: DiskNumber, size_bytes: u64) -> Result<Sequence> {
        let state = self.state();
        let vm = self.disk(number)?.vm;
        let sequence = self.journal.resize_disk(number, size_bytes)?;
        if !state.is_shut_out(vm) {
            self.offer(number, &self.disk(number)?);
        }
        drop(state);
        self.wake_flusher();
        Ok(sequence)
    }

    pub(crate) fn remove_disk(&self, number: DiskNumber) -> Result<Sequence> {
        let state = self.state();
        let disk = self.disk(number)?;
        if state.clients.get(&number).is_some_and(|clients| *clients > 0) {
            let context = format!("writes to the disk {} of the VM {} are being taken", disk.name, disk.vm);
            return Err(Error::new(ErrorKind::Busy, context).with_guidance("end its mirror first"));
        }
        let sequence = self.journal.remove_disk(number)?;
        self.exports.remove(&export_name(disk.vm, &disk.name));
        drop(state);
        self.wake_flusher();
        Ok(sequence)
    }

    /// Begins an epoch for a VM, of a moment or of what comes, and lets its clients in again.
    pub(crate) fn begin_epoch(self: &Arc<Self>, vm: VmId, moment: Option<Timestamp>) -> Result<Epoch> {
        let mut state = self.state();
        let epoch = Epoch(match moment {
            Some(moment) => self.journal.begin_epoch_at(vm, moment)?,
            None => self.journal.begin_epoch(vm)?,
        });
        state.epochs.insert(vm, epoch);
        if state.is_shut_out(vm)
            && let Some(broken) = &mut state.broken
        {
            broken.vms.retain(|it| *it != vm);
            for (number, disk) in self.journal.disks().of_vm(vm) {
                self.offer(number, disk);
            }
        }
        state.broken.take_if(|broken| broken.vms.is_empty());
        if !*self.ending.borrow() {
            self.doors.send_replace(Some(state.opening));
        }
        drop(state);
        // Copies that wait for room learn that they are over.
        self.room.send_replace(());
        self.wake_flusher();
        Ok(epoch)
    }

    pub(crate) fn disk_is_whole(&self, number: DiskNumber, epoch: Epoch) -> Result<Sequence> {
        let state = self.state();
        let vm = self.disk(number)?.vm;
        if state.epoch(vm) != epoch || state.is_shut_out(vm) {
            return Err(superseded(vm));
        }
        let sequence = self.journal.disk_is_whole(number)?;
        drop(state);
        self.wake_flusher();
        Ok(sequence)
    }

    /// Begins a copy; also gives the epoch in which it did.
    pub(crate) fn begin_copy(
        &self,
        number: DiskNumber,
        range: ByteRange,
    ) -> Result<(CopyTicket, VmId, Epoch)> {
        let state = self.state();
        let vm = self.disk(number)?.vm;
        if state.is_shut_out(vm) {
            let context = format!("the tap has let the VM {vm} go on without it");
            return Err(Error::new(ErrorKind::Broken, context).with_guidance("begin an epoch first"));
        }
        Ok((self.journal.begin_copy(number, range)?, vm, state.epoch(vm)))
    }

    /// Fails when another epoch has begun, which ends all copies of the VM.
    pub(crate) fn check_epoch(&self, vm: VmId, epoch: Epoch) -> Result<()> {
        if self.state().epoch(vm) == epoch { Ok(()) } else { Err(superseded(vm)) }
    }

    /// Whether there is room that guests' writes do not need: half of the memory, a quarter of the disk are theirs.
    pub(crate) fn has_room_to_spare(&self) -> bool {
        let usage = self.journal.usage();
        let taken_bytes = usage.disk_bytes.saturating_add(usage.memory_bytes);
        usage.memory_bytes <= self.options.memory_bytes / 2 && taken_bytes <= self.options.disk_bytes / 4 * 3
    }

    /// A client begins; gives the opening to which it belongs.
    pub(crate) fn client_begins(&self, number: DiskNumber) -> u64 {
        let mut state = self.state();
        *state.clients.entry(number).or_default() += 1;
        state.opening
    }

    /// A client has ended. What the guest writes from now on passes the tap by.
    pub(crate) fn client_ended(&self, number: DiskNumber, vm: VmId, opening: u64) {
        let mut state = self.state();
        if let Some(clients) = state.clients.get_mut(&number) {
            *clients = clients.saturating_sub(1);
        }
        if opening == state.opening
            && !state.is_shut_out(vm)
            && let Ok(sequence) = self.journal.begin_epoch(vm)
        {
            state.epochs.insert(vm, Epoch(sequence));
            tracing::info!(%vm, disk = number.0, "the connection of a disk has ended");
        }
        drop(state);
        self.room.send_replace(());
        self.wake_flusher();
    }

    fn disk(&self, number: DiskNumber) -> Result<Disk> {
        let missing = || Error::new(ErrorKind::NotFound, format!("the journal has no disk {number}"));
        self.journal.disks().get(number).cloned().ok_or_else(missing)
    }
}

fn superseded(vm: VmId) -> Error {
    Error::new(ErrorKind::Superseded, format!("an epoch of the VM {vm} has begun since"))
        .with_guidance("begin an epoch, and copy what was written since the last that is trusted")
}
