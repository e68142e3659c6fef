//! A tree as a ZIP archive, for who has no tar: names, contents, modes, times to the second and symbolic links. Files are stored
//! as they are. After PKWARE's APPNOTE.TXT 6.3.10; attributes and times as Info-ZIP writes them.

use std::sync::Arc;

use super::Sink;
use crate::crc::Crc;
use crate::{Entry, Error, ErrorKind, FilePath, FileTree, Found, Kind, Result, Walk, limits::READ_MAX_BYTES};

/// Members of one archive: their list comes at the end, and is held until then.
const MEMBERS_MAX: usize = 1 << 20;

/// Signatures (4.3.7, 4.3.9, 4.3.12, 4.3.14 to 4.3.16).
const LOCAL_HEADER: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL_HEADER: u32 = 0x0201_4b50;
const END_64: u32 = 0x0606_4b50;
const END_64_LOCATOR: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;

/// Version 4.5, the first with sizes of 64 bits, made by Unix (4.4.2).
const VERSION: u16 = 45;
const MADE_BY_UNIX: u16 = 3 << 8;

/// Flags (4.4.4): the checksum follows the content; the name is UTF-8.
const CHECKSUM_FOLLOWS: u16 = 1 << 3;
const NAME_IS_UTF_8: u16 = 1 << 11;

/// Extra fields: sizes of 64 bits (4.5.3), and Info-ZIP's time.
const EXTRA_SIZES: u16 = 0x0001;
const EXTRA_TIME: u16 = 0x5455;

/// 1980-01-01, the first day of the format's own times, for readers that know no others.
const FIRST_DATE: u16 = 1 << 5 | 1;

/// File types in Unix's mode.
const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

/// Writes what a path names, with everything below it. Names in the archive start with the path's last one. Only files,
/// directories and symbolic links are kept; holes are written as zeros.
///
/// # Errors
/// Those of the tree, and `Unsupported` for more than a million members. The archive then ends without its list.
pub async fn zip(tree: Arc<dyn FileTree>, path: &FilePath, sink: &Sink) -> Result<()> {
    let base_bytes = path.to_bytes().len() - path.name().map_or(1, <[u8]>::len);
    let mut archive =
        Archive { tree: Arc::clone(&tree), sink, written_bytes: 0, list: Vec::new(), members: 0 };
    let mut walk = Walk::begin(tree, path, false).await?;
    while let Some(found) = walk.next().await? {
        let name = found.path.to_bytes().split_off(base_bytes.min(found.path.to_bytes().len()));
        if !name.is_empty() {
            archive.add(&name, &found).await?;
        }
    }
    archive.finish().await
}

struct Archive<'a> {
    tree: Arc<dyn FileTree>,
    sink: &'a Sink,
    written_bytes: u64,
    /// The central directory so far.
    list: Vec<u8>,
    members: usize,
}

