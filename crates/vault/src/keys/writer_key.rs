//! What a host keeps that adds to a vault and does not read the data in it.

use std::{fmt, str::FromStr};

use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{ReaderKey, text::WRITER_KEY};
use crate::{Error, Result};

/// The key with which a host adds to a vault: it finds what is there already, stores and commits, and reads all but the
/// data of disks. With it goes the key for which data is sealed: a config that names another one is refused.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct WriterKey {
    secret: [u8; 32],
    #[zeroize(skip)]
    reader: ReaderKey,
}

impl WriterKey {
    pub(crate) fn new(secret: [u8; 32], reader: ReaderKey) -> Self {
        Self { secret, reader }
    }

    /// The text to write into a file, with its line end.
    #[must_use]
    pub fn to_text(&self) -> String {
        let bytes = Zeroizing::new([self.secret, self.reader.0].concat());
        WRITER_KEY.write(&bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The public half of the key that reads.
    pub(crate) fn reader_key(&self) -> ReaderKey {
        self.reader
    }
}

impl FromStr for WriterKey {
    type Err = Error;

    /// Reads the text. White space, dashes and capitals do not matter; typing errors are told.
    fn from_str(text: &str) -> Result<Self> {
        let bytes = Zeroizing::new(WRITER_KEY.read_line::<64>(text)?);
        let mut key = Self { secret: [0; 32], reader: ReaderKey([0; 32]) };
        let (secret, reader) = bytes.split_at(32);
        key.secret.copy_from_slice(secret);
        key.reader.0.copy_from_slice(reader);
        Ok(key)
    }
}

impl fmt::Debug for WriterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WriterKey(…)")
    }
}
