//! Errors of taps.

use std::{error, fmt, io};

use serde::{Deserialize, Serialize};

/// A result of a tap.
pub type Result<T> = std::result::Result<T, Error>;

/// What callers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The tap has ended, or there never was one. Launch it again: a new epoch begins.
    Gone,
    /// The tap lives and does not answer in time.
    Unresponsive,
    /// There is no such disk, or the segment or record was released.
    NotFound,
    /// There is such a disk, or another tap has the journal.
    AlreadyExists,
    /// A new epoch has begun meanwhile: what was copied before it proves nothing. Begin again.
    Superseded,
    /// Somebody else is at it: the disk is connected, or acknowledgements are held already.
    Busy,
    /// The journal has no room for it now.
    Full,
    /// The journal takes nothing more, or the VM is shut out until an epoch begins for it.
    Broken,
    /// The journal is of another generation than the one asked for.
    Fenced,
    /// Stored bytes are damaged.
    Corrupt,
    /// The file system is full.
    NoSpace,
    /// The operating system refused access.
    Denied,
    /// The operating system failed; the same call may succeed later.
    Io,
    /// The other side speaks another version of the protocol, or the journal is of an unknown format.
    UnsupportedVersion,
    /// The other side broke the protocol.
    Protocol,
    /// The caller asked for something that makes no sense.
    Invalid,
}

/// A failed operation on a tap.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    guidance: Option<String>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause of its own.
    #[must_use]
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), guidance: None, source: None }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_guidance(mut self, guidance: impl Into<String>) -> Self {
        self.guidance = Some(guidance.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What callers act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the user can do about it.
    #[must_use]
    pub fn guidance(&self) -> Option<&str> {
        self.guidance.as_deref()
    }

    /// Whether the same call may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Io | ErrorKind::Busy | ErrorKind::Full | ErrorKind::Unresponsive)
    }

    pub(crate) fn invalid(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, context)
    }

    pub(crate) fn protocol(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, context)
    }

    /// An error of the operating system, told apart by its code.
    pub(crate) fn from_io(context: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
            io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Self::new(kind, context).with_source(source)
    }
}

/// The whole story of an error in one line: its context and its causes.
pub(crate) fn told(error: &(dyn error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.context)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn error::Error + 'static))
    }
}

impl From<journal::Error> for Error {
    fn from(error: journal::Error) -> Self {
        use journal::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::NotFound | Kind::Folded => ErrorKind::NotFound,
            Kind::AlreadyExists => ErrorKind::AlreadyExists,
            Kind::Corrupt => ErrorKind::Corrupt,
            Kind::UnsupportedVersion => ErrorKind::UnsupportedVersion,
            Kind::NoSpace => ErrorKind::NoSpace,
            Kind::Denied => ErrorKind::Denied,
            Kind::Fenced => ErrorKind::Fenced,
            Kind::Broken => ErrorKind::Broken,
            Kind::Invalid | Kind::NotWhole => ErrorKind::Invalid,
            _ => ErrorKind::Io,
        };
        let guidance = error.guidance().map(str::to_owned);
        Self { kind, context: told(&error), guidance, source: None }
    }
}
