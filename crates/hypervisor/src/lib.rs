//! The hypervisor seam: look at a VM, hold it at a moment, clean up after the dead, start and stop it.
//!
//! This crate knows no hypervisor. `hypervisor-qemu` is the real implementation, [`FakeHypervisor`] the one for tests.

mod at_rest;
mod capture;
mod error;
mod fake;
mod guest;
mod guest_files;
mod hydration;
mod inspection;
mod replication;

use async_trait::async_trait;
use model::{JournalId, VmDefinition, VmId, VmName};

pub use at_rest::DiskAtRest;
pub use capture::{
    Baseline, Capture, CaptureFacts, CaptureOutcome, CapturePhase, CaptureRequest, CapturedDisk, Chain,
    DiskChanges, PhaseListener,
};
pub use error::{Error, ErrorKind, Result};
pub use fake::{FakeDisk, FakeGuest, FakeGuestNode, FakeHypervisor, FakeTapTargets, FakeVm};
pub use guest::{GuestExit, GuestNetwork, GuestProgram};
pub use guest_files::{GuestAbilities, GuestContent, GuestFiles, GuestItem, GuestItemKind, GuestItemOutcome};
pub use hydration::{Hydration, HydrationListener};
pub use inspection::{AgentState, DiskInspection, Inspection, Power, Tracking};
pub use replication::{Missed, Quiet, Tap, TapDisk, TapEnd, TapRequest, TappedDisk, TrackingEpoch};

use std::{path::PathBuf, time::Duration};

/// A VM, and how to reach it.
#[derive(Debug, Clone)]
pub struct VmAccess {
    /// The VM.
    pub vm_id: VmId,
    /// Its name, for messages.
    pub name: VmName,
    /// Where it comes from.
    pub origin: VmOrigin,
}

/// Where a VM comes from.
#[derive(Debug, Clone)]
pub enum VmOrigin {
    /// Started by somebody else; reached by its sockets.
    External {
        /// The QMP monitor's unix socket.
        qmp: PathBuf,
        /// A second QMP monitor, for commands out of band while the first hangs.
        qmp_out_of_band: Option<PathBuf>,
        /// The guest agent's unix socket.
        agent: Option<PathBuf>,
        /// What the last inspection found: how its disks are reached while it is stopped.
        last_seen: Option<Box<VmDefinition>>,
    },
    /// Defined in Holdfast, which starts and stops it.
    Managed {
        /// The definition, with the paths of its disks.
        definition: Box<VmDefinition>,
    },
}

