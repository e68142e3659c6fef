//! The host's programs with the libraries that they load, as the machine gets them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::config::Config;
use crate::{Error, ErrorKind, Result};

/// Where programs and libraries are, below a root.
const PROGRAM_DIRECTORIES: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];
const LIBRARY_DIRECTORIES: [&str; 6] =
    ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"];

/// Program header types of ELF: what is loaded, and the name of the loader (`elf(5)`).
const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;

/// The host's path of a tool.
pub(super) fn find(name: &str, config: &Config) -> Option<PathBuf> {
    let roots = config.tools_root.iter().map(PathBuf::as_path).chain([Path::new("/")]);
    let paths = roots.flat_map(|root| PROGRAM_DIRECTORIES.map(|directory| root.join(directory).join(name)));
    paths.into_iter().find(|path| path.is_file())
}

/// The libraries that a program loads, and its loader: each by the name that it is loaded by.
pub(super) fn libraries(
    program: &Path,
    content: &[u8],
    config: &Config,
) -> Result<BTreeMap<String, PathBuf>> {
    let failed =
        |why: String| Error::new(ErrorKind::Failed, format!("the libraries of {}: {why}", program.display()));
    // One that is linked statically has no loader.
    let Some(interpreter) = Elf::parse(content).and_then(|elf| elf.interpreter()) else {
        return Ok(BTreeMap::new());
    };
    let mut command = Command::new(&interpreter);
    if let Some(root) = &config.tools_root {
        let directories = LIBRARY_DIRECTORIES.map(|directory| root.join(directory).display().to_string());
        command.arg("--library-path").arg(directories.join(":"));
    }
    let output = command.arg("--list").arg(program).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)", or the kernel's own without a file
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut libraries: BTreeMap<String, PathBuf> = listing
        .lines()
        .filter_map(|line| {
            let line = line.trim().rsplit_once(" (")?.0;
            let (name, path) = line.split_once(" => ").unwrap_or((line, line));
            let name = Path::new(name).file_name()?.to_str()?.to_owned();
            path.starts_with('/').then(|| (name, PathBuf::from(path)))
        })
        .collect();
    let loader = interpreter.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    libraries.insert(loader, interpreter);
    Ok(libraries)
}

/// The part of a program that is loaded to run it, without what only debuggers read.
pub(super) fn loaded_part(content: &[u8]) -> Vec<u8> {
    let Some(elf) = Elf::parse(content) else { return content.to_vec() };
    let end = elf.headers().filter(|header| header.kind == LOAD).map(|header| header.end()).max();
    let mut part = content[..end.unwrap_or(content.len()).min(content.len())].to_vec();
    // The table of sections is cut off: its place, and the numbers of its entries and of its names.
    for range in [0x28..0x30, 0x3c..0x40] {
        if let Some(field) = part.get_mut(range) {
            field.fill(0);
        }
    }
    part
}

/// A 64-bit little-endian ELF file.
struct Elf<'a>(&'a [u8]);

struct ProgramHeader {
    kind: u32,
    offset: usize,
    length: usize,
}

impl ProgramHeader {
    fn end(&self) -> usize {
        self.offset.saturating_add(self.length)
    }
}

impl<'a> Elf<'a> {
    fn parse(content: &'a [u8]) -> Option<Self> {
        content.starts_with(b"\x7fELF\x02\x01").then_some(Self(content))
    }

    fn number<const LENGTH: usize>(&self, offset: usize) -> Option<usize> {
        let mut bytes = [0; 8];
        bytes[..LENGTH].copy_from_slice(self.0.get(offset..offset.checked_add(LENGTH)?)?);
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    }

    fn headers(&self) -> impl Iterator<Item = ProgramHeader> {
        let (start, size) = (self.number::<8>(0x20).unwrap_or(0), self.number::<2>(0x36).unwrap_or(0));
        let count = self.number::<2>(0x38).unwrap_or(0);
        (0..count).filter_map(move |index| {
            let at = start.checked_add(index * size)?;
            let kind = u32::try_from(self.number::<4>(at)?).ok()?;
            Some(ProgramHeader {
                kind,
                offset: self.number::<8>(at + 8)?,
                length: self.number::<8>(at + 32)?,
            })
        })
    }

    fn interpreter(&self) -> Option<PathBuf> {
        let header = self.headers().find(|header| header.kind == INTERPRETER)?;
        let name = self.0.get(header.offset..header.end())?;
        Some(PathBuf::from(std::str::from_utf8(name).ok()?.trim_end_matches('\0')))
    }
}

/// Reads a program or library.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::from_io(format!("reading {}", path.display()), error))
}

#[cfg(test)]
mod tests;
