//! From the end of the negotiation to the end of the connection.

use std::{io, sync::Arc};

use image::{ByteRange, DiskImage, DiskTarget, Extent, ExtentKind, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader},
    sync::Semaphore,
    task::JoinSet,
};

use super::{
    error_code,
    exports::Opened,
    negotiation::{ALLOCATION_ID, Session},
    replies::Replies,
    work::{PIECE_LENGTH_BYTES, Work},
};
use crate::{
    client::cut,
    codec::transmission::{BlockDescriptor, BlockStatus, Cookie, Hole, Request},
};

/// What the requests of one connection may hold in memory, in pieces; those that find no place wait. The longest read
/// takes all of it.
const PIECES_MAX: u32 = 32;

/// The most runs in one answer; a client asks on from where they end.
const RUNS_MAX: usize = 1 << 16;

/// Serves requests, many at once and answered in any order, until the client ends the connection or breaks the protocol.
pub(super) async fn run<S>(stream: S, session: Session)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (reading, writing) = tokio::io::split(stream);
    let replies = Arc::new(Replies::new(writing, session.structured));
    let mut requests = JoinSet::new();
    let took_leave = take_requests(BufReader::new(reading), &session, &replies, &mut requests).await;
    if took_leave.is_ok_and(|it| it) {
        // Those that are in flight are answered; the others of a client that is lost need not be.
        while requests.join_next().await.is_some() {}
        let _ = replies.end().await;
    }
}

/// Takes requests until the last; whether the client took leave.
async fn take_requests<R, W>(
    mut reading: R,
    session: &Session,
    replies: &Arc<Replies<W>>,
    requests: &mut JoinSet<()>,
) -> io::Result<bool>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let memory = Arc::new(Semaphore::new(PIECES_MAX as usize));
    loop {
        let mut request = [0; Request::LENGTH_BYTES];
        reading.read_exact(&mut request).await?;
        let Ok(request) = Request::decode(&request) else { return Ok(false) };
        let work = Work::of(&request, session);
        match work {
            Work::Disconnect => return Ok(true),
            Work::Refuse { skipped_bytes, code, why } => {
                let mut skipped = (&mut reading).take(u64::from(skipped_bytes));
                tokio::io::copy(&mut skipped, &mut tokio::io::sink()).await?;
                replies.error(request.cookie, code, why).await?;
                continue;
            }
            _ => {}
        }
        while requests.try_join_next().is_some() {}
        let Ok(held) = Arc::clone(&memory).acquire_many_owned(work.pieces()).await else { return Ok(false) };
        // Memory for the data of a write is there once the write has its place.
        let mut data = Vec::new();
        if let Work::Write(range) = work {
            data.resize(range.length_bytes as usize, 0);
            reading.read_exact(&mut data).await?;
        }
        let replies = Arc::clone(replies);
        let (opened, cookie) = (session.opened.clone(), request.cookie);
        requests.spawn(async move {
            // A reply that cannot be sent belongs to a connection that ends by itself.
            let _ = match opened {
                Opened::Image(image) => Answer { image, replies, cookie }.give(work).await,
                Opened::Target(target) => take(&*target, &work, &data, &replies, cookie).await,
            };
            drop(held);
        });
    }
}

/// Carries out a request to a target, and answers it.
async fn take<W: AsyncWrite + Unpin>(
    target: &dyn DiskTarget,
    work: &Work,
    data: &[u8],
    replies: &Replies<W>,
    cookie: Cookie,
) -> io::Result<()> {
    let done = match work {
        Work::Write(range) => target.write_at(range.offset_bytes, data).await,
        Work::WriteZeroes(range) => target.write_zeroes(*range).await,
        Work::Flush => target.flush().await,
        _ => Ok(()),
    };
    match done {
        Ok(()) => replies.done(cookie).await,
        Err(error) => replies.error(cookie, error_code(&error), &error.to_string()).await,
    }
}

/// One request for a part of an image on its way to its reply.
struct Answer<W> {
    image: Arc<dyn DiskImage>,
    replies: Arc<Replies<W>>,
    cookie: Cookie,
}

impl<W: AsyncWrite + Unpin> Answer<W> {
    async fn give(&self, work: Work) -> io::Result<()> {
        match work {
            Work::Read(range) => match self.read(range).await {
                Ok(data) => self.replies.whole(self.cookie, range.offset_bytes, &data).await,
                Err(error) => self.fail(&error).await,
            },
            Work::ReadPieces(range) => match self.image.extents(range).await {
                Ok(extents) => self.send_pieces(extents).await,
                Err(error) => self.fail(&error).await,
            },
            Work::Fetch(range) => match self.fetch(range).await {
                Ok(()) => self.replies.done(self.cookie).await,
                Err(error) => self.fail(&error).await,
            },
            Work::Status { range, one_run } => match self.image.extents(range).await {
                Ok(extents) => self.replies.status(self.cookie, &status(&extents, one_run)).await,
                Err(error) => self.fail(&error).await,
            },
            Work::Write(_) | Work::WriteZeroes(_) | Work::Flush | Work::Refuse { .. } | Work::Disconnect => {
                Ok(())
            }
        }
    }

    /// Sends data as it is read, and zeros as holes. The last message ends the reply: most reads are of one piece, and
    /// take one message.
    async fn send_pieces(&self, extents: Vec<Extent>) -> io::Result<()> {
        let mut pieces = extents.into_iter().flat_map(pieces_of).peekable();
        while let Some(Extent { range, kind }) = pieces.next() {
            let is_last = pieces.peek().is_none();
            if kind == ExtentKind::Zero {
                let hole = Hole { offset_bytes: range.offset_bytes, length_bytes: range.length_bytes as u32 };
                self.replies.hole(self.cookie, is_last, hole).await?;
                continue;
            }
            match self.read(range).await {
                Ok(data) => self.replies.part(self.cookie, is_last, range.offset_bytes, &data).await?,
                Err(error) => return self.fail(&error).await,
            }
        }
        Ok(())
    }

    async fn read(&self, range: ByteRange) -> Result<Vec<u8>> {
        let mut buffer = vec![0; range.length_bytes as usize];
        self.image.read_at(range.offset_bytes, &mut buffer).await?;
        Ok(buffer)
    }

    async fn fetch(&self, range: ByteRange) -> Result<()> {
        for piece in cut(range, PIECE_LENGTH_BYTES) {
            self.read(piece).await?;
        }
        Ok(())
    }

    async fn fail(&self, error: &image::Error) -> io::Result<()> {
        self.replies.error(self.cookie, error_code(error), &error.to_string()).await
    }
}

/// An extent as it is sent: zeros at once, data in pieces.
fn pieces_of(extent: Extent) -> impl Iterator<Item = Extent> {
    let length_bytes = match extent.kind {
        ExtentKind::Zero => u64::MAX,
        ExtentKind::Data => PIECE_LENGTH_BYTES,
    };
    cut(extent.range, length_bytes).map(move |range| Extent { range, kind: extent.kind })
}

fn status(extents: &[Extent], one_run: bool) -> BlockStatus {
    let count = if one_run { 1 } else { RUNS_MAX };
    let runs = extents.iter().take(count).map(|extent| BlockDescriptor {
        length_bytes: extent.range.length_bytes as u32,
        flags: match extent.kind {
            ExtentKind::Data => 0,
            ExtentKind::Zero => BlockStatus::FLAG_HOLE | BlockStatus::FLAG_ZERO,
        },
    });
    BlockStatus { context_id: ALLOCATION_ID, descriptors: runs.collect() }
}
