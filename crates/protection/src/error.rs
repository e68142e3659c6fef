//! Errors of operations. The policy: an operation says what it was doing, keeps the engine's or adapter's error as its
//! cause, and takes over its guidance.

use std::{error, fmt};

/// A result of an operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What callers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The monitor asked for it.
    Cancelled,
    /// The wanted consistency could not be reached.
    Consistency,
    /// There is no space left: in the vault, for scratch, or where a restore writes.
    NoSpace,
    /// Data was read that is not what was written.
    Damaged,
    /// The VM, the store or a peer does not answer, or went away in the middle.
    Unreachable,
    /// The key does not open the vault.
    WrongKey,
    /// What would be written exists.
    Exists,
    /// There is no such point or disk.
    NotFound,
    /// The VM or the file is in use.
    Busy,
    /// This hypervisor, VM or format cannot do it.
    Unsupported,
    /// The vault's rules do not allow it.
    Refused,
    /// Garbage that this relied on was collected; it has to be begun anew.
    Overtaken,
    /// Everything else.
    Failed,
}

/// A failed operation.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    guidance: Option<String>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), guidance: None, source: None }
    }

    pub(crate) fn with_guidance(mut self, guidance: impl Into<String>) -> Self {
        self.guidance = Some(guidance.into());
        self
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
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

    /// Whether the same operation may succeed later without anybody doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Unreachable | ErrorKind::Busy | ErrorKind::Overtaken)
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

/// Says what was being done when something below failed.
pub(crate) trait Context<T> {
    fn context(self, context: impl Into<String>) -> Result<T>;
}

impl<T, E: Cause> Context<T> for std::result::Result<T, E> {
    fn context(self, context: impl Into<String>) -> Result<T> {
        self.map_err(|error| {
            let guidance = error.advice().map(str::to_owned);
            Error { kind: error.means(), context: context.into(), guidance, source: Some(Box::new(error)) }
        })
    }
}

/// What an error from below means for the operation.
pub(crate) trait Cause: error::Error + Send + Sync + 'static {
    fn means(&self) -> ErrorKind;

    fn advice(&self) -> Option<&str> {
        None
    }
}

impl Cause for hypervisor::Error {
    fn means(&self) -> ErrorKind {
        match self.kind() {
            hypervisor::ErrorKind::Unreachable | hypervisor::ErrorKind::Gone => ErrorKind::Unreachable,
            hypervisor::ErrorKind::Busy => ErrorKind::Busy,
            hypervisor::ErrorKind::Consistency => ErrorKind::Consistency,
            hypervisor::ErrorKind::Unsupported => ErrorKind::Unsupported,
            hypervisor::ErrorKind::NoSpace => ErrorKind::NoSpace,
            _ => ErrorKind::Failed,
        }
    }

    fn advice(&self) -> Option<&str> {
        self.guidance()
    }
}

impl Cause for files::Error {
    fn means(&self) -> ErrorKind {
        match self.kind() {
            files::ErrorKind::NotFound => ErrorKind::NotFound,
            files::ErrorKind::Damaged => ErrorKind::Damaged,
            files::ErrorKind::Locked => ErrorKind::WrongKey,
            files::ErrorKind::Gone | files::ErrorKind::TimedOut => ErrorKind::Unreachable,
            files::ErrorKind::Unsupported | files::ErrorKind::WrongKind => ErrorKind::Unsupported,
            _ => ErrorKind::Failed,
        }
    }

    fn advice(&self) -> Option<&str> {
        self.guidance()
    }
}

impl Cause for vault::Error {
    fn means(&self) -> ErrorKind {
        match self.kind() {
            vault::ErrorKind::NotFound => ErrorKind::NotFound,
            vault::ErrorKind::WrongKey => ErrorKind::WrongKey,
            vault::ErrorKind::Corrupt => ErrorKind::Damaged,
            vault::ErrorKind::UnsupportedVersion => ErrorKind::Unsupported,
            vault::ErrorKind::NoSpace => ErrorKind::NoSpace,
            vault::ErrorKind::Unreachable => ErrorKind::Unreachable,
            vault::ErrorKind::Disk(kind) => of_image(kind),
            vault::ErrorKind::Cancelled => ErrorKind::Cancelled,
            vault::ErrorKind::Overtaken => ErrorKind::Overtaken,
            vault::ErrorKind::Refused => ErrorKind::Refused,
            _ => ErrorKind::Failed,
        }
    }

    fn advice(&self) -> Option<&str> {
        self.guidance()
    }
}

impl Cause for image_formats::Error {
    fn means(&self) -> ErrorKind {
        match self.kind() {
            image_formats::ErrorKind::NotFound => ErrorKind::NotFound,
            image_formats::ErrorKind::AlreadyExists => ErrorKind::Exists,
            image_formats::ErrorKind::InUse => ErrorKind::Busy,
            image_formats::ErrorKind::Unsupported => ErrorKind::Unsupported,
            image_formats::ErrorKind::NoSpace => ErrorKind::NoSpace,
            image_formats::ErrorKind::Image(kind) => of_image(kind),
            _ => ErrorKind::Failed,
        }
    }

    fn advice(&self) -> Option<&str> {
        self.guidance()
    }
}

impl Cause for image::Error {
    fn means(&self) -> ErrorKind {
        of_image(self.kind())
    }
}

impl Cause for std::io::Error {
    fn means(&self) -> ErrorKind {
        match self.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::AlreadyExists => ErrorKind::Exists,
            _ => ErrorKind::Failed,
        }
    }
}

fn of_image(kind: image::ErrorKind) -> ErrorKind {
    match kind {
        image::ErrorKind::Gone => ErrorKind::Unreachable,
        image::ErrorKind::Corrupt => ErrorKind::Damaged,
        image::ErrorKind::NoSpace => ErrorKind::NoSpace,
        _ => ErrorKind::Failed,
    }
}
