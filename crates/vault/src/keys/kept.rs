//! What a server keeps to open a vault unattended.

use std::str::FromStr;

use super::{
    MasterKey, Unlock, WriterKey,
    text::{MASTER_KEY, WRITER_KEY},
};
use crate::{Error, Result};

/// A key without a slot, as a server keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptKey {
    /// Opens everything.
    Master(MasterKey),
    /// Opens all but the data of disks.
    Writer(WriterKey),
}

impl KeptKey {
    /// The text to write into a file, with its line end.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Master(key) => key.to_text(),
            Self::Writer(key) => key.to_text(),
        }
    }
}

impl FromStr for KeptKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.starts_with(MASTER_KEY.prefix()) {
            text.parse().map(Self::Master)
        } else if text.starts_with(WRITER_KEY.prefix()) {
            text.parse().map(Self::Writer)
        } else {
            Err(Error::invalid("neither a master key nor a writer key"))
        }
    }
}

impl From<KeptKey> for Unlock {
    fn from(key: KeptKey) -> Self {
        match key {
            KeptKey::Master(key) => Self::MasterKey(key),
            KeptKey::Writer(key) => Self::WriterKey(key),
        }
    }
}
