//! A tree as a tar archive, in POSIX's `pax` format: any name, owner, time, attributes, hard links and holes survive.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{
    BLOCK_BYTES, EntryType, Header, Sink,
    records::{self, Records},
};
use crate::{Entry, Error, ErrorKind, FilePath, FileTree, Found, Kind, Result, Walk, limits::READ_MAX_BYTES};

/// Names that are kept for hard links. A file beyond them is archived once for each of its names.
const LINKED_MAX: usize = 1 << 20;

/// Ranges of one sparse file.
const RANGES_MAX: usize = 1 << 20;

/// Writes what a path names, with everything below it. Names in the archive start with the path's last one. Sockets are left
/// out: they mean nothing without the process that made them.
///
/// # Errors
/// Those of the tree. The archive then ends without its end mark.
pub async fn tar(tree: Arc<dyn FileTree>, path: &FilePath, sink: &Sink) -> Result<()> {
    let base_bytes = path.to_bytes().len() - path.name().map_or(1, <[u8]>::len);
    let mut archive = Archive { tree: Arc::clone(&tree), sink, base_bytes, linked: BTreeMap::new() };
    let mut walk = Walk::begin(tree, path, true).await?;
    while let Some(found) = walk.next().await? {
        archive.add(found).await?;
    }
    sink.send(vec![0; 2 * BLOCK_BYTES]).await
}

struct Archive<'a> {
    tree: Arc<dyn FileTree>,
    sink: &'a Sink,
    /// How much of each path is not part of the name.
    base_bytes: usize,
    /// The names that files with several got first, by volume and inode.
    linked: BTreeMap<(Vec<u8>, u64), Vec<u8>>,
}