impl Archive<'_> {
    async fn add(&mut self, name: &[u8], found: &Found) -> Result<()> {
        let Found { path, entry } = found;
        let offset_bytes = self.written_bytes;
        let (name, kind) = match &entry.kind {
            Kind::File => (name.to_vec(), FILE),
            Kind::Directory => ([name, b"/"].concat(), DIRECTORY),
            Kind::Symlink { .. } => (name.to_vec(), LINK),
            _ => return Ok(()),
        };
        self.members += 1;
        if self.members > MEMBERS_MAX {
            return Err(Error::new(ErrorKind::Unsupported, "there are too many files for a ZIP archive")
                .with_guidance("take them as tar"));
        }
        let mut head = Fields::default();
        head.u32(LOCAL_HEADER);
        head.member(&name, 0, 0);
        // Sizes that follow the content have 64 bits where this field is there.
        let extra = extra(&[0, 0], entry);
        head.u16(name.len() as u16);
        head.u16(extra.len() as u16);
        head.bytes(&name);
        head.bytes(&extra);
        self.write(head.0).await?;
        let (crc, size_bytes) = self.write_content(path, entry).await?;
        let mut descriptor = Fields::default();
        descriptor.u32(DESCRIPTOR);
        descriptor.u32(crc);
        descriptor.u64(size_bytes);
        descriptor.u64(size_bytes);
        self.write(descriptor.0).await?;
        self.list_member(&name, entry, kind, crc, size_bytes, offset_bytes);
        Ok(())
    }

    async fn write_content(&mut self, path: &FilePath, entry: &Entry) -> Result<(u32, u64)> {
        let mut crc = Crc::default();
        if let Kind::Symlink { target } = &entry.kind {
            crc.update(target);
            self.write(target.clone()).await?;
            return Ok((crc.finish(), target.len() as u64));
        }
        let mut at = 0;
        while entry.is_file() && at < entry.size_bytes {
            let wanted = (entry.size_bytes - at).min(READ_MAX_BYTES as u64);
            let bytes = self.tree.read(path, at, wanted as usize).await?;
            if bytes.is_empty() {
                return Err(Error::new(ErrorKind::Damaged, format!("{path} ends before its size")));
            }
            crc.update(&bytes);
            at += bytes.len() as u64;
            self.write(bytes).await?;
        }
        Ok((crc.finish(), at))
    }

    fn list_member(
        &mut self,
        name: &[u8],
        entry: &Entry,
        kind: u32,
        crc: u32,
        size_bytes: u64,
        offset_bytes: u64,
    ) {
        let mut fields = Fields::default();
        fields.u32(CENTRAL_HEADER);
        fields.u16(MADE_BY_UNIX | VERSION);
        fields.member(name, crc, u32::MAX);
        let extra = extra(&[size_bytes, size_bytes, offset_bytes], entry);
        fields.u16(name.len() as u16);
        fields.u16(extra.len() as u16);
        // No comment, the first disk, no attributes of the content.
        fields.bytes(&[0; 6]);
        fields.u32((kind | entry.mode) << 16);
        fields.u32(u32::MAX);
        fields.bytes(name);
        fields.bytes(&extra);
        self.list.extend_from_slice(&fields.0);
    }

    async fn finish(mut self) -> Result<()> {
        let (start, length, members) = (self.written_bytes, self.list.len() as u64, self.members as u64);
        let list = std::mem::take(&mut self.list);
        self.write(list).await?;
        let mut end = Fields::default();
        end.u32(END_64);
        // The length of what follows in this record.
        end.u64(44);
        end.u16(MADE_BY_UNIX | VERSION);
        end.u16(VERSION);
        end.bytes(&[0; 8]);
        for value in [members, members, length, start] {
            end.u64(value);
        }
        end.u32(END_64_LOCATOR);
        end.u32(0);
        end.u64(start + length);
        end.u32(1);
        end.u32(END);
        // Everything is in the record before.
        end.bytes(&[0, 0, 0, 0]);
        end.bytes(&[0xff; 12]);
        end.u16(0);
        self.write(end.0).await
    }

    async fn write(&mut self, bytes: impl Into<bytes::Bytes>) -> Result<()> {
        let bytes = bytes.into();
        self.written_bytes += bytes.len() as u64;
        if bytes.is_empty() { Ok(()) } else { self.sink.send(bytes).await }
    }
}

/// Little-endian fields.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// What both headers of a member have, from the version needed to the sizes.
    fn member(&mut self, name: &[u8], crc: u32, size: u32) {
        self.u16(VERSION);
        self.u16(CHECKSUM_FOLLOWS | if std::str::from_utf8(name).is_ok() { NAME_IS_UTF_8 } else { 0 });
        // Stored.
        self.u16(0);
        self.u16(0);
        self.u16(FIRST_DATE);
        self.u32(crc);
        self.u32(size);
        self.u32(size);
    }
}

/// The extra fields of a member.
fn extra(sizes: &[u64], entry: &Entry) -> Vec<u8> {
    let mut fields = Fields::default();
    fields.u16(EXTRA_SIZES);
    fields.u16(8 * sizes.len() as u16);
    sizes.iter().for_each(|size| fields.u64(*size));
    if let Ok(seconds) = i32::try_from(entry.modified.seconds) {
        fields.u16(EXTRA_TIME);
        fields.u16(5);
        // Only when it was modified.
        fields.bytes(&[1]);
        fields.u32(seconds.cast_unsigned());
    }
    fields.0
}
