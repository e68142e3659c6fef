//! The protocol's messages as pure functions on bytes: no input, no output, no state.
//!
//! Fixed newstyle negotiation and transmission with simple and structured replies, as in the NBD project's `proto.md`.
//! Integers are big-endian. Every `decode` takes exactly the bytes of one message, from a peer that is not trusted.

pub mod handshake;
pub mod transmission;

use bytes::{Buf, BufMut, TryGetError};

/// The longest string that either side may send, in bytes.
pub const STRING_LENGTH_MAX_BYTES: usize = 4096;

/// The bytes are not the message that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) &'static str);

impl From<TryGetError> for Malformed {
    fn from(_: TryGetError) -> Self {
        Self("the message is cut short")
    }
}

fn expect_end(bytes: &[u8]) -> Result<(), Malformed> {
    if bytes.is_empty() { Ok(()) } else { Err(Malformed("the message is too long")) }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.put_u32(text.len() as u32);
    out.put_slice(text.as_bytes());
}

fn take_string(bytes: &mut &[u8]) -> Result<String, Malformed> {
    let length = bytes.try_get_u32()? as usize;
    let text = bytes.split_off(..length).ok_or(Malformed("a string is cut short"))?;
    decode_string(text)
}

fn decode_string(text: &[u8]) -> Result<String, Malformed> {
    if text.len() > STRING_LENGTH_MAX_BYTES {
        return Err(Malformed("a string is longer than 4096 bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|_| Malformed("a string is not UTF-8"))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
