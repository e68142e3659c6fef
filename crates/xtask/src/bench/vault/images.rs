//! The disks of two VMs, filled with real packages: made once, and the same for the same seed and packages.

mod content;
mod ext4;
mod generation;
pub mod packages;

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use model::ByteCount;
use serde_json::json;

use super::extents;
use crate::bench::{progress, random::Random};
use content::PAGE_BYTES;
use ext4::Ext4;
use packages::{PackageFile, PackageSet};

/// What everything random in the images is made of. Another one when the making changes, so that no old images are taken.
const SEED: u64 = 1;

/// The size of one file of a data base.
const SEGMENT_BYTES: usize = 32 << 20;

const MIB: usize = 1 << 20;

/// Which images.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Names the images in the cache.
    pub name: &'static str,
    /// The size of each disk.
    pub size: ByteCount,
    /// The packages of both VMs, of the first, and of the sibling.
    pub packages: [&'static [&'static str]; 3],
    /// A data base on each disk.
    pub database_mib: usize,
    /// Files that do not compress; the VMs share a quarter of them.
    pub media_mib: usize,
    /// A log, and a journal that overwrites itself.
    pub log_mib: usize,
}

/// The images, in files that must not be written to.
#[derive(Debug)]
pub struct Images {
    directory: PathBuf,
}

/// One of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// The first VM's disk.
    Base,
    /// The same disk after about 1 % of what it holds has changed.
    Changed,
    /// The disk of another VM with much of the same content in another order.
    Sibling,
}

impl Image {
    const ALL: [Self; 3] = [Self::Base, Self::Changed, Self::Sibling];

    fn file_name(self) -> &'static str {
        match self {
            Self::Base => "base.raw",
            Self::Changed => "gen1.raw",
            Self::Sibling => "sibling.raw",
        }
    }
}

impl Images {
    /// Takes the images from a cache, or makes them, which downloads packages and takes minutes.
    pub fn obtain(recipe: &Recipe, cache: &Path) -> Result<Self> {
        let images = Self { directory: cache.join(format!("{}-{SEED}", recipe.name)) };
        if !images.directory.exists() {
            progress(&format!("making disks of {} from packages", recipe.size));
            fs::create_dir_all(cache)?;
            let partial = tempfile::Builder::new().prefix("partial-").tempdir_in(cache)?;
            make(recipe, &cache.join(format!("archives-{}", recipe.name)), partial.path())?;
            fs::rename(partial.keep(), &images.directory)?;
        }
        Ok(images)
    }

    /// The file of an image.
    pub fn path(&self, image: Image) -> PathBuf {
        self.directory.join(image.file_name())
    }

    /// The bytes of an image that are not holes.
    pub fn used(&self, image: Image) -> Result<ByteCount> {
        used(&self.path(image))
    }
}

fn used(path: &Path) -> Result<ByteCount> {
    let file = fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    Ok(ByteCount(extents::data(&file)?.iter().map(|extent| extent.end - extent.start).sum()))
}

