//! Walks over a tree, each directory before what is in it.

mod sorted;

use std::sync::Arc;

use crate::{Entry, Error, ErrorKind, FilePath, FileTree, ROOT_START, Result, limits::DEPTH_MAX};

pub(crate) use sorted::{SortedWalk, Step};

/// Something on a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: FilePath,
    /// What it is.
    pub entry: Entry,
}

/// A walk over everything below a path, and that itself. Symbolic links are not followed.
pub struct Walk {
    tree: Arc<dyn FileTree>,
    with_attributes: bool,
    /// What was asked for, until it has been told.
    start: Option<Found>,
    /// Directories on the way to where the walk is: their entries that come next, and where their next page starts.
    open: Vec<Level>,
}

struct Level {
    path: FilePath,
    entries: std::vec::IntoIter<Entry>,
    next: Option<u64>,
}

impl Walk {
    /// Begins a walk; the first step tells the start itself.
    ///
    /// # Errors
    /// Those of [`FileTree::stat`].
    pub async fn begin(tree: Arc<dyn FileTree>, path: &FilePath, with_attributes: bool) -> Result<Self> {
        let entry = tree.stat(path, false).await?;
        Ok(Self { tree, with_attributes, start: Some(Found { path: path.clone(), entry }), open: Vec::new() })
    }

    /// The next thing; none at the end. Directories come before what is in them. After an error the walk goes on beside it.
    ///
    /// # Errors
    /// Those of [`FileTree::list`]; `Damaged` where directories lie too deep in one another.
    pub async fn next(&mut self) -> Result<Option<Found>> {
        let found = match self.start.take() {
            Some(start) => start,
            None => match self.step().await? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if found.entry.is_directory() {
            if self.open.len() >= DEPTH_MAX {
                return Err(Error::new(
                    ErrorKind::Damaged,
                    format!("{}: directories lie too deep", found.path),
                ));
            }
            let level =
                Level { path: found.path.clone(), entries: Vec::new().into_iter(), next: Some(ROOT_START) };
            self.open.push(level);
        }
        Ok(Some(found))
    }

    async fn step(&mut self) -> Result<Option<Found>> {
        loop {
            let Some(level) = self.open.last_mut() else { return Ok(None) };
            if let Some(entry) = level.entries.next() {
                let path = level.path.join(&entry.name)?;
                return Ok(Some(Found { path, entry }));
            }
            let Some(start) = level.next.take() else {
                self.open.pop();
                continue;
            };
            let page = self.tree.list(&level.path, start, self.with_attributes).await?;
            level.entries = page.entries.into_iter();
            level.next = page.next;
        }
    }
}
