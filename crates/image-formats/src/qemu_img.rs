//! Running `qemu-img`.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

use crate::{Error, ErrorKind, Result};

/// The longest output that is read: the bitmaps of an image alone can be many megabytes.
const OUTPUT_LENGTH_MAX_BYTES: u64 = 32 << 20;

/// The longest message of a tool that goes into an error.
const MESSAGE_LENGTH_MAX_CHARS: usize = 500;

/// How long a tool may take; what is asked of it touches metadata only.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Runs `qemu-img` to its end and returns what it printed. `doing` names the operation in errors.
pub(crate) async fn run<I, S>(doing: &str, arguments: I) -> Result<Vec<u8>>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut child = command("qemu-img")
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| spawn_error(doing, "qemu-img", error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let finished =
        timeout(TIMEOUT, async { tokio::join!(read_all(stdout), read_all(stderr), child.wait()) }).await;
    let Ok((output, messages, status)) = finished else {
        return Err(Error::new(
            ErrorKind::Failed,
            format!("{doing}: qemu-img did not finish in {TIMEOUT:?}"),
        ));
    };
    let status = status.map_err(|error| Error::from_io(format!("{doing}: waiting for qemu-img"), error))?;
    if status.success() {
        return Ok(output);
    }
    Err(tool_error(doing, &messages))
}

/// A tool of QEMU's that ends with us and speaks English.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The path as QEMU takes it for a file's name and nothing else: absolute, so that it begins neither like an option nor
/// like a protocol (`nbd:…`, `json:…`).
pub(crate) fn file_name(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::from_io(format!("the path {}", path.display()), error))
}

/// Reads what a tool prints, up to a bound.
pub(crate) async fn read_all(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut output = Vec::new();
    if let Some(stream) = stream {
        // What was read before an error is the best that there is.
        let _ = stream.take(OUTPUT_LENGTH_MAX_BYTES).read_to_end(&mut output).await;
    }
    output
}

pub(crate) fn spawn_error(doing: &str, program: &str, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        return Error::new(ErrorKind::ToolMissing, format!("{doing}: {program} is not installed"))
            .with_guidance("install QEMU's tools: the package qemu-utils, on some distributions qemu-img");
    }
    Error::from_io(format!("{doing}: starting {program}"), error)
}

/// The error of a tool that failed, told apart by its words.
pub(crate) fn tool_error(doing: &str, messages: &[u8]) -> Error {
    let text = String::from_utf8_lossy(messages);
    let kind = match text.lines().find_map(reason_kind) {
        Some(kind) => kind,
        None if text.contains(" failed: Bitmap already exists: ") => ErrorKind::AlreadyExists,
        None => ErrorKind::Failed,
    };
    let words = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let words: String = words.take(MESSAGE_LENGTH_MAX_CHARS).collect();
    let error = Error::new(kind, format!("{doing}: {words}"));
    match kind {
        ErrorKind::InUse => error.with_guidance("stop the VM or program that uses the image, or wait for it"),
        _ => error,
    }
}

/// The kind of a line's last clause, which is the reason; file names come before it.
fn reason_kind(line: &str) -> Option<ErrorKind> {
    let reason = line.rsplit(": ").next()?;
    let cannot_lock = reason.starts_with("Failed to get ") && reason.ends_with(" lock");
    match reason {
        _ if cannot_lock || reason.starts_with("Failed to lock byte ") => Some(ErrorKind::InUse),
        _ if reason.ends_with("not found") => Some(ErrorKind::NotFound),
        "No such file or directory" => Some(ErrorKind::NotFound),
        "No space left on device" => Some(ErrorKind::NoSpace),
        "Permission denied" => Some(ErrorKind::Denied),
        _ => None,
    }
}
