//! Small files, each a JSON document with a version, written as a whole; some of them hold secrets.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{Error, Result, error};

/// No file is longer than this, in bytes.
const FILE_LIMIT_BYTES: u64 = 4 << 20;

/// The version of all of them.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

/// Reads a file; none where there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let failed = |error| Error::from_io(format!("reading {}", path.display()), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_LIMIT_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    decode(&bytes).map(Some).map_err(|error| {
        Error::new(error.kind(), format!("{}: {error}", path.display()))
            .with_guidance("put the file back from a copy")
    })
}

/// Reads what a file holds.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let damaged =
        |error| Error::new(error::ErrorKind::Damaged, format!("this is not what a site writes: {error}"));
    let Head { version } = serde_json::from_slice(bytes).map_err(damaged)?;
    if version != VERSION {
        let detail =
            format!("version {version} is not known; this is Holdfast {}", env!("CARGO_PKG_VERSION"));
        return Err(Error::new(error::ErrorKind::Version, detail));
    }
    let read: Versioned<T> = serde_json::from_slice(bytes).map_err(damaged)?;
    Ok(read.content)
}

/// Writes a file as a whole or not at all; durable when this returns.
pub(crate) fn write(path: &Path, content: &impl Serialize) -> Result<()> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 << 10));
    serde_json::to_writer_pretty(&mut *bytes, &Versioned { version: VERSION, content })
        .map_err(|error| Error::new(error::ErrorKind::Failed, "writing a document").with_source(error))?;
    let partial = path.with_extension("partial");
    let directory = path.parent().unwrap_or(Path::new("/"));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&partial, path))
        .and_then(|()| File::open(directory)?.sync_all());
    written.map_err(|error| Error::from_io(format!("writing {}", path.display()), error))
}
