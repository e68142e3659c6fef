//! The task that receives replies.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use image::ErrorKind;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader, ReadBuf};

use super::pending::{Pending, Waiting};
use crate::codec::{
    Malformed,
    transmission::{BlockStatus, ChunkError, ChunkKind, ErrorCode, Hole, ReplyHeader},
};

/// The longest payload of a chunk that is not data: a block status of two million runs.
const CHUNK_LENGTH_MAX_BYTES: u32 = 16 << 20;

const OFFSET_LENGTH_BYTES: u32 = 8;

/// Why no more replies can be received.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the connection to the NBD server is lost: {0}")]
    Lost(#[from] io::Error),
    #[error("the NBD server broke the protocol: {0}")]
    Malformed(#[from] Malformed),
    #[error("the NBD server has said nothing for {0:?} while requests waited")]
    Silent(Duration),
}

/// Hands replies to the requests that wait for them until the connection ends.
pub(super) async fn run(stream: impl AsyncRead + Unpin, structured: bool, pending: Arc<Pending>) {
    let stream = BufReader::new(Heard { stream, pending: &pending });
    let mut receiver = Receiver { stream, structured, pending: &pending };
    let end = tokio::select! {
        Err(end) = receiver.receive_all() => end,
        silence = pending.silence() => End::Silent(silence),
    };
    let kind = match end {
        End::Lost(_) | End::Silent(_) => ErrorKind::Gone,
        End::Malformed(_) => ErrorKind::Protocol,
    };
    pending.close(kind, end.to_string());
}

/// A stream that notes when something comes.
struct Heard<'a, S> {
    stream: S,
    pending: &'a Pending,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.pending.heard();
        Poll::Ready(read)
    }
}

struct Receiver<'a, S> {
    stream: BufReader<Heard<'a, S>>,
    structured: bool,
    pending: &'a Pending,
}

impl<S: AsyncRead + Unpin> Receiver<'_, S> {
    async fn receive_all(&mut self) -> Result<Infallible, End> {
        loop {
            match self.receive_header().await? {
                ReplyHeader::Simple { cookie, error } => {
                    let mut waiting = self.pending.take(cookie)?;
                    self.receive_simple(&mut waiting, error).await?;
                    self.pending.finish(waiting)?;
                }
                ReplyHeader::Chunk { cookie, is_last, kind, length_bytes } => {
                    if !self.structured {
                        return Err(Malformed("a structured reply that was not negotiated").into());
                    }
                    let mut waiting = self.pending.take(cookie)?;
                    self.receive_chunk(&mut waiting, kind, length_bytes).await?;
                    match is_last {
                        true => self.pending.finish(waiting)?,
                        false => self.pending.put_back(cookie, waiting),
                    }
                }
            }
        }
    }

    async fn receive_header(&mut self) -> Result<ReplyHeader, End> {
        let mut header = [0; ReplyHeader::LENGTH_MAX_BYTES];
        let (magic, _) = header.split_at_mut(ReplyHeader::MAGIC_LENGTH_BYTES);
        self.stream.read_exact(magic).await?;
        let length = ReplyHeader::length_bytes([header[0], header[1], header[2], header[3]])?;
        self.stream.read_exact(&mut header[ReplyHeader::MAGIC_LENGTH_BYTES..length]).await?;
        Ok(ReplyHeader::decode(&header[..length])?)
    }

    async fn receive_simple(&mut self, waiting: &mut Waiting, error: ErrorCode) -> Result<(), End> {
        if error != ErrorCode::OK {
            waiting.accept_error(error, "");
        } else if self.structured {
            // A read that went well must be answered by chunks now; for other requests there is no buffer to fill.
            if !waiting.whole_buffer()?.is_empty() {
                return Err(Malformed("a simple reply to a read").into());
            }
        } else {
            self.stream.read_exact(waiting.whole_buffer()?).await?;
        }
        Ok(())
    }

    async fn receive_chunk(
        &mut self,
        waiting: &mut Waiting,
        kind: ChunkKind,
        length_bytes: u32,
    ) -> Result<(), End> {
        if kind == ChunkKind::OFFSET_DATA {
            let length =
                length_bytes.checked_sub(OFFSET_LENGTH_BYTES).ok_or(Malformed("data without an offset"))?;
            let offset_bytes = self.stream.read_u64().await?;
            self.stream.read_exact(waiting.place_for(offset_bytes, length as usize)?).await?;
            return Ok(());
        }
        if length_bytes > CHUNK_LENGTH_MAX_BYTES {
            return Err(Malformed("a chunk that is too long").into());
        }
        let mut payload = vec![0; length_bytes as usize];
        self.stream.read_exact(&mut payload).await?;
        match kind {
            ChunkKind::NONE if payload.is_empty() => Ok(()),
            ChunkKind::OFFSET_HOLE => Ok(waiting.accept_hole(Hole::decode(&payload)?)?),
            ChunkKind::BLOCK_STATUS => Ok(waiting.accept_status(BlockStatus::decode(&payload)?)?),
            kind if kind.is_error() => {
                let error = ChunkError::decode(&payload)?;
                waiting.accept_error(error.code, &error.message);
                Ok(())
            }
            _ => Err(Malformed("a chunk of an unknown kind").into()),
        }
    }
}