/// A hypervisor.
///
/// Contract:
/// - The guest wins: no method makes the guest wait longer than its documented bounds, and no failure of Holdfast's own
///   (a full disk, a dead process) is ever handed to the guest as an error.
/// - Whatever a method leaves in the hypervisor is named after Holdfast, so that [`Hypervisor::recover`] finds it.
/// - All methods may be called at once for different VMs; for one VM callers take turns.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// Looks at a VM without changing anything.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when an external VM neither answers nor was ever seen.
    async fn inspect(&self, vm: &VmAccess) -> Result<Inspection>;

    /// Holds all disks of a VM, or one, at one moment. The moment is fixed when this returns; the guest is thawed and runs.
    /// First cleans up as [`Hypervisor::recover`] does, with the request's chain and baseline.
    ///
    /// # Errors
    /// [`ErrorKind::Consistency`] when the request is strict and its consistency cannot be reached; nothing is left behind
    /// after any error.
    async fn capture(&self, request: CaptureRequest) -> Result<Box<dyn Capture>>;

    /// Frees a guest from what a dead process of Holdfast left: thaws and resumes what it froze and paused, removes its
    /// filters, exports, jobs and scratch files. Change tracking stays as it is, so that this needs no vault. Returns what
    /// was done, a sentence each; nothing when all was clean.
    async fn free(&self, vm: &VmAccess) -> Result<Vec<String>>;

    /// Frees a guest as [`Hypervisor::free`] does, and makes the dirty bitmaps of a chain's `committed` captures whole again
    /// by merging those of captures that came to nothing; the other chains' stay as they are. Returns what was done, a
    /// sentence each; nothing when all was clean.
    async fn recover(&self, vm: &VmAccess, chain: Chain, committed: &Baseline) -> Result<Vec<String>>;

    /// The disks of a stopped VM are about to be overwritten: forgets how its guest left them.
    async fn forget_shutdown(&self, vm: &VmAccess);

    /// Starts a managed VM.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for external VMs, [`ErrorKind::Failed`] with the hypervisor's own words.
    async fn start(&self, vm: &VmAccess) -> Result<()>;

    /// Stops a VM: asks the guest to shut down and waits, or with `force` ends it as a power cut would.
    async fn stop(&self, vm: &VmAccess, force: bool) -> Result<()>;

    /// Copies what a disk still reads from an image below it into the disk's own file while the guest runs, until nothing
    /// of the disk depends on that image. Joins work that was begun before; goes on in the hypervisor when the future is
    /// dropped. A guest that stands still for want of space goes on first.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] when the VM does not run or ends meanwhile, [`ErrorKind::NoSpace`] when the disk's file cannot
    /// grow, [`ErrorKind::Failed`] when the image below cannot be read. What was copied stays.
    async fn hydrate(&self, vm: &VmAccess, hydration: &Hydration, listener: &HydrationListener)
    -> Result<()>;

    /// Runs a program inside a guest, through its agent, and waits until it has ended, for `limit` at most.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when the agent does not answer or the program does not end, [`ErrorKind::Failed`] when
    /// the agent refuses.
    async fn run_in_guest(&self, vm: &VmAccess, program: &GuestProgram, limit: Duration)
    -> Result<GuestExit>;

    /// The network interfaces that a guest has, as its agent tells them.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] when the agent does not answer, [`ErrorKind::Failed`] when it refuses.
    async fn guest_networks(&self, vm: &VmAccess) -> Result<Vec<GuestNetwork>> {
        let context = format!("this hypervisor cannot ask the guest of {} for its networks", vm.name);
        Err(Error::new(ErrorKind::Unsupported, context))
    }

    /// Opens a running guest for files that are put into it, through its agent, which nobody else can talk to meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the VM has no agent, or one that may not write files;
    /// [`ErrorKind::Unreachable`] when the agent does not answer.
    async fn guest_files(&self, vm: &VmAccess) -> Result<Box<dyn GuestFiles>>;

    /// What a guest shows on its screen, as PNG.
    async fn screenshot(&self, vm: &VmAccess) -> Result<Vec<u8>>;

    /// The end of what a guest has written to its serial port, of at most `limit_bytes`.
    async fn console(&self, vm: &VmAccess, limit_bytes: u64) -> Result<Vec<u8>>;

    /// Ends the copying that [`Hypervisor::hydrate`] began. The disks go on as they are, and so does the guest.
    async fn stop_hydration(&self, vm: &VmAccess) -> Result<()>;

    /// The disks of a VM that does not run, to be read. Nothing is changed.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when the VM runs or somebody else writes to a disk, [`ErrorKind::Unsupported`] where it is not known
    /// where the disks are, [`ErrorKind::Gone`] when one is not there.
    async fn disks_at_rest(&self, vm: &VmAccess) -> Result<Vec<DiskAtRest>> {
        let context =
            format!("this hypervisor cannot read the disks of the VM {} while it does not run", vm.name);
        Err(Error::new(ErrorKind::Unsupported, context))
    }

    /// Has every write of a running VM handed to a tap before the guest is told that it is done. Goes on with a tap on the
    /// same socket that is there already. The guest never waits longer for a tap than it takes to cut it off.
    ///
    /// # Errors
    /// [`ErrorKind::Gone`] when the VM does not run, [`ErrorKind::Busy`] while something else works on its disks,
    /// [`ErrorKind::Unsupported`] with what the hypervisor lacks. Nothing is left behind after any error but the tracking.
    async fn begin_tap(&self, request: &TapRequest) -> Result<Box<dyn Tap>> {
        let _ = request;
        Err(Error::new(ErrorKind::Unsupported, "this hypervisor cannot replicate"))
    }

    /// Removes everything that the taps of a journal left in a VM, the tracking too.
    async fn end_tap(&self, vm: &VmAccess, journal_id: JournalId) -> Result<()> {
        let _ = (vm, journal_id);
        Ok(())
    }

    /// Takes the taps of a journal out of a VM, for as long as nobody begins one: its disks can be resized. What is written is
    /// tracked.
    async fn release_tap(&self, vm: &VmAccess, journal_id: JournalId) -> Result<()> {
        let _ = (vm, journal_id);
        Ok(())
    }

    /// Has the guest's agent freeze its file systems, its hooks before, for `limit` at most.
    ///
    /// # Errors
    /// [`ErrorKind::Consistency`] when the agent cannot; the guest goes on.
    async fn quiesce(&self, vm: &VmAccess, limit: Duration) -> Result<Box<dyn Quiet>> {
        let _ = (vm, limit);
        Err(Error::new(ErrorKind::Consistency, "this hypervisor cannot freeze a guest"))
    }

    /// Whether the host has a bridge of this name that a VM's network can be connected to.
    fn has_bridge(&self, name: &str) -> bool {
        let _ = name;
        true
    }
}
