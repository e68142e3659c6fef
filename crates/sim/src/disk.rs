//! Disks of a few blocks, scattered over a few regions.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use async_trait::async_trait;
use env::{Entropy, SeededEntropy};
use image::{ByteRange, DiskImage, DiskTarget, Extent, ExtentKind, FixedChanges};

use crate::process::Process;

pub(crate) const BLOCK_BYTES: u64 = 4096;

/// Different blocks that there are: few, so that VMs share them, and what was garbage comes back.
pub(crate) const BLOCK_KINDS: u64 = 40;

type Block = [u8; BLOCK_BYTES as usize];

const ZEROS: &Block = &[0; BLOCK_BYTES as usize];

/// Their bytes.
static KINDS: LazyLock<Vec<Block>> = LazyLock::new(|| {
    let noise = |kind| {
        let mut bytes = *ZEROS;
        SeededEntropy::new(kind).fill(&mut bytes);
        bytes
    };
    (0..BLOCK_KINDS).map(noise).collect()
});

/// What is on a disk: its blocks that are no zeros, each by its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) size_bytes: u64,
    pub(crate) blocks: BTreeMap<u64, u64>,
}

impl Content {
    /// The bytes of one block.
    fn block(&self, place: u64) -> &'static [u8] {
        let length = (self.size_bytes - place * BLOCK_BYTES).min(BLOCK_BYTES) as usize;
        let kind = self.blocks.get(&place).and_then(|kind| KINDS.get(*kind as usize));
        &kind.unwrap_or(ZEROS)[..length]
    }

    /// What differs from an earlier content of the same disk.
    pub(crate) fn changes_since(&self, earlier: &Self) -> FixedChanges {
        let places = self.blocks.keys().chain(earlier.blocks.keys());
        let changed = places.filter(|place| self.blocks.get(place) != earlier.blocks.get(place));
        let whole = |place: &u64| ByteRange::new(place * BLOCK_BYTES, BLOCK_BYTES).intersection(self.whole());
        FixedChanges::new(changed.map(whole).collect())
    }

    fn whole(&self) -> ByteRange {
        ByteRange::new(0, self.size_bytes)
    }
}

/// A disk that a process reads.
pub(crate) struct SimImage {
    content: Arc<Content>,
    process: Arc<Process>,
}

impl SimImage {
    pub(crate) fn new(content: &Arc<Content>, process: &Arc<Process>) -> Self {
        Self { content: Arc::clone(content), process: Arc::clone(process) }
    }
}

#[async_trait]
impl DiskImage for SimImage {
    fn size_bytes(&self) -> u64 {
        self.content.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> image::Result<Vec<Extent>> {
        let mut extents = Vec::new();
        let mut next_bytes = range.offset_bytes;
        let data = self.content.blocks.keys().map(|place| ByteRange::new(place * BLOCK_BYTES, BLOCK_BYTES));
        for data in image::coalesce(data.collect()) {
            let data = data.intersection(range);
            if data.is_empty() {
                continue;
            }
            let hole = ByteRange::between(next_bytes, data.offset_bytes);
            if !hole.is_empty() {
                extents.push(Extent { range: hole, kind: ExtentKind::Zero });
            }
            extents.push(Extent { range: data, kind: ExtentKind::Data });
            next_bytes = data.end_bytes();
        }
        let rest = ByteRange::between(next_bytes, range.end_bytes());
        if !rest.is_empty() {
            extents.push(Extent { range: rest, kind: ExtentKind::Zero });
        }
        Ok(extents)
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> image::Result<()> {
        self.process.step().await;
        let range = ByteRange::new(offset_bytes, buffer.len() as u64);
        for (place, part) in places(range) {
            let from = (part.offset_bytes - place * BLOCK_BYTES) as usize;
            let block = self.content.block(place);
            let start = (part.offset_bytes - offset_bytes) as usize;
            let length = part.length_bytes as usize;
            buffer[start..start + length].copy_from_slice(&block[from..from + length]);
        }
        Ok(())
    }
}

/// A disk that is restored.
pub(crate) struct SimTarget {
    size_bytes: u64,
    written: Mutex<BTreeMap<u64, Box<Block>>>,
}

impl SimTarget {
    pub(crate) fn new(size_bytes: u64) -> Self {
        Self { size_bytes, written: Mutex::default() }
    }

    /// The first block that is not what it should be, if there is one.
    pub(crate) fn first_difference(self, content: &Content) -> Option<u64> {
        let written = self.written.into_inner().unwrap_or_else(PoisonError::into_inner);
        let places = written.keys().chain(content.blocks.keys());
        let is_wrong = |place: &&u64| {
            let block = content.block(**place);
            written.get(place).map_or(&ZEROS[..], |block| &block[..]).get(..block.len()) != Some(block)
        };
        places.filter(is_wrong).min().copied()
    }

    /// Writes these bytes, or zeros.
    fn write(&self, range: ByteRange, data: Option<&[u8]>) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, part) in places(range) {
            let block = written.entry(place).or_insert_with(|| Box::new(*ZEROS));
            let start = (part.offset_bytes - place * BLOCK_BYTES) as usize;
            let length = part.length_bytes as usize;
            let target = &mut block[start..start + length];
            let from = (part.offset_bytes - range.offset_bytes) as usize;
            match data {
                Some(data) => target.copy_from_slice(&data[from..from + length]),
                None => target.fill(0),
            }
        }
    }
}

#[async_trait]
impl DiskTarget for SimTarget {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn starts_zeroed(&self) -> bool {
        true
    }

    async fn write_at(&self, offset_bytes: u64, data: &[u8]) -> image::Result<()> {
        self.write(ByteRange::new(offset_bytes, data.len() as u64), Some(data));
        Ok(())
    }

    async fn write_zeroes(&self, range: ByteRange) -> image::Result<()> {
        self.write(range, None);
        Ok(())
    }

    async fn flush(&self) -> image::Result<()> {
        Ok(())
    }
}

/// The blocks of a range, and which part of each is in it.
fn places(range: ByteRange) -> impl Iterator<Item = (u64, ByteRange)> {
    let last = range.end_bytes().div_ceil(BLOCK_BYTES);
    (range.offset_bytes / BLOCK_BYTES..last)
        .map(move |place| (place, ByteRange::new(place * BLOCK_BYTES, BLOCK_BYTES).intersection(range)))
}
