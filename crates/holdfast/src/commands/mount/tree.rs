//! The directory tree that is mounted: `disks/<disk>.raw` and `files/<volume>/…`. What it holds never changes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use api::{FileKind, FileView};
use bytes::{Bytes, BytesMut};
use model::Timestamp;

use super::{
    cache::Cache,
    link::confined,
    nodes::{Nodes, Place},
    source::{Source, Trouble},
};

/// What is read of a disk at once: a region of a vault's map.
const DISK_BLOCK_BYTES: u64 = 4 << 20;

/// What is read of a file at once.
const FILE_BLOCK_BYTES: u64 = 1 << 20;

/// What was read lately and is kept, in bytes.
const KEPT_BYTES: usize = 64 << 20;

/// Entries of directories that were listed lately and are kept.
const KEPT_ENTRIES: usize = 200_000;

const DISKS_NAME: &str = "disks";
const FILES_NAME: &str = "files";

/// A disk that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The name of its file.
    pub file_name: String,
    pub size_bytes: u64,
}

/// What is known of a file, a directory or anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    pub kind: FileKind,
    /// Permissions, with set-user-id, set-group-id and sticky.
    pub mode: u16,
    /// None for whoever has mounted it.
    pub owner: Option<(u32, u32)>,
    pub size_bytes: u64,
    pub allocated_bytes: u64,
    pub modified_at: Option<Timestamp>,
    /// Where a symbolic link leads, in the image.
    pub target: Option<Vec<u8>>,
}

/// What a directory holds, by name.
pub type Listing = BTreeMap<Vec<u8>, (Place, Attributes)>;

/// The tree.
#[derive(Debug)]
pub struct Tree {
    source: Source,
    disks: Vec<Disk>,
    /// The moment that is shown, where it is known.
    taken_at: Option<Timestamp>,
    nodes: Mutex<Nodes>,
    listings: Cache<Vec<u8>, Arc<Listing>>,
    blocks: Cache<(Place, u64), Bytes>,
}

impl Tree {
    pub fn new(source: Source, disks: Vec<Disk>, taken_at: Option<Timestamp>) -> Self {
        Self {
            source,
            disks,
            taken_at,
            nodes: Mutex::new(Nodes::new()),
            listings: Cache::new(KEPT_ENTRIES),
            blocks: Cache::new(KEPT_BYTES),
        }
    }

    /// The number and the attributes of what has a name in a directory.
    pub async fn look_up(&self, parent: u64, name: &[u8]) -> Result<(u64, Attributes), Trouble> {
        let listing = self.list(parent).await?;
        let (place, attributes) = listing.get(name).ok_or(Trouble::NotFound)?;
        Ok((self.nodes().look_up(place.clone()), attributes.clone()))
    }

    /// The kernel forgets a number.
    pub fn forget(&self, number: u64, lookups: u64) {
        self.nodes().forget(number, lookups);
    }

    /// The number of a place, where the kernel knows one.
    pub fn number(&self, place: &Place) -> Option<u64> {
        self.nodes().number(place)
    }

    /// The attributes of what has a number.
    pub async fn attributes(&self, number: u64) -> Result<Attributes, Trouble> {
        match self.place(number)? {
            Place::Root | Place::Disks | Place::Files => Ok(self.directory()),
            Place::Disk(disk) => self.disks.get(disk).map(|disk| self.of_disk(disk)).ok_or(Trouble::NotFound),
            Place::Entry(path) => self.of_entry(&path).await,
        }
    }

    /// What is in a directory.
    pub async fn list(&self, number: u64) -> Result<Arc<Listing>, Trouble> {
        match self.place(number)? {
            Place::Root => {
                let names = [(DISKS_NAME, Place::Disks), (FILES_NAME, Place::Files)];
                let entry = |(name, place): (&str, _)| (name.into(), (place, self.directory()));
                Ok(Arc::new(names.map(entry).into()))
            }
            Place::Disks => {
                let entry = |(number, disk): (_, &Disk)| {
                    (disk.file_name.clone().into_bytes(), (Place::Disk(number), self.of_disk(disk)))
                };
                Ok(Arc::new(self.disks.iter().enumerate().map(entry).collect()))
            }
            Place::Disk(_) => Err(Trouble::Invalid),
            Place::Files => self.listing(b"/").await,
            Place::Entry(path) => self.listing(&path).await,
        }
    }

    /// Where a symbolic link leads.
    pub async fn read_link(&self, number: u64) -> Result<Vec<u8>, Trouble> {
        let Place::Entry(path) = self.place(number)? else { return Err(Trouble::Invalid) };
        let target = self.of_entry(&path).await?.target.ok_or(Trouble::Invalid)?;
        Ok(confined(&path, &target))
    }

