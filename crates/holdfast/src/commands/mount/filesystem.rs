//! The tree as FUSE asks for it. Each question becomes a task, so that a slow answer keeps no other waiting.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use api::FileKind;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, ReplyStatfs, Request,
};
use model::Timestamp;
use rustix::process::{getegid, geteuid};
use tokio::runtime::Handle;

use super::{
    source::Trouble,
    tree::{Attributes, Listing, Tree},
};

/// How long the kernel may believe what it was told: for as long as it likes, nothing changes.
const BELIEVED_FOR: Duration = Duration::from_secs(3600);

/// What libfuse calls an inode that has no number yet (`FUSE_UNKNOWN_INO`).
const UNKNOWN_NUMBER: u64 = 0xffff_ffff;

/// The unit of allocation that `stat` counts in, in bytes, by POSIX.
const SECTOR_BYTES: u64 = 512;

/// A tree that is mounted.
pub struct MountedTree {
    tree: Arc<Tree>,
    runtime: Handle,
}

impl MountedTree {
    /// The tree, whose questions are asked on a runtime.
    pub fn new(tree: Tree, runtime: Handle) -> Self {
        Self { tree: Arc::new(tree), runtime }
    }
}

impl Filesystem for MountedTree {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (tree, name) = (Arc::clone(&self.tree), name.as_bytes().to_vec());
        self.runtime.spawn(async move {
            match tree.look_up(parent.0, &name).await {
                Ok((number, known)) => {
                    reply.entry(&BELIEVED_FOR, &attributes(number, &known), Generation(0));
                }
                Err(trouble) => reply.error(errno(trouble)),
            }
        });
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        self.tree.forget(number.0, lookups);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let tree = Arc::clone(&self.tree);
        self.runtime.spawn(async move {
            match tree.attributes(number.0).await {
                Ok(known) => reply.attr(&BELIEVED_FOR, &attributes(number.0, &known)),
                Err(trouble) => reply.error(errno(trouble)),
            }
        });
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let tree = Arc::clone(&self.tree);
        self.runtime.spawn(async move {
            match tree.read_link(number.0).await {
                Ok(target) => reply.data(&target),
                Err(trouble) => reply.error(errno(trouble)),
            }
        });
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // What the kernel has in its page cache stays true.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset_bytes: u64,
        length_bytes: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let tree = Arc::clone(&self.tree);
        self.runtime.spawn(async move {
            match tree.read(number.0, offset_bytes, length_bytes.into()).await {
                Ok(bytes) => reply.data(&bytes),
                Err(trouble) => reply.error(errno(trouble)),
            }
        });
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, start: u64, reply: ReplyDirectory) {
        let tree = Arc::clone(&self.tree);
        self.runtime.spawn(async move {
            match tree.list(number.0).await {
                Ok(listing) => fill(&tree, number, &listing, start, reply),
                Err(trouble) => reply.error(errno(trouble)),
            }
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let sectors = self.tree.size_bytes() / SECTOR_BYTES;
        let (none_free, name_max) = (0, 255);
        let sector = SECTOR_BYTES as u32;
        reply.statfs(sectors, none_free, none_free, 0, 0, sector, name_max, sector);
    }
}

/// Answers with as many entries from `start` on as there is room for.
fn fill(tree: &Tree, directory: INodeNo, listing: &Listing, start: u64, mut reply: ReplyDirectory) {
    let dots = [&b"."[..], b".."].map(|name| (directory, FileType::Directory, name));
    let entries = listing.iter().map(|(name, (place, known))| {
        let number = INodeNo(tree.number(place).unwrap_or(UNKNOWN_NUMBER));
        (number, file_type(known.kind), name.as_slice())
    });
    for (place, (number, kind, name)) in (1..).zip(dots.into_iter().chain(entries)).skip(start as usize) {
        if reply.add(number, place, kind, OsStr::from_bytes(name)) {
            break;
        }
    }
    reply.ok();
}

fn errno(trouble: Trouble) -> Errno {
    match trouble {
        Trouble::NotFound => Errno::ENOENT,
        Trouble::Denied => Errno::EACCES,
        Trouble::Invalid => Errno::EINVAL,
        Trouble::Unreadable => Errno::EIO,
    }
}

fn attributes(number: u64, known: &Attributes) -> FileAttr {
    let modified = known.modified_at.map_or(UNIX_EPOCH, system_time);
    let (user, group) = known.owner.unwrap_or_else(|| (geteuid().as_raw(), getegid().as_raw()));
    FileAttr {
        ino: INodeNo(number),
        size: known.size_bytes,
        blocks: known.allocated_bytes.div_ceil(SECTOR_BYTES),
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind: file_type(known.kind),
        perm: known.mode,
        nlink: 1,
        uid: user,
        gid: group,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn system_time(moment: Timestamp) -> SystemTime {
    let since = Duration::from_micros(moment.as_microseconds().unsigned_abs());
    let moment = match moment.as_microseconds() {
        0.. => UNIX_EPOCH.checked_add(since),
        _ => UNIX_EPOCH.checked_sub(since),
    };
    moment.unwrap_or(UNIX_EPOCH)
}

fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::CharacterDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
    }
}
