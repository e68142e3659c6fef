//! A report as it is kept: JSON with the number of its format. docs/drills.md and docs/format.md describe it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Report;

/// The only format there is.
const FORMAT: u32 = 1;

/// The longest report, in bytes.
const ENCODED_MAX_BYTES: usize = 64 << 20;

/// Why a report that was kept cannot be read.
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
                write!(formatter, "the report has format {format}, and this Holdfast knows {FORMAT}")
            }
            Self::Damaged(why) => write!(formatter, "the report is damaged: {why}"),
        }
    }
}

impl std::error::Error for DecodeError {}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize)]
struct Written<'report> {
    format: u32,
    #[serde(flatten)]
    report: &'report Report,
}

impl Report {
    /// The report as JSON, as it is kept and as programs read it.
    #[must_use]
    pub fn encode(&self) -> String {
        // It is plain data with text for keys: writing it cannot fail.
        serde_json::to_string_pretty(&Written { format: FORMAT, report: self }).unwrap_or_default()
    }

    /// A report that was kept.
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
        serde_json::from_str(text).map_err(damaged)
    }
}
