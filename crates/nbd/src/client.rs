//! One connection with many requests in flight.

mod coverage;
pub(crate) mod negotiation;
mod patience;
mod pending;
mod receiver;
mod sender;

use std::{fmt, sync::Arc, time::Duration};

use image::{ByteRange, Error, ErrorKind, Result};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use crate::{
    Endpoint,
    codec::{
        handshake::{BlockSizes, MetaContext, TransmissionFlags},
        transmission::{BlockDescriptor, Command, Request},
    },
};
use patience::Patience;
use pending::{Expectation, Pending, Reply};
use sender::Outgoing;

/// The longest read or write that is sent in one request.
const PAYLOAD_LENGTH_MAX_BYTES: u32 = 32 << 20;

/// How long a server may take to close a connection that was ended in order.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests that wait to be sent; more make their callers wait.
const QUEUE_LENGTH: usize = 64;

/// What the server told about the export.
#[derive(Debug, Clone)]
pub struct Export {
    /// Its size.
    pub size_bytes: u64,
    /// What it can do.
    pub flags: TransmissionFlags,
    /// The units in which it is read and written.
    pub block_sizes: BlockSizes,
    /// Whether replies are structured; without it there are no contexts.
    pub structured: bool,
    /// The metadata contexts that were granted.
    pub contexts: Vec<MetaContext>,
}

impl Export {
    /// The smallest range around a range within the export that the server accepts.
    pub(crate) fn align(&self, range: ByteRange) -> ByteRange {
        let block_bytes = u64::from(self.block_sizes.minimum_bytes);
        let start_bytes = range.offset_bytes - range.offset_bytes % block_bytes;
        let end_bytes = range.end_bytes().next_multiple_of(block_bytes);
        ByteRange::between(start_bytes, end_bytes.min(self.size_bytes))
    }

    /// The largest range within a range that the server accepts; may be empty.
    pub(crate) fn align_within(&self, range: ByteRange) -> ByteRange {
        let block_bytes = u64::from(self.block_sizes.minimum_bytes);
        let end_bytes = range.end_bytes();
        // The export's end need not be the end of a block.
        let cut_off_bytes = if end_bytes == self.size_bytes { 0 } else { end_bytes % block_bytes };
        ByteRange::between(range.offset_bytes.next_multiple_of(block_bytes), end_bytes - cut_off_bytes)
    }

    /// Cuts a range into pieces that fit into one request each, also after [`Export::align`].
    pub(crate) fn pieces(&self, range: ByteRange) -> impl Iterator<Item = ByteRange> + use<> {
        let (block_bytes, maximum_bytes) = (self.block_sizes.minimum_bytes, self.block_sizes.maximum_bytes);
        let step_bytes = maximum_bytes.min(PAYLOAD_LENGTH_MAX_BYTES) / block_bytes * block_bytes;
        cut(range, u64::from(step_bytes))
    }
}

/// Cuts a range at the multiples of a length.
pub(crate) fn cut(range: ByteRange, step_bytes: u64) -> impl Iterator<Item = ByteRange> {
    let first_step = range.offset_bytes / step_bytes;
    let steps = first_step..range.end_bytes().div_ceil(step_bytes);
    let pieces = steps.map(move |step| ByteRange::new(step * step_bytes, step_bytes).intersection(range));
    pieces.filter(|piece| !piece.is_empty())
}

/// One connection in transmission, with many requests in flight.
///
/// Requests must lie within the export, be aligned to its minimum block size, and carry at most 32 MiB. A future that is
/// dropped gives up its reply, not the connection. Dropping the client cuts the connection.
pub struct Client {
    export: Export,
    pending: Arc<Pending>,
    outgoing: mpsc::Sender<Outgoing>,
    _tasks: JoinSet<()>,
}

impl Client {
    /// Connects and negotiates; contexts that the server does not have are left out.
    ///
    /// # Errors
    /// `Gone` when there is no such socket or export, `Protocol` when the server wants or speaks something else, `Io` when
    /// it refuses the connection or takes longer than 30 s.
    pub async fn connect(endpoint: &Endpoint, export: &str, contexts: &[String]) -> Result<Self> {
        endpoint.in_time(async { Self::negotiate(endpoint.open().await?, export, contexts).await }).await
    }

