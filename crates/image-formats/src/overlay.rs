//! A qcow2 file over an image that is somewhere else.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use serde_json::json;

use model::DiskFormat;

use crate::{
    Error, Result, Usage, info,
    new_file::NewEntry,
    qemu_img::{self, file_name},
    raw::{blocking, create_new},
};

/// How long a QEMU that starts waits for the server of an image.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// An image that a server shows over NBD on a unix socket.
#[derive(Debug, Clone, Copy)]
pub struct NbdBacking<'a> {
    /// The socket, by its absolute path.
    pub socket: &'a Path,
    /// The export's name.
    pub export: &'a str,
    /// How long reads wait while the server is away, to the second; then they fail.
    pub wait_limit: Duration,
}

/// Creates a qcow2 file that reads as another image wherever it was never written. The file itself says what lies below
/// it, so that no program takes it for a whole disk. Durable when this returns.
///
/// # Errors
/// As [`crate::Qcow2Target::create`]; the image below need not be there yet.
pub async fn create_overlay(path: &Path, size_bytes: u64, backing: NbdBacking<'_>) -> Result<()> {
    let shown = path.display();
    let doing = format!("creating {shown}");
    let new_path = path.to_owned();
    // qemu-img would overwrite a file that is there.
    blocking(move || create_new(&new_path)).await.map_err(|error| Error::from_io(&doing, error))?;
    let filled = fill(path, size_bytes, backing, &doing).await;
    filled.inspect_err(|_| drop(fs::remove_file(path)))
}

/// Has an overlay read from its image again where its file says that it needs no other. Whether that was so.
///
/// QEMU records that a file has become whole before it has written where the file's data are. If it dies in between, they
/// read as zeros, and nothing tells. What is there goes before the image, so this is right for every overlay that nobody has
/// seen whole and flushed. Durable when this returns.
///
/// # Errors
/// [`crate::ErrorKind::InUse`] while a program has the file open, and as [`create_overlay`].
pub async fn relink_overlay(path: &Path, backing: NbdBacking<'_>) -> Result<bool> {
    if info(path, DiskFormat::Qcow2, Usage::AtRest).await?.backing.is_some() {
        return Ok(false);
    }
    let doing = format!("linking {} to its image", path.display());
    let mut arguments: Vec<OsString> = ["rebase", "-q", "-u", "-f", "qcow2", "-b"].map(Into::into).into();
    arguments.extend([backing.url().into(), "-Fraw".into(), file_name(path)?.into()]);
    qemu_img::run(&doing, arguments).await?;
    let path = path.to_owned();
    let flushed = blocking(move || fs::File::open(&path)?.sync_all());
    flushed.await.map_err(|error| Error::from_io(doing, error))?;
    Ok(true)
}

impl NbdBacking<'_> {
    /// What a file calls the image below it.
    fn url(&self) -> String {
        let below = json!({
            "driver": "raw",
            "file": {
                "driver": "nbd",
                "server": {"type": "unix", "path": self.socket},
                "export": self.export,
                "reconnect-delay": u32::try_from(self.wait_limit.as_secs()).unwrap_or(u32::MAX),
                "open-timeout": OPEN_LIMIT.as_secs(),
            },
        });
        format!("json:{below}")
    }
}

async fn fill(path: &Path, size_bytes: u64, backing: NbdBacking<'_>, doing: &str) -> Result<()> {
    let arguments: [OsString; 10] = [
        "create".into(),
        "-q".into(),
        "-u".into(),
        "-f".into(),
        "qcow2".into(),
        "-b".into(),
        backing.url().into(),
        "-Fraw".into(),
        file_name(path)?.into(),
        size_bytes.to_string().into(),
    ];
    qemu_img::run(doing, arguments).await?;
    let path = path.to_owned();
    let flushed = blocking(move || {
        fs::File::open(&path)?.sync_all()?;
        NewEntry::of(&path).make_durable()
    });
    flushed.await.map_err(|error| Error::from_io(doing, error))
}
