//! The requests that wait for their replies.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use image::{Error, ErrorKind, Result};
use tokio::{
    sync::{oneshot, watch},
    time::{Duration, Instant, sleep_until},
};

use super::{coverage::Coverage, patience::Patience};
use crate::codec::{
    Malformed,
    transmission::{BlockDescriptor, BlockStatus, Command, Cookie, ErrorCode, Hole, Request},
};

/// What a request is answered with: nothing, data, or descriptors.
#[derive(Default)]
pub(super) struct Reply {
    pub(super) data: Vec<u8>,
    pub(super) descriptors: Vec<BlockDescriptor>,
}

/// What a request waits for, and what of it has come.
pub(super) enum Expectation {
    Data { offset_bytes: u64, buffer: Vec<u8>, come: Coverage },
    Status { context_id: u32, descriptors: Vec<BlockDescriptor> },
    Done,
}

impl Expectation {
    /// Data for a buffer, which takes the length. Nobody sees what it held before: all of it has to come.
    pub(super) fn data(mut buffer: Vec<u8>, offset_bytes: u64, length_bytes: u32) -> Self {
        buffer.resize(length_bytes as usize, 0);
        Self::Data { offset_bytes, buffer, come: Coverage::default() }
    }

    pub(super) fn status(context_id: u32) -> Self {
        Self::Status { context_id, descriptors: Vec::new() }
    }
}

/// A request that waits for its reply.
pub(super) struct Waiting {
    command: Command,
    expectation: Expectation,
    failure: Option<Error>,
    answer: oneshot::Sender<Result<Reply>>,
}

impl Waiting {
    /// The part of the buffer into which data of a chunk goes; counts it as come.
    pub(super) fn place_for(
        &mut self,
        chunk_offset_bytes: u64,
        length: usize,
    ) -> std::result::Result<&mut [u8], Malformed> {
        let Expectation::Data { offset_bytes, buffer, come } = &mut self.expectation else {
            return Err(Malformed("data for a request that reads nothing"));
        };
        let part = chunk_offset_bytes
            .checked_sub(*offset_bytes)
            .and_then(|start| usize::try_from(start).ok())
            .and_then(|start| Some(start..start.checked_add(length)?));
        let outside = Malformed("data outside the range that was asked for");
        let part = part.filter(|part| part.end <= buffer.len()).ok_or(outside)?;
        come.add(part.clone())?;
        Ok(&mut buffer[part])
    }

    /// All of a buffer, for a reply that comes in one piece; nothing for other requests.
    pub(super) fn whole_buffer(&mut self) -> std::result::Result<&mut [u8], Malformed> {
        match &mut self.expectation {
            Expectation::Data { buffer, come, .. } => {
                come.add(0..buffer.len())?;
                Ok(buffer)
            }
            _ => Ok(&mut []),
        }
    }

    pub(super) fn accept_hole(&mut self, hole: Hole) -> std::result::Result<(), Malformed> {
        self.place_for(hole.offset_bytes, hole.length_bytes as usize)?.fill(0);
        Ok(())
    }

    pub(super) fn accept_status(&mut self, status: BlockStatus) -> std::result::Result<(), Malformed> {
        match &mut self.expectation {
            Expectation::Status { context_id, descriptors } => {
                if *context_id == status.context_id {
                    *descriptors = status.descriptors;
                }
                Ok(())
            }
            _ => Err(Malformed("a block status for a request that asked for none")),
        }
    }

    /// Notes that the server reported an error; the first one counts.
    pub(super) fn accept_error(&mut self, code: ErrorCode, message: &str) {
        if self.failure.is_none() {
            self.failure = Some(reported_error(self.command, code, message));
        }
    }

    /// Answers the request with what has come.
    fn finish(self) -> std::result::Result<(), Malformed> {
        let reply = match (self.failure, self.expectation) {
            (Some(error), _) => Err(error),
            (None, Expectation::Data { buffer, come, .. }) if come.is_complete(buffer.len()) => {
                Ok(Reply { data: buffer, ..Reply::default() })
            }
            (None, Expectation::Data { .. }) => return Err(Malformed("less data than was asked for")),
            (None, Expectation::Status { descriptors, .. }) if descriptors.is_empty() => {
                return Err(Malformed("no block status for a context that was granted"));
            }
            (None, Expectation::Status { descriptors, .. }) => Ok(Reply { descriptors, ..Reply::default() }),
            (None, Expectation::Done) => Ok(Reply::default()),
        };
        // Nobody waits when the request's future was dropped.
        let _ = self.answer.send(reply);
        Ok(())
    }
}

/// All requests of a connection that wait for their replies, and how the connection ended.
pub(super) struct Pending {
    waits: Mutex<Waits>,
    patience: Patience,
    next_cookie: AtomicU64,
    end: watch::Sender<Option<(ErrorKind, String)>>,
}

