//! Negotiation: the greeting, options and their replies.

use bytes::{Buf, BufMut};

use super::{Malformed, decode_string, expect_end, put_string, take_string};

const GREETING_MAGIC: u64 = 0x4e42_444d_4147_4943; // "NBDMAGIC"
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054; // "IHAVEOPT"
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// What both sides can do in the negotiation: the same bits from server and client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeFlags(pub u16);

impl HandshakeFlags {
    /// Fixed newstyle negotiation.
    pub const FIXED_NEWSTYLE: Self = Self(1);
    /// No 124 zero bytes after `EXPORT_NAME`.
    pub const NO_ZEROES: Self = Self(2);

    /// Whether all of `other`'s bits are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The server's first words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// What the server can do.
    pub flags: HandshakeFlags,
}

impl Greeting {
    /// Length of the message.
    pub const LENGTH_BYTES: usize = 18;

    /// Appends the message.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.put_u64(GREETING_MAGIC);
        out.put_u64(OPTION_MAGIC);
        out.put_u16(self.flags.0);
    }

    /// Reads the message.
    ///
    /// # Errors
    /// [`Malformed`] also for the protocol's old style.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.try_get_u64()? != GREETING_MAGIC {
            return Err(Malformed("the peer does not speak NBD"));
        }
        if bytes.try_get_u64()? != OPTION_MAGIC {
            return Err(Malformed("the peer speaks only oldstyle NBD"));
        }
        let flags = HandshakeFlags(bytes.try_get_u16()?);
        expect_end(bytes)?;
        Ok(Self { flags })
    }
}

/// Reads the client's answer to the greeting.
///
/// # Errors
/// [`Malformed`] for flags that the protocol does not know: what such a client would say next has another meaning.
pub fn decode_client_flags(bytes: [u8; 4]) -> Result<HandshakeFlags, Malformed> {
    match u32::from_be_bytes(bytes) {
        flags @ 0..=3 => Ok(HandshakeFlags(flags as u16)),
        _ => Err(Malformed("flags that no client has")),
    }
}

/// The client's answer to the greeting.
#[must_use]
pub fn encode_client_flags(flags: HandshakeFlags) -> [u8; 4] {
    u32::from(flags.0).to_be_bytes()
}

/// Which option a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionCode(pub u32);

impl OptionCode {
    /// Begin the transmission, in the way that came before [`OptionCode::GO`]: the payload is the export's name.
    pub const EXPORT_NAME: Self = Self(1);
    /// End the negotiation without an export.
    pub const ABORT: Self = Self(2);
    /// List the exports.
    pub const LIST: Self = Self(3);
    /// Go on under TLS.
    pub const START_TLS: Self = Self(5);
    /// Tell what [`OptionCode::GO`] would, and stay in the negotiation.
    pub const INFO: Self = Self(6);
    /// Begin the transmission.
    pub const GO: Self = Self(7);
    /// Use structured replies.
    pub const STRUCTURED_REPLY: Self = Self(8);
    /// Tell which metadata contexts there are.
    pub const LIST_META_CONTEXT: Self = Self(9);
    /// Choose metadata contexts.
    pub const SET_META_CONTEXT: Self = Self(10);
}

/// An option as the client sends it; `length_bytes` of payload follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionHeader {
    /// Which option.
    pub code: OptionCode,
    /// Length of its payload.
    pub length_bytes: u32,
}

impl OptionHeader {
    /// Length of the message.
    pub const LENGTH_BYTES: usize = 16;

    /// Appends the message.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.put_u64(OPTION_MAGIC);
        out.put_u32(self.code.0);
        out.put_u32(self.length_bytes);
    }

    /// Reads the message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.try_get_u64()? != OPTION_MAGIC {
            return Err(Malformed("an option without its magic number"));
        }
        let header = Self { code: OptionCode(bytes.try_get_u32()?), length_bytes: bytes.try_get_u32()? };
        expect_end(bytes)?;
        Ok(header)
    }
}

/// What an option's reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyKind(pub u32);

