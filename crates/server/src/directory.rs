//! The data directory of a site: what is where, and that one server at a time owns it.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use api::Code;
use model::{JournalId, PlanRunId, VaultName, VmId};
use rustix::fs::FlockOperation;

use crate::failure::{Failure, Result};

/// Bytes that the kernel takes for the path of a unix socket, without the final zero.
const SOCKET_PATH_LIMIT_BYTES: usize = 107;

/// How the names of the sockets begin on which images are shown.
const NBD_SOCKET_PREFIX: &str = "nbd-";

/// The data directory. Owned by this process until dropped.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    /// The kernel lets go of the lock when the process ends, however it ends.
    lock: File,
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        // A child that is being started still has a copy of the file, and the lock with it.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

impl DataDirectory {
    /// Creates what is missing, readable by the owner only, and takes the directory for this process.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path)
            .map_err(|error| Failure::from_io(format!("the data directory {}", path.display()), &error))?;
        create_private(&path)?;
        let lock = lock(&path)?;
        let directory = Self { path, lock };
        for part in [
            "identity",
            "keys",
            "run",
            "scratch",
            "disks",
            "vaults",
            "screenshots",
            "drills",
            "transfers",
            "replicas",
        ] {
            create_private(&directory.path.join(part))?;
        }
        create_private_file(&directory.catalog())?;
        let removed = directory.remove_nbd_sockets();
        removed
            .map_err(|error| Failure::from_io("removing what a dead server has left".to_owned(), &error))?;
        Ok(directory)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn catalog(&self) -> PathBuf {
        self.path.join("catalog.db")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// Who the site is.
    pub(crate) fn identity(&self) -> PathBuf {
        self.path.join("identity")
    }

    /// Disks that peers are sending.
    pub(crate) fn transfers(&self) -> PathBuf {
        self.path.join("transfers")
    }

    /// Journals of other sites' VMs, a folder for each.
    pub(crate) fn replicas(&self) -> PathBuf {
        self.path.join("replicas")
    }

    /// Sockets and pid files. The path is short, for the sake of the kernel's limit on socket paths.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.path.join("run")
    }

    /// Where VMs find the images that they run from.
    pub(crate) fn images_socket(&self) -> PathBuf {
        self.runtime().join("images.sock")
    }

    /// Where an image is shown over NBD for which no place was named.
    pub(crate) fn nbd_socket(&self, number: u32) -> PathBuf {
        self.runtime().join(format!("{NBD_SOCKET_PREFIX}{number:08x}.sock"))
    }

    /// Removes the sockets of images that a dead server showed: this process owns the directory.
    fn remove_nbd_sockets(&self) -> std::io::Result<()> {
        for entry in self.runtime().read_dir()? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(NBD_SOCKET_PREFIX.as_bytes()) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The journal of a replicated VM.
    pub(crate) fn journal(&self, id: JournalId) -> PathBuf {
        self.path.join("journals").join(id.as_str())
    }

    /// Where the process is reached that holds a journal.
    pub(crate) fn tap_sockets(&self, id: JournalId) -> PathBuf {
        self.runtime().join(id.as_str())
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.path.join("scratch")
    }

    /// What can be made anew at any time: the indexes of open vaults, in files without names.
    pub(crate) fn index(&self) -> PathBuf {
        self.path.join("cache").join("index")
    }

    /// What can be made anew at any time: what stores were asked to retain.
    pub(crate) fn retentions(&self) -> PathBuf {
        self.path.join("cache").join("retentions")
    }

    /// What can be made anew at any time: what the helper of files boots from.
    pub(crate) fn helpers(&self) -> PathBuf {
        self.path.join("cache").join("helpers")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        api::socket_path(&self.path)
    }

    /// Where a vault goes for which no place was named. A vault's name is a file name by its type, but for these two.
    pub(crate) fn vault(&self, name: &VaultName) -> Result<PathBuf> {
        if matches!(name.as_str(), "." | "..") {
            return Err(Failure::invalid(format!("a vault cannot be called {name}")));
        }
        Ok(self.path.join("vaults").join(name.as_str()))
    }

    /// The snapshot store.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// What the screens of tested points showed.
    pub(crate) fn screenshots(&self) -> PathBuf {
        self.path.join("screenshots")
    }

    /// What was seen of the VMs of a drill.
    pub(crate) fn drill(&self, id: PlanRunId) -> PathBuf {
        self.path.join("drills").join(id.as_str())
    }

    /// Where disks with names of their own go for which no place was named.
    pub(crate) fn site_disks(&self) -> PathBuf {
        self.path.join("disks")
    }

    /// Where a VM's disks go for which no place was named.
    pub(crate) fn disks(&self, vm_id: VmId) -> PathBuf {
        self.all_disks().join(vm_id.as_str())
    }

    /// The directory that all of these are in.
    pub(crate) fn all_disks(&self) -> PathBuf {
        self.path.join("disks")
    }
}

/// Fails where a path is too long for a socket.
pub(crate) fn check_socket_path(socket: &Path) -> Result<()> {
    if socket.as_os_str().len() > SOCKET_PATH_LIMIT_BYTES {
        let detail = format!(
            "the socket's path {} is too long: {} bytes, and the kernel takes {SOCKET_PATH_LIMIT_BYTES}",
            socket.display(),
            socket.as_os_str().len()
        );
        return Err(
            Failure::new(Code::Invalid, detail).with_hint("choose a data directory with a shorter path")
        );
    }
    Ok(())
}

/// Creates a directory and its parents, readable by the owner only.
fn create_private(path: &Path) -> Result<()> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.map_err(|error| Failure::from_io(format!("creating the directory {}", path.display()), &error))
}

/// Creates an empty file that only the owner can read; SQLite gives the files beside its own the same mode.
fn create_private_file(path: &Path) -> Result<()> {
    let created = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    created.map(drop).map_err(|error| Failure::from_io(format!("creating {}", path.display()), &error))
}

fn lock(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    let failed = |error: std::io::Error| Failure::from_io(format!("locking {}", path.display()), &error);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
    let mut file = options.open(&path).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(taken(directory, &mut file)),
        Err(error) => return Err(failed(error.into())),
    }
    // For people and for the message above; the lock itself is the kernel's.
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(file)
}

fn taken(directory: &Path, lock: &mut File) -> Failure {
    let mut holder = String::new();
    let process = match lock.take(20).read_to_string(&mut holder) {
        Ok(_) if !holder.trim().is_empty() => format!(" (process {})", holder.trim()),
        _ => String::new(),
    };
    Failure::new(
        Code::Conflict,
        format!("another server{process} owns the data directory {}", directory.display()),
    )
    .with_hint("stop it first, or give this one a directory of its own with --data-dir")
}