impl Pending {
    pub(super) fn new(patience: Patience) -> Self {
        let waits = Waits { requests: HashMap::new(), in_reply: None, heard_at: Instant::now() };
        let (next_cookie, end) = (AtomicU64::new(1), watch::Sender::new(None));
        Self { waits: Mutex::new(waits), patience, next_cookie, end }
    }

    pub(super) fn next_cookie(&self) -> Cookie {
        Cookie(self.next_cookie.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a request known before it is sent. The receiver fails when the connection ends first.
    pub(super) fn register(
        &self,
        request: Request,
        expectation: Expectation,
    ) -> Result<oneshot::Receiver<Result<Reply>>> {
        let (answer, receiver) = oneshot::channel();
        let mut waits = self.lock();
        if let Some((kind, reason)) = &*self.end.borrow() {
            return Err(Error::new(*kind, reason.clone()));
        }
        if waits.commands().next().is_none() {
            waits.heard_at = Instant::now();
        }
        let waiting = Waiting { command: request.command, expectation, failure: None, answer };
        waits.requests.insert(request.cookie, waiting);
        Ok(receiver)
    }

    /// Takes a request out, to work on its reply.
    pub(super) fn take(&self, cookie: Cookie) -> std::result::Result<Waiting, Malformed> {
        let mut waits = self.lock();
        let waiting =
            waits.requests.remove(&cookie).ok_or(Malformed("a reply to a request that was not made"))?;
        waits.in_reply = Some(waiting.command);
        Ok(waiting)
    }

    /// Puts a request back that needs more.
    pub(super) fn put_back(&self, cookie: Cookie, waiting: Waiting) {
        let mut waits = self.lock();
        waits.in_reply = None;
        waits.requests.insert(cookie, waiting);
    }

    /// Answers a request that was taken out.
    pub(super) fn finish(&self, waiting: Waiting) -> std::result::Result<(), Malformed> {
        self.lock().in_reply = None;
        waiting.finish()
    }

    /// Notes that the server said something.
    pub(super) fn heard(&self) {
        self.lock().heard_at = Instant::now();
    }

    /// Waits until the server has said nothing for too long while requests wait. Returns for how long.
    pub(super) async fn silence(&self) -> Duration {
        loop {
            let (now, limit, heard_at) = {
                let waits = self.lock();
                (Instant::now(), self.patience.limit(waits.commands()), waits.heard_at)
            };
            match limit {
                Some(limit) if heard_at + limit <= now => return limit,
                // What is asked meanwhile is due later than this.
                Some(limit) => sleep_until((heard_at + limit).min(now + self.patience.shortest())).await,
                None => sleep_until(now + self.patience.shortest()).await,
            }
        }
    }

    /// Fails all requests, now and from now on. The first call names the reason.
    pub(super) fn close(&self, kind: ErrorKind, reason: String) {
        let mut waits = self.lock();
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert((kind, reason));
            first
        });
        waits.requests.clear();
    }

    /// Waits for the end of the connection.
    pub(super) async fn closed(&self) -> Error {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await.as_deref() {
            Ok(Some((kind, reason))) => Error::new(*kind, reason.clone()),
            _ => Error::new(ErrorKind::Gone, "the connection ended"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits, and since when.
struct Waits {
    requests: HashMap<Cookie, Waiting>,
    /// The command whose reply is being received.
    in_reply: Option<Command>,
    /// When the server last said something, or was first asked something after it had answered everything.
    heard_at: Instant,
}

impl Waits {
    fn commands(&self) -> impl Iterator<Item = Command> {
        self.requests.values().map(|waiting| waiting.command).chain(self.in_reply)
    }
}

/// An error that the server reported about one request, in the image seam's terms.
fn reported_error(command: Command, code: ErrorCode, message: &str) -> Error {
    let (kind, what) = match (command, code) {
        // Requests are checked before they are sent, so a refused read means that there is nothing left to read.
        (Command::READ | Command::BLOCK_STATUS, ErrorCode::INVALID) => {
            (ErrorKind::Gone, "the snapshot is broken")
        }
        (_, ErrorCode::SHUTDOWN) => (ErrorKind::Gone, "the NBD server is shutting down"),
        (_, ErrorCode::NO_SPACE) => (ErrorKind::NoSpace, "the NBD server has no space"),
        (_, ErrorCode::PERMISSION | ErrorCode::NOT_SUPPORTED | ErrorCode::INVALID) => {
            (ErrorKind::Protocol, "the NBD server refused the request")
        }
        _ => (ErrorKind::Io, "the NBD server failed"),
    };
    let detail = if message.is_empty() { String::new() } else { format!(": {message:?}") };
    Error::new(kind, format!("{what} ({code}{detail})"))
}
