//! What the machine is made of.

use std::{ffi::OsString, fmt, path::PathBuf};

use super::{kernel, programs};
use crate::appliance::TOOLS;

/// Memory of the machine: a kernel, the helper twice (as the initial RAM disk, and unpacked into the half that Linux gives to files), and
/// what a file system needs to be mounted.
const MEMORY_BYTES: u64 = 512 << 20;

/// Memory where a passphrase is tried: LUKS2's key derivation takes up to 1 GiB (`cryptsetup-luksFormat(8)`, `--pbkdf-memory`).
const MEMORY_WITH_PASSPHRASE_BYTES: u64 = 1536 << 20;

/// What machines are made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// A directory that only its owner may enter, with a short path: sockets, and the overlays of running machines.
    pub runtime_directory: PathBuf,
    /// Where the initial RAM disk is kept between machines. Created where it does not exist.
    pub cache_directory: PathBuf,
    /// The command that runs [`crate::appliance::run`]: the program, which also becomes the machine's first process, and its
    /// subcommand.
    pub helper_command: Vec<OsString>,
    /// The QEMU to start.
    pub qemu_program: PathBuf,
    /// The kernel; the one that the host runs where none is named.
    pub kernel: Option<PathBuf>,
    /// The directory of the kernel's modules, with their `modules.dep`; `/lib/modules/<version>` where none is named.
    pub modules: Option<PathBuf>,
    /// The root under which tools and their libraries are looked for before the host's own.
    pub tools_root: Option<PathBuf>,
}

/// A passphrase of an encrypted volume. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Vec<u8>);

impl Passphrase {
    /// A passphrase, in exactly these bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passphrase")
    }
}

/// Something that the host may offer to machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// What it is: `kernel`, `lvm`.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// What was found; none where it is not there.
    pub found: Option<String>,
    /// Whether nothing works without it.
    pub is_required: bool,
}

/// What this host offers to machines.
#[must_use]
pub fn capabilities(config: &Config) -> Vec<Capability> {
    let kernel = kernel::find(config).map(|kernel| kernel.image.display().to_string()).ok();
    let kernel = Capability { name: "kernel", purpose: "all files", found: kernel, is_required: true };
    let tools = TOOLS.into_iter().map(|(name, purpose)| {
        let found = programs::find(name, config).map(|path| path.display().to_string());
        Capability { name, purpose, found, is_required: false }
    });
    std::iter::once(kernel).chain(tools).collect()
}

pub(super) fn memory_bytes(with_passphrase: bool) -> u64 {
    if with_passphrase { MEMORY_WITH_PASSPHRASE_BYTES } else { MEMORY_BYTES }
}
