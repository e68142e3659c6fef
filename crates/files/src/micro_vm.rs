//! A small virtual machine that reads the disks: the host's kernel, no network, nothing but these disks.
//!
//! It is a process of its own under limits, which dies with the thread that watches it. It sees the disks over NBD, read-only,
//! under an overlay for what mounting writes, and talks over one serial port. The one exception writes to the one disk that it is given.

mod arguments;
mod config;
mod connection;
mod grow;
mod initrd;
mod kernel;
mod process;
mod programs;

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use image::DiskImage;
use model::DiskName;
use nbd::{Endpoint, Exports};
use tempfile::TempDir;
use tokio::{net::UnixListener, task::JoinHandle, time::timeout};

use crate::{
    Digest, Entry, Error, ErrorKind, FilePath, FileTree, Page, Result, Volume,
    limits::{DISKS_MAX, READ_MAX_BYTES},
    path::display,
    protocol::{Answer, FailureKind, Request},
};
pub use config::{Capability, Config, Passphrase, capabilities};
use connection::Connection;
pub use grow::{GrownFileSystem, grow_file_system};
use process::Process;

/// How long the machine may take from its start until it has found the volumes. Without KVM it takes ten seconds.
const START_TIMEOUT: Duration = Duration::from_secs(150);

/// Volumes that an error tells by name.
const VOLUMES_TOLD_MAX: usize = 20;

/// How the directories of machines start, in [`Config::runtime_directory`].
pub const DIRECTORY_PREFIX: &str = "files-";

/// The disks of one machine, opened. Dropping it ends everything that was started for it.
#[derive(Debug)]
pub struct MicroVm {
    connection: Connection,
    volumes: Vec<Volume>,
    process: Process,
    server: JoinHandle<()>,
    _directory: TempDir,
}

impl MicroVm {
    /// Starts a machine with these disks and finds their volumes. Encrypted ones are opened with the first passphrase that fits.
    ///
    /// # Errors
    /// `ToolMissing` without QEMU or a kernel, `Unsupported` for more disks than fit, `TimedOut`, `Gone` when the machine ends.
    pub async fn open(
        disks: Vec<(DiskName, Arc<dyn DiskImage>)>,
        config: &Config,
        passphrases: &[Passphrase],
    ) -> Result<Self> {
        if disks.len() > DISKS_MAX {
            let context =
                format!("{} disks are too many: at most {DISKS_MAX} can be read together", disks.len());
            return Err(Error::new(ErrorKind::Unsupported, context));
        }
        timeout(START_TIMEOUT, Self::start(disks, config, passphrases)).await.unwrap_or_else(|_| {
            let context = format!("the helper's machine is not ready after {} s", START_TIMEOUT.as_secs());
            Err(Error::new(ErrorKind::TimedOut, context))
        })
    }

    async fn start(
        disks: Vec<(DiskName, Arc<dyn DiskImage>)>,
        config: &Config,
        passphrases: &[Passphrase],
    ) -> Result<Self> {
        let kernel = kernel::find(config)?;
        let initrd = initrd::obtain(config.clone(), kernel.clone()).await?;
        let failed = |error| Error::from_io("preparing the helper's machine", error);
        let directory = tempfile::Builder::new()
            .prefix(DIRECTORY_PREFIX)
            .tempdir_in(&config.runtime_directory)
            .map_err(failed)?;

        let exports = Exports::new();
        let mut names = Vec::new();
        for (index, (name, image)) in disks.into_iter().enumerate() {
            exports.add(format!("d{index}"), image);
            names.push(name.to_string());
        }
        let disks_socket = directory.path().join("disks");
        let server = nbd::Server::bind(&Endpoint::Unix(disks_socket.clone()), exports).await;
        let server =
            server.map_err(|error| Error::new(ErrorKind::Failed, "serving the disks").with_source(error))?;
        let server = tokio::spawn(async move { server.run().await });

        let port = directory.path().join("port");
        let listener = UnixListener::bind(&port).map_err(failed)?;
        let machine = arguments::Machine {
            kernel: &kernel.image,
            initrd: &initrd,
            memory_bytes: config::memory_bytes(!passphrases.is_empty()),
            disks: arguments::Disks::Read { count: names.len(), socket: &disks_socket },
            port: &port,
        };
        let process = Process::start(config, &machine, directory.path()).await?;
        let mut this = Self {
            connection: Connection::closed(),
            volumes: Vec::new(),
            process,
            server,
            _directory: directory,
        };
        this.connection = tokio::select! {
            connection = Connection::accept(&listener) => connection.map_err(|error| this.explained(error))?,
            () = this.process.ended() => return Err(this.process.failure()),
        };
        let passphrases = passphrases.iter().map(|passphrase| passphrase.as_bytes().to_vec()).collect();
        let found = this.ask(Request::Volumes { disks: names, passphrases }, "finding the volumes").await;
        match found.map_err(|error| this.explained(error))? {
            Answer::Volumes(volumes) => this.volumes = volumes,
            _ => return Err(broken("finding the volumes")),
        }
        Ok(this)
    }

