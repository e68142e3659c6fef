//! One tool does everything once: three backups, a restore, a verification, a garbage collection.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use testkit::command;

use super::{
    images::{Image, Images},
    peers::Peer,
    product::Product,
};
use crate::bench::{
    process,
    sample::{Sample, Samples},
};

/// What is measured, in the order in which it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The first disk goes into an empty repository.
    Full,
    /// The changed disk, of which nothing is known but its bytes.
    Incremental,
    /// The other VM's disk.
    Sibling,
    /// The changed disk comes out, as a raw file.
    Restore,
    /// Everything is read back and checked.
    Verify,
    /// The first backup is deleted, and its space given back.
    Collect,
}

impl Step {
    const ALL: [Self; 6] =
        [Self::Full, Self::Incremental, Self::Sibling, Self::Restore, Self::Verify, Self::Collect];

    /// The image that a backup reads.
    fn image(self) -> Option<Image> {
        match self {
            Self::Full => Some(Image::Base),
            Self::Incremental => Some(Image::Changed),
            Self::Sibling => Some(Image::Sibling),
            Self::Restore | Self::Verify | Self::Collect => None,
        }
    }

    /// Whether it changes what the repository takes.
    fn changes_repository(self) -> bool {
        self.image().is_some() || self == Self::Collect
    }
}

/// Where one tool works. Emptied before each cycle.
#[derive(Debug)]
pub struct Places {
    root: PathBuf,
}

/// The name of every disk's file, in directories of their own.
const DISK_FILE: &str = "disk.raw";

impl Places {
    /// The places below a directory.
    pub fn new(root: &Path) -> Result<Self> {
        Ok(Self { root: root.canonicalize()?.join("tool") })
    }

    /// The first VM's disk.
    pub fn disk(&self) -> PathBuf {
        self.root.join("first").join(DISK_FILE)
    }

    /// The other VM's disk.
    pub fn sibling_disk(&self) -> PathBuf {
        self.root.join("sibling").join(DISK_FILE)
    }

    /// What is stored.
    pub fn repository(&self) -> PathBuf {
        self.root.join("repository")
    }

    /// The directory that disks are restored to.
    pub fn restored(&self) -> PathBuf {
        self.root.join("restored")
    }

    /// Where a tool should put a restored disk that it can name.
    pub fn restored_disk(&self) -> PathBuf {
        self.restored().join(DISK_FILE)
    }

    /// Caches and settings.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Removes what the last tool left, and lays out the disks.
    pub fn prepare(&self, images: &Images) -> Result<()> {
        if self.root.exists() {
            fs::remove_dir_all(&self.root)?;
        }
        for directory in [self.root.join("first"), self.root.join("sibling"), self.restored(), self.state()] {
            fs::create_dir_all(directory)?;
        }
        self.lay_out(images, Image::Base)?;
        self.lay_out(images, Image::Sibling)
    }

    /// Puts an image where its VM has it: another file with the same name, as after an exchange.
    fn lay_out(&self, images: &Images, image: Image) -> Result<()> {
        let disk = if image == Image::Sibling { self.sibling_disk() } else { self.disk() };
        let new = disk.with_extension("new");
        fs::hard_link(images.path(image), &new)?;
        fs::rename(&new, &disk)?;
        // A rename between two links of one file does nothing.
        fs::remove_file(new).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error.into()),
        })
    }
}

/// Who does the steps.
pub enum Tool<'a> {
    /// We.
    Product(&'a Product),
    /// Somebody else.
    Peer(&'a dyn Peer),
}

impl Tool<'_> {
    /// Does a step; none when the tool does not know it.
    async fn run(&self, step: Step, places: &Places) -> Result<Option<Sample>> {
        let commands = match self {
            Self::Product(product) => return product.run(step, places).await,
            Self::Peer(peer) => peer.commands(step, places)?,
        };
        let mut total: Option<Sample> = None;
        for command in commands {
            let sample = process::measure(&mut command.into()).await?;
            total = Some(total.map_or(sample, |total| total.then(sample)));
        }
        Ok(total)
    }
}

/// What one tool's cycles gave.
#[derive(Debug, Default)]
pub struct Figures {
    name: String,
    samples: BTreeMap<Step, Samples>,
    /// What the repository took after each step, in MiB; of the last cycle.
    stored_mib: BTreeMap<Step, f64>,
    /// Processor time of everything else on the machine while the tool worked, in seconds.
    others_cpu_seconds: f64,
    wall_seconds: f64,
}

impl Figures {
    /// The figures of the tool with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The tool's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a step cost; none where the tool does not know it.
    pub fn samples(&self, step: Step) -> Option<&Samples> {
        self.samples.get(&step)
    }

    /// What the repository took after a step, in MiB.
    pub fn stored_mib(&self, step: Step) -> Option<f64> {
        self.stored_mib.get(&step).copied()
    }

    /// Processors that were busy with other things, on average, weighed by the time of this tool's work.
    pub fn others(all: &[&Self]) -> f64 {
        let sum = |field: fn(&Self) -> f64| all.iter().map(|figures| field(figures)).sum::<f64>();
        sum(|figures| figures.others_cpu_seconds) / sum(|figures| figures.wall_seconds)
    }

    /// Lets a prepared tool do everything once.
    pub async fn cycle(&mut self, tool: &Tool<'_>, images: &Images, places: &Places) -> Result<()> {
        for step in Step::ALL {
            if let Some(image) = step.image() {
                places.lay_out(images, image)?;
                warm(&images.path(image))?;
            }
            settle()?;
            let busy_before = process::machine_cpu_seconds()?;
            let Some(sample) = tool.run(step, places).await.with_context(|| format!("{step:?}"))? else {
                continue;
            };
            let others = process::machine_cpu_seconds()? - busy_before - sample.cpu_seconds;
            self.others_cpu_seconds += others.max(0.0);
            self.wall_seconds += sample.wall.as_secs_f64();
            self.samples.entry(step).or_default().push(sample);
            if step.changes_repository() {
                self.stored_mib.insert(step, stored_bytes(&places.repository())? as f64 / 1048576.0);
            }
            if step == Step::Restore {
                let restored = find_disk(&places.restored())?.context("nothing was restored")?;
                command::run(Command::new("cmp").args([&restored, &images.path(Image::Changed)]))
                    .context("the restored disk is not the one that was backed up")?;
                fs::remove_dir_all(places.restored())?;
            }
        }
        Ok(())
    }
}

/// Lets everybody find the image in the page cache.
fn warm(path: &Path) -> Result<()> {
    io::copy(&mut fs::File::open(path)?, &mut io::sink()).map(drop)?;
    Ok(())
}

/// What one has written must not be written back in the other's time.
fn settle() -> Result<()> {
    command::run(&mut Command::new("sync")).map(drop)
}

/// What the files below a path take on disk.
fn stored_bytes(path: &Path) -> Result<u64> {
    let metadata = path.symlink_metadata()?;
    if !metadata.is_dir() {
        return Ok(metadata.blocks() * 512);
    }
    fs::read_dir(path)?.map(|entry| stored_bytes(&entry?.path())).sum()
}

/// The disk somewhere below a directory: some tools restore the whole path.
fn find_disk(directory: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find_disk(&path)? {
                return Ok(Some(found));
            }
        } else if path.ends_with(DISK_FILE) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
