//! Where things are, and the paths that follow from it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use env::Env;
use hypervisor::{Error, ErrorKind, Result, VmAccess, VmOrigin};
use model::{CaptureId, VmId};

/// Bytes that the kernel takes for the path of a unix socket, without the final zero.
const SOCKET_PATH_LIMIT_BYTES: usize = 107;

/// What the adapter needs to know of its host.
#[derive(Clone)]
pub struct QemuConfig {
    /// Sockets, pid files and ledgers, one directory for each VM. Need not outlive a reboot. Keep the path short.
    pub runtime_dir: PathBuf,
    /// Where the old contents of blocks go that a guest overwrites while it is captured: local, fast, with free space.
    pub scratch_dir: PathBuf,
    /// The command that runs [`crate::guard::run`]: this program, and its hidden subcommand.
    pub guard_command: Vec<OsString>,
    /// The QEMU that starts managed VMs, such as `qemu-system-x86_64`.
    pub qemu_program: PathBuf,
    /// Clock and entropy.
    pub env: Env,
}

impl QemuConfig {
    /// The directory of a VM's sockets and files.
    pub(crate) fn vm_dir(&self, vm_id: VmId) -> PathBuf {
        self.runtime_dir.join(vm_id.as_str())
    }

    /// The ledger of what is being done to a VM.
    pub(crate) fn ledger(&self, vm_id: VmId) -> PathBuf {
        self.vm_dir(vm_id).join("ledger.json")
    }

    /// The socket on which a VM's QEMU exports its captured disks.
    pub(crate) fn export_socket(&self, vm_id: VmId) -> Result<PathBuf> {
        checked_socket(self.vm_dir(vm_id).join("nbd.sock"))
    }

    /// What the names of all scratch files of a VM begin with.
    pub(crate) fn scratch_prefix(vm_id: VmId) -> String {
        format!("holdfast-{vm_id}-")
    }

    /// The scratch file of a VM's `index`-th disk in a capture.
    pub(crate) fn scratch_file(&self, vm_id: VmId, capture_id: CaptureId, index: usize) -> PathBuf {
        self.scratch_dir.join(format!("{}{capture_id}-{index}.scratch", Self::scratch_prefix(vm_id)))
    }
}

/// How a VM is reached.
#[derive(Debug, Clone)]
pub(crate) struct Sockets {
    pub(crate) monitor: PathBuf,
    pub(crate) second_monitor: Option<PathBuf>,
    pub(crate) agent: Option<PathBuf>,
}

impl Sockets {
    /// The sockets of a VM of any origin.
    pub(crate) fn of(config: &QemuConfig, vm: &VmAccess) -> Result<Self> {
        match &vm.origin {
            VmOrigin::External { qmp, qmp_out_of_band, agent, .. } => Ok(Self {
                monitor: qmp.clone(),
                second_monitor: qmp_out_of_band.clone(),
                agent: agent.clone(),
            }),
            VmOrigin::Managed { definition } => {
                let dir = config.vm_dir(vm.vm_id);
                Ok(Self {
                    monitor: checked_socket(dir.join("qmp.sock"))?,
                    second_monitor: Some(checked_socket(dir.join("qmp2.sock"))?),
                    agent: definition.agent.then(|| checked_socket(dir.join("agent.sock"))).transpose()?,
                })
            }
        }
    }

    /// The monitors that another process may use while this one holds the first: the second comes first.
    pub(crate) fn monitors_for_others(&self) -> Vec<PathBuf> {
        self.second_monitor.iter().chain([&self.monitor]).cloned().collect()
    }
}

pub(crate) fn checked_socket(path: PathBuf) -> Result<PathBuf> {
    if socket_path_fits(&path) {
        return Ok(path);
    }
    let context = format!(
        "the path {} is too long for a socket: {} bytes, and {SOCKET_PATH_LIMIT_BYTES} are possible",
        path.display(),
        path.as_os_str().len()
    );
    Err(Error::new(ErrorKind::Unsupported, context).with_guidance("choose a shorter runtime directory"))
}

/// Whether a socket can have this path.
pub(crate) fn socket_path_fits(path: &Path) -> bool {
    path.as_os_str().len() <= SOCKET_PATH_LIMIT_BYTES
}
