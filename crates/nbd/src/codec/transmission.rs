//! Transmission: requests, simple replies, and the chunks of structured replies.

use std::fmt;

use bytes::{Buf, BufMut};

use super::{Malformed, decode_string, expect_end};

const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// Names a request in its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cookie(pub u64);

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command(pub u16);

impl Command {
    /// Read.
    pub const READ: Self = Self(0);
    /// Write; the data follows the request.
    pub const WRITE: Self = Self(1);
    /// End the connection; there is no reply.
    pub const DISCONNECT: Self = Self(2);
    /// Make durable what was written.
    pub const FLUSH: Self = Self(3);
    /// Forget a range.
    pub const TRIM: Self = Self(4);
    /// Fetch a range ahead of reads.
    pub const CACHE: Self = Self(5);
    /// Make a range read as zero, with a hole unless [`Request::FLAG_NO_HOLE`] is set.
    pub const WRITE_ZEROES: Self = Self(6);
    /// Tell the metadata of a range.
    pub const BLOCK_STATUS: Self = Self(7);
}

/// A request, without the data of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Flags of the command.
    pub flags: u16,
    /// What to do.
    pub command: Command,
    /// Comes back in the reply.
    pub cookie: Cookie,
    /// First byte.
    pub offset_bytes: u64,
    /// Number of bytes.
    pub length_bytes: u32,
}

impl Request {
    /// Length of the message.
    pub const LENGTH_BYTES: usize = 28;
    /// For [`Command::WRITE_ZEROES`]: allocate.
    pub const FLAG_NO_HOLE: u16 = 1 << 1;
    /// For [`Command::READ`]: answer in one piece, without looking for holes.
    pub const FLAG_DO_NOT_FRAGMENT: u16 = 1 << 2;
    /// For [`Command::BLOCK_STATUS`]: answer with one run, which ends within the range.
    pub const FLAG_ONE_RUN: u16 = 1 << 3;

    /// The message.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LENGTH_BYTES] {
        let mut message = [0; Self::LENGTH_BYTES];
        let mut out = &mut message[..];
        out.put_u32(REQUEST_MAGIC);
        out.put_u16(self.flags);
        out.put_u16(self.command.0);
        out.put_u64(self.cookie.0);
        out.put_u64(self.offset_bytes);
        out.put_u32(self.length_bytes);
        message
    }

    /// Reads the message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.try_get_u32()? != REQUEST_MAGIC {
            return Err(Malformed("a request without its magic number"));
        }
        let request = Self {
            flags: bytes.try_get_u16()?,
            command: Command(bytes.try_get_u16()?),
            cookie: Cookie(bytes.try_get_u64()?),
            offset_bytes: bytes.try_get_u64()?,
            length_bytes: bytes.try_get_u32()?,
        };
        expect_end(bytes)?;
        Ok(request)
    }
}

/// An error as the protocol numbers it; zero is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Success.
    pub const OK: Self = Self(0);
    /// Not permitted.
    pub const PERMISSION: Self = Self(1);
    /// Input/output error.
    pub const IO: Self = Self(5);
    /// No memory.
    pub const NO_MEMORY: Self = Self(12);
    /// Invalid argument.
    pub const INVALID: Self = Self(22);
    /// No space left.
    pub const NO_SPACE: Self = Self(28);
    /// Not supported.
    pub const NOT_SUPPORTED: Self = Self(95);
    /// The server is shutting down.
    pub const SHUTDOWN: Self = Self(108);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match *self {
            Self::PERMISSION => "EPERM",
            Self::IO => "EIO",
            Self::NO_MEMORY => "ENOMEM",
            Self::INVALID => "EINVAL",
            Self::NO_SPACE => "ENOSPC",
            Self::NOT_SUPPORTED => "ENOTSUP",
            Self::SHUTDOWN => "ESHUTDOWN",
            Self(number) => return write!(formatter, "error {number}"),
        })
    }
}

/// What a chunk of a structured reply holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkKind(pub u16);

impl ChunkKind {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// An offset of 8 bytes, then data.
    pub const OFFSET_DATA: Self = Self(1);
    /// A [`Hole`].
    pub const OFFSET_HOLE: Self = Self(2);
    /// A [`BlockStatus`].
    pub const BLOCK_STATUS: Self = Self(5);
    /// A [`ChunkError`].
    pub const ERROR: Self = Self(ERROR_BIT | 1);
    /// A [`ChunkError`] at an offset.
    pub const ERROR_OFFSET: Self = Self(ERROR_BIT | 2);

    /// Whether the chunk reports an error; it then begins like [`ChunkKind::ERROR`], whatever its kind.
    #[must_use]
    pub fn is_error(self) -> bool {
        self.0 & ERROR_BIT != 0
    }
}

const ERROR_BIT: u16 = 1 << 15;

/// The head of anything that a server sends in the transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyHeader {
    /// A whole reply, but for the data of a read that went well.
    Simple {
        /// The request.
        cookie: Cookie,
        /// How it went.
        error: ErrorCode,
    },
    /// A piece of a reply; `length_bytes` of payload follow.
    Chunk {
        /// The request.
        cookie: Cookie,
        /// Whether this is the reply's last chunk.
        is_last: bool,
        /// What the payload is.
        kind: ChunkKind,
        /// Its length.
        length_bytes: u32,
    },
}

