//! A tree in memory, for tests: it says whatever it is told to.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry as MapEntry},
    ops::Range,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Digest, FileTree, Page};
use crate::{Attribute, Entry, Error, ErrorKind, FilePath, Kind, Result, Time, Volume, VolumeState};

/// Entries a page.
const PAGE_ENTRIES: usize = 3;

/// Bytes of one digest.
const DIGEST_BYTES: u64 = 5;

/// A file's data by offset, and what is known of it.
#[derive(Debug, Clone)]
struct Node {
    entry: Entry,
    data: Vec<(u64, Vec<u8>)>,
}

/// A tree in memory. Paths are absolute, as in `/v/etc`; directories are there when they were added.
#[derive(Debug)]
pub struct MemoryTree {
    volumes: Vec<Volume>,
    nodes: BTreeMap<Vec<u8>, Node>,
    /// Whether directories are listed in another order than that of names.
    is_shuffled: bool,
    /// Directories that cannot be listed.
    damaged: BTreeSet<Vec<u8>>,
}

impl Default for MemoryTree {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryTree {
    /// A tree with the volume `v`, and nothing in it.
    #[must_use]
    pub fn new() -> Self {
        let volume =
            Volume { name: "v".into(), content: "ext4".into(), size_bytes: 0, state: VolumeState::Readable };
        let mut tree = Self {
            volumes: vec![volume],
            nodes: BTreeMap::new(),
            is_shuffled: false,
            damaged: BTreeSet::new(),
        };
        tree.add(b"/", Kind::Directory);
        tree.add(b"/v", Kind::Directory);
        tree
    }

    /// The same, with listings in an order that has nothing to do with names.
    #[must_use]
    pub fn shuffled() -> Self {
        Self { is_shuffled: true, ..Self::new() }
    }

    /// Makes a directory one that cannot be listed.
    pub fn damage(&mut self, path: &[u8]) {
        self.damaged.insert(path.to_vec());
    }

    /// Adds something without content; returns its entry, to be changed.
    pub fn add(&mut self, path: &[u8], kind: Kind) -> &mut Entry {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        // What takes a place that was taken is the same file.
        let inode = self.nodes.get(path).map_or(self.nodes.len() as u64, |node| node.entry.inode);
        let entry = Entry {
            kind,
            mode: 0o640,
            inode,
            modified: Time { seconds: 1_700_000_000, nanoseconds: 123_456_789 },
            ..Entry::directory(name)
        };
        let entry = if entry.is_directory() { Entry { mode: 0o750, ..entry } } else { entry };
        &mut self.insert(path, Node { entry, data: Vec::new() }).entry
    }

    /// Adds a file with data at some offsets, and its size.
    pub fn add_file(&mut self, path: &[u8], data: &[(u64, &[u8])], size_bytes: u64) -> &mut Entry {
        let entry = Entry {
            size_bytes,
            attributes: vec![Attribute { name: b"user.note".to_vec(), value: b"\0\xff=\n".to_vec() }],
            ..self.add(path, Kind::File).clone()
        };
        let data = data.iter().map(|(offset, bytes)| (*offset, bytes.to_vec())).collect();
        &mut self.insert(path, Node { entry, data }).entry
    }

    fn insert(&mut self, path: &[u8], node: Node) -> &mut Node {
        match self.nodes.entry(path.to_vec()) {
            MapEntry::Occupied(mut place) => {
                place.insert(node);
                place.into_mut()
            }
            MapEntry::Vacant(place) => place.insert(node),
        }
    }

    fn node(&self, path: &FilePath) -> Result<&Node> {
        self.nodes.get(&path.to_bytes()).ok_or_else(|| Error::new(ErrorKind::NotFound, path.to_string()))
    }
}

#[async_trait]
impl FileTree for MemoryTree {
    fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    async fn stat(&self, path: &FilePath, _follow: bool) -> Result<Entry> {
        self.node(path).map(|node| node.entry.clone())
    }

    async fn list(&self, path: &FilePath, start: u64, with_attributes: bool) -> Result<Page> {
        self.node(path)?;
        if self.damaged.contains(&path.to_bytes()) {
            return Err(Error::new(ErrorKind::Damaged, path.to_string()));
        }
        let start = start as usize;
        let prefix =
            if path.volume().is_none() { b"/".to_vec() } else { [&path.to_bytes()[..], b"/"].concat() };
        let is_inside = |found: &[u8]| {
            found.strip_prefix(&prefix[..]).is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'/'))
        };
        let mut inside: Vec<_> = self.nodes.iter().filter(|(found, _)| is_inside(found)).collect();
        if self.is_shuffled {
            inside.sort_by_key(|(found, _)| *blake3::hash(found).as_bytes());
        }
        let entries = inside.iter().skip(start).take(PAGE_ENTRIES).map(|(_, node)| Entry {
            attributes: if with_attributes { node.entry.attributes.clone() } else { Vec::new() },
            ..node.entry.clone()
        });
        let entries = entries.collect();
        let next = start + PAGE_ENTRIES;
        Ok(Page { entries, next: (next < inside.len()).then_some(next as u64) })
    }

    async fn read(&self, path: &FilePath, offset_bytes: u64, length_bytes: usize) -> Result<Bytes> {
        let node = self.node(path)?;
        let length = node.entry.size_bytes.saturating_sub(offset_bytes).min(length_bytes as u64) as usize;
        let byte = |at: u64| {
            let found = node
                .data
                .iter()
                .find_map(|(start, data)| data.get(usize::try_from(at.checked_sub(*start)?).ok()?));
            found.copied().unwrap_or(0)
        };
        Ok((offset_bytes..).take(length).map(byte).collect())
    }

    async fn data_ranges(
        &self,
        path: &FilePath,
        offset_bytes: u64,
    ) -> Result<(Vec<Range<u64>>, Option<u64>)> {
        // One at a time, so that whoever asks must go on asking.
        let ranges = self.node(path)?.data.iter().map(|(start, data)| *start..start + data.len() as u64);
        let found = ranges.into_iter().find(|range| range.end > offset_bytes);
        let next = found.as_ref().map(|range| range.end);
        Ok((found.into_iter().collect(), next))
    }

    async fn digest(&self, path: &FilePath, range: Range<u64>) -> Result<Digest> {
        // Short of what was asked, so that whoever asks must go on asking.
        let end_bytes = range.end.min(range.start + DIGEST_BYTES);
        let bytes = self.read(path, range.start, (end_bytes - range.start) as usize).await?;
        Ok(Digest { hash: *blake3::hash(&bytes).as_bytes(), end_bytes })
    }
}
