//! A run as it is kept: JSON with the number of its format. docs/format.md describes it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Run, StepId};

/// The only format there is.
const FORMAT: u32 = 1;

/// The longest run, in bytes.
const ENCODED_MAX_BYTES: usize = 64 << 20;

/// Why a run that was kept cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// A newer Holdfast has written it.
    Newer {
        /// Its format.
        format: u32,
    },
    /// It is none, or was changed.
    Damaged(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { format } => {
                write!(formatter, "the run has format {format}, and this Holdfast knows {FORMAT}")
            }
            Self::Damaged(why) => write!(formatter, "the run is damaged: {why}"),
        }
    }
}

impl std::error::Error for DecodeError {}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize)]
struct Written<'run> {
    format: u32,
    #[serde(flatten)]
    run: &'run Run,
}

impl Run {
    /// The run as it is kept.
    #[must_use]
    pub fn encode(&self) -> String {
        // It is plain data with text for keys: writing it cannot fail.
        serde_json::to_string(&Written { format: FORMAT, run: self }).unwrap_or_default()
    }

    /// A run that was kept. Put [`super::Event::Restarted`] in before anything else.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let damaged = |error: serde_json::Error| DecodeError::Damaged(error.to_string());
        if text.len() > ENCODED_MAX_BYTES {
            return Err(DecodeError::Damaged(format!("it has more than {ENCODED_MAX_BYTES} bytes")));
        }
        let Head { format } = serde_json::from_str(text).map_err(damaged)?;
        if format != FORMAT {
            return Err(DecodeError::Newer { format });
        }
        let run: Self = serde_json::from_str(text).map_err(damaged)?;
        let mut before = StepId(0);
        for step in run.steps() {
            if step.id <= before || step.id.0 >= run.next_step {
                return Err(DecodeError::Damaged(format!("the step {} is out of its place", step.id)));
            }
            before = step.id;
        }
        Ok(run)
    }
}
