//! How a server comes by its tap.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Stdio,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::Command,
    task, time,
};

use crate::{
    Client, Error, ErrorKind, Result, TapOptions,
    options::check_identity,
    process::{LINE_LIMIT_BYTES, START_LIMIT},
    wire::Failure,
    worker::make_private_dir,
};

/// A log that is longer than this is put aside before another process writes to it.
const LOG_BYTES_MAX: u64 = 256 << 10;

/// What became of a start.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Started {
    Ready,
    Failed(Failure),
}

/// Finds the tap that lives on its control socket, or starts one, which outlives this process. `command` runs [`crate::run`]
/// with the arguments that follow. A journal that is in the folder is taken up again, and a new epoch begins.
///
/// # Errors
/// [`ErrorKind::Fenced`] when the journal that is there is of another generation, [`ErrorKind::Invalid`] when it is another
/// journal or a path is too long, [`ErrorKind::Corrupt`], those of the operating system; as [`Client::connect`].
pub async fn launch(command: &[OsString], options: &TapOptions) -> Result<Client> {
    options.check()?;
    make_private_dir(&options.folder)?;
    // Of two that launch the same tap, the second finds that of the first.
    let _turn = turn(options.folder.join("launch")).await?;
    let client = match Client::connect(&options.control_socket()).await {
        Err(error) if error.kind() == ErrorKind::Gone => {
            start(command, options).await?;
            Client::connect(&options.control_socket()).await?
        }
        found => found?,
    };
    let status = client.status().await?;
    check_identity(options, status.journal_id, status.generation)?;
    Ok(client)
}

async fn start(command: &[OsString], options: &TapOptions) -> Result<()> {
    let log = options.folder.join("log");
    let failed = |error| Error::from_io("starting the tap", error);
    let (program, arguments) =
        command.split_first().ok_or_else(|| Error::invalid("there is no command for the tap"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .arg(&options.folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(open_log(&log)?)
        .spawn() // it outlives this handle, and this process
        .map_err(failed)?;
    let (Some(mut orders), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(failed(io::Error::other("there are no pipes")));
    };
    let exchange = async {
        let mut order = serde_json::to_vec(options)?;
        order.push(b'\n');
        orders.write_all(&order).await?;
        drop(orders);
        let mut line = String::new();
        BufReader::new(output.take(LINE_LIMIT_BYTES)).read_line(&mut line).await?;
        Ok(serde_json::from_str(&line)?)
    };
    let answer = time::timeout(START_LIMIT, exchange).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
    match answer {
        Ok(Started::Ready) => Ok(()),
        Ok(Started::Failed(failure)) => Err(failure.into()),
        Err(error) => Err(failed(error).with_guidance(format!("its log is {}", log.display()))),
    }
}

/// The log of the process, in the place of one that has grown long.
fn open_log(path: &Path) -> Result<File> {
    let failed = |error| Error::from_io(format!("opening {}", path.display()), error);
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("old")).map_err(failed)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed)
}

/// Waits until nobody else launches this tap.
async fn turn(path: std::path::PathBuf) -> Result<File> {
    let failed = |error| Error::from_io("waiting for the turn to launch a tap", error);
    let locked = task::spawn_blocking(move || {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        io::Result::Ok(file)
    });
    locked.await.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)
}
