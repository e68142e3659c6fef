//! Several connections to one export that are used in turn.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use image::{ByteRange, Error, ErrorKind, Result};

use crate::{
    Client, Endpoint, Export,
    client::cut,
    codec::{handshake::TransmissionFlags, transmission::BlockDescriptor},
};

/// The longest range of one block status request: just below 4 GiB, and a multiple of every minimum block size.
const STATUS_LENGTH_MAX_BYTES: u64 = 0xffff_0000;

/// The longest read of one request, and so the largest buffer that is kept; no server gains from longer ones.
const READ_LENGTH_MAX_BYTES: u64 = 1 << 20;

/// The most runs that are held for one range: 4 GiB in which every other block of 4 KiB differs are a quarter of it.
const RUNS_MAX: usize = 4 << 20;

/// Several connections to one export that are used in turn.
#[derive(Debug)]
pub(crate) struct Connections {
    clients: Vec<Client>,
    next: AtomicUsize,
    /// Buffers for replies; as many as were awaited at once.
    idle: Mutex<Vec<Vec<u8>>>,
}

/// A run of bytes with the flags of a metadata context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) range: ByteRange,
    pub(crate) flags: u32,
}

impl Connections {
    /// Opens `count` connections, or one where the export is writable and does not allow more.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        export: &str,
        contexts: &[String],
        count: usize,
    ) -> Result<Self> {
        let first = Client::connect(endpoint, export, contexts).await?;
        let (flags, size_bytes) = (first.export().flags, first.export().size_bytes);
        if !size_bytes.is_multiple_of(512) {
            let context =
                format!("NBD export {export:?}: its size of {size_bytes} bytes is not a multiple of 512");
            return Err(Error::new(ErrorKind::Protocol, context));
        }
        let shareable =
            flags.contains(TransmissionFlags::CAN_MULTI_CONN) || flags.contains(TransmissionFlags::READ_ONLY);
        let mut clients = vec![first];
        while shareable && clients.len() < count {
            let client = Client::connect(endpoint, export, contexts).await?;
            if client.export().size_bytes != size_bytes {
                return Err(Error::new(ErrorKind::Gone, format!("NBD export {export:?} changed its size")));
            }
            clients.push(client);
        }
        Ok(Self { clients, next: AtomicUsize::new(0), idle: Mutex::default() })
    }

    pub(crate) fn export(&self) -> &Export {
        self.clients[0].export()
    }

    /// The connection whose turn it is.
    pub(crate) fn pick(&self) -> &Client {
        &self.clients[self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()]
    }

    pub(crate) fn has_context(&self, name: &str) -> bool {
        self.export().contexts.iter().any(|context| context.name == name)
    }

    /// Reads a range of any alignment within the export.
    pub(crate) async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        let mut rest = buffer;
        let whole = ByteRange::new(offset_bytes, rest.len() as u64);
        for wanted in cut(whole, READ_LENGTH_MAX_BYTES).flat_map(|part| self.export().pieces(part)) {
            let (piece, behind) = rest.split_at_mut(wanted.length_bytes as usize);
            let asked = self.export().align(wanted);
            let start = (wanted.offset_bytes - asked.offset_bytes) as usize;
            let idle = self.idle().pop().unwrap_or_default();
            let data = self.pick().read_into(idle, asked.offset_bytes, asked.length_bytes as u32).await?;
            piece.copy_from_slice(&data[start..start + piece.len()]);
            self.idle().push(data);
            rest = behind;
        }
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flags of a whole range in one of the granted contexts: sorted, without gaps, equal neighbours joined.
    pub(crate) async fn runs(&self, context: &str, range: ByteRange) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        if range.is_empty() {
            return Ok(runs);
        }
        let asked = self.export().align(range);
        let mut position_bytes = asked.offset_bytes;
        while position_bytes < asked.end_bytes() {
            let length_bytes = (asked.end_bytes() - position_bytes).min(STATUS_LENGTH_MAX_BYTES);
            let client = self.pick();
            let context = client.export().contexts.iter().find(|granted| granted.name == context);
            let context_id =
                context.ok_or(Error::new(ErrorKind::Gone, "a metadata context is no longer there"))?.id;
            let descriptors = client.block_status(context_id, position_bytes, length_bytes as u32).await?;
            position_bytes = append_runs(&mut runs, position_bytes, &descriptors, range);
            if runs.len() > RUNS_MAX {
                return Err(Error::new(
                    ErrorKind::Protocol,
                    format!("more than {RUNS_MAX} runs in {range:?}"),
                ));
            }
        }
        Ok(runs)
    }

    /// Ends all connections in order.
    pub(crate) async fn disconnect(&self) -> Result<()> {
        for client in &self.clients {
            client.disconnect().await?;
        }
        Ok(())
    }
}

/// Appends the part of the descriptors that lies in the window; returns where the descriptors end.
fn append_runs(
    runs: &mut Vec<Run>,
    start_bytes: u64,
    descriptors: &[BlockDescriptor],
    window: ByteRange,
) -> u64 {
    let mut position_bytes = start_bytes;
    for descriptor in descriptors {
        let run = ByteRange::new(position_bytes, u64::from(descriptor.length_bytes));
        position_bytes = run.end_bytes();
        let range = run.intersection(window);
        match runs.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.flags == descriptor.flags => last.range.length_bytes += range.length_bytes,
            _ => runs.push(Run { range, flags: descriptor.flags }),
        }
    }
    position_bytes
}
