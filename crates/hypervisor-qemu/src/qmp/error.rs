//! Errors of the monitor.

use std::{error, fmt, io};

/// A result of the monitor.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What callers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub(crate) enum ErrorKind {
    /// Nobody listens on the socket.
    Absent,
    /// The monitor did not answer in time: it hangs, or another client holds it.
    Silent,
    /// The connection ended.
    Closed,
    /// QEMU refused the command.
    Refused,
    /// The peer does not speak QMP.
    Protocol,
}

/// A failed exchange with a monitor.
#[derive(Debug)]
pub(crate) struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<io::Error>,
}

impl Error {
    /// An error without a cause of its own.
    pub(crate) fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// A failure of the socket.
    pub(crate) fn from_io(context: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ErrorKind::Absent,
            io::ErrorKind::WouldBlock => ErrorKind::Silent,
            io::ErrorKind::InvalidData => ErrorKind::Protocol,
            _ => ErrorKind::Closed,
        };
        Self { kind, context: context.into(), source: Some(source) }
    }

    /// What callers act on.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.context)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn error::Error + 'static))
    }
}
