//! Answers the host, one request after the other.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::io::Errno;

use super::{
    grow,
    init::{Modules, wait_for},
    mounts, reading, requests,
    volumes::{self, Located},
};
use crate::{
    VolumeState,
    protocol::{Answer, FailureKind, Greeting, Request, read_frame, write_frame},
};

/// Serves until the host hangs up.
pub(super) fn run(mut port: File, modules: &mut Modules) -> io::Result<()> {
    write_frame(&mut port, &Greeting.encode())?;
    let mut service = Service { located: Vec::new(), roots: BTreeMap::new() };
    // A port that the host has not opened yet reads as if it had closed it.
    let first = wait_for(|| read_frame(&mut &port).transpose())?;
    let mut message = first?;
    loop {
        let answer = match Request::decode(&message) {
            Ok(request) => service.answer(request, modules),
            Err(error) => Answer::failure(FailureKind::Failed, &error.to_string()),
        };
        write_frame(&mut port, &answer.encode())?;
        match read_frame(&mut port)? {
            Some(next) => message = next,
            None => return Ok(()),
        }
    }
}

/// What has been found and mounted.
struct Service {
    located: Vec<Located>,
    roots: BTreeMap<u32, OwnedFd>,
}

impl Service {
    fn answer(&mut self, request: Request, modules: &mut Modules) -> Answer {
        match request {
            Request::Grow => grow::grow(modules),
            Request::Volumes { disks, passphrases } => match volumes::find(&disks, &passphrases, modules) {
                Ok(located) => {
                    self.located = located;
                    Answer::Volumes(self.located.iter().map(|located| located.volume.clone()).collect())
                }
                Err(error) => {
                    Answer::failure(FailureKind::Failed, &format!("the disks cannot be examined: {error}"))
                }
            },
            Request::Stat { volume, path, follow } => self.with_root(volume, modules, |root| {
                reading::stat(root, &path, follow).map(|entry| Answer::Entry(Box::new(entry)))
            }),
            Request::List { volume, path, start, with_attributes } => {
                self.with_root(volume, modules, |root| {
                    reading::list(root, &path, start, with_attributes).map(Answer::Page)
                })
            }
            Request::Read { volume, path, offset_bytes, length_bytes } => {
                self.with_root(volume, modules, |root| {
                    reading::read(root, &path, offset_bytes, length_bytes as usize).map(Answer::Bytes)
                })
            }
            Request::DataRanges { volume, path, offset_bytes } => self.with_root(volume, modules, |root| {
                let (ranges, next) = reading::data_ranges(root, &path, offset_bytes)?;
                Ok(Answer::Ranges { ranges, next })
            }),
            Request::Digest { volume, path, offset_bytes, end_bytes } => {
                self.with_root(volume, modules, |root| {
                    reading::digest(root, &path, offset_bytes..end_bytes).map(Answer::Digest)
                })
            }
        }
    }

    /// Does something with a volume, which is mounted the first time: what is never asked for is never parsed.
    fn with_root(
        &mut self,
        number: u32,
        modules: &mut Modules,
        work: impl FnOnce(BorrowedFd<'_>) -> Result<Answer, Errno>,
    ) -> Answer {
        let Some(located) = self.located.get(number as usize).cloned() else {
            return Answer::failure(FailureKind::NotFound, "there is no such volume");
        };
        match &located.volume.state {
            VolumeState::Readable => {}
            VolumeState::Locked => return Answer::failure(FailureKind::Locked, "the volume is encrypted"),
            VolumeState::Unreadable { reason } => return Answer::failure(FailureKind::Unsupported, reason),
        }
        if !self.roots.contains_key(&number)
            && let Err(error) = self.make_way_for(number, &located)
        {
            let reason = format!("a copy of the same file system is in the way: {error}");
            return Answer::failure(FailureKind::Failed, &reason);
        }
        let root = match self.roots.entry(number) {
            Entry::Occupied(mounted) => mounted.into_mut(),
            Entry::Vacant(place) => match mounts::mount_volume(number, &located, modules) {
                Ok(root) => place.insert(root),
                Err(answer) => return answer,
            },
        };
        work(root.as_fd()).unwrap_or_else(failure)
    }

    /// Unmounts the copies of a volume: the kernel takes two btrfs of one id for one, and knows only one at a time.
    fn make_way_for(&mut self, number: u32, wanted: &Located) -> io::Result<()> {
        let is_copy = |(index, other): &(usize, &Located)| {
            *index != number as usize
                && wanted.exclusive_id.is_some()
                && other.exclusive_id == wanted.exclusive_id
        };
        let copies = self.located.iter().enumerate().filter(is_copy);
        let copies: Vec<u32> = copies.filter_map(|(index, _)| u32::try_from(index).ok()).collect();
        for copy in &copies {
            if self.roots.remove(copy).is_some() {
                mounts::unmount_volume(*copy)?;
            }
        }
        if copies.is_empty() { Ok(()) } else { requests::forget_btrfs() }
    }
}

fn failure(error: Errno) -> Answer {
    let kind = match error {
        Errno::NOENT | Errno::NOTDIR => FailureKind::NotFound,
        Errno::ISDIR | Errno::INVAL | Errno::LOOP => FailureKind::WrongKind,
        // Linux's EFSCORRUPTED is EUCLEAN, its EFSBADCRC EBADMSG.
        Errno::IO | Errno::UCLEAN | Errno::BADMSG | Errno::NODATA => FailureKind::Damaged,
        _ => FailureKind::Failed,
    };
    Answer::failure(kind, &io::Error::from(error).to_string())
}
