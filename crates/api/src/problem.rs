//! Errors on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong, for programs. Codes are never renamed; the command line maps each to an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The request makes no sense: a bad value, a bad name.
    Invalid,
    /// There is no such VM, vault, point or job.
    NotFound,
    /// The request does not fit the present state: a name that is taken, a file that exists, a VM that runs.
    Conflict,
    /// The vault's own rules do not allow it: a legal hold, a retention, a lock.
    Refused,
    /// Somebody else changed the vault meanwhile, and nothing was done; the same may succeed when it is asked for again.
    Overtaken,
    /// A newer generation of the VM is known: it was failed over, and whoever asks must not go on with it.
    Fenced,
    /// The caller or the server may not do this.
    Denied,
    /// Something that the server needs does not answer: a VM, a store.
    Unreachable,
    /// Data was read that is not what was written.
    Damaged,
    /// There is no vault at that place.
    NoVault,
    /// The key does not open the vault.
    WrongKey,
    /// There is no space left.
    NoSpace,
    /// The wanted consistency could not be reached.
    Consistency,
    /// Somebody asked for the work to stop.
    Cancelled,
    /// The server was stopped in the middle of the work.
    Interrupted,
    /// Everything else: a fault of the server or of something that it drives. A client reads codes that it does not know
    /// as this one.
    #[serde(other)]
    Failed,
}

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What went wrong, for programs.
    pub code: Code,
    /// What went wrong, in a few words that are the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time, from the outside in: what was tried, then why it failed.
    pub detail: String,
    /// What to do next; a command where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with the code's own title and status.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            hint: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl Code {
    /// The HTTP status that goes with the code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Denied => 403,
            Self::NotFound | Self::NoVault => 404,
            Self::Conflict | Self::Fenced | Self::Refused | Self::Cancelled | Self::Consistency => 409,
            Self::WrongKey | Self::Damaged => 422,
            Self::Unreachable => 502,
            Self::NoSpace => 507,
            Self::Interrupted | Self::Overtaken => 503,
            Self::Failed => 500,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Invalid => "invalid request",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::Refused => "refused by the vault",
            Self::Overtaken => "overtaken",
            Self::Fenced => "fenced",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
            Self::Damaged => "damaged data",
            Self::NoVault => "no vault there",
            Self::WrongKey => "wrong key",
            Self::NoSpace => "no space left",
            Self::Consistency => "consistency not reached",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}
