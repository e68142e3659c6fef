//! What a program says in what it writes.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How much of what was written is looked at, in bytes.
const LOOKED_AT_BYTES: usize = 1 << 20;

/// What a program said as JSON: all that it wrote, or the last line of that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct WrittenResult {
    /// What later actions are told.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
}

/// What a program said; nothing where it said nothing as JSON, which is no failure.
#[must_use]
pub fn written_result(written: &[u8]) -> WrittenResult {
    let end = &written[written.len().saturating_sub(LOOKED_AT_BYTES)..];
    let text = String::from_utf8_lossy(end);
    let last = text.trim_end().rsplit('\n').next().unwrap_or_default();
    [text.as_ref(), last].into_iter().find_map(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
