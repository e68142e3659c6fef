//! Files taken out of images, into a directory or an archive.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use api::ByteStream;
use clap::Args;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{Place, Result, is_root};
use crate::{
    commands::image::NamedImage,
    context::Context,
    exit::Exit,
    failure::Failure,
    output::{Tone, tell},
};

/// Chunks on their way to a thread that writes them.
const CHUNKS_WAITING: usize = 4;

/// What the name of an archive ends with until all of it is there.
const PARTIAL_SUFFIX: &str = ".holdfast-partial";

/// Takes files out.
#[derive(Debug, Args)]
pub struct Get {
    #[command(flatten)]
    place: Place,
    /// The directory that they go to. Created where it does not exist.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["tar", "zip"], conflicts_with_all = ["tar", "zip"])]
    to: Option<PathBuf>,
    /// Write a tar archive instead; - means standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "zip")]
    tar: Option<PathBuf>,
    /// Write a ZIP archive instead, without owners and special attributes; - means standard output.
    #[arg(long, value_name = "FILE")]
    zip: Option<PathBuf>,
}

impl Get {
    pub(super) async fn run(self, context: &Context) -> Result<()> {
        let (image, path) = self.place.opened(context).await?;
        let format = if self.zip.is_some() { "zip" } else { "tar" };
        match (self.tar.or(self.zip), self.to) {
            (Some(file), _) if file == Path::new("-") => {
                let mut archive = archive(context, &image, &path, format).await?;
                copy(&mut archive, &mut io::stdout().lock()).await
            }
            (Some(file), _) => write_archive(archive(context, &image, &path, format).await?, &file).await,
            (None, Some(target)) => take_out(context, &image, &path, &target).await,
            (None, None) => Err(Failure::usage("name a directory with --to, or an archive with --tar")),
        }
    }
}

/// Takes a file, or a directory with all that is below it, out to a directory of this host.
pub async fn take_out(context: &Context, image: &NamedImage, path: &Path, target: &Path) -> Result<()> {
    extract(archive(context, image, path, "tar").await?, target.to_owned(), context).await
}

async fn archive(context: &Context, image: &NamedImage, path: &Path, format: &str) -> Result<ByteStream> {
    if is_root(path) {
        return Err(Failure::usage("the root lists the volumes; name one of them, or something in one")
            .with_hint(context.command(&format!("files ls {}", api::shell_word(&image.reference)))));
    }
    Ok(context.client.file_archive(image.query(), path.as_os_str().as_bytes(), format).await?)
}

/// Writes an archive to a file that has its name only when all of it is there: half an archive would only be taken for a whole
/// one.
async fn write_archive(mut archive: ByteStream, path: &Path) -> Result<()> {
    let failed = |error: io::Error| Failure::file(path, &error);
    if path.symlink_metadata().is_ok() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    // From here on: what is interrupted cleans up after itself.
    let mut interruption = signal(SignalKind::interrupt()).map_err(failed)?;
    let partial = PathBuf::from([path.as_os_str(), PARTIAL_SUFFIX.as_ref()].join("".as_ref()));
    let file = File::create(&partial).map_err(failed)?;
    let written = tokio::select! {
        written = write_durably(&mut archive, file, path) => written,
        Some(()) = interruption.recv() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    let named = written.and_then(|()| {
        renameat_with(CWD, &partial, CWD, path, RenameFlags::NOREPLACE)
            // Not every file system can promise that; nothing was there a moment ago.
            .or_else(
                |error| if error == Errno::INVAL { rustix::fs::rename(&partial, path) } else { Err(error) },
            )
            .map_err(|error| failed(error.into()))
    });
    named.inspect_err(|_| drop(fs::remove_file(&partial)))
}

async fn write_durably(archive: &mut ByteStream, file: File, path: &Path) -> Result<()> {
    let mut writer = io::BufWriter::new(file);
    copy(archive, &mut writer).await?;
    writer.get_ref().sync_all().map_err(|error| Failure::file(path, &error))
}

pub(super) async fn copy(source: &mut ByteStream, target: &mut impl io::Write) -> Result<()> {
    while let Some(bytes) = source.next().await? {
        match target.write_all(&bytes) {
            // A reader that has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => {
                written.map_err(|error| Failure::new(Exit::Error, format!("cannot write: {error}")))?
            }
        }
    }
    target.flush().map_err(|error| Failure::new(Exit::Error, format!("cannot write: {error}")))
}

/// Takes an archive apart on a thread that may wait for the disk.
async fn extract(mut archive: ByteStream, target: PathBuf, context: &Context) -> Result<()> {
    let (sender, chunks) = mpsc::channel(CHUNKS_WAITING);
    let reader = ChunkReader { chunks, chunk: bytes::Bytes::new() };
    let directory = target.clone();
    let extracting = tokio::task::spawn_blocking(move || files::extract::extract(reader, &directory));
    let mut broken = None;
    loop {
        match archive.next().await {
            // Whoever extracts may have stopped; it says why.
            Ok(Some(bytes)) => {
                if sender.send(bytes).await.is_err() {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    drop(sender);
    let extracted = extracting.await.map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
    if let Some(error) = broken {
        return Err(error.into());
    }
    let extracted = extracted.map_err(|error| Failure::problem(None, &server::files_problem(error)))?;
    extracted.warnings.iter().for_each(|warning| tell(Tone::Warning, warning));
    context.note(&format!(
        "{} files and {} directories in {}",
        extracted.files,
        extracted.directories,
        target.display()
    ));
    Ok(())
}

/// Chunks as a stream that is read on another thread.
struct ChunkReader {
    chunks: mpsc::Receiver<bytes::Bytes>,
    chunk: bytes::Bytes,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let count = self.chunk.len().min(buffer.len());
        let part = self.chunk.split_to(count);
        buffer[..count].copy_from_slice(&part);
        Ok(count)
    }
}
