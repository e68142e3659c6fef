//! Authenticated encryption with AES-256-GCM.
//!
//! Every object has a key of its own, derived from its random salt, so that nonces can simply count: a nonce never
//! depends on luck. The nonce names the place of a piece in its object, so pieces cannot be swapped.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Bytes that sealing adds.
pub(crate) const TAG_BYTES: usize = 16;

/// The part that a sealed piece plays in its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Role {
    /// A frame of a pack, numbered from zero.
    Frame = 0,
    /// The directory of a pack.
    Directory = 1,
    /// The whole body of an object.
    Body = 2,
}

/// The bytes were not sealed with this key, at this place, under this header.
#[derive(Debug)]
pub(crate) struct Forged;

/// The key of one object.
#[derive(Debug)]
pub(crate) struct Seal {
    key: LessSafeKey,
    header: Vec<u8>,
}

impl Seal {
    /// The seal of the object that starts with `header`, which it authenticates.
    pub(crate) fn new(key: &[u8; 32], header: Vec<u8>) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has the cipher's length");
        Self { key: LessSafeKey::new(key), header }
    }

    /// Encrypts the bytes of `buffer` from `start` on in place and appends the tag.
    pub(crate) fn close(&self, role: Role, number: u64, buffer: &mut Vec<u8>, start: usize) {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(role, number), Aad::from(&self.header), &mut buffer[start..])
            .expect("a piece is far below the cipher's limit of 64 GiB");
        buffer.extend_from_slice(tag.as_ref());
    }

    /// Decrypts in place, and cuts the tag off.
    pub(crate) fn open(&self, role: Role, number: u64, sealed: &mut Vec<u8>) -> Result<(), Forged> {
        let length = self.open_within(role, number, sealed)?.len();
        sealed.truncate(length);
        Ok(())
    }

    /// Decrypts in place, and returns what comes before the tag. Nothing can be said of the bytes after an error.
    pub(crate) fn open_within<'a>(
        &self,
        role: Role,
        number: u64,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], Forged> {
        let opened = self.key.open_in_place(nonce(role, number), Aad::from(&self.header), sealed);
        opened.map(|opened| &*opened).map_err(|_| Forged)
    }
}

fn nonce(role: Role, number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..4].copy_from_slice(&(role as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
