//! What a request asks for, and whether it may.

use image::ByteRange;

use super::{exports::Opened, negotiation::Session};
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
    /// Take the data that follows, and write it.
    Write(ByteRange),
    /// Make a range read as zero.
    WriteZeroes(ByteRange),
    /// Make everything written so far durable.
    Flush,
    /// Skip the data of a write, and say why.
    Refuse { skipped_bytes: u32, code: ErrorCode, why: &'static str },
    /// End the connection.
    Disconnect,
}

impl Work {
    pub(super) fn of(request: &Request, session: &Session) -> Self {
        if request.command == Command::DISCONNECT {
            return Self::Disconnect;
        }
        match session.opened {
            Opened::Image(_) => Self::of_image(request, session),
            Opened::Target(_) => Self::of_target(request, session),
        }
    }

    fn refuse(code: ErrorCode, why: &'static str) -> Self {
        Self::Refuse { skipped_bytes: 0, code, why }
    }

    fn of_image(request: &Request, session: &Session) -> Self {
        match request.command {
            Command::WRITE => {
                let skipped_bytes = request.length_bytes;
                return Self::Refuse { skipped_bytes, code: ErrorCode::PERMISSION, why: READ_ONLY };
            }
            Command::TRIM | Command::WRITE_ZEROES | Command::FLUSH => {
                return Self::refuse(ErrorCode::PERMISSION, READ_ONLY);
            }
            Command::READ | Command::CACHE | Command::BLOCK_STATUS => {}
            _ => return Self::refuse(ErrorCode::INVALID, UNKNOWN),
        }
        let Some(range) = range_within(request, session) else {
            return Self::refuse(ErrorCode::INVALID, OUTSIDE);
        };
        let is_long = request.length_bytes > BlockSizes::DEFAULT.maximum_bytes;
        let in_one_piece = !session.structured || request.flags & Request::FLAG_DO_NOT_FRAGMENT != 0;
        match request.command {
            Command::READ if is_long => Self::refuse(ErrorCode::INVALID, "at most 32 MiB are read at once"),
            Command::READ if in_one_piece => Self::Read(range),
            Command::READ => Self::ReadPieces(range),
            Command::CACHE => Self::Fetch(range),
            _ if session.tells_allocation => {
                Self::Status { range, one_run: request.flags & Request::FLAG_ONE_RUN != 0 }
            }
            _ => Self::refuse(ErrorCode::INVALID, "no metadata context was chosen"),
        }
    }

    fn of_target(request: &Request, session: &Session) -> Self {
        let skipped_bytes = if request.command == Command::WRITE { request.length_bytes } else { 0 };
        let refuse = |code, why| Self::Refuse { skipped_bytes, code, why };
        let is_long = skipped_bytes > BlockSizes::DEFAULT.maximum_bytes;
        match (request.command, range_within(request, session)) {
            (Command::FLUSH, _) => Self::Flush,
            (Command::READ | Command::CACHE | Command::BLOCK_STATUS, _) => {
                refuse(ErrorCode::PERMISSION, "the export can only be written")
            }
            (Command::WRITE | Command::WRITE_ZEROES, None) => refuse(ErrorCode::INVALID, OUTSIDE),
            (Command::WRITE, _) if is_long => {
                refuse(ErrorCode::INVALID, "at most 32 MiB are written at once")
            }
            (Command::WRITE, Some(range)) => Self::Write(range),
            (Command::WRITE_ZEROES, Some(range)) => Self::WriteZeroes(range),
            _ => refuse(ErrorCode::INVALID, UNKNOWN),
        }
    }

    /// The memory that the work takes, in pieces.
    pub(super) fn pieces(&self) -> u32 {
        match self {
            Self::Read(range) | Self::Write(range) => range.length_bytes.div_ceil(PIECE_LENGTH_BYTES) as u32,
            _ => 1,
        }
    }
}

/// The range that a request is about, if there is one and it lies within the disk.
fn range_within(request: &Request, session: &Session) -> Option<ByteRange> {
    let range =
        ByteRange { offset_bytes: request.offset_bytes, length_bytes: u64::from(request.length_bytes) };
    let is_within = !range.is_empty() && range.check_within(session.opened.size_bytes()).is_ok();
    is_within.then_some(range)
}

const READ_ONLY: &str = "the export is read-only";
const OUTSIDE: &str = "the range does not lie within the disk";
const UNKNOWN: &str = "this server does not know the command";

/// What is read and sent at once where replies may come in pieces.
pub(super) const PIECE_LENGTH_BYTES: u64 = 1 << 20;
