//! The file systems before they are damaged.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::{FileExt as _, symlink},
    path::Path,
    sync::Arc,
};

use anyhow::Result;
use image::DiskImage;
use image_formats::RawImage;
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};
use testkit::file_systems::FileSystemTools;

use super::{
    btrfs,
    mutation::{BLOCK_BYTES, Random, changes},
};
use crate::images;

/// The file systems.
pub const NAMES: [&str; 6] = ["ext4", "xfs", "btrfs", "ntfs", "vfat", "exfat"];

/// A file system, with checksums and without where it can do without.
pub struct Original {
    pub name: &'static str,
    variants: Vec<Variant>,
}

struct Variant {
    image: Arc<dyn DiskImage>,
    /// Blocks that hold something, by their offsets.
    blocks: Vec<(u64, Vec<u8>)>,
}

impl Original {
    pub fn size_bytes(&self) -> u64 {
        self.variants.iter().map(|variant| variant.image.size_bytes()).max().unwrap_or(0)
    }

    pub fn variant(&self, number: usize) -> &Arc<dyn DiskImage> {
        &self.variants[number % self.variants.len()].image
    }

    /// A damaged one: what it is made from, and its new bytes.
    pub fn mutate(&self, number: u64, random: &mut Random) -> (&Arc<dyn DiskImage>, BTreeMap<u64, u8>) {
        let variant = &self.variants[number as usize % self.variants.len()];
        let mut changes = changes(&variant.blocks, random);
        if self.name == "btrfs" {
            btrfs::rename(&variant.blocks, number, &mut changes);
        }
        (&variant.image, changes)
    }
}

/// All of them, with a few files.
pub async fn all(tools: &FileSystemTools, directory: &Path) -> Result<Vec<Original>> {
    let at = |name: &str| directory.join(name);
    let (plain, linux) = (at("plain"), at("linux"));
    plain_tree(&plain)?;
    plain_tree(&linux)?;
    symlink("hello.txt", linux.join("link"))?;
    symlink("x".repeat(150), linux.join("dangling"))?;
    images::small_ext4(tools, &linux, &at("ext4-0"), "metadata_csum,64bit")?;
    images::small_ext4(tools, &linux, &at("ext4-1"), "^metadata_csum,^64bit")?;
    images::xfs_with(tools, &linux, &at("xfs-0"), "crc=1")?;
    images::xfs_with(tools, &linux, &at("xfs-1"), "crc=0")?;
    images::btrfs(tools, &linux, &at("btrfs-0"), "crc32c")?;
    images::vfat(tools, &plain, &at("vfat-0"))?;
    images::exfat(tools, &plain, &at("exfat-0"))?;
    // Its tool copies no directories.
    images::ntfs(tools, &plain.join("many"), &at("ntfs-0"))?;
    let mut originals = Vec::new();
    for name in NAMES {
        let mut variants = Vec::new();
        for path in [at(&format!("{name}-0")), at(&format!("{name}-1"))].iter().filter(|path| path.exists()) {
            let image = Arc::new(RawImage::open(path).await?);
            variants.push(Variant { image, blocks: blocks(path)? });
        }
        originals.push(Original { name, variants });
    }
    Ok(originals)
}

/// Small files, of which some are more than a block, so that there is metadata of all kinds.
fn plain_tree(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory.join("one/two/three"))?;
    fs::create_dir_all(directory.join("many"))?;
    for number in 0..60_u32 {
        let length = [0, 5, 900, 5000][number as usize % 4];
        let content = images::bytes(number, length);
        fs::write(directory.join(format!("many/entry-with-a-long-name-{number:03}")), &content)?;
    }
    fs::write(directory.join("one/two/three/leaf"), "leaf")?;
    fs::write(directory.join("hello.txt"), "hello world\n")?;
    fs::write(directory.join("large.bin"), images::bytes(7, 60 << 10))?;
    Ok(())
}

/// The blocks of an image that hold something.
fn blocks(path: &Path) -> Result<Vec<(u64, Vec<u8>)>> {
    let file = File::open(path)?;
    let size_bytes = file.metadata()?.len();
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < size_bytes {
        let data = match seek(&file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        at = at.max(data - data % BLOCK_BYTES);
        let mut block = vec![0; BLOCK_BYTES.min(size_bytes - at) as usize];
        file.read_exact_at(&mut block, at)?;
        if block.iter().any(|byte| *byte != 0) {
            blocks.push((at, block));
        }
        at += BLOCK_BYTES;
    }
    Ok(blocks)
}
