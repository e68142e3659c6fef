//! Errors of journals.

use std::{error, fmt, io};

/// A result of the journal.
pub type Result<T> = std::result::Result<T, Error>;

/// What callers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such journal, segment, disk or moment.
    NotFound,
    /// There is a journal in this folder already.
    AlreadyExists,
    /// Stored bytes are damaged or were altered; they were not returned as data.
    Corrupt,
    /// The bytes are of a format version that this program does not know.
    UnsupportedVersion,
    /// The file system is full.
    NoSpace,
    /// The file system refused access.
    Denied,
    /// The file system failed; the same call may succeed later.
    Io,
    /// The moment is older than what the journal reaches back to.
    Folded,
    /// At that moment a disk was not whole: writes to it were missed that had not been copied yet.
    NotWhole,
    /// A newer generation of the VM is known; this one must not go on.
    Fenced,
    /// An earlier failure ended this handle; open the journal again.
    Broken,
    /// The caller asked for something that makes no sense.
    Invalid,
}

/// A failed operation on a journal.
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
        self.kind == ErrorKind::Io
    }

    pub(crate) fn corrupt(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, context)
    }

    pub(crate) fn invalid(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, context)
    }

    /// An error of the operating system, told apart by its code.
    pub(crate) fn from_io(context: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
            io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            // A file that ends before what was written to it.
            io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
            _ => ErrorKind::Io,
        };
        Self::new(kind, context).with_source(source)
    }

    /// The same error, told of a file.
    pub(crate) fn of_file(mut self, name: &str) -> Self {
        self.context = format!("{name}: {}", self.context);
        self
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

impl From<Error> for image::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Corrupt => image::ErrorKind::Corrupt,
            ErrorKind::NotFound | ErrorKind::Folded | ErrorKind::NotWhole | ErrorKind::Broken => {
                image::ErrorKind::Gone
            }
            ErrorKind::UnsupportedVersion => image::ErrorKind::Protocol,
            ErrorKind::NoSpace => image::ErrorKind::NoSpace,
            ErrorKind::Invalid => image::ErrorKind::OutOfBounds,
            ErrorKind::AlreadyExists | ErrorKind::Denied | ErrorKind::Io | ErrorKind::Fenced => {
                image::ErrorKind::Io
            }
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}
