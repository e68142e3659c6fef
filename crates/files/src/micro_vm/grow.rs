//! A machine that grows the file system of one disk: the only one that writes to anything.

use std::{path::Path, time::Duration};

use tokio::{net::UnixListener, time::timeout};

use super::{
    Config, DIRECTORY_PREFIX, START_TIMEOUT, arguments, broken, config, connection::Connection, failed,
    initrd, kernel, process::Process,
};
use crate::{
    Error, ErrorKind, Result,
    protocol::{Answer, Request},
};

/// How long the machine may take to switch itself off, with all that it wrote.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// A file system that was grown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrownFileSystem {
    /// What it is: `ext4`, `xfs` or `btrfs`.
    pub file_system: String,
    /// The size of its partition, or of its disk where that has none.
    pub size_bytes: u64,
}

/// Makes the last partition of a disk reach its end, and the file system in it fill the partition. The disk is a qcow2 file
/// that nobody else has open; durable when this returns. After an error it may be anything.
///
/// # Errors
/// `Unsupported` for what cannot be grown, `Damaged` for a partition table or a file system that makes no sense, and those of
/// [`super::MicroVm::open`].
pub async fn grow_file_system(disk: &Path, config: &Config) -> Result<GrownFileSystem> {
    let kernel = kernel::find(config)?;
    let initrd = initrd::obtain(config.clone(), kernel.clone()).await?;
    let unprepared = |error| Error::from_io("preparing the helper's machine", error);
    let directory = tempfile::Builder::new()
        .prefix(DIRECTORY_PREFIX)
        .tempdir_in(&config.runtime_directory)
        .map_err(unprepared)?;
    let port = directory.path().join("port");
    let listener = UnixListener::bind(&port).map_err(unprepared)?;
    let machine = arguments::Machine {
        kernel: &kernel.image,
        initrd: &initrd,
        memory_bytes: config::memory_bytes(false),
        disks: arguments::Disks::Written(disk),
        port: &port,
    };
    let mut process = Process::start(config, &machine, directory.path()).await?;
    let greeted = timeout(START_TIMEOUT, async {
        tokio::select! {
            connection = Connection::accept(&listener) => connection,
            () = process.ended() => Err(process.failure()),
        }
    });
    let greeted = greeted.await.unwrap_or_else(|_| {
        let context = format!("the helper's machine is not ready after {} s", START_TIMEOUT.as_secs());
        Err(Error::new(ErrorKind::TimedOut, context))
    });
    let connection = match greeted {
        // A machine that has hung up is about to end, and says why on its console.
        Err(error) if error.kind() == ErrorKind::Gone => {
            let ended = timeout(END_TIMEOUT, process.ended()).await;
            return Err(ended.map_or(error, |()| process.failure()));
        }
        greeted => greeted?,
    };
    let doing = "growing the file system";
    let answer = connection.ask(&Request::Grow, doing).await.inspect_err(|error| {
        tracing::debug!(%error, console = process.console(), "the helper's machine does not answer");
    })?;
    // It switches itself off once nobody is left to ask.
    drop(connection);
    let ended = timeout(END_TIMEOUT, process.ended()).await;
    match answer {
        Answer::Grown { file_system, size_bytes } => {
            ended.map_err(|_| {
                Error::new(ErrorKind::TimedOut, format!("{doing}: the helper's machine does not end"))
            })?;
            Ok(GrownFileSystem { file_system, size_bytes })
        }
        Answer::Failed { kind, reason } => Err(failed(kind, &reason, doing)),
        _ => Err(broken(doing)),
    }
}
