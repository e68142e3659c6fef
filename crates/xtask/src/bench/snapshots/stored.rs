//! What ten incrementals take: of the same disk, with the same writes between them, by us and by others.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use api::SnapshotView;
use model::{ByteCount, DiskBus, DiskDefinition, DiskFormat, Firmware, SnapshotState, VmDefinition};
use testkit::site::Site;

use super::{Scale, VM, progress, stored_by_peers};
use crate::bench::{dataset, random::Random, report::Measurement};

/// How many there are after the first.
const INCREMENTALS: u64 = 10;

/// The units in which the guest's file system writes, and the longest run of them.
const BLOCK_BYTES: u64 = 4096;
const RUN_BLOCKS_MAX: u64 = 32;

const MIB: f64 = 1048576.0;

/// Bytes that are written at a place.
pub struct Write {
    pub offset_bytes: u64,
    pub bytes: Vec<u8>,
}

/// A disk, and what is written to it between two snapshots.
pub struct Story {
    pub disk: PathBuf,
    pub changes: Vec<Vec<Write>>,
}

impl Story {
    /// A disk with files of this machine, and changes that write more of them at random places.
    fn invent(scale: &Scale, work: &Path) -> Result<Self> {
        let all = work.join("all.raw");
        let change_bytes = scale.change.0 * INCREMENTALS;
        dataset::create(&all, ByteCount(scale.disk.0 + change_bytes))?;
        let source = File::open(&all)?;
        let (mut random, mut from) = (Random::new(5), scale.disk.0);
        let mut changes = Vec::new();
        for _ in 0..INCREMENTALS {
            let until = from + scale.change.0;
            let mut writes = Vec::new();
            while from < until {
                let length = (BLOCK_BYTES * (1 + random.below(RUN_BLOCKS_MAX))).min(until - from);
                let mut bytes = vec![0; length as usize];
                source.read_exact_at(&mut bytes, from)?;
                let offset_bytes = random.below((scale.disk.0 - length) / BLOCK_BYTES) * BLOCK_BYTES;
                writes.push(Write { offset_bytes, bytes });
                from += length;
            }
            changes.push(writes);
        }
        OpenOptions::new().write(true).open(&all)?.set_len(scale.disk.0)?;
        Ok(Self { disk: all, changes })
    }

    /// A copy of the disk, to be written to.
    pub fn copy_to(&self, path: &Path) -> Result<File> {
        fs::copy(&self.disk, path).with_context(|| format!("copying the disk to {}", path.display()))?;
        Ok(OpenOptions::new().read(true).write(true).open(path)?)
    }
}

/// Writes to a raw file, durably.
pub fn apply(writes: &[Write], file: &File) -> Result<()> {
    for write in writes {
        file.write_all_at(&write.bytes, write.offset_bytes)?;
    }
    file.sync_all().context("making the changes durable")
}

/// Bytes that files below a directory, or a file, take on their disk.
pub fn taken_bytes(path: &Path) -> Result<u64> {
    let metadata = path.symlink_metadata().with_context(|| format!("looking at {}", path.display()))?;
    if !metadata.is_dir() {
        return Ok(metadata.blocks() * 512);
    }
    fs::read_dir(path)?.map(|entry| taken_bytes(&entry?.path())).sum()
}

/// Tells the same story to us and to the others.
pub async fn measure(binary: &Path, scale: &Scale, work: &Path) -> Result<Vec<Measurement>> {
    progress("writing a disk, and what changes on it");
    let story = Story::invent(scale, work)?;
    progress("ten incrementals");
    let ours = by_us(binary, &story, work).await? as f64 / MIB;
    progress("ten internal snapshots of a qcow2 file");
    let qcow2 = stored_by_peers::by_qcow2(&story, work)? as f64 / MIB;
    let changed = story.changes.iter().flatten().map(|write| write.bytes.len()).sum::<usize>() as f64 / MIB;
    let what = "ten incrementals, stored";
    let mut measurements = vec![
        Measurement::new(what, ours, "MiB").beside("qcow2 internal", qcow2).ratio_at_most(1.0),
        Measurement::new(what, ours, "MiB").beside("written between them", changed),
    ];
    progress("ten clones on btrfs");
    match stored_by_peers::by_btrfs(&story, work)? {
        Ok(btrfs) => {
            measurements.push(Measurement::new(what, ours, "MiB").beside("btrfs clones", btrfs as f64 / MIB))
        }
        Err(reason) => progress(&format!("not measured beside btrfs: {reason}")),
    }
    Ok(measurements)
}

async fn by_us(binary: &Path, story: &Story, work: &Path) -> Result<u64> {
    let path = work.join("ours.raw");
    let file = story.copy_to(&path)?;
    let site = Site::start_with(binary).await?;
    site.add_vm(&stopped_vm(&path)?).await?;
    let store = site.data_directory().join("snapshots");
    create(&site).await?;
    let before = taken_bytes(&store)?;
    for writes in &story.changes {
        apply(writes, &file)?;
        create(&site).await?;
    }
    fs::remove_file(&path)?;
    Ok(taken_bytes(&store)?.saturating_sub(before))
}

async fn create(site: &Site) -> Result<()> {
    let made: SnapshotView = site.json(["snapshot", "create", VM, "--wait"]).await?;
    ensure!(made.state == SnapshotState::Ready, "the snapshot was not copied: {made:?}");
    Ok(())
}

fn stopped_vm(disk: &Path) -> Result<VmDefinition> {
    Ok(VmDefinition {
        name: VM.parse()?,
        uuid: None,
        cpus: 1,
        memory: ByteCount(128 << 20),
        machine: "q35".to_owned(),
        firmware: Firmware::Bios,
        disks: vec![DiskDefinition {
            name: "vda".parse()?,
            path: Some(disk.to_owned()),
            format: Some(DiskFormat::Raw),
            bus: DiskBus::Virtio,
            serial: None,
            iothread: false,
        }],
        networks: Vec::new(),
        agent: false,
    })
}
