//! Errors of the guest agent.

use std::{error, fmt, io};

/// A result of the guest agent.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What callers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub(crate) enum ErrorKind {
    /// The VM's channel for the agent is not there.
    NoChannel,
    /// Nothing inside the guest answered in time.
    Silent,
    /// The agent refused the command.
    Refused,
    /// The agent said what no agent says.
    Protocol,
}

/// A failed exchange with a guest agent.
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

    /// A failure of the channel.
    pub(crate) fn from_io(context: impl Into<String>, source: io::Error) -> Self {
        let kind = if source.kind() == io::ErrorKind::InvalidData {
            ErrorKind::Protocol
        } else {
            ErrorKind::NoChannel
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
