//! What a request asks for, and whether it may.

use image::ByteRange;

use super::negotiation::Session;
use crate::codec::{
    handshake::BlockSizes,
    transmission::{Command, ErrorCode, Request},
};

/// What there is to do for a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Send a range in one message.
    Read(ByteRange),
    /// Send a range in pieces as they are read, zeros as holes.
    ReadPieces(ByteRange),
    /// Read a range ahead.
    Fetch(ByteRange),
    /// Tell which parts of a range are zero; only of the first, if asked for one.
    Status { range: ByteRange, one_run: bool },
    /// Skip the data of a write, and say why.
    Refuse { skipped_bytes: u32, code: ErrorCode, why: &'static str },
    /// End the connection.
    Disconnect,
}

impl Work {
    pub(super) fn of(request: &Request, session: &Session) -> Self {
        let range =
            ByteRange { offset_bytes: request.offset_bytes, length_bytes: u64::from(request.length_bytes) };
        let refuse = |code, why| Self::Refuse { skipped_bytes: 0, code, why };
        match request.command {
            Command::DISCONNECT => return Self::Disconnect,
            Command::WRITE => {
                let skipped_bytes = request.length_bytes;
                return Self::Refuse { skipped_bytes, code: ErrorCode::PERMISSION, why: READ_ONLY };
            }
            Command::TRIM | Command::WRITE_ZEROES | Command::FLUSH => {
                return refuse(ErrorCode::PERMISSION, READ_ONLY);
            }
            Command::READ | Command::CACHE | Command::BLOCK_STATUS => {}
            _ => return refuse(ErrorCode::INVALID, "this server does not know the command"),
        }
        if range.is_empty() || range.check_within(session.image.size_bytes()).is_err() {
            return refuse(ErrorCode::INVALID, "the range does not lie within the disk");
        }
        let is_long = request.length_bytes > BlockSizes::DEFAULT.maximum_bytes;
        let in_one_piece = !session.structured || request.flags & Request::FLAG_DO_NOT_FRAGMENT != 0;
        match request.command {
            Command::READ if is_long => refuse(ErrorCode::INVALID, "at most 32 MiB are read at once"),
            Command::READ if in_one_piece => Self::Read(range),
            Command::READ => Self::ReadPieces(range),
            Command::CACHE => Self::Fetch(range),
            _ if session.tells_allocation => {
                Self::Status { range, one_run: request.flags & Request::FLAG_ONE_RUN != 0 }
            }
            _ => refuse(ErrorCode::INVALID, "no metadata context was chosen"),
        }
    }

    /// The memory that the work takes, in pieces.
    pub(super) fn pieces(&self) -> u32 {
        match self {
            Self::Read(range) => range.length_bytes.div_ceil(PIECE_LENGTH_BYTES) as u32,
            _ => 1,
        }
    }
}

const READ_ONLY: &str = "the export is read-only";

/// What is read and sent at once where replies may come in pieces.
pub(super) const PIECE_LENGTH_BYTES: u64 = 1 << 20;