    /// Negotiates over a connection that is already there, for as long as it takes.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn negotiate<S>(stream: S, export: &str, contexts: &[String]) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::negotiate_patiently(stream, export, contexts, Patience::DEFAULT).await
    }

    async fn negotiate_patiently<S>(
        mut stream: S,
        export: &str,
        contexts: &[String],
        patience: Patience,
    ) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let export = negotiation::negotiate(&mut stream, export, contexts).await?;
        let (reading, writing) = tokio::io::split(stream);
        let pending = Arc::new(Pending::new(patience));
        let (outgoing, queue) = mpsc::channel(QUEUE_LENGTH);
        let mut tasks = JoinSet::new();
        tasks.spawn(receiver::run(reading, export.structured, Arc::clone(&pending)));
        tasks.spawn(sender::run(writing, queue, Arc::clone(&pending)));
        Ok(Self { export, pending, outgoing, _tasks: tasks })
    }

    /// What the server told about the export.
    #[must_use]
    pub fn export(&self) -> &Export {
        &self.export
    }

    /// Reads a range.
    ///
    /// # Errors
    /// As the crate's documentation says.
    pub async fn read(&self, offset_bytes: u64, length_bytes: u32) -> Result<Vec<u8>> {
        self.read_into(Vec::new(), offset_bytes, length_bytes).await
    }

    /// Reads a range into memory that is there already; what it held is gone, and it takes the range's length.
    pub(crate) async fn read_into(
        &self,
        buffer: Vec<u8>,
        offset_bytes: u64,
        length_bytes: u32,
    ) -> Result<Vec<u8>> {
        // Without it QEMU looks for holes in each read, and cuts the connection where it meets a bad sector.
        let whole = self.export.flags.contains(TransmissionFlags::SEND_DF);
        let flags = if whole { Request::FLAG_DO_NOT_FRAGMENT } else { 0 };
        let request = self.request(Command::READ, flags, offset_bytes, length_bytes);
        Ok(self.ask(request, Vec::new(), Expectation::data(buffer, offset_bytes, length_bytes)).await?.data)
    }

    /// Writes the whole of `data`.
    ///
    /// # Errors
    /// As the crate's documentation says.
    pub async fn write(&self, offset_bytes: u64, data: Vec<u8>) -> Result<()> {
        let request = self.request(Command::WRITE, 0, offset_bytes, data.len() as u32);
        self.ask(request, data, Expectation::Done).await.map(drop)
    }

    /// Makes a range read as zero, as a hole where the server can.
    ///
    /// # Errors
    /// As the crate's documentation says.
    pub async fn write_zeroes(&self, offset_bytes: u64, length_bytes: u32) -> Result<()> {
        let request = self.request(Command::WRITE_ZEROES, 0, offset_bytes, length_bytes);
        self.ask(request, Vec::new(), Expectation::Done).await.map(drop)
    }

    /// Makes durable all writes that were answered before this call.
    ///
    /// # Errors
    /// As the crate's documentation says.
    pub async fn flush(&self) -> Result<()> {
        let request = self.request(Command::FLUSH, 0, 0, 0);
        self.ask(request, Vec::new(), Expectation::Done).await.map(drop)
    }

    /// The flags of consecutive runs from the offset on, in one of the granted contexts. The runs may end before the range
    /// does, and behind it, but they are at least one byte long in all.
    ///
    /// # Errors
    /// As the crate's documentation says.
    pub async fn block_status(
        &self,
        context_id: u32,
        offset_bytes: u64,
        length_bytes: u32,
    ) -> Result<Vec<BlockDescriptor>> {
        let request = self.request(Command::BLOCK_STATUS, 0, offset_bytes, length_bytes);
        Ok(self.ask(request, Vec::new(), Expectation::status(context_id)).await?.descriptors)
    }

    /// Ends the connection in order, after the requests that are in flight. Returns when the server has closed it.
    ///
    /// # Errors
    /// `Io` when the server does not close it within 5 s.
    pub async fn disconnect(&self) -> Result<()> {
        let request = self.request(Command::DISCONNECT, 0, 0, 0);
        let ending = async {
            // A queue without a reader belongs to a connection that has ended already.
            let _ = self.outgoing.send(Outgoing { request, payload: Vec::new() }).await;
            self.pending.closed().await;
        };
        timeout(DISCONNECT_TIMEOUT, ending).await.map_err(|_| {
            let context = format!("the server kept the connection open for {DISCONNECT_TIMEOUT:?}");
            Error::new(ErrorKind::Io, context)
        })
    }

    fn request(&self, command: Command, flags: u16, offset_bytes: u64, length_bytes: u32) -> Request {
        Request { flags, command, cookie: self.pending.next_cookie(), offset_bytes, length_bytes }
    }

    async fn ask(&self, request: Request, payload: Vec<u8>, expectation: Expectation) -> Result<Reply> {
        // The place comes first: a future that is dropped must not leave a request waiting that was never sent.
        let Ok(place) = self.outgoing.reserve().await else {
            return Err(self.pending.closed().await);
        };
        let answer = self.pending.register(request, expectation)?;
        place.send(Outgoing { request, payload });
        match answer.await {
            Ok(reply) => reply,
            Err(_) => Err(self.pending.closed().await),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("export", &self.export).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