fn make(recipe: &Recipe, archives: &Path, directory: &Path) -> Result<()> {
    let [core, extra, sibling_extra] = recipe.packages;
    let (first, sibling) = ([core, extra].concat(), [core, sibling_extra].concat());
    let first = PackageSet::obtain(&first, &archives.join("first"), &directory.join("first"))?;
    let sibling = PackageSet::obtain(&sibling, &archives.join("sibling"), &directory.join("sibling"))?;
    let mut newer = PackageSet::obtain(&packages::NEWER, &archives.join("newer"), &directory.join("newer"))?;
    let known: HashSet<&str> = first.files.iter().map(|file| file.path.as_str()).collect();
    newer.files.retain(|file| !known.contains(file.path.as_str()));
    Random::new(SEED + 2).shuffle(&mut newer.files);

    progress("filling the first disk");
    let path = |image: Image| directory.join(image.file_name());
    let base = Ext4::create(&path(Image::Base), recipe.size, "11111111-2222-4333-8444-555555555501")?;
    Filler::new(&base, directory, SEED).fill(recipe, &first.files)?;
    progress("changing it");
    let changed = base.copy(&path(Image::Changed))?;
    let budget_bytes = used(&path(Image::Base))?.0 as usize / 100;
    generation::change(&changed, recipe, &first.files, &newer.files, budget_bytes, SEED)?;
    progress("filling the sibling's disk");
    let disk = Ext4::create(&path(Image::Sibling), recipe.size, "11111111-2222-4333-8444-555555555502")?;
    let mut files = sibling.files;
    Random::new(SEED + 1).shuffle(&mut files);
    Filler::new(&disk, directory, SEED + 1).fill(recipe, &files)?;

    let mut manifest = Vec::new();
    for image in Image::ALL {
        let path = path(image);
        let digest = blake3::Hasher::new().update_reader(fs::File::open(&path)?)?.finalize();
        let used = used(&path)?;
        manifest.push(
            json!({ "file": image.file_name(), "used_bytes": used.0, "blake3": digest.to_hex().as_str() }),
        );
    }
    fs::write(directory.join("manifest.json"), serde_json::to_string_pretty(&manifest)?)?;
    for set in ["first", "sibling", "newer"] {
        fs::remove_dir_all(directory.join(set))?;
    }
    [base, changed, disk].iter().try_for_each(Ext4::check)
}

/// Fills a new file system.
struct Filler<'a> {
    disk: &'a Ext4,
    work: &'a Path,
    random: Random,
    seed: u64,
    commands: Vec<String>,
    directories: BTreeSet<String>,
}

impl<'a> Filler<'a> {
    fn new(disk: &'a Ext4, work: &'a Path, seed: u64) -> Self {
        let (commands, directories) = (Vec::new(), BTreeSet::new());
        Self { disk, work, random: Random::new(seed), seed, commands, directories }
    }

    fn fill(mut self, recipe: &Recipe, packages: &[PackageFile]) -> Result<()> {
        for file in packages {
            self.add(&file.source, &file.path);
        }
        let work = tempfile::tempdir_in(self.work)?;
        for (number, segment) in segments(recipe.database_mib * MIB).enumerate() {
            let first_page = number * SEGMENT_BYTES / PAGE_BYTES;
            let pages = first_page..first_page + segment / PAGE_BYTES;
            let pages: Vec<u8> =
                pages.flat_map(|page| content::page(&mut self.random, page as u64, 1)).collect();
            self.add_bytes(work.path(), &database_file(number), &pages)?;
        }
        for path in [LOG_FILE, JOURNAL_FILE] {
            let log = content::log(&mut self.random, recipe.log_mib * MIB);
            self.add_bytes(work.path(), path, &log)?;
        }
        let shared = recipe.media_mib / 4;
        for number in 0..recipe.media_mib {
            let seed = if number < shared { SEED } else { self.seed };
            let media = Random::new(seed << 32 | number as u64).bytes(MIB);
            self.add_bytes(work.path(), &format!("/srv/media/{number}.jpg"), &media)?;
        }
        self.disk.edit(&self.commands).map(drop)
    }

    fn add_bytes(&mut self, work: &Path, path: &str, bytes: &[u8]) -> Result<()> {
        let source = work.join(path.replace('/', "-"));
        fs::write(&source, bytes)?;
        self.add(&source, path);
        Ok(())
    }

    fn add(&mut self, source: &Path, path: &str) {
        for (end, _) in path.match_indices('/').skip(1) {
            let directory = &path[..end];
            if self.directories.insert(directory.to_owned()) {
                self.commands.push(format!("mkdir {directory}"));
            }
        }
        self.commands.push(format!("write {} {path}", source.display()));
    }
}

const LOG_FILE: &str = "/var/log/syslog";
const JOURNAL_FILE: &str = "/var/log/journal/system.journal";

fn database_file(number: usize) -> String {
    format!("/var/lib/postgresql/base/{}", 16384 + number)
}

/// The lengths of the files that a data base of this length is made of.
fn segments(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(SEGMENT_BYTES).map(move |start| SEGMENT_BYTES.min(length - start))
}
