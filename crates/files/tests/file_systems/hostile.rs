//! Damaged and hostile disks: an error or data, within time, and nothing worse.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use async_trait::async_trait;
use files::{FileTree, MicroVm, Walk};
use image::{ByteRange, DiskImage, Extent};
use image_formats::RawImage;
use testkit::file_systems::FileSystemTools;

use crate::{
    images,
    machine::{config, path, read_all},
};

/// Damaged disks of each file system.
const DISKS_EACH: u32 = 6;

/// Where file systems of this size keep their metadata, mostly.
const METADATA_BYTES: u64 = 24 << 20;

/// All of it may take so long: each answer is bounded, and so is their number.
const TIME_LIMIT: Duration = Duration::from_secs(400);

/// An image with some bytes changed.
struct Damaged {
    image: Arc<RawImage>,
    changes: BTreeMap<u64, u8>,
}

#[async_trait]
impl DiskImage for Damaged {
    fn size_bytes(&self) -> u64 {
        self.image.size_bytes()
    }

    async fn extents(&self, range: ByteRange) -> image::Result<Vec<Extent>> {
        Ok(vec![Extent { range, kind: image::ExtentKind::Data }])
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> image::Result<()> {
        self.image.read_at(offset_bytes, buffer).await?;
        for (at, mask) in self.changes.range(offset_bytes..offset_bytes + buffer.len() as u64) {
            buffer[(at - offset_bytes) as usize] ^= mask;
        }
        Ok(())
    }
}

/// Reads what can be read. Any error is as good as data; none may end in a hang.
async fn explore(machine: &Arc<MicroVm>, volume: &str) -> (usize, usize) {
    let (mut read, mut failed) = (0, 0);
    let Ok(mut walk) = Walk::begin(Arc::clone(machine) as Arc<dyn FileTree>, &path(volume), true).await
    else {
        return (0, 1);
    };
    while failed < 20 && read < 2000 {
        match walk.next().await {
            Ok(Some(found)) if found.entry.is_file() && found.entry.size_bytes < 4 << 20 => {
                match read_all(machine.as_ref(), &found.path).await {
                    Ok(_) => read += 1,
                    Err(_) => failed += 1,
                }
            }
            Ok(Some(_)) => read += 1,
            Ok(None) => break,
            Err(_) => failed += 1,
        }
    }
    (read, failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_file_systems_give_errors_or_data() -> Result<()> {
    let tools = FileSystemTools::obtain()?;
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    images::linux_tree(&at("tree"))?;
    images::ext4(&tools, &at("tree"), &at("ext4"), "^metadata_csum")?;
    images::xfs(&tools, &at("tree"), &at("xfs"))?;
    images::btrfs(&tools, &at("tree"), &at("btrfs"), "xxhash")?;
    let mut disks: Vec<(_, Arc<dyn DiskImage>)> = Vec::new();
    for (kind, name) in ["ext4", "xfs", "btrfs"].into_iter().enumerate() {
        let image = Arc::new(RawImage::open(&at(name)).await?);
        for number in 0..DISKS_EACH {
            let random = images::bytes(number * 3 + kind as u32, 40 * 5);
            let places = random.chunks_exact(5).map(|bytes| {
                let place = bytes[..4].iter().fold(0, |place, &byte| place << 8 | u64::from(byte));
                // The superblock stays: what cannot be mounted tells little.
                (8192 + place % METADATA_BYTES, bytes[4] | 1)
            });
            let damaged = Damaged { image: Arc::clone(&image), changes: places.collect() };
            disks.push((format!("{name}-{number}").parse()?, Arc::new(damaged)));
        }
    }
    let names: Vec<String> = disks.iter().map(|(name, _): &(model::DiskName, _)| name.to_string()).collect();
    let explored = async {
        let machine = Arc::new(MicroVm::open(disks, &config(&tools, directory.path()), &[]).await?);
        let mut sums = (0, 0);
        for name in &names {
            let (read, failed) = explore(&machine, name).await;
            sums = (sums.0 + read, sums.1 + failed);
        }
        anyhow::Ok(sums)
    };
    let (read, failed) = tokio::time::timeout(TIME_LIMIT, explored).await??;
    assert!(
        read > 0 && failed > 0,
        "the damage is neither everywhere nor nowhere: {read} read, {failed} failed"
    );
    Ok(())
}