impl ReplyKind {
    /// The option is done.
    pub const ACK: Self = Self(1);
    /// The name of an export.
    pub const SERVER: Self = Self(2);
    /// A fact about the export.
    pub const INFO: Self = Self(3);
    /// A metadata context that was chosen.
    pub const META_CONTEXT: Self = Self(4);
    /// The server does not know the option.
    pub const UNSUPPORTED: Self = Self(ERROR_BIT | 1);
    /// The server forbids it.
    pub const POLICY: Self = Self(ERROR_BIT | 2);
    /// The option's payload makes no sense.
    pub const INVALID: Self = Self(ERROR_BIT | 3);
    /// TLS must be negotiated first.
    pub const TLS_REQUIRED: Self = Self(ERROR_BIT | 5);
    /// There is no such export.
    pub const UNKNOWN: Self = Self(ERROR_BIT | 6);
    /// The server is shutting down.
    pub const SHUTDOWN: Self = Self(ERROR_BIT | 7);

    /// Whether the reply refuses the option; its payload then is text for people.
    #[must_use]
    pub fn is_error(self) -> bool {
        self.0 & ERROR_BIT != 0
    }
}

const ERROR_BIT: u32 = 1 << 31;

/// One of the server's replies to an option; `length_bytes` of payload follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionReplyHeader {
    /// The option that is answered.
    pub code: OptionCode,
    /// What the reply is.
    pub kind: ReplyKind,
    /// Length of its payload.
    pub length_bytes: u32,
}

impl OptionReplyHeader {
    /// Length of the message.
    pub const LENGTH_BYTES: usize = 20;

    /// Appends the message.
    pub fn encode(self, out: &mut Vec<u8>) {
        out.put_u64(OPTION_REPLY_MAGIC);
        out.put_u32(self.code.0);
        out.put_u32(self.kind.0);
        out.put_u32(self.length_bytes);
    }

    /// Reads the message.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.try_get_u64()? != OPTION_REPLY_MAGIC {
            return Err(Malformed("an option's reply without its magic number"));
        }
        let header = Self {
            code: OptionCode(bytes.try_get_u32()?),
            kind: ReplyKind(bytes.try_get_u32()?),
            length_bytes: bytes.try_get_u32()?,
        };
        expect_end(bytes)?;
        Ok(header)
    }
}

/// Payload of [`OptionCode::GO`] and [`OptionCode::INFO`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoRequest {
    /// The export; empty for the server's default.
    pub export: String,
    /// The facts that the client wants and will respect.
    pub infos: Vec<u16>,
}

impl GoRequest {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_string(out, &self.export);
        out.put_u16(self.infos.len() as u16);
        self.infos.iter().for_each(|&info| out.put_u16(info));
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let export = take_string(&mut bytes)?;
        let count = bytes.try_get_u16()?;
        let infos = (0..count).map(|_| bytes.try_get_u16()).collect::<Result<_, _>>()?;
        expect_end(bytes)?;
        Ok(Self { export, infos })
    }
}

/// Payload of [`OptionCode::SET_META_CONTEXT`] and [`OptionCode::LIST_META_CONTEXT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaContextRequest {
    /// The export.
    pub export: String,
    /// The names of the contexts.
    pub contexts: Vec<String>,
}

impl MetaContextRequest {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_string(out, &self.export);
        out.put_u32(self.contexts.len() as u32);
        self.contexts.iter().for_each(|context| put_string(out, context));
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let export = take_string(&mut bytes)?;
        let count = bytes.try_get_u32()?;
        let contexts = (0..count).map(|_| take_string(&mut bytes)).collect::<Result<_, _>>()?;
        expect_end(bytes)?;
        Ok(Self { export, contexts })
    }
}

/// Payload of [`ReplyKind::META_CONTEXT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaContext {
    /// The number by which block status replies name the context, on this connection.
    pub id: u32,
    /// Its name.
    pub name: String,
}

impl MetaContext {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.id);
        out.put_slice(self.name.as_bytes());
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(Self { id: bytes.try_get_u32()?, name: decode_string(bytes)? })
    }
}

/// Appends the payload of [`ReplyKind::SERVER`]: the name of an export.
pub fn encode_server(export: &str, out: &mut Vec<u8>) {
    put_string(out, export);
}

/// Reads the payload of [`ReplyKind::SERVER`]; what may follow the name is left aside.
///
/// # Errors
/// [`Malformed`].
pub fn decode_server(mut bytes: &[u8]) -> Result<String, Malformed> {
    take_string(&mut bytes)
}