impl Archive<'_> {
    async fn add(&mut self, found: Found) -> Result<()> {
        let Found { path, entry } = found;
        let name = path.to_bytes().split_off(self.base_bytes.min(path.to_bytes().len()));
        if name.is_empty() || entry.kind == Kind::Socket {
            return Ok(());
        }
        if let Some(first) = self.first_name(&path, &entry, &name) {
            return self.write_head(&name, &entry, EntryType::HardLink, &first, 0, Records::default()).await;
        }
        match &entry.kind {
            Kind::File => self.add_file(&path, &name, &entry).await,
            Kind::Directory => {
                let name = [name.as_slice(), b"/"].concat();
                self.write_head(&name, &entry, EntryType::Directory, b"", 0, Records::default()).await
            }
            Kind::Symlink { target } => {
                self.write_head(&name, &entry, EntryType::Symlink, target, 0, Records::default()).await
            }
            Kind::CharacterDevice { .. } => {
                self.write_head(&name, &entry, EntryType::CharacterDevice, b"", 0, Records::default()).await
            }
            Kind::BlockDevice { .. } => {
                self.write_head(&name, &entry, EntryType::BlockDevice, b"", 0, Records::default()).await
            }
            Kind::Fifo => self.write_head(&name, &entry, EntryType::Fifo, b"", 0, Records::default()).await,
            Kind::Socket => Ok(()),
        }
    }

    /// The name under which this file is in the archive already.
    fn first_name(&mut self, path: &FilePath, entry: &Entry, name: &[u8]) -> Option<Vec<u8>> {
        if entry.links < 2 || entry.is_directory() {
            return None;
        }
        let key = (path.volume().unwrap_or_default().to_vec(), entry.inode);
        if let Some(first) = self.linked.get(&key) {
            return Some(first.clone());
        }
        if self.linked.len() < LINKED_MAX {
            self.linked.insert(key, name.to_vec());
        }
        None
    }

    async fn add_file(&self, path: &FilePath, name: &[u8], entry: &Entry) -> Result<()> {
        let ranges = self.data_of(path, entry.size_bytes).await?;
        let data_bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        if data_bytes == entry.size_bytes {
            let head = self.write_head(name, entry, EntryType::File, b"", data_bytes, Records::default());
            head.await?;
        } else {
            let map = sparse_map(&ranges, entry.size_bytes);
            let mut sparse = Records::default();
            sparse.add(records::SPARSE_MAJOR, b"1");
            sparse.add(records::SPARSE_MINOR, b"0");
            sparse.add(records::SPARSE_NAME, name);
            sparse.add(records::SPARSE_SIZE, entry.size_bytes.to_string().as_bytes());
            let size_bytes = map.len() as u64 + data_bytes;
            self.write_head(name, entry, EntryType::File, b"", size_bytes, sparse).await?;
            self.sink.send(map).await?;
        }
        for range in ranges {
            self.write_data(path, range).await?;
        }
        self.pad(data_bytes).await
    }

    /// Where a file has data, no further than its end.
    async fn data_of(&self, path: &FilePath, size_bytes: u64) -> Result<Vec<Range<u64>>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut from = (size_bytes > 0).then_some(0);
        while let Some(offset_bytes) = from {
            let (found, next) = self.tree.data_ranges(path, offset_bytes).await?;
            ranges.extend(found.into_iter().map(|range| range.start..range.end.min(size_bytes)));
            from = next.filter(|next| *next < size_bytes);
            if ranges.len() > RANGES_MAX {
                return Err(Error::new(ErrorKind::Unsupported, format!("{path} has too many holes")));
            }
        }
        ranges.retain(|range| !range.is_empty());
        Ok(ranges)
    }

    async fn write_data(&self, path: &FilePath, range: Range<u64>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let wanted = (range.end - at).min(READ_MAX_BYTES as u64);
            let bytes = self.tree.read(path, at, wanted as usize).await?;
            if bytes.is_empty() {
                return Err(Error::new(ErrorKind::Damaged, format!("{path} ends before its size")));
            }
            at += bytes.len() as u64;
            self.sink.send(bytes).await?;
        }
        Ok(())
    }

    async fn write_head(
        &self,
        name: &[u8],
        entry: &Entry,
        kind: EntryType,
        link: &[u8],
        size_bytes: u64,
        mut extra: Records,
    ) -> Result<()> {
        add_records(&mut extra, name, entry, link, size_bytes);
        let records = extra.as_bytes();
        let head = Header::new(b"PaxHeaders/entry", EntryType::Records, records.len() as u64);
        self.sink.send(head.encode().to_vec()).await?;
        self.sink.send(records.to_vec()).await?;
        self.pad(records.len() as u64).await?;
        let device = match entry.kind {
            Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => (major, minor),
            _ => (0, 0),
        };
        let header = Header {
            mode: entry.mode,
            user: entry.user,
            group: entry.group,
            modified_seconds: entry.modified.seconds,
            link: link.to_vec(),
            device,
            ..Header::new(name, kind, size_bytes)
        };
        self.sink.send(header.encode().to_vec()).await
    }

    /// Fills the last block of so many bytes.
    async fn pad(&self, length_bytes: u64) -> Result<()> {
        let rest = (length_bytes % BLOCK_BYTES as u64) as usize;
        if rest == 0 { Ok(()) } else { self.sink.send(vec![0; BLOCK_BYTES - rest]).await }
    }
}

/// What the header cannot hold, or not exactly.
fn add_records(records: &mut Records, name: &[u8], entry: &Entry, link: &[u8], size_bytes: u64) {
    if !Header::holds_name(name) {
        records.add(records::PATH, name);
    }
    if !Header::holds_name(link) {
        records.add(records::LINK_PATH, link);
    }
    if !Header::holds_size(size_bytes) {
        records.add(records::SIZE, size_bytes.to_string().as_bytes());
    }
    for (key, number) in [(records::USER, entry.user), (records::GROUP, entry.group)] {
        if !Header::holds_owner(number) {
            records.add(key, number.to_string().as_bytes());
        }
    }
    records.add(records::MODIFIED, records::time_text(entry.modified).as_bytes());
    records.add(records::ACCESSED, records::time_text(entry.accessed).as_bytes());
    for attribute in &entry.attributes {
        records.add(&[records::ATTRIBUTE_PREFIX, &attribute.name].concat(), &attribute.value);
    }
}

/// The map of a sparse file, filled up to a block. It ends with the file, also where that ends in a hole.
fn sparse_map(ranges: &[Range<u64>], size_bytes: u64) -> Vec<u8> {
    let ends_in_hole = ranges.last().is_none_or(|range| range.end < size_bytes);
    let end = ends_in_hole.then_some(size_bytes..size_bytes);
    let ranges: Vec<_> = ranges.iter().cloned().chain(end).collect();
    let lines = ranges.iter().map(|range| format!("{}\n{}\n", range.start, range.end - range.start));
    let mut map = format!("{}\n{}", ranges.len(), lines.collect::<String>()).into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK_BYTES), 0);
    map
}
