//! Disks that no VM runs from take what they read from elsewhere into their own files: a `qemu-storage-daemon` for each.
//!
//! A daemon is found by the disk's path alone, also by the next server, which goes on with it or ends it. However it ends, the file
//! is sound, and only what it had not told the file yet is copied again.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hypervisor::{Error, ErrorKind, HydrationListener, Result};
use image_formats::{NbdBacking, relink_overlay};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::{process::Command, time};

use crate::{
    config::{QemuConfig, checked_socket},
    hydrate::Stream,
    launch::is_socket_alive,
    monitor::{Monitor, Monitors},
    names,
    session::make_private_dir,
};

/// How long a daemon may take until it serves its disk: it waits for the server of the image below.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a daemon may take to end when told to; a read of an image that is out of reach does not end at all.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
/// The name of the disk in its daemon.
const NODE: &str = "disk";
/// Bytes of a daemon's complaint that are passed on.
const COMPLAINT_LIMIT_BYTES: usize = 2048;

/// The disks of one site that no VM runs from. Whoever wants one takes it, and hydration waits.
pub struct RestingDisks {
    config: QemuConfig,
    monitors: Monitors,
    known: Mutex<HashMap<PathBuf, Arc<Resting>>>,
}

/// What is known of one file.
#[derive(Default)]
struct Resting {
    /// Those who have taken it.
    takers: AtomicUsize,
    /// How often it was ever taken.
    takes: AtomicUsize,
    /// Held while its daemon starts or ends.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Resting {
    fn is_taken(&self) -> bool {
        self.takers.load(Ordering::SeqCst) > 0
    }

    fn takes(&self) -> usize {
        self.takes.load(Ordering::SeqCst)
    }
}

/// Files that are somebody's: while this lives, none of them is hydrated.
pub struct Taken(Vec<Arc<Resting>>);

