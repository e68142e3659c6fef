//! Moments that are held: nothing that they need is folded.

use std::sync::{Arc, OnceLock};

use model::{Timestamp, VmId};

use super::{
    Replica, ReplicaImage, Shared,
    lookup::Sight,
    state::{PIN_NAME_BYTES_MAX, State},
};
use crate::{Disk, DiskNumber, DiskTable, Error, ErrorKind, Result, Sequence};

/// Which moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest at which the VM is whole.
    Latest,
    /// After this record.
    Sequence(Sequence),
    /// After the last record that was taken in by then.
    Time(Timestamp),
}

/// A VM at a moment. What it needs is not folded before it is dropped.
#[derive(Clone)]
pub struct Moment {
    pub(super) vm: VmId,
    pub(super) disks: Arc<DiskTable>,
    pub(super) held: Arc<Held>,
}

/// A moment that is kept from being folded.
pub(super) struct Held {
    shared: Arc<Shared>,
    number: u64,
    sequence: Sequence,
    /// Made when it is looked at for the first time.
    sight: OnceLock<Sight>,
}

impl Held {
    pub(super) fn take(shared: &Arc<Shared>, sequence: Sequence) -> Result<Self> {
        let mut ledger = shared.ledger();
        check_reach(ledger.state.as_ref(), shared, sequence)?;
        let number = ledger.holds_given;
        ledger.holds_given += 1;
        ledger.held.insert(number, sequence);
        drop(ledger);
        Ok(Self { shared: Arc::clone(shared), number, sequence, sight: OnceLock::new() })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The replica whose moment it is.
    pub(super) fn replica(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn sequence(&self) -> Sequence {
        self.sequence
    }

    pub(super) fn sight(&self) -> Result<&Sight> {
        if let Some(sight) = self.sight.get() {
            return Ok(sight);
        }
        let sight = Sight::new(&self.shared, self.sequence)?;
        Ok(self.sight.get_or_init(|| sight))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.ledger().held.remove(&self.number);
    }
}

fn check_reach(state: Option<&State>, shared: &Shared, sequence: Sequence) -> Result<()> {
    let reach = state.map(State::reach).unwrap_or_default();
    if sequence < reach {
        let context = format!("record {sequence} is before {reach}, where the replica begins");
        return Err(Error::new(ErrorKind::Folded, context).with_guidance("choose a later moment"));
    }
    if state.is_none() || sequence > shared.view().durable {
        return Err(Error::new(ErrorKind::NotFound, format!("record {sequence} is not in the replica")));
    }
    Ok(())
}

impl Replica {
    /// Holds a moment of a VM.
    ///
    /// # Errors
    /// [`ErrorKind::Folded`] before the replica begins, [`ErrorKind::NotFound`] for what has not come or an unknown VM,
    /// [`ErrorKind::NotWhole`] where writes to one of its disks are missing.
    pub fn moment(&self, vm: VmId, at: At) -> Result<Moment> {
        let sequence = match at {
            At::Sequence(sequence) => sequence,
            At::Time(time) => self.sequence_at(time)?,
            At::Latest => self.newest_whole(vm).ok_or_else(|| not_whole(vm))?,
        };
        let held = Held::take(&self.shared, sequence)?;
        let disks = self.shared.view().disks_at(sequence);
        if disks.of_vm(vm).next().is_none() {
            return Err(Error::new(ErrorKind::NotFound, format!("the replica holds no disk of VM {vm}")));
        }
        if !disks.is_whole(vm) {
            return Err(not_whole(vm));
        }
        Ok(Moment { vm, disks, held: Arc::new(held) })
    }
}

fn not_whole(vm: VmId) -> Error {
    Error::new(ErrorKind::NotWhole, format!("at that moment the replica of VM {vm} lacked writes"))
        .with_guidance("choose another moment, or wait until what is missing has been copied")
}

impl Moment {
    /// The last record that it shows.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.held.sequence
    }

    /// The VM's disks.
    pub fn disks(&self) -> impl Iterator<Item = (DiskNumber, &Disk)> {
        self.disks.of_vm(self.vm)
    }

    /// A disk as it was.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a disk that the VM did not have.
    pub fn image(&self, disk: DiskNumber) -> Result<ReplicaImage> {
        let known = self.disks.get(disk).filter(|known| known.vm == self.vm);
        let known = known
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("VM {} has no disk {disk}", self.vm)))?;
        Ok(ReplicaImage::new(Arc::clone(&self.held), disk, known.size_bytes))
    }
}

pub(super) fn pin(shared: &Shared, name: &str, sequence: Sequence) -> Result<()> {
    if name.len() > PIN_NAME_BYTES_MAX {
        return Err(Error::invalid(format!("a pin's name has at most {PIN_NAME_BYTES_MAX} bytes")));
    }
    let mut ledger = shared.ledger();
    check_reach(ledger.state.as_ref(), shared, sequence)?;
    let Some(mut state) = ledger.state.clone() else { return Ok(()) };
    state.pins.insert(name.to_owned(), sequence);
    state.save(&*shared.folder)?;
    ledger.state = Some(state);
    Ok(())
}

pub(super) fn unpin(shared: &Shared, name: &str) -> Result<bool> {
    let mut ledger = shared.ledger();
    let Some(mut state) = ledger.state.clone() else { return Ok(false) };
    if state.pins.remove(name).is_none() {
        return Ok(false);
    }
    state.save(&*shared.folder)?;
    ledger.state = Some(state);
    Ok(true)
}
