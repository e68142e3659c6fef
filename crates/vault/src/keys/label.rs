//! What a person calls a key.

use std::{fmt, str::FromStr};

use crate::{Error, Result};

/// What a person calls a key: "ops safe, printed kit". At most 48 bytes, without control characters; may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyLabel(String);

impl KeyLabel {
    /// The longest label, in bytes.
    pub const BYTES_MAX: usize = 48;

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Filled up with zeros, so that all are equally long.
    pub(super) fn encode(&self) -> [u8; Self::BYTES_MAX] {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes.iter_mut().zip(self.0.bytes()).for_each(|(place, byte)| *place = byte);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()?.trim_end_matches('\0').parse().ok()
    }
}

impl fmt::Display for KeyLabel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for KeyLabel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > Self::BYTES_MAX {
            return Err(Error::invalid(format!(
                "a key's label has at most {} bytes, not {}",
                Self::BYTES_MAX,
                text.len()
            )));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::invalid("a key's label cannot hold control characters"));
        }
        Ok(Self(text.to_owned()))
    }
}
