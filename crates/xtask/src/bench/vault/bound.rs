//! What this machine could do at best: the rates of its parts, and what they allow when every stage overlaps.

use std::{
    fs::{self, File},
    io::Write,
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustix::fs::OFlags;

use super::{
    extents,
    images::{Image, Images},
};
use crate::bench::process;

/// What is read, hashed or compressed at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// Blocks of the image that the processor's rates are measured with.
const SAMPLE_BLOCKS: usize = 64;

/// How often each rate is measured.
const TRIES: usize = 5;

/// What one try of a rate takes.
const TRY: Duration = Duration::from_millis(300);

/// What is written in one try to measure the disk.
const WRITTEN_BYTES: usize = 256 << 20;

/// What one write gives to the disk.
const WRITE_BYTES: usize = 4 << 20;

/// What writes past the page cache are aligned to.
const ALIGNMENT_BYTES: usize = 4096;

/// Rates in bytes a second: of one thread's processor time, except the disk's.
#[derive(Debug)]
pub struct Rates {
    /// Reading the image out of the page cache.
    read: f64,
    /// Writing a new file past the page cache until it is durable.
    write: f64,
    compress: f64,
    decompress: f64,
    hash: f64,
    seal: f64,
    /// Bytes of the image for each byte that zstd makes of them.
    ratio: f64,
    processors: f64,
}

/// Bytes that go through each stage.
#[derive(Debug, Default)]
struct Load {
    read: f64,
    write: f64,
    compress: f64,
    decompress: f64,
    hash: f64,
    seal: f64,
}

impl Rates {
    /// Measures them with the content of an image, in about ten seconds.
    pub fn measure(images: &Images, work: &Path) -> Result<Self> {
        let path = images.path(Image::Base);
        let file = File::open(path)?;
        let offsets = whole_blocks(extents::data(&file)?);
        ensure!(offsets.len() >= SAMPLE_BLOCKS, "the image is nearly empty");
        let mut buffer = vec![0; BLOCK_BYTES];
        let mut reads = offsets.iter().cycle();
        // The first time fills the page cache.
        for offset in &offsets {
            file.read_exact_at(&mut buffer, *offset)?;
        }
        let read = rate(|| {
            let offset = reads.next().copied().unwrap_or_default();
            file.read_exact_at(&mut buffer, offset)?;
            Ok(BLOCK_BYTES)
        })?;
        let sample = offsets.iter().step_by(offsets.len() / SAMPLE_BLOCKS).take(SAMPLE_BLOCKS);
        let sample = sample
            .map(|offset| {
                let mut block = vec![0; BLOCK_BYTES];
                file.read_exact_at(&mut block, *offset).map(|()| block)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self { read, write: write_rate(&sample, work)?, ..Self::of_processor(&sample)? }.checked()
    }

    fn of_processor(sample: &[Vec<u8>]) -> Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(1)?;
        let mut decompressor = zstd::bulk::Decompressor::new()?;
        let compressed =
            sample.iter().map(|block| compressor.compress(block)).collect::<Result<Vec<_>, _>>()?;
        let compressed_bytes: usize = compressed.iter().map(Vec::len).sum();
        let mut output = Vec::with_capacity(zstd::zstd_safe::compress_bound(BLOCK_BYTES));
        let mut blocks = sample.iter().cycle();
        let mut next = || blocks.next().map_or(&[][..], Vec::as_slice);
        let compress = rate(|| {
            output.clear();
            compressor.compress_to_buffer(next(), &mut output)?;
            Ok(BLOCK_BYTES)
        })?;
        let mut packed = compressed.iter().cycle();
        let decompress = rate(|| {
            output.clear();
            let block = packed.next().map_or(&[][..], Vec::as_slice);
            Ok(decompressor.decompress_to_buffer(block, &mut output)?)
        })?;
        let hash = rate(|| {
            std::hint::black_box(blake3::keyed_hash(&[1; 32], next()));
            Ok(BLOCK_BYTES)
        })?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32])?);
        let (mut plain, mut turns) = (sample.to_vec(), (0..sample.len()).cycle());
        let seal = rate(|| {
            let block = &mut plain[turns.next().unwrap_or_default()];
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            let _tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), block)?;
            Ok(BLOCK_BYTES)
        })?;
        let processors = thread::available_parallelism()?.get() as f64;
        let ratio = (sample.len() * BLOCK_BYTES) as f64 / compressed_bytes as f64;
        Ok(Self { read: 0.0, write: 0.0, compress, decompress, hash, seal, ratio, processors })
    }

    fn checked(self) -> Result<Self> {
        let rates = [self.read, self.write, self.compress, self.decompress, self.hash, self.seal];
        ensure!(rates.iter().all(|rate| *rate > 0.0), "a rate of this machine is nothing: {self:?}");
        Ok(self)
    }

    /// What the processor's and the disk's rates are called, in GB/s.
    pub fn named(&self) -> [(&'static str, f64); 6] {
        [
            ("reading, page cache", self.read),
            ("writing, past the page cache", self.write),
            ("zstd 1", self.compress),
            ("zstd, decompressing", self.decompress),
            ("BLAKE3", self.hash),
            ("AES-256-GCM", self.seal),
        ]
        .map(|(name, rate)| (name, rate / 1e9))
    }

    /// A full backup of so many bytes.
    pub fn full(&self, used: f64) -> f64 {
        self.backup(used, used / self.ratio)
    }

    /// A backup that reads so many bytes and stores the given ones.
    pub fn backup(&self, used: f64, stored: f64) -> f64 {
        let compress = stored * self.ratio;
        self.seconds(&Load {
            read: used,
            hash: used,
            compress,
            seal: stored,
            write: stored,
            ..Load::default()
        })
    }

    /// A restore of so many bytes.
    pub fn restore(&self, used: f64) -> f64 {
        let stored = used / self.ratio;
        self.seconds(&Load {
            read: stored,
            seal: stored,
            decompress: used,
            hash: used,
            write: used,
            ..Load::default()
        })
    }

    /// A verification of a repository of this size.
    pub fn verify(&self, stored: f64) -> f64 {
        let raw = stored * self.ratio;
        self.seconds(&Load { read: stored, seal: stored, decompress: raw, hash: raw, ..Load::default() })
    }

    fn seconds(&self, load: &Load) -> f64 {
        let processor = load.compress / self.compress
            + load.decompress / self.decompress
            + load.hash / self.hash
            + load.seal / self.seal;
        (processor / self.processors).max(load.read / self.read).max(load.write / self.write)
    }
}