    /// Bytes of a file or a disk, cut at its end.
    pub async fn read(
        self: &Arc<Self>,
        number: u64,
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<Bytes, Trouble> {
        let place = self.place(number)?;
        let size_bytes = self.attributes(number).await?.size_bytes;
        let end_bytes = offset_bytes.saturating_add(length_bytes).min(size_bytes);
        let block_bytes = block_bytes(&place);
        let mut read = BytesMut::new();
        let mut at_bytes = offset_bytes;
        while at_bytes < end_bytes {
            let block = at_bytes / block_bytes;
            let bytes = self.block(&place, block, size_bytes).await?;
            self.read_ahead(&place, block, size_bytes);
            let start = (at_bytes - block * block_bytes) as usize;
            let end = (end_bytes - block * block_bytes).min(bytes.len() as u64) as usize;
            let part = bytes.get(start..end).filter(|part| !part.is_empty()).ok_or(Trouble::Unreadable)?;
            at_bytes += part.len() as u64;
            read.extend_from_slice(part);
        }
        Ok(read.freeze())
    }

    /// The bytes of all disks.
    pub fn size_bytes(&self) -> u64 {
        self.disks.iter().map(|disk| disk.size_bytes).sum()
    }

    async fn block(&self, place: &Place, block: u64, size_bytes: u64) -> Result<Bytes, Trouble> {
        let offset_bytes = block * block_bytes(place);
        let length_bytes = block_bytes(place).min(size_bytes.saturating_sub(offset_bytes));
        let load = async {
            let bytes = match place {
                Place::Disk(disk) => self.source.disk_range(*disk, offset_bytes, length_bytes).await?,
                Place::Entry(path) => self.source.file_range(path, offset_bytes, length_bytes).await?,
                Place::Root | Place::Disks | Place::Files => return Err(Trouble::Invalid),
            };
            // What is missing would read as zeros.
            if bytes.len() as u64 == length_bytes { Ok(bytes) } else { Err(Trouble::Unreadable) }
        };
        self.blocks.get(&(place.clone(), block), Bytes::len, load).await
    }

    /// Begins to fetch the next block for who has read the one before this one too.
    fn read_ahead(self: &Arc<Self>, place: &Place, block: u64, size_bytes: u64) {
        let is_in_order = block > 0 && self.blocks.holds(&(place.clone(), block - 1));
        let next = (place.clone(), block + 1);
        let is_there = next.1 * block_bytes(place) >= size_bytes || self.blocks.holds(&next);
        if is_in_order && !is_there {
            let tree = Arc::clone(self);
            // Whoever needs it learns of a failure by asking again.
            tokio::spawn(async move { drop(tree.block(&next.0, next.1, size_bytes).await) });
        }
    }

    async fn of_entry(&self, path: &[u8]) -> Result<Attributes, Trouble> {
        let slash = path.iter().rposition(|byte| *byte == b'/').ok_or(Trouble::NotFound)?;
        let parent = if slash == 0 { b"/" } else { &path[..slash] };
        let listing = self.listing(parent).await?;
        listing.get(&path[slash + 1..]).map(|(_, attributes)| attributes.clone()).ok_or(Trouble::NotFound)
    }

    /// What is in a directory of a volume; the volumes themselves for the root.
    async fn listing(&self, path: &[u8]) -> Result<Arc<Listing>, Trouble> {
        let load = async {
            if path == b"/" {
                let volumes = self.source.volumes().await?.into_iter();
                let entry = |name: String| {
                    let path = [b"/", name.as_bytes()].concat();
                    (name.into_bytes(), (Place::Entry(path), self.directory()))
                };
                return Ok(Arc::new(volumes.map(|volume| entry(volume.name)).collect()));
            }
            let files = self.source.list(path).await?;
            Ok(Arc::new(files.into_iter().filter_map(|file| entry(path, file)).collect()))
        };
        // An empty directory is worth remembering too.
        self.listings.get(&path.to_vec(), |listing: &Arc<Listing>| listing.len() + 1, load).await
    }

    fn place(&self, number: u64) -> Result<Place, Trouble> {
        self.nodes().place(number).cloned().ok_or(Trouble::NotFound)
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self) -> Attributes {
        Attributes {
            kind: FileKind::Directory,
            mode: 0o555,
            owner: None,
            size_bytes: 0,
            allocated_bytes: 0,
            modified_at: self.taken_at,
            target: None,
        }
    }

    fn of_disk(&self, disk: &Disk) -> Attributes {
        let size_bytes = disk.size_bytes;
        let kind = FileKind::File;
        Attributes { kind, mode: 0o444, size_bytes, allocated_bytes: size_bytes, ..self.directory() }
    }
}

fn block_bytes(place: &Place) -> u64 {
    match place {
        Place::Disk(_) => DISK_BLOCK_BYTES,
        _ => FILE_BLOCK_BYTES,
    }
}

/// An entry of a directory as the server tells it; none where its path is not below the directory.
fn entry(directory: &[u8], file: FileView) -> Option<(Vec<u8>, (Place, Attributes))> {
    let path = match &file.path_hex {
        Some(hex) => from_hex(hex)?,
        None => file.path.into_bytes(),
    };
    let name = path.strip_prefix(directory)?.strip_prefix(b"/")?.to_vec();
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return None;
    }
    let attributes = Attributes {
        kind: file.kind,
        mode: u16::from_str_radix(&file.mode, 8).unwrap_or(0) & 0o7777,
        owner: Some((file.user, file.group)),
        size_bytes: file.size_bytes.0,
        allocated_bytes: file.allocated_bytes.0,
        modified_at: file.modified_at,
        target: file.target.map(String::into_bytes),
    };
    Some((name, (Place::Entry(path), attributes)))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

/// The name of a disk's file: the disk's own, without slashes.
pub fn file_name(disk: &str) -> String {
    format!("{}.raw", disk.replace('/', "%2F"))
}
