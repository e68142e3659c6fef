//! A program is run, and waited for.

use std::{
    ffi::OsString,
    os::{fd::OwnedFd, unix::net::UnixStream as Pair},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    process::Command,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Error, ErrorKind, Exit, Log, Program, Result,
    supervisor::{ORDER_BYTES_MAX, Report},
};

/// How long a supervisor may take beyond what its program may.
const SUPERVISOR_LATE: Duration = Duration::from_secs(30);

/// How long the last of the output may take once the program has ended.
const OUTPUT_LATE: Duration = Duration::from_secs(2);

/// The longest last line that is looked at.
const LINE_BYTES_MAX: usize = 256 << 10;

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// The last line of its standard output that is not empty.
    pub last_line: String,
}

/// Runs a program to its end, under a supervisor of its own: `supervisor` is the command that runs [`crate::supervise`]. What it prints
/// goes to the log as it comes. When this future is dropped, or this process dies, the program is ended, and all that it has started.
///
/// # Errors
/// [`ErrorKind::NotStarted`] when there is no such program or directory, [`ErrorKind::Invalid`] for an order that is too long,
/// [`ErrorKind::Io`] when the supervisor does not do its work.
pub async fn run(supervisor: &[OsString], program: &Program, log: &Log) -> Result<Finished> {
    let failed = |error| Error::io("the supervisor of an action does not work", error);
    let mut order = serde_json::to_vec(program).map_err(|error| failed(error.into()))?;
    if order.len() as u64 >= ORDER_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::Invalid,
            "the action's arguments, environment and input are too long",
        ));
    }
    order.push(b'\n');
    let (command, arguments) = supervisor
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::Invalid, "there is no command for the supervisor"))?;
    let (ours, theirs) = Pair::pair().map_err(failed)?;
    ours.set_nonblocking(true).map_err(failed)?;
    let mut line = UnixStream::from_std(ours).map_err(failed)?;
    let mut child = Command::new(command)
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn() // it ends when the line does
        .map_err(failed)?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let report = async {
        line.write_all(&order).await?;
        let mut told = String::new();
        BufReader::new((&mut line).take(ORDER_BYTES_MAX)).read_line(&mut told).await?;
        Ok(serde_json::from_str::<Report>(&told)?)
    };
    let deadline = Instant::now() + program.time_limit + program.grace + SUPERVISOR_LATE;
    let mut last_line = LastLine::default();
    let report = {
        let mut printing = std::pin::pin!(async {
            tokio::join!(copy(output, log, Some(&mut last_line)), copy(errors, log, None));
        });
        let mut report = std::pin::pin!(timeout_at(deadline, report));
        let mut is_printing = true;
        let report = loop {
            tokio::select! {
                report = &mut report => break report,
                () = &mut printing, if is_printing => is_printing = false,
            }
        };
        if is_printing && timeout(OUTPUT_LATE, printing).await.is_err() {
            tracing::debug!("something of an action keeps its output open");
        }
        report
    };
    let report = report.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(failed)?;
    drop(line);
    tokio::spawn(async move { child.wait().await });
    match report {
        Report::Ended(exit) => Ok(Finished { exit, last_line: last_line.text() }),
        Report::NotStarted(why) => Err(Error::new(ErrorKind::NotStarted, why)),
    }
}

/// Puts what is printed into the log, until there is no more.
async fn copy(from: Option<impl AsyncRead + Unpin>, log: &Log, mut last_line: Option<&mut LastLine>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 32 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        log.push(&buffer[..count]);
        if let Some(last_line) = &mut last_line {
            last_line.push(&buffer[..count]);
        }
    }
}

/// The last line that is not empty, and what has come of the next one.
#[derive(Default)]
struct LastLine {
    whole: Vec<u8>,
    next: Vec<u8>,
}

impl LastLine {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(self.next.len());
            self.next.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.next);
                if !line.trim_ascii().is_empty() {
                    self.whole = line;
                }
            }
        }
    }

    fn text(&self) -> String {
        let line = if self.next.trim_ascii().is_empty() { &self.whole } else { &self.next };
        String::from_utf8_lossy(line.trim_ascii()).into_owned()
    }
}
