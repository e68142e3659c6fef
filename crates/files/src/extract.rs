//! Out of an archive of this crate into a directory, which nothing in the archive leads out of.
//!
//! Every name is opened beneath the target directory, and no symbolic link is followed, neither one that was there before nor
//! one that the archive has made. What exists is never overwritten; directories are merged.

mod place;
mod reader;

use std::{io::Read, path::Path};

use crate::{Result, archive::EntryType};
use place::Place;
use reader::Reader;

/// Messages about what could not be kept that are told one by one.
const WARNINGS_MAX: usize = 100;

/// What was taken out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extracted {
    /// Files, links, devices: everything but directories.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes of files that were written; holes are not.
    pub written_bytes: u64,
    /// What could not be kept, in words; at most 100.
    pub warnings: Vec<String>,
}

impl Extracted {
    fn warn(&mut self, warning: String) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(warning);
        }
    }
}

/// Takes everything out of an archive. Owners, attributes of the system and devices are kept where this runs as root; modes,
/// times and holes always. The target directory is created where it does not exist.
///
/// # Errors
/// `AlreadyExists` where something is in the way, `Damaged` where the archive is none or breaks off, and those of the host's
/// file system.
pub fn extract(archive: impl Read, target: &Path) -> Result<Extracted> {
    let place = Place::open(target)?;
    let mut reader = Reader::new(archive);
    let mut extracted = Extracted::default();
    let mut directories = Vec::new();
    while let Some(member) = reader.next()? {
        match member.kind {
            EntryType::Directory => {
                place.make_directory(&member)?;
                extracted.directories += 1;
                directories.push(member);
                continue;
            }
            EntryType::File => {
                let file = place.make_file(&member)?;
                extracted.written_bytes += reader.copy_content(&member, &file)?;
                place.finish(&file, &member, &mut extracted);
            }
            _ => place.make_other(&member, &mut extracted)?,
        }
        extracted.files += 1;
    }
    // Directories last, and the inner ones first: a mode may forbid to write, and what is made in them changes their times.
    for directory in directories.iter().rev() {
        place.finish_directory(directory, &mut extracted)?;
    }
    Ok(extracted)
}

#[cfg(test)]
mod tests;
