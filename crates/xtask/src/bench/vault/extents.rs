//! Where a sparse file holds data.

use std::{fs::File, ops::Range};

use anyhow::Result;
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

/// The ranges that are not holes, sorted. Space that is reserved and was never written is a hole.
pub fn data(file: &File) -> Result<Vec<Range<u64>>> {
    let mut extents = Vec::new();
    let mut position = 0;
    loop {
        let start = match seek(file, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(extents),
            Err(error) => return Err(error.into()),
        };
        position = seek(file, SeekFrom::Hole(start))?;
        extents.push(start..position);
    }
}