    /// Whether it still answers.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.connection.is_open()
    }

    /// A machine that has ended says why on its console.
    fn explained(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::Gone { self.process.failure() } else { error }
    }

    async fn ask(&self, request: Request, doing: &str) -> Result<Answer> {
        let answer = self.connection.ask(&request, doing).await.inspect_err(|error| {
            tracing::debug!(%error, console = self.process.console(), "the helper's machine does not answer");
        })?;
        match answer {
            Answer::Failed { kind, reason } => Err(failed(kind, &reason, doing)),
            answer => Ok(answer),
        }
    }

    /// The number of a path's volume, and the path inside it.
    fn place(&self, path: &FilePath) -> Result<(u32, Vec<u8>)> {
        let name = path.volume().ok_or_else(|| {
            Error::new(ErrorKind::WrongKind, "the root lists the volumes; name one of them")
        })?;
        let number = self.volumes.iter().position(|volume| volume.name.as_bytes() == name);
        let number = number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| {
            let names = self.volumes.iter().map(|volume| volume.name.as_str());
            let mut names: Vec<_> = names.take(VOLUMES_TOLD_MAX + 1).collect();
            if names.len() > VOLUMES_TOLD_MAX {
                names[VOLUMES_TOLD_MAX] = "others";
            }
            let context = format!("there is no volume {}; there is {}", display(name), names.join(", "));
            Error::new(ErrorKind::NotFound, context)
        })?;
        Ok((number, path.inside()))
    }
}

#[async_trait]
impl FileTree for MicroVm {
    fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    async fn stat(&self, path: &FilePath, follow: bool) -> Result<Entry> {
        if path.volume().is_none() {
            return Ok(Entry::directory(b""));
        }
        let (volume, inside) = self.place(path)?;
        match self.ask(Request::Stat { volume, path: inside, follow }, &path.to_string()).await? {
            Answer::Entry(entry) => Ok(Entry { name: path.name().unwrap_or_default().to_vec(), ..*entry }),
            _ => Err(broken(&path.to_string())),
        }
    }

    async fn list(&self, path: &FilePath, start: u64, with_attributes: bool) -> Result<Page> {
        if path.volume().is_none() {
            let entries = self.volumes.iter().map(|volume| Entry {
                size_bytes: volume.size_bytes,
                ..Entry::directory(volume.name.as_bytes())
            });
            return Ok(Page { entries: entries.collect(), next: None });
        }
        let (volume, inside) = self.place(path)?;
        let request = Request::List { volume, path: inside, start, with_attributes };
        match self.ask(request, &path.to_string()).await? {
            // A name is missing only where a path was asked for that has none. A page without entries would never end.
            Answer::Page(page)
                if page.entries.iter().all(|entry| !entry.name.is_empty())
                    && (page.next.is_none() || !page.entries.is_empty()) =>
            {
                Ok(page)
            }
            _ => Err(broken(&path.to_string())),
        }
    }

    async fn read(&self, path: &FilePath, offset_bytes: u64, length_bytes: usize) -> Result<Bytes> {
        let (volume, inside) = self.place(path)?;
        let length_bytes = length_bytes.min(READ_MAX_BYTES);
        let request = Request::Read { volume, path: inside, offset_bytes, length_bytes: length_bytes as u32 };
        match self.ask(request, &path.to_string()).await? {
            Answer::Bytes(bytes) if bytes.len() <= length_bytes => Ok(bytes.into()),
            _ => Err(broken(&path.to_string())),
        }
    }

    async fn data_ranges(
        &self,
        path: &FilePath,
        offset_bytes: u64,
    ) -> Result<(Vec<Range<u64>>, Option<u64>)> {
        let (volume, inside) = self.place(path)?;
        match self.ask(Request::DataRanges { volume, path: inside, offset_bytes }, &path.to_string()).await? {
            Answer::Ranges { ranges, next }
                if ranges.first().is_none_or(|range| range.start >= offset_bytes)
                    && next.is_none_or(|next| next > offset_bytes) =>
            {
                Ok((ranges, next))
            }
            _ => Err(broken(&path.to_string())),
        }
    }

    async fn digest(&self, path: &FilePath, range: Range<u64>) -> Result<Digest> {
        let (volume, inside) = self.place(path)?;
        let request =
            Request::Digest { volume, path: inside, offset_bytes: range.start, end_bytes: range.end };
        match self.ask(request, &path.to_string()).await? {
            // One that gets nowhere would be asked for ever.
            Answer::Digest(digest)
                if digest.end_bytes <= range.end && (digest.end_bytes > range.start || range.is_empty()) =>
            {
                Ok(digest)
            }
            _ => Err(broken(&path.to_string())),
        }
    }
}

impl Drop for MicroVm {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn broken(doing: &str) -> Error {
    Error::new(ErrorKind::Gone, format!("{doing}: the helper's answer makes no sense"))
}

fn failed(kind: FailureKind, reason: &str, doing: &str) -> Error {
    let context = format!("{doing}: {}", display(reason.as_bytes()));
    match kind {
        FailureKind::NotFound => Error::new(ErrorKind::NotFound, context),
        FailureKind::WrongKind => Error::new(ErrorKind::WrongKind, context),
        FailureKind::Locked => Error::new(ErrorKind::Locked, context)
            .with_guidance("give its passphrase: --passphrase-file FILE"),
        FailureKind::Unsupported => Error::new(ErrorKind::Unsupported, context),
        FailureKind::Damaged => Error::new(ErrorKind::Damaged, context),
        FailureKind::Failed => Error::new(ErrorKind::Failed, context),
    }
}
