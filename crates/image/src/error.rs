//! Errors of images and targets.

use std::{error, fmt};

/// A result of the image seam.
pub type Result<T> = std::result::Result<T, Error>;

/// What callers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A range reaches past the end of the disk: a defect of the caller.
    OutOfBounds,
    /// The image, or the moment it shows, is gone for good: take a new one.
    Gone,
    /// The bytes are not those that were once written.
    Corrupt,
    /// There is no space left on the target.
    NoSpace,
    /// The peer, device or file system failed; the same call may succeed later.
    Io,
    /// The other side broke its protocol or format.
    Protocol,
}

/// A failed operation on an image or target.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause of its own.
    #[must_use]
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An error of the operating system, told apart by its code.
    #[must_use]
    pub fn from_io(context: impl Into<String>, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            std::io::ErrorKind::NotFound => ErrorKind::Gone,
            _ => ErrorKind::Io,
        };
        Self::new(kind, context).with_source(source)
    }

    /// What callers act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind == ErrorKind::Io
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ErrorKind::OutOfBounds => "outside the disk",
            ErrorKind::Gone => "the image is gone",
            ErrorKind::Corrupt => "damaged data",
            ErrorKind::NoSpace => "no space left",
            ErrorKind::Io => "input/output error",
            ErrorKind::Protocol => "protocol violation",
        };
        write!(formatter, "{what}: {}", self.context)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn error::Error + 'static))
    }
}
