//! A program to run, and how it ended.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// A program to run once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The file, or a name that is looked for in `PATH`.
    pub program: PathBuf,
    /// Its arguments, as they are.
    pub arguments: Vec<String>,
    /// Where it begins; `/` where none is named.
    pub directory: Option<PathBuf>,
    /// Its environment. Of the server's own it gets `PATH`, `HOME`, `LANG` and `TZ`, and nothing else.
    pub environment: BTreeMap<String, String>,
    /// What it reads from standard input.
    pub input: String,
    /// How long it may take.
    pub time_limit: Duration,
    /// How long it has to end by itself once it was asked to (SIGTERM), before it is killed.
    pub grace: Duration,
}

impl Program {
    /// The pause between asking and killing that is used where nobody says another.
    pub const GRACE_DEFAULT: Duration = Duration::from_secs(5);

    /// A program without arguments, environment or input.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, time_limit: Duration) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            directory: None,
            environment: BTreeMap::new(),
            input: String::new(),
            time_limit,
            grace: Self::GRACE_DEFAULT,
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By a signal that was not ours.
    Signal(i32),
    /// Its time was over: it was ended, with all that it had started.
    TimedOut,
    /// Its time was over, and something of it could not be ended: it hangs in the kernel.
    Unkillable,
}

impl Exit {
    /// Whether it did what it should, by its own word.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(formatter, "ended with code {code}"),
            Self::Signal(signal) => write!(formatter, "was ended by signal {signal}"),
            Self::TimedOut => formatter.write_str("took longer than it may, and was ended"),
            Self::Unkillable => {
                formatter.write_str("took longer than it may, and something of it cannot be ended")
            }
        }
    }
}
