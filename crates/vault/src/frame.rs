//! Frames: whole chunks, compressed together. Larger than a chunk, because small pieces compress badly.

mod cache;

use bytes::Bytes;
use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer};

pub use cache::FrameCache;
pub(crate) use cache::{Expanded, FrameKey, Wanted};

use crate::{
    ChunkId, Error, Result,
    codec::Reader,
    pool::{self, Buffer, BufferPool, Pool},
    seal::TAG_BYTES,
};

/// The most bytes that a frame may expand to; larger ones are refused before any memory is taken.
pub(crate) const FRAME_BYTES_MAX: u32 = 4 << 20;

/// What zstd decompresses at once.
const BLOCK_BYTES: u32 = 128 << 10;

/// What a frame holds. Data and tree nodes never share a frame or a pack: nodes are read again and again, data rarely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FrameKind {
    /// Bytes of disks.
    Data,
    /// Nodes of disk maps.
    Tree,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Raw,
    Zstd,
}

/// What must be known of a frame to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) kind: FrameKind,
    pub(crate) encoding: Encoding,
    /// Bytes in the pack, with the seal's tag.
    pub(crate) stored_bytes: u32,
    /// Bytes of the chunks.
    pub(crate) raw_bytes: u32,
}

impl FrameHead {
    /// Bytes of a head's layout.
    pub(crate) const BYTES: usize = 10;

    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let kind = match self.kind {
            FrameKind::Data => 0,
            FrameKind::Tree => 1,
        };
        let encoding = match self.encoding {
            Encoding::Raw => 0,
            Encoding::Zstd => 1,
        };
        bytes.extend([kind, encoding]);
        bytes.extend(self.stored_bytes.to_le_bytes());
        bytes.extend(self.raw_bytes.to_le_bytes());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let kind = match reader.u8()? {
            0 => FrameKind::Data,
            1 => FrameKind::Tree,
            _ => return Err(reader.error("holds a frame of an unknown kind")),
        };
        let encoding = match reader.u8()? {
            0 => Encoding::Raw,
            1 => Encoding::Zstd,
            _ => return Err(reader.error("holds a frame of an unknown encoding")),
        };
        let (stored_bytes, raw_bytes) = (reader.u32()?, reader.u32()?);
        if !(1..=FRAME_BYTES_MAX).contains(&raw_bytes) || stored_bytes > raw_bytes + TAG_BYTES as u32 {
            return Err(reader.error("holds a frame of an impossible length"));
        }
        Ok(Self { kind, encoding, stored_bytes, raw_bytes })
    }
}

/// Chunks on their way into a frame.
#[derive(Debug)]
pub(crate) struct RawFrame {
    pub(crate) kind: FrameKind,
    pub(crate) bytes: Buffer,
    /// The chunks and their lengths, in order.
    pub(crate) chunks: Vec<(ChunkId, u32)>,
}

impl RawFrame {
    pub(crate) fn new(kind: FrameKind, buffers: &BufferPool) -> Self {
        Self { kind, bytes: buffers.take_empty(), chunks: Vec::new() }
    }

    pub(crate) fn push(&mut self, id: ChunkId, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.chunks.push((id, bytes.len() as u32));
    }
}

/// A frame ready to be sealed.
#[derive(Debug)]
pub(crate) struct CompressedFrame {
    pub(crate) kind: FrameKind,
    pub(crate) encoding: Encoding,
    pub(crate) bytes: Buffer,
    pub(crate) raw_bytes: u32,
    pub(crate) chunks: Vec<(ChunkId, u32)>,
}

/// Compressors that keep their tables between frames.
pub(crate) struct Compressors {
    idle: Pool<zstd::bulk::Compressor<'static>>,
    buffers: BufferPool,
}

impl Compressors {
    pub(crate) fn new(level: u32, buffers: BufferPool) -> Self {
        let make =
            move || zstd::bulk::Compressor::new(level.cast_signed()).expect("zstd has memory for its tables");
        Self { idle: Pool::new(make), buffers }
    }

    /// Compresses a frame, or leaves it as it is where that is not smaller. Keeps the processor busy: call it on a
    /// blocking thread.
    pub(crate) fn compress(&self, frame: RawFrame) -> Result<CompressedFrame> {
        let RawFrame { kind, bytes, chunks } = frame;
        let raw_bytes = bytes.len() as u32;
        let mut compressed = self.buffers.take_empty();
        compressed.reserve(zstd_safe::compress_bound(bytes.len()));
        self.idle
            .take()
            .compress_to_buffer(&bytes, &mut *compressed)
            .map_err(|error| Error::invalid("a frame cannot be compressed").with_source(error))?;
        let (encoding, bytes) = if compressed.len() < bytes.len() {
            (Encoding::Zstd, compressed)
        } else {
            (Encoding::Raw, bytes)
        };
        Ok(CompressedFrame { kind, encoding, bytes, raw_bytes, chunks })
    }
}