impl ReplyHeader {
    /// Length of the magic number that tells the two kinds apart.
    pub const MAGIC_LENGTH_BYTES: usize = 4;
    /// Length of the longer kind.
    pub const LENGTH_MAX_BYTES: usize = 20;
    const FLAG_DONE: u16 = 1;

    /// The length of the header that begins with these bytes, the bytes included.
    ///
    /// # Errors
    /// [`Malformed`] when no reply begins so.
    pub fn length_bytes(magic: [u8; Self::MAGIC_LENGTH_BYTES]) -> Result<usize, Malformed> {
        match u32::from_be_bytes(magic) {
            SIMPLE_REPLY_MAGIC => Ok(16),
            CHUNK_MAGIC => Ok(20),
            _ => Err(Malformed("a reply without its magic number")),
        }
    }

    /// Appends the header.
    pub fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Simple { cookie, error } => {
                out.put_u32(SIMPLE_REPLY_MAGIC);
                out.put_u32(error.0);
                out.put_u64(cookie.0);
            }
            Self::Chunk { cookie, is_last, kind, length_bytes } => {
                out.put_u32(CHUNK_MAGIC);
                out.put_u16(if is_last { Self::FLAG_DONE } else { 0 });
                out.put_u16(kind.0);
                out.put_u64(cookie.0);
                out.put_u32(length_bytes);
            }
        }
    }

    /// Reads the header.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let header = match bytes.try_get_u32()? {
            SIMPLE_REPLY_MAGIC => {
                let error = ErrorCode(bytes.try_get_u32()?);
                Self::Simple { cookie: Cookie(bytes.try_get_u64()?), error }
            }
            CHUNK_MAGIC => {
                let is_last = bytes.try_get_u16()? & Self::FLAG_DONE != 0;
                let kind = ChunkKind(bytes.try_get_u16()?);
                let cookie = Cookie(bytes.try_get_u64()?);
                Self::Chunk { cookie, is_last, kind, length_bytes: bytes.try_get_u32()? }
            }
            _ => return Err(Malformed("a reply without its magic number")),
        };
        expect_end(bytes)?;
        Ok(header)
    }
}

/// Payload of [`ChunkKind::OFFSET_HOLE`]: zeros that are not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// First byte on the disk.
    pub offset_bytes: u64,
    /// Number of bytes.
    pub length_bytes: u32,
}

impl Hole {
    /// Appends the payload.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.put_u64(self.offset_bytes);
        out.put_u32(self.length_bytes);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let hole = Self { offset_bytes: bytes.try_get_u64()?, length_bytes: bytes.try_get_u32()? };
        expect_end(bytes)?;
        Ok(hole)
    }
}

/// One run of a block status: so many bytes with these flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockDescriptor {
    /// Number of bytes; never zero in what [`BlockStatus::decode`] returns.
    pub length_bytes: u32,
    /// Flags, whose meaning is the context's.
    pub flags: u32,
}

/// Payload of [`ChunkKind::BLOCK_STATUS`]: consecutive runs from the request's offset on, in one context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockStatus {
    /// The context.
    pub context_id: u32,
    /// The runs; never none in what [`BlockStatus::decode`] returns.
    pub descriptors: Vec<BlockDescriptor>,
}

impl BlockStatus {
    /// In `base:allocation`: not allocated.
    pub const FLAG_HOLE: u32 = 1;
    /// In `base:allocation`: reads as zero.
    pub const FLAG_ZERO: u32 = 1 << 1;
    /// In `qemu:dirty-bitmap:…`: written since the bitmap began.
    pub const FLAG_DIRTY: u32 = 1;

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.context_id);
        for descriptor in &self.descriptors {
            out.put_u32(descriptor.length_bytes);
            out.put_u32(descriptor.flags);
        }
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`Malformed`], also where a run is empty or there is none: a client that asks on would ask for ever.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let context_id = bytes.try_get_u32()?;
        let mut descriptors = Vec::with_capacity(bytes.len() / 8);
        while !bytes.is_empty() {
            let descriptor =
                BlockDescriptor { length_bytes: bytes.try_get_u32()?, flags: bytes.try_get_u32()? };
            if descriptor.length_bytes == 0 {
                return Err(Malformed("a block status with an empty run"));
            }
            descriptors.push(descriptor);
        }
        if descriptors.is_empty() {
            return Err(Malformed("a block status without runs"));
        }
        Ok(Self { context_id, descriptors })
    }
}

/// Payload of an error chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkError {
    /// What went wrong.
    pub code: ErrorCode,
    /// The same for people; may be empty.
    pub message: String,
}

impl ChunkError {
    /// Appends the payload of [`ChunkKind::ERROR`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.code.0);
        out.put_u16(self.message.len() as u16);
        out.put_slice(self.message.as_bytes());
    }

    /// Reads the payload of any error chunk; what may follow the message is left aside.
    ///
    /// # Errors
    /// [`Malformed`], also for an error that is none.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let code = ErrorCode(bytes.try_get_u32()?);
        if code == ErrorCode::OK {
            return Err(Malformed("an error chunk without an error"));
        }
        let length = usize::from(bytes.try_get_u16()?);
        let message = bytes.split_off(..length).ok_or(Malformed("an error's message is cut short"))?;
        Ok(Self { code, message: decode_string(message)? })
    }
}
