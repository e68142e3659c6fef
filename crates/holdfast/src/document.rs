//! Documents that people write: definitions of VMs, plans, runbooks.

use std::{
    fs::File,
    io::{Read as _, stdin},
    path::Path,
};

use crate::failure::Failure;

/// The longest document, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// Reads a document from a file, or with `-` from standard input.
pub fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        stdin().take(BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::file(file, &error))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Failure::usage(format!("{} has more than {BYTES_MAX} bytes", file.display())));
    }
    Ok(text)
}
