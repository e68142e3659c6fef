//! Documents as they are kept: JSON with the number of its format. docs/format.md describes them.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The only format there is, of each of them.
const FORMAT: u32 = 1;

/// The longest document, in bytes.
const ENCODED_MAX_BYTES: usize = 64 << 20;

/// Why a document that was kept cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// A newer Holdfast has written it.
    Newer {
        /// What it is, as in "run".
        what: &'static str,
        /// Its format.
        format: u32,
    },
    /// It is none, or was changed.
    Damaged {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { what, format } => {
                write!(formatter, "the {what} has format {format}, and this Holdfast knows {FORMAT}")
            }
            Self::Damaged { what, why } => write!(formatter, "the {what} is damaged: {why}"),
        }
    }
}

impl std::error::Error for DecodeError {}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// A document with the number of its format.
#[derive(Serialize)]
pub(crate) struct Written<'document, T> {
    format: u32,
    #[serde(flatten)]
    document: &'document T,
}

pub(crate) fn written<T>(document: &T) -> Written<'_, T> {
    Written { format: FORMAT, document }
}

/// Reads what was written; `what` is what it should be.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, DecodeError> {
    let damaged = |error: serde_json::Error| DecodeError::Damaged { what, why: error.to_string() };
    if text.len() > ENCODED_MAX_BYTES {
        let why = format!("it has more than {ENCODED_MAX_BYTES} bytes");
        return Err(DecodeError::Damaged { what, why });
    }
    let Head { format } = serde_json::from_str(text).map_err(damaged)?;
    if format != FORMAT {
        return Err(DecodeError::Newer { what, format });
    }
    serde_json::from_str(text).map_err(damaged)
}
