//! A writer that stores what nobody gave it. Packs are written past the store and are not flushed: a store that is made to be
//! measured need not survive a power cut.

use std::{
    collections::HashSet,
    fs::{self, File},
    mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    ChunkId, Digest, Result,
    frame::{Compressors, Encoding, FrameHead, FrameKind, RawFrame},
    index::Segment,
    pack::{FrameEntry, HEADER_BYTES, PackBuilder, SealedPack},
    pool::BufferPool,
    store::io_error,
    tree::{ChunkRef, Leaf, NodeSink, REGION_BYTES},
    vault::Shared,
};

/// Bytes of every chunk: what the defaults make on average.
const CHUNK_BYTES: u32 = 64 << 10;

/// Chunks of a region.
pub(super) const REGION_CHUNKS: u64 = REGION_BYTES / CHUNK_BYTES as u64;

const FRAME_CHUNKS: usize = 16;
const PACK_FRAMES: usize = 16;

/// Bytes of a compressed frame: half of what it holds.
const STORED_BYTES: u32 = FRAME_CHUNKS as u32 * CHUNK_BYTES / 2;

/// The id of a chunk by number. Means no bytes, and looks like one that does.
pub(super) fn chunk_id(number: u64) -> ChunkId {
    ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

pub(super) struct StandIn {
    shared: Arc<Shared>,
    packs: PathBuf,
    compressors: Compressors,
    frame_buffers: BufferPool,
    pack_buffers: BufferPool,
    chunk_count: u64,
    pack_count: u64,
    data: Vec<FrameEntry>,
    frame: RawFrame,
    tree: Option<PackBuilder>,
    nodes: HashSet<ChunkId>,
    unlisted: Segment,
    segments: Vec<Digest>,
}

impl StandIn {
    pub(super) fn new(shared: Arc<Shared>, directory: &Path) -> Self {
        let frame_buffers = BufferPool::of_capacity(shared.config.tree_frame_bytes as usize);
        Self {
            packs: directory.join("packs"),
            compressors: Compressors::new(shared.config.compression_level, frame_buffers.clone()),
            pack_buffers: BufferPool::of_capacity(shared.config.pack_bytes as usize),
            frame: RawFrame::new(FrameKind::Tree, &frame_buffers),
            frame_buffers,
            chunk_count: 0,
            pack_count: 0,
            data: Vec::new(),
            tree: None,
            nodes: HashSet::new(),
            unlisted: Segment::default(),
            segments: Vec::new(),
            shared,
        }
    }

    pub(super) fn chunk_count(&self) -> u64 {
        self.chunk_count
    }

    /// Stores a region of new chunks. Returns its leaf.
    pub(super) fn add_region(&mut self) -> Result<ChunkId> {
        let mut leaf = Leaf::default();
        for place in 0..REGION_CHUNKS as u32 {
            let id = self.add_chunk()?;
            leaf.chunks.push(ChunkRef { offset_bytes: place * CHUNK_BYTES, length_bytes: CHUNK_BYTES, id });
        }
        self.put_node(&leaf.encode())
    }

    /// Writes an index segment where there is enough to fill one.
    pub(super) async fn write_full_segment(&mut self) -> Result<()> {
        if self.unlisted.chunks.len() < self.shared.segment_chunks {
            return Ok(());
        }
        self.write_segment().await
    }

    /// Writes all that is not full, as a writer does when it commits. Returns the segments since the last commit.
    pub(super) async fn finish_writer(&mut self) -> Result<Vec<Digest>> {
        self.close_data_pack()?;
        self.close_frame()?;
        self.close_tree_pack()?;
        self.write_segment().await?;
        Ok(mem::take(&mut self.segments))
    }

    fn add_chunk(&mut self) -> Result<ChunkId> {
        let id = chunk_id(self.chunk_count);
        self.chunk_count += 1;
        let is_full = |frame: &FrameEntry| frame.chunks.len() == FRAME_CHUNKS;
        if self.data.len() == PACK_FRAMES && self.data.last().is_none_or(is_full) {
            self.close_data_pack()?;
        }
        if self.data.last().is_none_or(is_full) {
            let head = FrameHead {
                kind: FrameKind::Data,
                encoding: Encoding::Zstd,
                stored_bytes: STORED_BYTES,
                raw_bytes: FRAME_CHUNKS as u32 * CHUNK_BYTES,
            };
            self.data.push(FrameEntry { head, chunks: Vec::new() });
        }
        if let Some(frame) = self.data.last_mut() {
            frame.chunks.push((id, CHUNK_BYTES));
        }
        Ok(id)
    }

    fn close_data_pack(&mut self) -> Result<()> {
        let frames = mem::take(&mut self.data);
        if frames.is_empty() {
            return Ok(());
        }
        let digest = Digest::of(format!("stand-in {}", self.pack_count).as_bytes());
        self.pack_count += 1;
        let size_bytes = HEADER_BYTES as u64 + frames.len() as u64 * u64::from(STORED_BYTES);
        let created = self.pack_path(&digest).and_then(|path| {
            let hollow = File::create(&path).and_then(|file| file.set_len(size_bytes));
            hollow.map_err(|source| io_error(format!("{} cannot be written", path.display()), source))
        });
        created?;
        self.unlisted.add_pack(digest, digest.0, &frames);
        Ok(())
    }

    fn close_frame(&mut self) -> Result<()> {
        let frame = mem::replace(&mut self.frame, RawFrame::new(FrameKind::Tree, &self.frame_buffers));
        if frame.chunks.is_empty() {
            return Ok(());
        }
        let frame = self.compressors.compress(frame)?;
        let pack = match &mut self.tree {
            Some(pack) => pack,
            None => {
                let random = env::random(&*self.shared.env.entropy);
                let buffer = self.pack_buffers.take();
                self.tree.insert(PackBuilder::new(&self.shared.keys, FrameKind::Tree, random, buffer)?)
            }
        };
        pack.push(frame);
        let is_full = pack.size_bytes() >= self.shared.config.pack_bytes as usize;
        if is_full { self.close_tree_pack() } else { Ok(()) }
    }

    fn close_tree_pack(&mut self) -> Result<()> {
        let Some(pack) = self.tree.take() else { return Ok(()) };
        let SealedPack { salt, bytes, frames } = pack.finish();
        let digest = Digest::of(&bytes);
        let path = self.pack_path(&digest)?;
        let written = fs::write(&path, &**bytes);
        written.map_err(|source| io_error(format!("{} cannot be written", path.display()), source))?;
        self.unlisted.add_pack(digest, salt, &frames);
        Ok(())
    }

    async fn write_segment(&mut self) -> Result<()> {
        let mut segment = mem::take(&mut self.unlisted);
        if segment.chunks.is_empty() {
            return Ok(());
        }
        self.segments.push(self.shared.store_segment(&mut segment).await?);
        Ok(())
    }

    fn pack_path(&self, digest: &Digest) -> Result<PathBuf> {
        let name = digest.to_string();
        let folder = self.packs.join(name.get(..2).unwrap_or_default());
        fs::create_dir_all(&folder)
            .map_err(|source| io_error(format!("{} cannot be created", folder.display()), source))?;
        Ok(folder.join(name))
    }
}

impl NodeSink for StandIn {
    fn put_node(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        let id = self.shared.keys.chunk_id(FrameKind::Tree, bytes);
        if self.nodes.insert(id) {
            if self.frame.bytes.len() + bytes.len() > self.shared.config.tree_frame_bytes as usize {
                self.close_frame()?;
            }
            self.frame.push(id, bytes);
        }
        Ok(id)
    }
}
