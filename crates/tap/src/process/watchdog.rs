//! The parent: it kills the worker when guests wait too long. It does nothing else, so nothing else can keep it from that.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread,
    time::{Duration, Instant},
};

use super::{AGE_UNIT, LINE_LIMIT_BYTES, STALL_LIMIT, START_LIMIT, WORKER};

/// This very program, also after its file was replaced.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How long the worker may take to beat once more: both may have been stopped together.
const GRACE: Duration = Duration::from_millis(100);

/// What the worker says.
enum Said {
    /// What became of its start.
    Line(String),
    /// For how long somebody has waited for an answer.
    Waited(Duration),
}

pub(super) fn run(options: &str) -> ExitCode {
    // Out of reach of signals to the server's group. Fails only for the leader of a group, who is out of reach.
    let _ = rustix::process::setsid();
    // When memory runs out, protection goes before a guest does. The worker inherits it.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    let said = start(options).and_then(|mut child| {
        let output = child.stdout.take().ok_or_else(|| io::Error::other("there is no pipe"))?;
        let (sender, said) = mpsc::sync_channel(16);
        thread::Builder::new().name("beats".to_owned()).spawn(move || listen(output, &sender))?;
        Ok((child, said))
    });
    let (mut child, said) = match said {
        Ok(started) => started,
        Err(error) => {
            eprintln!("the tap's worker does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let is_late = watch(&said);
    if is_late {
        eprintln!("the tap's worker is killed: guests have waited for {STALL_LIMIT:?}");
        // One that has ended meanwhile is as good.
        let _ = child.kill();
    }
    match child.wait() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn start(options: &str) -> io::Result<Child> {
    let own: Vec<_> = env::args_os().collect();
    let mut command = Command::new(THIS_PROGRAM);
    if let Some(name) = own.first() {
        command.arg0(name);
    }
    command.args(own.iter().skip(1)).arg(WORKER).arg(std::process::id().to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut orders) = child.stdin.take() {
        orders.write_all(options.as_bytes())?;
    }
    Ok(child)
}

/// Passes on what the worker says until it says nothing more.
fn listen(output: ChildStdout, said: &SyncSender<Said>) {
    let mut output = BufReader::new(output);
    let mut line = String::new();
    if output.by_ref().take(LINE_LIMIT_BYTES).read_line(&mut line).is_err() || line.is_empty() {
        return;
    }
    let mut is_heard = said.send(Said::Line(line)).is_ok();
    let mut beats = [0; 64];
    while is_heard && let Ok(count @ 1..) = output.read(&mut beats) {
        let waited = AGE_UNIT * u32::from(beats[count - 1]);
        is_heard = said.send(Said::Waited(waited)).is_ok();
    }
}

/// Watches until the worker ends; whether it is late.
fn watch(said: &Receiver<Said>) -> bool {
    let mut deadline = Instant::now() + START_LIMIT;
    loop {
        let mut heard = said.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        if matches!(heard, Err(RecvTimeoutError::Timeout)) {
            heard = said.recv_timeout(GRACE);
        }
        let waited = match heard {
            Ok(Said::Waited(waited)) => waited,
            Ok(Said::Line(line)) => {
                // Whoever started this may have gone.
                let _ = io::stdout().write_all(line.as_bytes()).and_then(|()| io::stdout().flush());
                Duration::ZERO
            }
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        if waited >= STALL_LIMIT {
            return true;
        }
        deadline = Instant::now() + STALL_LIMIT - waited;
    }
}
