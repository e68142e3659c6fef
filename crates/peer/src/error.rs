//! Errors between sites.

use std::{error, fmt};

use api::{Code, Problem};

/// A result of anything between two sites.
pub type Result<T> = std::result::Result<T, Error>;

/// What callers act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The other side does not answer, or broke off.
    Unreachable,
    /// Whoever answers is not who it must be, or its certificate is not valid by this site's clock.
    Untrusted,
    /// The other side refuses this site.
    Denied,
    /// What was said makes no sense.
    Invalid,
    /// It speaks another version.
    Version,
    /// There is no such thing.
    NotFound,
    /// It does not fit the present state.
    Conflict,
    /// What it builds on is no longer there: begin anew.
    Gone,
    /// A newer generation of the VM is known on the other side: this side must not go on with it.
    Fenced,
    /// Data is not what was sent or what was written.
    Damaged,
    /// There is no space left.
    NoSpace,
    /// Too much at once; the same may succeed a moment later.
    Busy,
    /// Everything else.
    Failed,
}

/// A failed call of a peer, or what a peer asked for and did not get.
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

    /// Adds what to do about it.
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

    pub(crate) fn invalid(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, context)
    }

    /// A failed system call.
    pub(crate) fn from_io(context: impl Into<String>, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            _ => ErrorKind::Failed,
        };
        Self::new(kind, context).with_source(source)
    }

    /// What a peer answered.
    pub(crate) fn from_problem(problem: Problem) -> Self {
        let kind = match problem.code {
            Code::Invalid => ErrorKind::Invalid,
            Code::NotFound => ErrorKind::NotFound,
            Code::Conflict => ErrorKind::Conflict,
            Code::Overtaken => ErrorKind::Gone,
            Code::Fenced => ErrorKind::Fenced,
            Code::Denied => ErrorKind::Denied,
            Code::Damaged => ErrorKind::Damaged,
            Code::NoSpace => ErrorKind::NoSpace,
            Code::Interrupted => ErrorKind::Busy,
            _ => ErrorKind::Failed,
        };
        Self { guidance: problem.hint, ..Self::new(kind, problem.detail) }
    }

    /// What callers act on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed a moment later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Unreachable | ErrorKind::Busy)
    }

    /// What the user can do about it.
    #[must_use]
    pub fn guidance(&self) -> Option<&str> {
        self.guidance.as_deref()
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

impl From<journal::Error> for Error {
    fn from(error: journal::Error) -> Self {
        let kind = match error.kind() {
            journal::ErrorKind::NotFound => ErrorKind::NotFound,
            journal::ErrorKind::AlreadyExists | journal::ErrorKind::NotWhole => ErrorKind::Conflict,
            journal::ErrorKind::Corrupt => ErrorKind::Damaged,
            journal::ErrorKind::UnsupportedVersion => ErrorKind::Version,
            journal::ErrorKind::NoSpace => ErrorKind::NoSpace,
            journal::ErrorKind::Folded => ErrorKind::Gone,
            journal::ErrorKind::Fenced => ErrorKind::Fenced,
            journal::ErrorKind::Invalid => ErrorKind::Invalid,
            _ => ErrorKind::Failed,
        };
        let guidance = error.guidance().map(str::to_owned);
        Self { guidance, ..Self::new(kind, error.to_string()).with_source(error) }
    }
}

impl From<image::Error> for Error {
    fn from(error: image::Error) -> Self {
        let kind = match error.kind() {
            image::ErrorKind::Corrupt => ErrorKind::Damaged,
            image::ErrorKind::NoSpace => ErrorKind::NoSpace,
            image::ErrorKind::Gone => ErrorKind::Gone,
            _ => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}
