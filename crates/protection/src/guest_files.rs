//! Files of an image go into a running guest.
//!
//! Planned first: everything is walked and counted before anything is written. Then items go in groups, each directory before
//! what is in it; directories get their owners, modes and times last, also where the restore ends early.

mod content;
mod naming;

use std::{collections::BTreeMap, sync::Arc};

use files::{Entry, FilePath, FileTree, Found, Kind, Walk};
use hypervisor::{GuestFiles, GuestItem, GuestItemKind, GuestItemOutcome};
use model::Progress;

use crate::{Error, ErrorKind, Monitor, Result, error::Context as _};
use content::Content;
use naming::Naming;

/// Items of a group, and the bytes after which a group ends.
const GROUP_ITEMS: usize = 64;
const GROUP_BYTES: u64 = 16 << 20;

/// Directories that get their metadata in the end; those beyond stay as they were made, for the administrator alone.
const DIRECTORIES_MAX: usize = 1 << 16;

/// Which files go where.
#[derive(Debug, Clone)]
pub struct GuestFilesOrder {
    /// What is restored: files, and directories with all that is below them.
    pub paths: Vec<FilePath>,
    /// The directory in the guest that they go to, as the guest writes it; their own places where there is none.
    pub target: Option<String>,
    /// Whether files that exist are replaced.
    pub overwrite: bool,
    /// Whether nothing is written.
    pub dry_run: bool,
}

/// What was put into a guest; of a dry run, what would be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoredGuestFiles {
    /// Files.
    pub files: u64,
    /// Directories that were made.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// The length of the files in bytes.
    pub written_bytes: u64,
    /// Files and links that exist and were kept.
    pub kept: u64,
    /// What could not be restored; each is warned of.
    pub failed: u64,
}

/// Puts files into a running guest.
///
/// # Errors
/// `NotFound` for a path that is not in the image, `Unsupported` where the files' own places are not known,
/// `Unreachable` when the guest or the image does not answer any more, `Cancelled`. What was put into the guest before stays.
pub async fn restore_guest_files(
    tree: &Arc<dyn FileTree>,
    guest: &mut dyn GuestFiles,
    order: &GuestFilesOrder,
    monitor: &Arc<dyn Monitor>,
) -> Result<RestoredGuestFiles> {
    let naming = Naming::new(tree, order, guest.abilities()).await?;
    let mut restore = Restore {
        tree,
        guest,
        order,
        naming,
        monitor,
        group: Vec::new(),
        made: Vec::new(),
        passed_over: None,
        restored: RestoredGuestFiles::default(),
        lost: BTreeMap::new(),
        done_bytes: 0,
        total_bytes: 0,
    };
    restore.count().await?;
    if !restore.guest.abilities().programs {
        monitor.warn(WITHOUT_PROGRAMS.to_owned());
    }
    let put = restore.put_all().await;
    let settled = if order.dry_run { Ok(()) } else { restore.settle().await };
    restore.tell_losses();
    put.and(settled).map(|()| restore.restored)
}

const WITHOUT_PROGRAMS: &str = "the guest's agent runs no programs for us: files get their contents and nothing else. They are \
    written in their places, where a file that breaks off is not whole; new ones may be read and written by everybody in \
    the guest until you change their modes; directories and links are not made";

struct Restore<'a> {
    tree: &'a Arc<dyn FileTree>,
    guest: &'a mut dyn GuestFiles,
    order: &'a GuestFilesOrder,
    naming: Naming,
    monitor: &'a Arc<dyn Monitor>,
    group: Vec<(FilePath, GuestItem)>,
    /// Directories that were made here.
    made: Vec<GuestItem>,
    /// What was not restored, with all that lies below it.
    passed_over: Option<FilePath>,
    restored: RestoredGuestFiles,
    /// What could not be kept: of how many, and of which first.
    lost: BTreeMap<String, (u64, String)>,
    done_bytes: u64,
    total_bytes: u64,
}

