//! Errors of vaults.

use std::{error, fmt};

/// A result of the vault.
pub type Result<T> = std::result::Result<T, Error>;

/// What callers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such vault, point or object.
    NotFound,
    /// There is a vault at this place already.
    AlreadyExists,
    /// The passphrase, key file or master key is not this vault's.
    WrongKey,
    /// Stored bytes are damaged or were altered; they were not returned as data.
    Corrupt,
    /// The object is of a format version that this program does not know.
    UnsupportedVersion,
    /// The store is full.
    NoSpace,
    /// The store refused access.
    Denied,
    /// The store failed or cannot be reached; the same call may succeed later.
    Unreachable,
    /// The disk that was read or written failed, and how.
    Disk(image::ErrorKind),
    /// The vault's rules do not allow it: a hold, a retention, a lock.
    Refused,
    /// Somebody else changed the vault in a way that takes the ground from under this; the same may succeed when it is
    /// begun anew.
    Overtaken,
    /// Stopped because somebody asked for it.
    Cancelled,
    /// The caller asked for something that makes no sense.
    Invalid,
}

/// A failed operation on a vault.
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
        matches!(
            self.kind,
            ErrorKind::Unreachable | ErrorKind::Overtaken | ErrorKind::Disk(image::ErrorKind::Io)
        )
    }

    /// Whether something in the vault is damaged or lost, as against a store that fails.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self.kind, ErrorKind::Corrupt | ErrorKind::UnsupportedVersion | ErrorKind::NotFound)
    }

    pub(crate) fn corrupt(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, context)
    }

    pub(crate) fn invalid(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, context)
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    /// A failure of the disk that is read or written.
    pub(crate) fn disk(context: impl Into<String>, source: image::Error) -> Self {
        Self::new(ErrorKind::Disk(source.kind()), context).with_source(source)
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

/// A task that did not end by itself: its panic, or the end of the runtime.
impl From<tokio::task::JoinError> for Error {
    fn from(source: tokio::task::JoinError) -> Self {
        if source.is_panic() {
            std::panic::resume_unwind(source.into_panic());
        }
        Self::cancelled().with_source(source)
    }
}

impl From<Error> for image::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Corrupt | ErrorKind::WrongKey => image::ErrorKind::Corrupt,
            ErrorKind::NotFound | ErrorKind::Cancelled => image::ErrorKind::Gone,
            ErrorKind::UnsupportedVersion => image::ErrorKind::Protocol,
            ErrorKind::NoSpace => image::ErrorKind::NoSpace,
            ErrorKind::Disk(kind) => kind,
            ErrorKind::Invalid => image::ErrorKind::OutOfBounds,
            ErrorKind::AlreadyExists
            | ErrorKind::Denied
            | ErrorKind::Refused
            | ErrorKind::Overtaken
            | ErrorKind::Unreachable => image::ErrorKind::Io,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}
