//! The process between the server and a program: it ends the program in time, whatever becomes of the server.
//!
//! Standard input is one end of a socket. The order comes over it, a line of JSON; the report goes back, a line of JSON. When the other
//! end closes before, the program is ended. The program gets standard output and error as they are.
//!
//! The supervisor is the *subreaper* of all that the program starts (`PR_SET_CHILD_SUBREAPER`, Linux 3.4): orphans become its children,
//! so whatever comes of the program stays in its tree, and is found there.

mod descendants;

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};

use crate::{Exit, Program};

/// The longest order.
pub(crate) const ORDER_BYTES_MAX: u64 = 16 << 20;

/// How long killing goes on before something is called unkillable.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How soon it is looked again whether everything has ended.
const KILL_PAUSE: Duration = Duration::from_millis(10);

/// What of the server's environment a program gets.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// What became of the order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// The program ran.
    Ended(Exit),
    /// It did not.
    NotStarted(String),
}

enum Heard {
    /// A process of the tree has ended.
    Reaped(Pid, WaitStatus),
    /// Nothing of the tree is left.
    AllEnded,
    /// Nobody waits for the program any more.
    LetGo,
}

/// The body of the program's hidden subcommand: one program, from its order to its report.
#[must_use]
pub fn supervise() -> ExitCode {
    match try_supervise() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("this is started by Holdfast itself: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_supervise() -> io::Result<()> {
    let mut line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Out of reach of signals to the server's group. Fails only for the leader of a group, who is out of reach.
    let _ = rustix::process::setsid();
    // When memory runs out, actions go before guests do. The program inherits it.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut reader = BufReader::new(line.try_clone()?.take(ORDER_BYTES_MAX));
    let mut order = String::new();
    reader.read_line(&mut order)?;
    let program: Program = serde_json::from_str(&order)?;
    let report = match start(&program) {
        Ok(child) => Report::Ended(see_through(child, &program, reader)?),
        Err(error) => Report::NotStarted(not_started(&program, &error)),
    };
    let mut told = serde_json::to_vec(&report)?;
    told.push(b'\n');
    line.write_all(&told)
}

fn start(program: &Program) -> io::Result<Child> {
    let mut command = Command::new(&program.program);
    command.args(&program.arguments).env_clear();
    command.envs(INHERITED.into_iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command.envs(&program.environment);
    command.current_dir(program.directory.as_deref().unwrap_or("/".as_ref()));
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let input = program.input.clone();
    if let Some(mut pipe) = child.stdin.take() {
        // It need not read it.
        thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || pipe.write_all(input.as_bytes()).is_ok())?;
    }
    Ok(child)
}

fn not_started(program: &Program, error: &io::Error) -> String {
    let name = program.program.display();
    match (error.kind(), &program.directory) {
        (io::ErrorKind::NotFound, Some(directory)) if !directory.is_dir() => {
            format!("there is no directory {}", directory.display())
        }
        (io::ErrorKind::NotFound, _) => {
            format!("there is no program {name}, or not what its first line names")
        }
        (io::ErrorKind::PermissionDenied, _) => format!("{name} may not be run: is it executable?"),
        _ => format!("{name} could not be started: {error}"),
    }
}

/// Waits for the program's end, its time limit, or that nobody waits any more; then ends what is left.
fn see_through(child: Child, program: &Program, mut line: impl Read + Send + 'static) -> io::Result<Exit> {
    let deadline = Instant::now() + program.time_limit;
    let pid = Pid::from_child(&child);
    let (sender, heard) = mpsc::channel();
    let let_go = sender.clone();
    thread::Builder::new().name("line".to_owned()).spawn(move || {
        let mut byte = [0];
        while let Ok(1) = line.read(&mut byte) {}
        let_go.send(Heard::LetGo).is_ok()
    })?;
    thread::Builder::new().name("reaper".to_owned()).spawn(move || reap(&sender))?;
    let exit = loop {
        match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Heard::Reaped(reaped, status)) if reaped == pid => break Some(exit_of(status)),
            Ok(Heard::Reaped(..)) => {}
            Ok(Heard::LetGo | Heard::AllEnded) | Err(_) => break None,
        }
    };
    let grace = if exit.is_some() { Duration::ZERO } else { program.grace };
    let is_gone = end_all(&heard, grace);
    Ok(match exit {
        _ if !is_gone => Exit::Unkillable,
        Some(exit) => exit,
        None => Exit::TimedOut,
    })
}

/// Takes the ends of children until there are none. Orphans become children, so nothing is below this process then.
fn reap(sender: &Sender<Heard>) {
    let mut is_heard = true;
    while is_heard {
        is_heard = match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => sender.send(Heard::Reaped(pid, status)).is_ok(),
            Ok(None) | Err(rustix::io::Errno::INTR) => true,
            Err(_) => {
                let _ = sender.send(Heard::AllEnded);
                false
            }
        };
    }
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Signal(0),
    }
}

/// Asks everything of the tree to end, and kills what is there after the pause. Whether nothing is left.
fn end_all(heard: &Receiver<Heard>, grace: Duration) -> bool {
    let asked = Instant::now();
    if !grace.is_zero() {
        descendants::signal(Signal::TERM);
        // One that was stopped hears it only when it goes on.
        descendants::signal(Signal::CONT);
    }
    loop {
        if let Ok(Heard::AllEnded) = heard.recv_timeout(KILL_PAUSE) {
            return true;
        }
        let since = asked.elapsed();
        if since >= grace {
            descendants::signal(Signal::KILL);
        }
        if since >= grace + KILL_LIMIT {
            return false;
        }
    }
}