/// Decompressors that keep their tables between frames.
pub(crate) struct Decompressors {
    idle: Pool<zstd::bulk::Decompressor<'static>>,
    /// For frames of which only the start is wanted. Each has a window of its own, as long as a frame.
    idle_for_starts: Pool<DCtx<'static>>,
    buffers: BufferPool,
}

impl Decompressors {
    pub(crate) fn new() -> Self {
        let make = || zstd::bulk::Decompressor::new().expect("zstd has memory for its tables");
        let make_for_starts = || {
            let mut decompressor = DCtx::create();
            let limit = DParameter::WindowLogMax(FRAME_BYTES_MAX.ilog2());
            decompressor.set_parameter(limit).expect("zstd knows windows of this length");
            decompressor
        };
        Self {
            idle: Pool::new(make),
            idle_for_starts: Pool::new(make_for_starts),
            buffers: BufferPool::of_capacity(0),
        }
    }

    /// The chunks' bytes. Takes no more memory than the head says, whatever the frame holds.
    pub(crate) fn expand(&self, head: &FrameHead, bytes: &[u8]) -> Result<Bytes> {
        let expanded = match head.encoding {
            Encoding::Raw => {
                let mut copy = self.buffers.take_empty();
                copy.extend_from_slice(bytes);
                copy
            }
            Encoding::Zstd => self.decompress(head, bytes)?,
        };
        check_length(head, Bytes::from_owner(expanded))
    }

    /// The first bytes of the chunks, so many at least; all of them where that is little more.
    pub(crate) fn expand_start(&self, head: &FrameHead, bytes: &[u8], wanted_bytes: u32) -> Result<Bytes> {
        let nearly_all_bytes = head.raw_bytes / 4 * 3;
        if wanted_bytes > nearly_all_bytes {
            return self.expand(head, bytes);
        }
        let wanted = wanted_bytes.next_multiple_of(BLOCK_BYTES).min(head.raw_bytes) as usize;
        let mut start = self.buffers.take_empty();
        match head.encoding {
            Encoding::Raw => start.extend_from_slice(bytes.get(..wanted).unwrap_or(bytes)),
            Encoding::Zstd => {
                start.resize(wanted, 0);
                let length = self.decompress_start(bytes, &mut start)?;
                start.truncate(length);
            }
        }
        if start.len() == wanted {
            Ok(Bytes::from_owner(start))
        } else {
            Err(Error::corrupt("a frame has another length than its directory says"))
        }
    }

    /// Fills a buffer, as far as there is something to fill it with.
    fn decompress_start(&self, bytes: &[u8], start: &mut [u8]) -> Result<usize> {
        let failed = |code| {
            Error::corrupt(format!("a frame does not decompress: {}", zstd_safe::get_error_name(code)))
        };
        let mut decompressor = self.idle_for_starts.take();
        decompressor.init().map_err(failed)?;
        let (mut from, mut to) = (InBuffer::around(bytes), OutBuffer::around(start));
        while to.pos() < to.capacity() {
            let before = (from.pos(), to.pos());
            decompressor.decompress_stream(&mut to, &mut from).map_err(failed)?;
            if before == (from.pos(), to.pos()) {
                break;
            }
        }
        Ok(to.pos())
    }

    /// As [`Decompressors::expand`], for a short while: uses the frame where it is.
    pub(crate) fn expand_for<T>(
        &self,
        head: &FrameHead,
        bytes: &[u8],
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        match head.encoding {
            Encoding::Raw => check_length(head, bytes).map(take),
            Encoding::Zstd => {
                check_length(head, self.decompress(head, bytes)?).map(|expanded| take(&expanded))
            }
        }
    }

    fn decompress(&self, head: &FrameHead, bytes: &[u8]) -> Result<Buffer> {
        let mut expanded = self.buffers.take_empty();
        expanded.reserve_exact(pool::room_for(head.raw_bytes as usize));
        self.idle
            .take()
            .decompress_to_buffer(bytes, &mut *expanded)
            .map_err(|error| Error::corrupt("a frame does not decompress").with_source(error))?;
        Ok(expanded)
    }
}

fn check_length<T: AsRef<[u8]>>(head: &FrameHead, expanded: T) -> Result<T> {
    if expanded.as_ref().len() == head.raw_bytes as usize {
        Ok(expanded)
    } else {
        Err(Error::corrupt("a frame has another length than its directory says"))
    }
}

#[cfg(test)]
mod tests;