/// Bytes of work a second of processor time, which others do not take away. The work says how many bytes it has done.
fn rate(mut work: impl FnMut() -> Result<usize>) -> Result<f64> {
    best(|| {
        let (started, cpu_before) = (Instant::now(), process::thread_cpu_seconds()?);
        let mut done = 0;
        while started.elapsed() < TRY {
            done += work()?;
        }
        Ok(done as f64 / (process::thread_cpu_seconds()? - cpu_before))
    })
}

/// Bytes a second into a new file, past the page cache, made durable.
fn write_rate(sample: &[Vec<u8>], work: &Path) -> Result<f64> {
    let mut space = vec![0; WRITE_BYTES + ALIGNMENT_BYTES];
    let start = space.as_ptr().align_offset(ALIGNMENT_BYTES);
    let block = &mut space[start..start + WRITE_BYTES];
    block.copy_from_slice(&sample.concat()[..WRITE_BYTES]);
    let path = work.join("written");
    let written = best(|| {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).custom_flags(OFlags::DIRECT.bits() as i32);
        let mut file = options.open(&path)?;
        let started = Instant::now();
        for _ in 0..WRITTEN_BYTES / WRITE_BYTES {
            file.write_all(block)?;
        }
        file.sync_data()?;
        Ok(WRITTEN_BYTES as f64 / started.elapsed().as_secs_f64())
    });
    fs::remove_file(&path)?;
    written.with_context(|| format!("writing to {} past the page cache", work.display()))
}

/// The greatest rate of several tries: whatever else the machine does can only make one smaller.
fn best(mut measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    (0..TRIES).try_fold(0.0, |best: f64, _| Ok(best.max(measure()?)))
}

/// Where whole blocks of data are among these ranges.
fn whole_blocks(extents: Vec<Range<u64>>) -> Vec<u64> {
    let in_extent = |extent: Range<u64>| {
        let count = (extent.end - extent.start) / BLOCK_BYTES as u64;
        (0..count).map(move |number| extent.start + number * BLOCK_BYTES as u64)
    };
    extents.into_iter().flat_map(in_extent).collect()
}

#[cfg(test)]
mod tests;
