//! What differs between two trees, path by path.
//!
//! Two walks in the order of paths are merged, so that neither tree is held in memory. Volumes are matched by their names. A
//! file's metadata decides whether its content may differ, or its content itself where that is asked for.

mod compare;
mod content;
mod merge;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    Entry, Error, ErrorKind, FilePath, FileTree, Found, Result,
    walk::{SortedWalk, Step},
};
use compare::Rules;
pub use merge::Side;
use merge::{Merge, Pair};

/// Something that differs.
#[derive(Debug)]
pub enum Change {
    /// Something that is only in the second tree.
    Added(Found),
    /// Something that is only in the first tree.
    Removed(Found),
    /// Something that is in both, and not the same.
    Changed {
        /// Where it is.
        path: FilePath,
        /// What it is in the first tree.
        before: Box<Entry>,
        /// What it is in the second tree.
        after: Box<Entry>,
        /// What differs; never nothing.
        differences: Vec<Difference>,
    },
    /// Something that cannot be read in one of the trees. Of what lies below it nothing more is told.
    Unreadable {
        /// Where it is.
        path: FilePath,
        /// The tree in which it cannot be read.
        side: Side,
        /// Why not.
        error: Error,
    },
}

/// What differs of something that is in both trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difference {
    /// What it is: a file, a directory, a link.
    Kind,
    /// The length of the file.
    Size,
    /// The permissions.
    Mode,
    /// The owner or the group.
    Owner,
    /// When it, or its content, was changed last.
    Times,
    /// Where the link leads.
    Target,
    /// Which device it stands for.
    Device,
    /// The extended attributes.
    Attributes,
    /// The bytes of the file.
    Content,
    /// The bytes of the file, as its times or its inode suggest. Nobody has looked.
    ContentLikely,
}

/// A comparison that goes on while it is read.
pub struct Diff {
    trees: [Arc<dyn FileTree>; 2],
    with_content: bool,
    /// Whether damage at the start of a walk is told as a change: where several are compared.
    several: bool,
    /// What is still to be compared.
    starts: VecDeque<FilePath>,
    current: Option<Walks>,
}

/// The walks over one path in both trees.
struct Walks {
    walks: [SortedWalk; 2],
    merge: Merge,
    rules: Rules,
}

impl Diff {
    /// Compares what lies at a path and below; the root stands for all volumes. `with_content` looks at the bytes of all files
    /// that have the same size.
    #[must_use]
    pub fn new(
        before: Arc<dyn FileTree>,
        after: Arc<dyn FileTree>,
        path: &FilePath,
        with_content: bool,
    ) -> Self {
        let trees = [before, after];
        let several = path.volume().is_none();
        let starts = if several {
            let names: BTreeSet<_> =
                trees.iter().flat_map(|tree| tree.volumes()).map(|volume| volume.name.as_bytes()).collect();
            names.into_iter().filter_map(|name| FilePath::default().join(name).ok()).collect()
        } else {
            [path.clone()].into()
        };
        Self { trees, with_content, several, starts, current: None }
    }

    /// The next difference, in the order of paths; none at the end.
    ///
    /// # Errors
    /// `NotFound` where the path is in neither tree; those of [`FileTree::stat`] for the path itself; `Gone` and `TimedOut`,
    /// after which nothing more can be told.
    pub async fn next(&mut self) -> Result<Option<Change>> {
        loop {
            let Some(walks) = &mut self.current else {
                let Some(start) = self.starts.pop_front() else { return Ok(None) };
                if let Some(change) = self.begin(&start).await? {
                    return Ok(Some(change));
                }
                continue;
            };
            match walks.next().await? {
                None => self.current = None,
                Some(Pair::Only(Side::Before, found)) => return Ok(Some(Change::Removed(found))),
                Some(Pair::Only(Side::After, found)) => return Ok(Some(Change::Added(found))),
                Some(Pair::Unreadable(side, path, error)) => {
                    return Ok(Some(Change::Unreadable { path, side, error }));
                }
                Some(Pair::Both(before, after)) => {
                    let rules = walks.rules;
                    let [first, second] = &self.trees;
                    let compared =
                        compare::compare([&**first, &**second], before, after.entry, rules).await?;
                    if let Some(change) = compared {
                        return Ok(Some(change));
                    }
                }
            }
        }
    }

    /// Begins the walks from a path. Returns what keeps them from beginning.
    async fn begin(&mut self, path: &FilePath) -> Result<Option<Change>> {
        let [before, after] = &self.trees;
        let (first, second) = tokio::join!(look_up(before, path), look_up(after, path));
        let mut entries = Vec::new();
        for (side, entry) in [(Side::Before, first), (Side::After, second)] {
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) if self.several && !error.is_retryable() => {
                    return Ok(Some(Change::Unreadable { path: path.clone(), side, error }));
                }
                Err(error) => return Err(error),
            }
        }
        let (second, first) = (entries.pop().flatten(), entries.pop().flatten());
        if first.is_none() && second.is_none() {
            return Err(Error::new(ErrorKind::NotFound, format!("{path} is in neither of the images")));
        }
        self.current = Some(Walks {
            walks: [
                SortedWalk::new(Arc::clone(before), path, first),
                SortedWalk::new(Arc::clone(after), path, second),
            ],
            merge: Merge::default(),
            rules: Rules {
                with_content: self.with_content,
                is_inode_meaningful: compare::is_inode_meaningful(&**before, &**after, path),
            },
        });
        Ok(None)
    }
}

impl Walks {
    async fn next(&mut self) -> Result<Option<Pair>> {
        let [first, second] = &mut self.walks;
        while self.merge.wants_any() {
            let wanted = [Side::Before, Side::After].map(|side| self.merge.wants(side));
            // Two machines read at once.
            let (first, second) = tokio::join!(step(first, wanted[0]), step(second, wanted[1]));
            for (side, step) in [(Side::Before, first?), (Side::After, second?)] {
                if let Some(step) = step {
                    self.merge.offer(side, step);
                }
            }
        }
        Ok(self.merge.next())
    }
}

/// The next step of a walk, where one is wanted.
async fn step(walk: &mut SortedWalk, is_wanted: bool) -> Result<Option<Option<Step>>> {
    if is_wanted { walk.next().await.map(Some) } else { Ok(None) }
}

/// What is at a path; none where nothing is.
async fn look_up(tree: &Arc<dyn FileTree>, path: &FilePath) -> Result<Option<Entry>> {
    match tree.stat(path, false).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests;