impl Restore<'_> {
    /// Walks everything once, so that nothing is written where something is wrong at once.
    async fn count(&mut self) -> Result<()> {
        self.monitor.progress(Progress {
            phase: "looking at what is to be restored".to_owned(),
            done_bytes: 0,
            total_bytes: None,
        });
        for path in &self.order.paths {
            let mut walk = self.walk(path).await?;
            loop {
                self.check_cancelled()?;
                match walk.next().await {
                    Ok(Some(found)) if found.entry.is_file() => self.total_bytes += found.entry.size_bytes,
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) if error.is_retryable() => return Err(error).context("reading the image"),
                    // Told when it is met again.
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    async fn put_all(&mut self) -> Result<()> {
        for path in &self.order.paths {
            let mut walk = self.walk(path).await?;
            loop {
                match walk.next().await {
                    Ok(Some(found)) => self.add(path, found).await?,
                    Ok(None) => break,
                    Err(error) if error.is_retryable() => return Err(error).context("reading the image"),
                    Err(error) => self.fail(&error.to_string()),
                }
            }
            self.flush().await?;
        }
        Ok(())
    }

    async fn walk(&self, path: &FilePath) -> Result<Walk> {
        Walk::begin(Arc::clone(self.tree), path, true).await.context(format!("looking for {path}"))
    }

    /// Takes something on the walk into the group.
    async fn add(&mut self, start: &FilePath, found: Found) -> Result<()> {
        let Found { path, entry } = found;
        if self.passed_over.as_ref().is_some_and(|passed| path.is_within(passed)) {
            return Ok(());
        }
        let item = self.naming.place(start, &path).and_then(|place| item(place, &entry));
        match item {
            Ok(item) => self.group.push((path.clone(), item)),
            Err(reason) => {
                self.fail(&format!("{path} is left out: {reason}"));
                self.passed_over = Some(path);
                return Ok(());
            }
        }
        if !entry.attributes.is_empty() {
            self.lose("extended attributes", path.to_string());
        }
        let group_bytes: u64 = self.group.iter().map(|(_, item)| size_bytes(item)).sum();
        if self.group.len() >= GROUP_ITEMS || group_bytes >= GROUP_BYTES {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Puts the group into the guest.
    async fn flush(&mut self) -> Result<()> {
        self.check_cancelled()?;
        let (paths, items): (Vec<_>, Vec<_>) = std::mem::take(&mut self.group).into_iter().unzip();
        if self.order.dry_run {
            return self.rehearse(&items).await;
        }
        let progress = (self.done_bytes, self.total_bytes);
        let content = Content::new(Arc::clone(self.tree), &paths, self.monitor, progress);
        let outcomes = self.guest.put(&items, &content, self.order.overwrite).await;
        let outcomes = outcomes.context("putting files into the guest")?;
        for ((path, item), outcome) in paths.into_iter().zip(items).zip(outcomes) {
            self.done_bytes += size_bytes(&item);
            self.note(path, item, outcome);
        }
        self.check_cancelled()
    }

    /// Counts what a group would do.
    async fn rehearse(&mut self, items: &[GuestItem]) -> Result<()> {
        let paths: Vec<String> = items.iter().map(|item| item.path.clone()).collect();
        let there = self.guest.exist(&paths).await.context("looking at the guest")?;
        for (item, is_there) in items.iter().zip(there) {
            match &item.kind {
                GuestItemKind::Directory if is_there => {}
                _ if is_there && !self.order.overwrite => self.restored.kept += 1,
                _ => self.count_written(item),
            }
        }
        Ok(())
    }

    fn note(&mut self, path: FilePath, item: GuestItem, outcome: GuestItemOutcome) {
        let is_directory = item.kind == GuestItemKind::Directory;
        match outcome {
            GuestItemOutcome::Written { lost } => {
                self.count_written(&item);
                lost.into_iter().for_each(|what| self.lose(&what, item.path.clone()));
                if is_directory && self.made.len() < DIRECTORIES_MAX {
                    self.made.push(item);
                } else if is_directory {
                    self.lose("owner, mode and times", item.path);
                }
            }
            GuestItemOutcome::Kept if is_directory => {}
            GuestItemOutcome::Kept => self.restored.kept += 1,
            GuestItemOutcome::Failed { reason } => {
                self.fail(&format!("{}: {reason}", item.path));
                if is_directory {
                    self.passed_over = Some(path);
                }
            }
        }
    }

    fn count_written(&mut self, item: &GuestItem) {
        match item.kind {
            GuestItemKind::Directory => self.restored.directories += 1,
            GuestItemKind::Symlink { .. } => self.restored.links += 1,
            GuestItemKind::File { size_bytes } => {
                self.restored.files += 1;
                self.restored.written_bytes += size_bytes;
            }
        }
    }

    /// Gives the directories their metadata, the inner ones first: what is put into them changes their times, and their modes
    /// may forbid it.
    async fn settle(&mut self) -> Result<()> {
        let made: Vec<_> = std::mem::take(&mut self.made).into_iter().rev().collect();
        for group in made.chunks(GROUP_ITEMS) {
            let outcomes = self.guest.settle(group).await.context("putting files into the guest")?;
            for (item, outcome) in group.iter().zip(outcomes) {
                match outcome {
                    GuestItemOutcome::Written { lost } => {
                        lost.into_iter().for_each(|what| self.lose(&what, item.path.clone()));
                    }
                    GuestItemOutcome::Kept => {}
                    GuestItemOutcome::Failed { reason } => self.fail(&format!("{}: {reason}", item.path)),
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, why: &str) {
        self.restored.failed += 1;
        self.monitor.warn(why.to_owned());
    }

    fn lose(&mut self, what: &str, of: String) {
        self.lost.entry(what.to_owned()).or_insert((0, of)).0 += 1;
    }

    /// What could not be kept, a sentence for each kind of it.
    fn tell_losses(&self) {
        for (what, (count, first)) in &self.lost {
            let others = if *count > 1 { format!(", and of {} more", count - 1) } else { String::new() };
            self.monitor.warn(format!("the {what} of {first} could not be kept{others}"));
        }
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.monitor.cancellation().is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}

/// An entry as it goes into the guest, or why it cannot.
fn item(path: String, entry: &Entry) -> std::result::Result<GuestItem, String> {
    let kind = match &entry.kind {
        Kind::File => GuestItemKind::File { size_bytes: entry.size_bytes },
        Kind::Directory => GuestItemKind::Directory,
        Kind::Symlink { target } => match String::from_utf8(target.clone()) {
            Ok(target) => GuestItemKind::Symlink { target },
            Err(_) => return Err("it leads to a name that is not UTF-8, which agents do not take".to_owned()),
        },
        _ => return Err("it is a device, a pipe or a socket".to_owned()),
    };
    let modified = (entry.modified.seconds, entry.modified.nanoseconds);
    Ok(GuestItem { path, kind, mode: entry.mode, user: entry.user, group: entry.group, modified })
}

fn size_bytes(item: &GuestItem) -> u64 {
    match item.kind {
        GuestItemKind::File { size_bytes } => size_bytes,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