impl Drop for Taken {
    fn drop(&mut self) {
        for resting in &self.0 {
            resting.takers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl RestingDisks {
    /// Touches nothing yet.
    #[must_use]
    pub fn new(config: QemuConfig) -> Self {
        Self { config, monitors: Monitors::default(), known: Mutex::default() }
    }

    /// Copies what the qcow2 file of a disk still reads from an image below it into the file, until it needs no other. Joins
    /// work that was begun before; goes on in the daemon when the future is dropped. The file is whole, and durably, when
    /// this has returned without an error, and not before, whatever the file says.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when another program uses the file or somebody takes it, [`ErrorKind::NoSpace`],
    /// [`ErrorKind::Failed`] when the image below cannot be read. What was copied stays, and nothing of ours has the file
    /// open after any error.
    pub async fn hydrate(
        &self,
        path: &Path,
        below: NbdBacking<'_>,
        rate_limit_bytes_per_second: Option<u64>,
        listener: &HydrationListener,
    ) -> Result<()> {
        let file = RestingFile::of(&self.config, path)?;
        let resting = self.resting(&file);
        let takes_before = resting.takes();
        let copied = self.copy(&file, &resting, below, rate_limit_bytes_per_second, listener).await;
        let ending = self.end_daemon(&file, &resting).await?;
        match copied {
            // What it knew of the file and had not told it is lost: the file is linked again.
            Ok(()) if ending != Ending::Orderly => Err(file.unfinished()),
            // Whoever took it ended the daemon, and may have given it back by now.
            Err(_) if resting.is_taken() || resting.takes() != takes_before => Err(file.busy()),
            copied => copied,
        }
    }

    async fn copy(
        &self,
        file: &RestingFile,
        resting: &Resting,
        below: NbdBacking<'_>,
        rate_limit_bytes_per_second: Option<u64>,
        listener: &HydrationListener,
    ) -> Result<()> {
        let turn = Arc::clone(&resting.turn).lock_owned().await;
        if resting.is_taken() {
            return Err(file.busy());
        }
        let monitor = match self.attach(file).await? {
            Some(monitor) => {
                drop(turn);
                monitor
            }
            None => {
                file.link(below).await?;
                // A task of its own: half a start would leave a daemon that nobody sees coming.
                let started = file.clone();
                let start = async move {
                    let _turn = turn;
                    started.start().await
                };
                tokio::spawn(start).await.map_err(|_| file.failed("its daemon was not started"))??;
                self.attach(file).await?.ok_or_else(|| file.failed("its daemon has ended"))?
            }
        };
        let stream = Stream::into_node(file.shown(), NODE, rate_limit_bytes_per_second);
        stream.follow(&monitor, listener).await
    }

    /// Takes files for something else. When this returns, nothing of ours has them open.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`] when a daemon does not even end when it is killed.
    pub async fn take(&self, paths: &[PathBuf]) -> Result<Taken> {
        let mut taken = Taken(Vec::new());
        for path in paths {
            let file = RestingFile::of(&self.config, path)?;
            let resting = self.resting(&file);
            resting.takers.fetch_add(1, Ordering::SeqCst);
            resting.takes.fetch_add(1, Ordering::SeqCst);
            taken.0.push(Arc::clone(&resting));
            self.end_daemon(&file, &resting).await?;
        }
        Ok(taken)
    }

    fn resting(&self, file: &RestingFile) -> Arc<Resting> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(file.path.clone()).or_default().clone()
    }

    /// The monitor of a file's daemon; none where there is no daemon.
    async fn attach(&self, file: &RestingFile) -> Result<Option<Arc<Monitor>>> {
        match self.monitors.attach_to(&file.socket, || file.shown()).await {
            Ok(monitor) => Ok(Some(monitor)),
            Err(_) if !is_socket_alive(&file.socket).await => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn end_daemon(&self, file: &RestingFile, resting: &Resting) -> Result<Ending> {
        let _turn = resting.turn.lock().await;
        let Some(monitor) = self.attach(file).await? else { return Ok(Ending::Unseen) };
        // It may be gone by now, or hang in a read.
        let asked = time::timeout(QUIT_TIMEOUT, async {
            if monitor.query("quit").await.is_ok() {
                monitor.qmp().closed().await;
            }
        });
        let is_orderly = asked.await.is_ok() && monitor.qmp().is_closed();
        if !is_orderly {
            kill(&monitor).map_err(|error| file.failed("its daemon does not end").with_source(error))?;
            let closed = time::timeout(QUIT_TIMEOUT, monitor.qmp().closed()).await;
            closed.map_err(|_| file.failed("its daemon does not end"))?;
        }
        let _ = fs::remove_file(&file.socket); // a killed one leaves it behind, and the next one replaces it
        file.wait_until_free().await;
        Ok(if is_orderly { Ending::Orderly } else { Ending::Killed })
    }
}

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It was told to, and has written everything that it knew of its file.
    Orderly,
    Killed,
    /// It was not there any more.
    Unseen,
}

fn kill(monitor: &Monitor) -> io::Result<()> {
    match monitor.qmp().process_id().and_then(Pid::from_raw) {
        Some(process) => Ok(kill_process(process, Signal::KILL)?),
        None => Err(io::Error::other("it does not tell which process it is")),
    }
}

/// The file of one disk, and where its daemon is found.
#[derive(Clone)]
struct RestingFile {
    path: PathBuf,
    socket: PathBuf,
}

impl RestingFile {
    fn of(config: &QemuConfig, path: &Path) -> Result<Self> {
        // One that is gone is nobody's, whatever it was called.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = names::resting(&path);
        Ok(Self { socket: checked_socket(config.runtime_dir.join(name))?, path })
    }

    fn shown(&self) -> String {
        format!("the disk {}", self.path.display())
    }

    fn failed(&self, why: &str) -> Error {
        Error::new(ErrorKind::Failed, format!("{}: {why}", self.shown()))
    }

    fn unfinished(&self) -> Error {
        Error::new(ErrorKind::Busy, format!("{}: its daemon has ended before its time", self.shown()))
            .with_guidance("try again: what was copied stays")
    }

    fn busy(&self) -> Error {
        Error::new(ErrorKind::Busy, format!("{} is in use", self.shown()))
            .with_guidance("stop the program that uses it")
    }

    /// The file may say that it needs no other although nobody has seen it whole.
    async fn link(&self, below: NbdBacking<'_>) -> Result<()> {
        match relink_overlay(&self.path, below).await {
            Ok(is_linked_again) => {
                if is_linked_again {
                    tracing::warn!(path = %self.path.display(), "a disk was not whole, though its file said so");
                }
                Ok(())
            }
            Err(error) if error.kind() == image_formats::ErrorKind::InUse => Err(self.busy()),
            Err(error) => Err(self.failed("its file cannot be linked to its image").with_source(error)),
        }
    }

    async fn start(&self) -> Result<()> {
        let directory = self.socket.parent().unwrap_or(Path::new("/"));
        let prepared = make_private_dir(directory).and_then(|()| match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        prepared.map_err(|error| self.failed("its daemon's socket cannot be made").with_source(error))?;
        let node = json!({
            "driver": "qcow2",
            "node-name": NODE,
            "discard": "unmap",
            "file": {"driver": "file", "filename": self.path, "discard": "unmap"},
        });
        // A comma ends a value unless it is doubled.
        let socket = self.socket.display().to_string().replace(',', ",,");
        let mut command = Command::new("qemu-storage-daemon");
        command
            .arg("--daemonize")
            .args(["--chardev", &format!("socket,id=monitor,path={socket},server=on,wait=off")])
            .args(["--monitor", "chardev=monitor", "--blockdev", &node.to_string()])
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let ended = time::timeout(START_TIMEOUT, command.output()).await;
        let ended = ended.map_err(|_| self.failed("its daemon is not ready in time"))?;
        let output = ended.map_err(|error| {
            self.failed("qemu-storage-daemon does not run")
                .with_guidance("install QEMU's tools (Debian and Ubuntu: apt install qemu-utils)")
                .with_source(error)
        })?;
        if output.status.success() {
            return Ok(());
        }
        let complaint = &output.stderr[..output.stderr.len().min(COMPLAINT_LIMIT_BYTES)];
        let complaint = String::from_utf8_lossy(complaint).trim().to_owned();
        Err(if is_lock(&complaint) { self.busy() } else { self.failed(&complaint) })
    }

    /// A process closes its sockets before its files, or after them.
    async fn wait_until_free(&self) {
        let free = async {
            while image_formats::is_open_elsewhere(&self.path).await.unwrap_or(false) {
                time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = time::timeout(QUIT_TIMEOUT, free).await; // somebody else has it by now
    }
}

/// Whether a complaint is about a lock that another process holds.
fn is_lock(complaint: &str) -> bool {
    complaint.contains("Failed to get \"write\" lock")
        || complaint.contains("Failed to get shared \"write\" lock")
        || complaint.contains("Failed to get \"consistent read\" lock")
}
