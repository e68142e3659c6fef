//! File systems with random bytes changed: an error or data, within time and memory, and nothing worse.
//!
//! Many of them share a machine, each in a partition of its own; the first on each disk is sound. A machine that one of
//! them ends makes room for a fresh one, in which the rest goes on. `cargo xtask fuzz file-systems` runs more of them.

mod btrfs;
mod mutation;
mod originals;

use std::{
    collections::BTreeMap,
    fmt, fs,
    ops::AddAssign,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use files::{FilePath, FileTree, MicroVm, Walk};
use image::DiskImage;
use testkit::file_systems::FileSystemTools;

use crate::{
    composed::{Composed, SECTOR_BYTES},
    machine::{config, path},
    tables::{FIRST_SECTOR, Gpt},
};
use mutation::Random;
use originals::Original;

/// Mutations of each file system unless the environment says otherwise.
const MUTATIONS_DEFAULT: u64 = 20;

/// Mutations of each file system that share a machine: what is mounted stays so, and takes memory.
const MUTATIONS_TOGETHER: u64 = 20;

/// What is looked at in one file system.
const ENTRIES_MAX: u64 = 600;
const FAILURES_MAX: u64 = 40;
const FILE_READ_MAX_BYTES: u64 = 4 << 20;

/// One file system may take so long: each answer is bounded, and so is their number.
const TIME_LIMIT: Duration = Duration::from_secs(400);

/// What this process may take, with the test's own images: the helper's answers are small, whatever they say.
const MEMORY_MAX_BYTES: u64 = 512 << 20;

/// What became of mutations.
#[derive(Debug, Default, Clone)]
struct Outcomes {
    mutations: u64,
    unmountable: u64,
    read: u64,
    failed: u64,
    /// Those that ended their machine, with what was said.
    ends: Vec<String>,
}

impl AddAssign for Outcomes {
    fn add_assign(&mut self, other: Self) {
        self.mutations += other.mutations;
        self.unmountable += other.unmountable;
        self.read += other.read;
        self.failed += other.failed;
        self.ends.extend(other.ends);
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mutations, unmountable, read, failed, ends } = self;
        write!(
            formatter,
            "{mutations} mutations: {unmountable} cannot be mounted, {read} entries read, {failed} errors, {} machines ended",
            ends.len()
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mutated_file_systems_give_errors_or_data() -> Result<()> {
    let number = |name: &str, default| match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is no number")),
        Err(_) => Ok(default),
    };
    let count = number("HOLDFAST_MUTATIONS", MUTATIONS_DEFAULT)?;
    let (seed, from) = (number("HOLDFAST_SEED", 1)?, number("HOLDFAST_MUTATIONS_FROM", 0)?);
    let tools = FileSystemTools::obtain()?;
    let directory = tempfile::tempdir()?;
    let originals = originals::all(&tools, directory.path()).await?;
    let mut outcomes: BTreeMap<&str, Outcomes> = BTreeMap::new();
    let start = Instant::now();
    let end = from.checked_add(count).context("there are not so many mutations")?;
    for first in (from..end).step_by(MUTATIONS_TOGETHER as usize) {
        let numbers: Vec<_> = (first..end.min(first + MUTATIONS_TOGETHER)).collect();
        let left =
            explore_together(&tools, directory.path(), &originals, seed, &numbers, &mut outcomes).await?;
        ensure!(left == 0, "{left} file systems were not looked at");
        println!(
            "{} of {count} each from {from} on, seed {seed}, after {:?}",
            numbers.len() as u64 + first - from,
            start.elapsed()
        );
        for (name, outcome) in &outcomes {
            println!("    {name}: {outcome}");
            outcome.ends.iter().for_each(|end| println!("        {end}"));
        }
    }
    ensure!(outcomes.len() == originals::NAMES.len(), "a file system was left out");
    for (name, outcome) in &outcomes {
        ensure!(outcome.mutations == count, "{name}: {} mutations were looked at", outcome.mutations);
        ensure!(outcome.read > 0 && outcome.failed + outcome.unmountable > 0, "{name} is untouched, or lost");
    }
    let peak = peak_memory_bytes()?;
    ensure!(peak < MEMORY_MAX_BYTES, "this took {peak} bytes of memory");
    Ok(())
}

/// A mutated file system of a machine: which, and its number.
type Mutated = (usize, u64);

/// Looks at some mutations of every file system, with as many machines as that takes. Returns how many were not looked at.
async fn explore_together(
    tools: &FileSystemTools,
    directory: &Path,
    originals: &[Original],
    seed: u64,
    numbers: &[u64],
    outcomes: &mut BTreeMap<&'static str, Outcomes>,
) -> Result<usize> {
    let mut rest: Vec<Mutated> =
        (0..originals.len()).flat_map(|kind| numbers.iter().map(move |number| (kind, *number))).collect();
    while !rest.is_empty() {
        let disks = disks(originals, seed, &rest)?;
        let machine = Arc::new(MicroVm::open(disks, &config(tools, directory), &[]).await?);
        for original in originals.iter().filter(|original| {
            machine.volumes().iter().any(|volume| volume.name == format!("{}-1", original.name))
        }) {
            let sound = explore(&machine, &format!("{}-1", original.name)).await?;
            ensure!(sound.failed == 0 && sound.unmountable == 0, "{} without damage: {sound}", original.name);
        }
        let count = rest.len();
        let mut places: BTreeMap<usize, u64> = BTreeMap::new();
        let mut done = 0;
        for (kind, number) in &rest {
            let place = places.entry(*kind).or_insert(1);
            *place += 1;
            let Some(original) = originals.get(*kind) else { continue };
            let volume = format!("{}-{place}", original.name);
            done += 1;
            let looked = tokio::time::timeout(TIME_LIMIT, explore(&machine, &volume)).await;
            let total = outcomes.entry(original.name).or_default();
            total.mutations += 1;
            match looked.with_context(|| format!("{} {number} of seed {seed} has no end", original.name))? {
                Ok(outcome) => *total += outcome,
                Err(error) => {
                    total.ends.push(format!("{} {number}: {error}", original.name));
                    break;
                }
            }
        }
        rest.drain(..done);
        ensure!(rest.len() < count, "machines get nowhere");
    }
    Ok(rest.len())
}

/// The disks of a machine: one for each file system, with a sound one in its first partition.
fn disks(
    originals: &[Original],
    seed: u64,
    mutated: &[Mutated],
) -> Result<Vec<(model::DiskName, Arc<dyn DiskImage>)>> {
    let mut disks: Vec<(_, Arc<dyn DiskImage>)> = Vec::new();
    for (kind, original) in originals.iter().enumerate() {
        let numbers: Vec<u64> =
            mutated.iter().filter(|(other, _)| *other == kind).map(|(_, number)| *number).collect();
        if numbers.is_empty() {
            continue;
        }
        let sectors = original.size_bytes() / SECTOR_BYTES;
        let place = |number: u64| FIRST_SECTOR + number * sectors;
        let count = numbers.len() as u64 + 1;
        let size_bytes = (place(count) + FIRST_SECTOR) * SECTOR_BYTES;
        let partitions: Vec<_> = (0..count).map(|number| (place(number), place(number + 1) - 1)).collect();
        let mut disk = Composed::new(size_bytes).with_bytes(0, Gpt::new(size_bytes, &partitions).front());
        disk = disk.with_image(place(0) * SECTOR_BYTES, original.variant(0), BTreeMap::new());
        for (index, number) in (1..).zip(numbers) {
            let mut random = Random::new(seed, kind as u64, number);
            let (image, changes) = original.mutate(number, &mut random);
            disk = disk.with_image(place(index) * SECTOR_BYTES, image, changes);
        }
        disks.push((original.name.parse()?, Arc::new(disk)));
    }
    Ok(disks)
}

/// Lists and reads what can be. Any error is as good as data; only the machine's end is told as one.
async fn explore(machine: &Arc<MicroVm>, volume: &str) -> files::Result<Outcomes> {
    let mut outcome = Outcomes::default();
    let mut walk = match Walk::begin(Arc::clone(machine) as Arc<dyn FileTree>, &path(volume), true).await {
        Ok(walk) => walk,
        Err(error) if error.is_retryable() => return Err(error),
        Err(_) => return Ok(Outcomes { unmountable: 1, ..outcome }),
    };
    while outcome.failed < FAILURES_MAX && outcome.read < ENTRIES_MAX {
        let looked = match walk.next().await {
            Ok(None) => break,
            Ok(Some(found)) if found.entry.is_file() => read(machine, &found.path).await,
            other => other.map(drop),
        };
        match looked {
            Ok(()) => outcome.read += 1,
            Err(error) if error.is_retryable() => return Err(error),
            Err(_) => outcome.failed += 1,
        }
    }
    Ok(outcome)
}

/// Reads the start of a file, in all ways.
async fn read(machine: &Arc<MicroVm>, path: &FilePath) -> files::Result<()> {
    let mut at = 0;
    while at < FILE_READ_MAX_BYTES {
        let bytes = machine.read(path, at, 1 << 20).await?;
        if bytes.is_empty() {
            break;
        }
        at += bytes.len() as u64;
    }
    machine.data_ranges(path, 0).await.map(drop)
}

/// The most memory that this process has had.
fn peak_memory_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the kernel does not say")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kibibytes << 10)
}
