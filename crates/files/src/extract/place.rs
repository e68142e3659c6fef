//! The directory that files go to.

use std::{
    fs::{self, File},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
        XattrFlags, chownat, fchmod, fchown, fsetxattr, futimens, linkat, makedev, mkdirat, mknodat, open,
        openat2, symlinkat, utimensat,
    },
    io::Errno,
    process::geteuid,
};

use super::{Extracted, reader::Member};
use crate::{
    Error, ErrorKind, FilePath, Result, Time,
    archive::EntryType,
    path::{display, is_name},
};

/// Permissions that anybody may keep on files of his own.
const PLAIN_PERMISSIONS: u32 = 0o777;

/// A directory that is being filled.
pub(super) struct Place {
    directory: OwnedFd,
    is_root: bool,
}

impl Place {
    pub(super) fn open(target: &Path) -> Result<Self> {
        let failed = |error| Error::from_io(format!("the target directory {}", target.display()), error);
        fs::create_dir_all(target).map_err(failed)?;
        let directory = open(target, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Ok(Self { directory: directory.map_err(|error| failed(error.into()))?, is_root: geteuid().is_root() })
    }

    /// Makes a directory that only we may enter until it is finished. One that is there is as good.
    pub(super) fn make_directory(&self, member: &Member) -> Result<()> {
        let (parent, name) = self.parent(member, &member.name)?;
        match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                self.beneath(&member.name, OFlags::DIRECTORY).map(drop).map_err(|error| failed(member, error))
            }
            Err(error) => Err(failed(member, error)),
        }
    }

    /// Makes an empty file.
    pub(super) fn make_file(&self, member: &Member) -> Result<File> {
        let (parent, name) = self.parent(member, &member.name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat2(
            &parent,
            name,
            flags,
            Mode::RUSR | Mode::WUSR,
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        );
        file.map(File::from).map_err(|error| failed(member, error))
    }

    /// Makes anything that has no content.
    pub(super) fn make_other(&self, member: &Member, extracted: &mut Extracted) -> Result<()> {
        let (parent, name) = self.parent(member, &member.name)?;
        let device = |kind| {
            let (major, minor) = member.device;
            mknodat(&parent, name, kind, Mode::RUSR | Mode::WUSR, makedev(major, minor))
        };
        let made = match member.kind {
            EntryType::HardLink => {
                let (first, first_name) = self.parent(member, &member.link)?;
                return linkat(first, first_name, &parent, name, AtFlags::empty())
                    .map_err(|error| failed(member, error));
            }
            EntryType::Symlink => symlinkat(member.link.as_slice(), &parent, name),
            EntryType::Fifo => device(FileType::Fifo),
            EntryType::CharacterDevice if self.is_root => device(FileType::CharacterDevice),
            EntryType::BlockDevice if self.is_root => device(FileType::BlockDevice),
            _ => {
                extracted.warn(format!("{} is a device, which only root can make", display(&member.name)));
                return Ok(());
            }
        };
        made.map_err(|error| failed(member, error))?;
        self.finish_unopened(&parent, name, member, extracted);
        Ok(())
    }

    /// Gives a file what the member says of it. Its mode comes after its owner, who would lose set-user-id bits, and its
    /// times come last.
    pub(super) fn finish(&self, file: impl AsFd, member: &Member, extracted: &mut Extracted) {
        let file = file.as_fd();
        let mut warn = |what: &str, error: Errno| {
            extracted.warn(format!(
                "{}: {what} cannot be kept: {}",
                display(&member.name),
                std::io::Error::from(error)
            ));
        };
        if self.is_root {
            let owner = (Some(Uid::from_raw(member.user)), Some(Gid::from_raw(member.group)));
            fchown(file, owner.0, owner.1).unwrap_or_else(|error| warn("the owner", error));
        }
        let permissions = if self.is_root { member.mode } else { member.mode & PLAIN_PERMISSIONS };
        fchmod(file, Mode::from_raw_mode(permissions)).unwrap_or_else(|error| warn("the mode", error));
        for attribute in &member.attributes {
            if !self.is_root && !attribute.name.starts_with(b"user.") {
                continue;
            }
            let set = fsetxattr(file, attribute.name.as_slice(), &attribute.value, XattrFlags::empty());
            set.unwrap_or_else(|error| warn(&format!("the attribute {}", display(&attribute.name)), error));
        }
        futimens(file, &times(member)).unwrap_or_else(|error| warn("the times", error));
    }

    pub(super) fn finish_directory(&self, member: &Member, extracted: &mut Extracted) -> Result<()> {
        let directory = self.beneath(&member.name, OFlags::RDONLY | OFlags::DIRECTORY);
        self.finish(directory.map_err(|error| failed(member, error))?, member, extracted);
        Ok(())
    }

    /// The same for what cannot be opened: links, devices and pipes.
    fn finish_unopened(&self, parent: &OwnedFd, name: &[u8], member: &Member, extracted: &mut Extracted) {
        let mut warn = |what: &str, error: Errno| {
            extracted.warn(format!(
                "{}: {what} cannot be kept: {}",
                display(&member.name),
                std::io::Error::from(error)
            ));
        };
        if self.is_root {
            let owner = (Some(Uid::from_raw(member.user)), Some(Gid::from_raw(member.group)));
            let owned = chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
            owned.unwrap_or_else(|error| warn("the owner", error));
        }
        let timed = utimensat(parent, name, &times(member), AtFlags::SYMLINK_NOFOLLOW);
        timed.unwrap_or_else(|error| warn("the times", error));
    }

    /// The directory that something lies in, and its name there.
    fn parent<'a>(&self, member: &Member, path: &'a [u8]) -> Result<(OwnedFd, &'a [u8])> {
        let (directory, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (b"".as_slice(), path),
        };
        // Checked as a whole: nothing but names.
        if !is_name(name) || path.starts_with(b"/") || FilePath::parse(path).is_err() {
            return Err(Error::new(ErrorKind::Damaged, format!("{} is no place for a file", display(path))));
        }
        let parent = self.beneath(directory, OFlags::PATH | OFlags::DIRECTORY);
        Ok((parent.map_err(|error| failed(member, error))?, name))
    }

    /// Opens something beneath the target, through no link.
    fn beneath(&self, path: &[u8], flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        let directory: BorrowedFd<'_> = self.directory.as_fd();
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(directory, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve)
    }
}

fn times(member: &Member) -> Timestamps {
    let timespec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    let unchanged = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps {
        last_access: member.accessed.map_or(unchanged, timespec),
        last_modification: timespec(member.modified),
    }
}

fn failed(member: &Member, error: Errno) -> Error {
    let error: std::io::Error = match error {
        // A link or a file is where a directory should be.
        Errno::LOOP | Errno::NOTDIR => std::io::ErrorKind::AlreadyExists.into(),
        error => error.into(),
    };
    Error::from_io(display(&member.name), error)
}
