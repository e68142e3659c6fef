//! Exit codes: part of the interface that scripts build on, never renumbered.

use std::process::ExitCode;

use api::Code;

/// How the program ends when it does not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// An error with no code of its own.
    Error = 1,
    /// The command line, or a file that it names, makes no sense.
    Usage = 2,
    /// Everything was done, and some items failed.
    SomeFailed = 3,
    /// There is no such VM, vault, point or job.
    NotFound = 4,
    /// Not allowed.
    Denied = 5,
    /// It does not fit the present state.
    Conflict = 6,
    /// The server, or something that it needs, does not answer.
    Unreachable = 7,
    /// Data is damaged.
    Damaged = 8,
    /// The wait timed out; the job goes on.
    TimedOut = 9,
    /// There is no vault at that place.
    NoVault = 10,
    /// The key does not open the vault.
    WrongKey = 12,
    /// Interrupted from the keyboard.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Code> for Exit {
    fn from(code: Code) -> Self {
        match code {
            Code::Invalid => Self::Usage,
            Code::NotFound => Self::NotFound,
            Code::Denied => Self::Denied,
            Code::Conflict | Code::Fenced | Code::Refused | Code::Overtaken => Self::Conflict,
            Code::Unreachable => Self::Unreachable,
            Code::Damaged => Self::Damaged,
            Code::NoVault => Self::NoVault,
            Code::WrongKey => Self::WrongKey,
            // The rest have no exit code of their own; nor has a code of a newer server.
            _ => Self::Error,
        }
    }
}
