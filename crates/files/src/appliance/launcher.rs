//! Becomes QEMU, with limits on what it can do to the host, and with an end when its parent ends.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use rustix::process::{self, Resource, Rlimit, Signal};

/// Address space of QEMU beyond the guest's memory: its own code and threads, the translator's cache, and room.
const OVERHEAD_BYTES: u64 = 3 << 30;

/// The largest file that QEMU may write: what the guest replays out of its journals lands in one.
const FILE_MAX_BYTES: u64 = 8 << 30;

/// Open files: a few for each disk.
const OPEN_FILES_MAX: u64 = 512;

/// The arguments that make the helper start a program for the thread that asks: whatever ends that thread ends the program.
pub(crate) fn arguments(memory_bytes: u64, program: &OsStr) -> Vec<OsString> {
    vec![std::process::id().to_string().into(), memory_bytes.to_string().into(), program.to_owned()]
}

/// Becomes the program. Returns only where that cannot be.
pub(super) fn run(arguments: &[OsString]) -> ExitCode {
    let [parent, memory_bytes, program, rest @ ..] = arguments else {
        eprintln!("this is started by Holdfast itself");
        return ExitCode::from(2);
    };
    let number = |text: &OsString| text.to_str().and_then(|text| text.parse::<u64>().ok());
    let (Some(parent), Some(memory_bytes)) = (number(parent), number(memory_bytes)) else {
        return ExitCode::from(2);
    };
    if let Err(error) = confine(parent, memory_bytes) {
        eprintln!("cannot limit the helper's machine: {error}");
        return ExitCode::FAILURE;
    }
    let error = Command::new(program).args(rest).exec();
    eprintln!("{}: {error}", program.display());
    ExitCode::FAILURE
}

fn confine(parent: u64, memory_bytes: u64) -> rustix::io::Result<()> {
    process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that.
    let is_alive = process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get() as u64 == parent);
    if !is_alive {
        return Err(rustix::io::Errno::SRCH);
    }
    for (resource, most) in [
        (Resource::As, memory_bytes.saturating_add(OVERHEAD_BYTES)),
        (Resource::Fsize, FILE_MAX_BYTES),
        (Resource::Nofile, OPEN_FILES_MAX),
        (Resource::Core, 0),
    ] {
        let hard = process::getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
        process::setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })?;
    }
    Ok(())
}
