//! How sound the data of a captured moment is.

use std::{fmt, str::FromStr};

/// What a capture promises about the data inside it, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// As after a power cut: all disks at one instant, nothing flushed.
    Crash,
    /// File systems frozen: no journal to replay.
    FileSystem,
    /// File systems frozen and the guest's own hooks have run, which quiesce its applications.
    Application,
}

impl Consistency {
    /// All levels, strongest first.
    pub const ALL: [Self; 3] = [Self::Application, Self::FileSystem, Self::Crash];

    /// The word for this level in commands, documents and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::FileSystem => "file-system",
            Self::Application => "application",
        }
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// The text names no consistency level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseConsistencyError(String);

impl fmt::Display for ParseConsistencyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} is not a consistency level: use application, file-system or crash", self.0)
    }
}

impl std::error::Error for ParseConsistencyError {}

impl FromStr for Consistency {
    type Err = ParseConsistencyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| ParseConsistencyError(text.to_owned()))
    }
}
