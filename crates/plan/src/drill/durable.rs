//! A report as it is kept. docs/drills.md describes it.

use super::Report;
use crate::kept::{self, DecodeError};

impl Report {
    /// The report as JSON, as it is kept and as programs read it.
    #[must_use]
    pub fn encode(&self) -> String {
        // It is plain data with text for keys: writing it cannot fail.
        serde_json::to_string_pretty(&kept::written(self)).unwrap_or_default()
    }

    /// A report that was kept.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        kept::decode("report", text)
    }
}
