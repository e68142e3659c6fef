//! An export that is written.

use async_trait::async_trait;
use image::{ByteRange, DiskTarget, Error, ErrorKind, Result};
use tokio::sync::Mutex;

use crate::{Client, Endpoint, client::cut, codec::handshake::TransmissionFlags};

/// The longest range that is zeroed by one request; a multiple of every minimum block size.
const ZEROES_LENGTH_MAX_BYTES: u64 = 1 << 30;

/// Zeros sent at a time to a server that cannot write zeroes by itself.
const ZEROES_PAYLOAD_BYTES: u64 = 1 << 20;

/// An export that is written, over one connection.
#[derive(Debug)]
pub struct NbdTarget {
    client: Client,
    starts_zeroed: bool,
    /// Held while a block is read, changed in part and written back.
    partial_blocks: Mutex<()>,
}

impl NbdTarget {
    /// Connects to a writable export. The caller knows whether it reads as zero everywhere.
    ///
    /// # Errors
    /// As [`Client::connect`]; `Protocol` when the export is read-only or cannot be flushed.
    pub async fn connect(endpoint: Endpoint, export: &str, starts_zeroed: bool) -> Result<Self> {
        let client = Client::connect(&endpoint, export, &[]).await?;
        let flags = client.export().flags;
        if flags.contains(TransmissionFlags::READ_ONLY) || !flags.contains(TransmissionFlags::SEND_FLUSH) {
            let context = format!("NBD export {export:?} of {endpoint} is read-only or cannot be flushed");
            return Err(Error::new(ErrorKind::Protocol, context));
        }
        Ok(Self { client, starts_zeroed, partial_blocks: Mutex::new(()) })
    }

    /// Ends the connection in order, after the requests that are in flight. Does not flush.
    ///
    /// # Errors
    /// `Io` when the server does not close the connection within 5 s.
    pub async fn disconnect(&self) -> Result<()> {
        self.client.disconnect().await
    }

    /// Writes data that fits into one request.
    async fn write_piece(&self, wanted: ByteRange, data: &[u8]) -> Result<()> {
        let asked = self.client.export().align(wanted);
        if asked == wanted {
            return self.client.write(wanted.offset_bytes, data.to_vec()).await;
        }
        let _turn = self.partial_blocks.lock().await;
        let mut blocks = self.client.read(asked.offset_bytes, asked.length_bytes as u32).await?;
        let start = (wanted.offset_bytes - asked.offset_bytes) as usize;
        blocks[start..start + data.len()].copy_from_slice(data);
        self.client.write(asked.offset_bytes, blocks).await
    }

    /// Writes zeros as data.
    async fn send_zeroes(&self, range: ByteRange) -> Result<()> {
        let zeroes = vec![0; ZEROES_PAYLOAD_BYTES.min(range.length_bytes) as usize];
        for piece in cut(range, ZEROES_PAYLOAD_BYTES) {
            self.write_at(piece.offset_bytes, &zeroes[..piece.length_bytes as usize]).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl DiskTarget for NbdTarget {
    fn size_bytes(&self) -> u64 {
        self.client.export().size_bytes
    }

    fn starts_zeroed(&self) -> bool {
        self.starts_zeroed
    }

    async fn write_at(&self, offset_bytes: u64, data: &[u8]) -> Result<()> {
        ByteRange { offset_bytes, length_bytes: data.len() as u64 }.check_within(self.size_bytes())?;
        let mut rest = data;
        for range in self.client.export().pieces(ByteRange::new(offset_bytes, data.len() as u64)) {
            let (piece, behind) = rest.split_at(range.length_bytes as usize);
            self.write_piece(range, piece).await?;
            rest = behind;
        }
        Ok(())
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        range.check_within(self.size_bytes())?;
        if !self.client.export().flags.contains(TransmissionFlags::SEND_WRITE_ZEROES) {
            return self.send_zeroes(range).await;
        }
        let whole_blocks = self.client.export().align_within(range);
        if whole_blocks.is_empty() {
            return self.send_zeroes(range).await;
        }
        self.send_zeroes(ByteRange::between(range.offset_bytes, whole_blocks.offset_bytes)).await?;
        for piece in cut(whole_blocks, ZEROES_LENGTH_MAX_BYTES) {
            self.client.write_zeroes(piece.offset_bytes, piece.length_bytes as u32).await?;
        }
        self.send_zeroes(ByteRange::between(whole_blocks.end_bytes(), range.end_bytes())).await
    }

    async fn flush(&self) -> Result<()> {
        self.client.flush().await
    }
}
