//! Walks in the order of paths, which two trees have in common however their file systems keep directories.
//!
//! File systems list a directory in an order of their own, so it is sorted here: a window at a time, with the first of the
//! names that were not told yet. A directory that is larger than the window is listed once for each window.

use std::{collections::BTreeMap, sync::Arc, vec::IntoIter};

use super::Found;
use crate::{
    Entry, Error, ErrorKind, FilePath, FileTree, ROOT_START, Result, limits::DIRECTORY_ENTRIES_MAX,
    protocol::entry_length,
};

/// What the windows of one walk hold together, in bytes: some 100,000 entries.
const HELD_MAX_BYTES: usize = 32 << 20;

/// What a window may hold even where those above it hold all of that.
const WINDOW_MIN_BYTES: usize = 32 << 10;

/// What an entry takes in memory beside its name and target.
const ENTRY_BYTES: usize = 256;

/// A step of a walk in order.
#[derive(Debug)]
pub(crate) enum Step {
    /// Something on the walk.
    Found(Found),
    /// A directory of which the rest cannot be read. The walk goes on beside it.
    Unreadable { path: FilePath, error: Error },
}

/// A walk over everything below a path, and that itself, in the order of [`FilePath`]. Extended attributes are left out.
pub(crate) struct SortedWalk {
    tree: Arc<dyn FileTree>,
    start: Option<Found>,
    open: Vec<Level>,
    held_bytes: usize,
    held_max_bytes: usize,
}

/// A directory on the way to where the walk is.
struct Level {
    path: FilePath,
    window: IntoIter<Entry>,
    /// The last name of the window; none before the first window.
    last: Option<Vec<u8>>,
    /// Whether nothing follows the window.
    is_last: bool,
}

impl SortedWalk {
    /// A walk from an entry that was looked up; over nothing, where there is none.
    pub(crate) fn new(tree: Arc<dyn FileTree>, path: &FilePath, entry: Option<Entry>) -> Self {
        let start = entry.map(|entry| Found { path: path.clone(), entry });
        Self { tree, start, open: Vec::new(), held_bytes: 0, held_max_bytes: HELD_MAX_BYTES }
    }

    /// The same with smaller windows.
    #[cfg(test)]
    pub(crate) fn holding(mut self, held_max_bytes: usize) -> Self {
        self.held_max_bytes = held_max_bytes;
        self
    }

    /// The next step; none at the end.
    ///
    /// # Errors
    /// Those after which the tree answers nobody any more; all others are steps.
    pub(crate) async fn next(&mut self) -> Result<Option<Step>> {
        if let Some(start) = self.start.take() {
            return Ok(Some(self.enter(start)));
        }
        while let Some(level) = self.open.last_mut() {
            if let Some(entry) = level.window.next() {
                self.held_bytes -= held_bytes(&entry);
                match level.path.join(&entry.name) {
                    // A path can only be so long, so directories that lie in one another end too.
                    Ok(path) => return Ok(Some(self.enter(Found { path, entry }))),
                    Err(error) => return Ok(self.leave(error)),
                }
            }
            if level.is_last {
                self.open.pop();
            } else if let Err(error) = self.fill().await {
                if error.is_retryable() {
                    return Err(error);
                }
                return Ok(self.leave(error));
            }
        }
        Ok(None)
    }

    fn enter(&mut self, found: Found) -> Step {
        if found.entry.is_directory() {
            let (path, window) = (found.path.clone(), Vec::new().into_iter());
            self.open.push(Level { path, window, last: None, is_last: false });
        }
        Step::Found(found)
    }

    /// Gives up on what is left of the innermost directory.
    fn leave(&mut self, error: Error) -> Option<Step> {
        let level = self.open.pop()?;
        self.held_bytes -= level.window.as_slice().iter().map(held_bytes).sum::<usize>();
        Some(Step::Unreadable { path: level.path, error })
    }

    /// Reads the innermost directory for the names that come next.
    async fn fill(&mut self) -> Result<()> {
        let Some(level) = self.open.last_mut() else { return Ok(()) };
        let room_bytes = self.held_max_bytes.saturating_sub(self.held_bytes).max(WINDOW_MIN_BYTES);
        let (mut window, mut window_bytes) = (BTreeMap::new(), 0);
        let (mut start, mut seen) = (Some(ROOT_START), 0);
        level.is_last = true;
        while let Some(from) = start {
            let page = self.tree.list(&level.path, from, false).await?;
            seen += page.entries.len();
            if seen > DIRECTORY_ENTRIES_MAX {
                return Err(Error::new(ErrorKind::Damaged, format!("{} has no end", level.path)));
            }
            for mut entry in page.entries {
                if level.last.as_ref().is_some_and(|last| entry.name <= *last) {
                    continue;
                }
                let entry_bytes = held_bytes(&entry);
                window_bytes += entry_bytes;
                // A damaged directory may hold a name twice.
                if let Some((other_bytes, _)) =
                    window.insert(std::mem::take(&mut entry.name), (entry_bytes, entry))
                {
                    window_bytes -= other_bytes;
                }
                while window_bytes > room_bytes && window.len() > 1 {
                    level.is_last = false;
                    window_bytes -= window.pop_last().map_or(0, |(_, (entry_bytes, _))| entry_bytes);
                }
            }
            start = page.next;
        }
        let window: Vec<_> = window.into_iter().map(|(name, (_, entry))| Entry { name, ..entry }).collect();
        self.held_bytes += window_bytes;
        level.last = window.last().map(|entry| entry.name.clone()).or(level.last.take());
        level.window = window.into_iter();
        Ok(())
    }
}

/// What an entry takes in memory, more or less.
fn held_bytes(entry: &Entry) -> usize {
    ENTRY_BYTES + entry_length(entry)
}

#[cfg(test)]
mod tests;
