//! Errors of files inside images.

use std::{error, fmt, io};

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What callers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such volume, file or directory.
    NotFound,
    /// The path, or the pattern, makes no sense.
    Invalid,
    /// What is there is of another kind: a directory where a file was wanted, or the other way round.
    WrongKind,
    /// The volume is encrypted, and no passphrase opened it.
    Locked,
    /// The volume cannot be read here: its format is unknown, or a tool for it is not installed.
    Unsupported,
    /// The file system is damaged where it was read.
    Damaged,
    /// A program or a kernel that is needed is not installed.
    ToolMissing,
    /// What read the disks has ended, or broke its protocol; opening them anew may help.
    Gone,
    /// No answer came in time.
    TimedOut,
    /// There is no space left where the files go.
    NoSpace,
    /// There is something already where the files go.
    AlreadyExists,
    /// The operating system does not let us.
    Denied,
    /// Anything else.
    Failed,
}

/// A failed operation on files.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    guidance: Option<String>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause of its own. The context says what was being done.
    #[must_use]
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), guidance: None, source: None }
    }

    /// An error of the host's operating system, told apart by its code.
    #[must_use]
    pub fn from_io(context: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            _ => ErrorKind::Failed,
        };
        Self::new(kind, context).with_source(source)
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
        matches!(self.kind, ErrorKind::Gone | ErrorKind::TimedOut)
    }
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