/// The answer to [`OptionCode::EXPORT_NAME`], which has no header of its own.
#[must_use]
pub fn encode_export_name_reply(size_bytes: u64, flags: TransmissionFlags, zeroes: bool) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(size_bytes);
    out.put_u16(flags.0);
    out.put_bytes(0, if zeroes { 124 } else { 0 });
    out
}

/// What an export can do, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransmissionFlags(pub u16);

impl TransmissionFlags {
    /// Set in every answer.
    pub const HAS_FLAGS: Self = Self(1);
    /// The export cannot be written.
    pub const READ_ONLY: Self = Self(1 << 1);
    /// It can be flushed.
    pub const SEND_FLUSH: Self = Self(1 << 2);
    /// It knows forced unit access.
    pub const SEND_FUA: Self = Self(1 << 3);
    /// It can be trimmed.
    pub const SEND_TRIM: Self = Self(1 << 5);
    /// It can be zeroed without sending zeros.
    pub const SEND_WRITE_ZEROES: Self = Self(1 << 6);
    /// It can send what was read in one piece.
    pub const SEND_DF: Self = Self(1 << 7);
    /// A flush on one connection holds for what was written on any.
    pub const CAN_MULTI_CONN: Self = Self(1 << 8);
    /// It can be asked to fetch a range ahead of reads.
    pub const SEND_CACHE: Self = Self(1 << 10);

    /// The bits of either.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other`'s bits are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The units in which an export is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSizes {
    /// Offsets and lengths are multiples of this power of two.
    pub minimum_bytes: u32,
    /// Best performance.
    pub preferred_bytes: u32,
    /// The longest payload.
    pub maximum_bytes: u32,
}

impl BlockSizes {
    /// What the protocol lets a client take for granted, for exports that name no sizes.
    pub const DEFAULT: Self = Self { minimum_bytes: 1, preferred_bytes: 4096, maximum_bytes: 32 << 20 };
}

/// Payload of [`ReplyKind::INFO`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Info {
    /// The export's size and abilities.
    Export {
        /// Size in bytes.
        size_bytes: u64,
        /// Abilities.
        flags: TransmissionFlags,
    },
    /// Its block sizes.
    BlockSizes(BlockSizes),
    /// Something else, by number.
    Other(u16),
}

impl Info {
    /// Number of [`Info::Export`].
    pub const EXPORT: u16 = 0;
    /// Number of [`Info::BlockSizes`].
    pub const BLOCK_SIZE: u16 = 3;

    /// Appends the payload.
    pub fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Export { size_bytes, flags } => {
                out.put_u16(Self::EXPORT);
                out.put_u64(size_bytes);
                out.put_u16(flags.0);
            }
            Self::BlockSizes(sizes) => {
                out.put_u16(Self::BLOCK_SIZE);
                out.put_u32(sizes.minimum_bytes);
                out.put_u32(sizes.preferred_bytes);
                out.put_u32(sizes.maximum_bytes);
            }
            Self::Other(number) => out.put_u16(number),
        }
    }

    /// Reads the payload; that of an unknown fact is left aside.
    ///
    /// # Errors
    /// [`Malformed`], also for block sizes that the protocol forbids.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let info = match bytes.try_get_u16()? {
            Self::EXPORT => Self::Export {
                size_bytes: bytes.try_get_u64()?,
                flags: TransmissionFlags(bytes.try_get_u16()?),
            },
            Self::BLOCK_SIZE => {
                let sizes = BlockSizes {
                    minimum_bytes: bytes.try_get_u32()?,
                    preferred_bytes: bytes.try_get_u32()?,
                    maximum_bytes: bytes.try_get_u32()?,
                };
                let minimum_fits = sizes.minimum_bytes.is_power_of_two() && sizes.minimum_bytes <= 64 << 10;
                if !minimum_fits || sizes.maximum_bytes < sizes.minimum_bytes {
                    return Err(Malformed("the export's block sizes make no sense"));
                }
                Self::BlockSizes(sizes)
            }
            number => return Ok(Self::Other(number)),
        };
        expect_end(bytes)?;
        Ok(info)
    }
}
