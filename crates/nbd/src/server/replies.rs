//! The side of a connection on which replies are sent.

use std::io;

use bytes::Buf;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::Mutex,
};

use crate::codec::transmission::{BlockStatus, ChunkError, ChunkKind, Cookie, ErrorCode, Hole, ReplyHeader};

/// Sends the replies of one connection, each message whole.
pub(super) struct Replies<W> {
    stream: Mutex<W>,
    structured: bool,
}

impl<W: AsyncWrite + Unpin> Replies<W> {
    pub(super) fn new(stream: W, structured: bool) -> Self {
        Self { stream: Mutex::new(stream), structured }
    }

    /// A request that is done and is answered with nothing; the end of a structured reply.
    pub(super) async fn done(&self, cookie: Cookie) -> io::Result<()> {
        match self.structured {
            true => self.chunk(cookie, true, ChunkKind::NONE, &[], &[]).await,
            false => self.simple(cookie, ErrorCode::OK, &[]).await,
        }
    }

    /// A request that failed; the last message of its reply.
    pub(super) async fn error(&self, cookie: Cookie, code: ErrorCode, message: &str) -> io::Result<()> {
        if !self.structured {
            return self.simple(cookie, code, &[]).await;
        }
        let mut payload = Vec::new();
        let message = message[..message.floor_char_boundary(1024)].to_owned();
        ChunkError { code, message }.encode(&mut payload);
        self.chunk(cookie, true, ChunkKind::ERROR, &payload, &[]).await
    }

    /// The whole of what a read asked for.
    pub(super) async fn whole(&self, cookie: Cookie, offset_bytes: u64, data: &[u8]) -> io::Result<()> {
        match self.structured {
            true => self.part(cookie, true, offset_bytes, data).await,
            false => self.simple(cookie, ErrorCode::OK, data).await,
        }
    }

    /// A part of what a read asked for. More follows unless it is the last.
    pub(super) async fn part(
        &self,
        cookie: Cookie,
        is_last: bool,
        offset_bytes: u64,
        data: &[u8],
    ) -> io::Result<()> {
        self.chunk(cookie, is_last, ChunkKind::OFFSET_DATA, &offset_bytes.to_be_bytes(), data).await
    }

    /// Zeros that a read asked for. More follows unless they are the last.
    pub(super) async fn hole(&self, cookie: Cookie, is_last: bool, hole: Hole) -> io::Result<()> {
        let mut payload = Vec::new();
        hole.encode(&mut payload);
        self.chunk(cookie, is_last, ChunkKind::OFFSET_HOLE, &payload, &[]).await
    }

    /// The answer to a question for the status of blocks.
    pub(super) async fn status(&self, cookie: Cookie, status: &BlockStatus) -> io::Result<()> {
        let mut payload = Vec::new();
        status.encode(&mut payload);
        self.chunk(cookie, true, ChunkKind::BLOCK_STATUS, &payload, &[]).await
    }

    /// Ends the connection in order.
    pub(super) async fn end(&self) -> io::Result<()> {
        self.stream.lock().await.shutdown().await
    }

    async fn simple(&self, cookie: Cookie, error: ErrorCode, data: &[u8]) -> io::Result<()> {
        self.send(ReplyHeader::Simple { cookie, error }, &[], data).await
    }

    async fn chunk(
        &self,
        cookie: Cookie,
        is_last: bool,
        kind: ChunkKind,
        head: &[u8],
        data: &[u8],
    ) -> io::Result<()> {
        let length_bytes = (head.len() + data.len()) as u32;
        self.send(ReplyHeader::Chunk { cookie, is_last, kind, length_bytes }, head, data).await
    }

    async fn send(&self, header: ReplyHeader, head: &[u8], data: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(ReplyHeader::LENGTH_MAX_BYTES + head.len());
        header.encode(&mut message);
        message.extend_from_slice(head);
        let mut stream = self.stream.lock().await;
        stream.write_all_buf(&mut message.as_slice().chain(data)).await?;
        stream.flush().await
    }
}
