//! Paths inside images: bytes, not text.

use std::fmt;

use crate::{
    Error, ErrorKind, Result,
    limits::{DEPTH_MAX, NAME_MAX_BYTES, PATH_MAX_BYTES},
};

/// An absolute path: a volume, and names inside it. Names are bytes, never empty, `.` or `..`, without a slash or a zero. The
/// order is that of the names, one after the other: a directory comes before what is in it, and that before what follows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FilePath(Vec<Vec<u8>>);

impl FilePath {
    /// Reads a path. A missing slash at its start, doubled ones and `.` do no harm.
    ///
    /// # Errors
    /// `Invalid` where it holds `..` or a zero byte, or is too long.
    pub fn parse(path: &[u8]) -> Result<Self> {
        let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".");
        names.into_iter().try_fold(Self::default(), |path, name| path.join(name))
    }

    /// The path of something in this directory.
    ///
    /// # Errors
    /// `Invalid` where the name is none, or the path gets too long.
    pub fn join(&self, name: &[u8]) -> Result<Self> {
        if !is_name(name) {
            return Err(Error::new(ErrorKind::Invalid, format!("{} is no name of a file", display(name))));
        }
        let mut names = self.0.clone();
        names.push(name.to_vec());
        let length_bytes: usize = names.iter().map(|name| name.len() + 1).sum();
        if length_bytes > PATH_MAX_BYTES || names.len() > DEPTH_MAX {
            return Err(Error::new(ErrorKind::Invalid, format!("the path {self} is too long")));
        }
        Ok(Self(names))
    }

    /// The volume; none for the root, which lists the volumes.
    #[must_use]
    pub fn volume(&self) -> Option<&[u8]> {
        self.0.first().map(Vec::as_slice)
    }

    /// The path inside the volume, without a slash at its start; empty for the volume itself.
    #[must_use]
    pub fn inside(&self) -> Vec<u8> {
        self.0.get(1..).unwrap_or_default().join(&b'/')
    }

    /// The last name; none for the root.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.0.last().map(Vec::as_slice)
    }

    /// Whether this is another path or lies somewhere below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The path as bytes, with a slash at its start.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [b"/".as_slice(), &self.0.join(&b'/')].concat()
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&display(&self.to_bytes()))
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Whether bytes can be the name of a file, and nothing but a name.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= NAME_MAX_BYTES
        && !name.iter().any(|byte| b"/\0".contains(byte))
}

/// Foreign bytes as one line of text.
pub(crate) fn display(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|character| if character.is_control() { '\u{FFFD}' } else { character }).collect()
}

#[cfg(test)]
mod tests;
