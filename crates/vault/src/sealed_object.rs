//! Objects that are one sealed body: index segments and recovery points.

use crate::{
    Error, Result,
    codec::{Magic, PREAMBLE_BYTES, Reader, preamble},
    keys::Keys,
    seal::Role,
};

/// What a sealed object is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectType {
    pub(crate) magic: Magic,
    pub(crate) version: u16,
    /// For messages: "an index segment".
    pub(crate) what: &'static str,
}

impl ObjectType {
    /// Seals a body under a random salt.
    pub(crate) fn seal(&self, keys: &Keys, salt: [u8; 32], body: &[u8]) -> Vec<u8> {
        let mut bytes = preamble(self.magic, self.version);
        bytes.extend(salt);
        let start = bytes.len();
        let seal = keys.seal(bytes.clone());
        bytes.extend_from_slice(body);
        seal.close(Role::Body, 0, &mut bytes, start);
        bytes
    }

    /// The body of an object that is this and that nobody altered.
    pub(crate) fn open(&self, keys: &Keys, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut reader = Reader::new(bytes, self.what);
        reader.preamble(self.magic, self.version)?;
        let (header, sealed) = bytes
            .split_at_checked(PREAMBLE_BYTES + 32)
            .ok_or_else(|| Error::corrupt(format!("{} ends too early", self.what)))?;
        let mut body = sealed.to_vec();
        keys.seal(header.to_vec())
            .open(Role::Body, 0, &mut body)
            .map_err(|_| Error::corrupt(format!("{} was altered", self.what)))?;
        Ok(body)
    }
}
