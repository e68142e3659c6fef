//! What the host and the helper say to one another, over a serial port.
//!
//! Frames: a length of 4 bytes, little-endian, and that many bytes, at most 4 MiB. The helper speaks first, with its
//! [`Greeting`]; then each [`Request`] of the host gets one [`Answer`], in order. Integers are little-endian; a list is a count
//! of 4 bytes and its items; bytes are a list of bytes. Both sides are of one build, yet the host trusts nothing it reads.

mod answer;
mod request;
mod wire;

use std::io::{self, Read, Write};

use crate::limits::MESSAGE_MAX_BYTES;

pub(crate) use answer::{Answer, FailureKind, entry_length};
pub(crate) use request::Request;
pub(crate) use wire::{Malformed, Reader, Writer};

/// The name of the serial port in the helper's machine.
pub(crate) const PORT_NAME: &str = "holdfast.files.0";

/// The version of the protocol.
const VERSION: u16 = 2;

/// What the greeting starts with.
const MAGIC: [u8; 8] = *b"HFFILES\n";

/// The helper's first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Greeting;

impl Greeting {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.raw(&MAGIC);
        writer.u16(VERSION);
        writer.finish()
    }

    pub(crate) fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message);
        if reader.raw(MAGIC.len())? != MAGIC || reader.u16()? != VERSION {
            return Err(Malformed("another version of the helper"));
        }
        reader.finish()?;
        Ok(Self)
    }
}

/// Reads one frame; none at the end of the stream.
pub(crate) fn read_frame(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = frame_length(length)?;
    let mut message = vec![0; length];
    stream.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Writes one frame.
pub(crate) fn write_frame(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    stream.write_all(&frame(message)?)
}

/// A message with its length in front.
pub(crate) fn frame(message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= MESSAGE_MAX_BYTES);
    let length = length.ok_or_else(|| io::Error::other("a message is too long"))?;
    Ok([&length.to_le_bytes(), message].concat())
}

/// The length that a frame announces, once it is known to be bearable.
pub(crate) fn frame_length(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is announced that is too long"));
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
