//! Files inside images.

use std::{
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use api::{ByteStream, FileView};
use clap::{Args, Subcommand};
use tokio::sync::mpsc;

use super::image::{ImageArgument, NamedImage};
use crate::{context::Context, exit::Exit, failure::Failure, output::Tone, output::tell, secret};

/// What can be done with files inside images.
#[derive(Debug, Subcommand)]
pub enum FilesCommand {
    /// Lists a directory, or the volumes of all disks.
    #[command(
        after_long_help = "Examples:\n  holdfast files ls point:web-1/latest\n  holdfast files ls point:web-1/latest /vda-1/etc"
    )]
    Ls(Place),
    /// Writes a file to standard output.
    #[command(after_long_help = "Example:\n  holdfast files cat point:web-1/latest /vda-1/etc/fstab")]
    Cat(Place),
    /// Takes a file or a directory with all that is below it out, into a directory or an archive.
    ///
    /// Owners, special attributes and devices are kept where this runs as root; modes, times and holes always. Nothing that exists
    /// is overwritten.
    #[command(after_long_help = GET_EXAMPLES)]
    Get(Get),
    /// Finds files by name, in a directory and below.
    #[command(after_long_help = "Example:\n  holdfast files find point:web-1/latest /vda-1/home '*.odt'")]
    Find(Find),
}

const GET_EXAMPLES: &str = "\
Examples:
  holdfast files get point:web-1/latest /vda-1/etc --to restored
  holdfast files get point:web-1/latest /vda-1/home --tar home.tar
  holdfast files get point:web-1/latest /vda-1/home --tar - | ssh web-1 tar -x -C /tmp";

/// A place inside an image.
#[derive(Debug, Args)]
pub struct Place {
    #[command(flatten)]
    image: ImageArgument,
    /// The path, which starts with a volume; without one, the root, which lists the volumes.
    #[arg(value_name = "PATH", default_value = "/")]
    path: PathBuf,
    #[command(flatten)]
    unlock: Unlock,
}

/// How encrypted volumes are opened.
#[derive(Debug, Args)]
pub struct Unlock {
    /// Open encrypted volumes with the passphrase in the first line of this file; - means standard input.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Unlock {
    /// The passphrase, where one is given.
    pub fn passphrase(&self) -> Result<Option<String>> {
        let Some(file) = &self.passphrase_file else { return Ok(None) };
        let file = if file == Path::new("-") { Path::new("/dev/stdin") } else { file };
        let text = secret::read(file)?;
        Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
    }
}

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

/// Finds files.
#[derive(Debug, Args)]
pub struct Find {
    #[command(flatten)]
    image: ImageArgument,
    /// The directory, which starts with a volume.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// The pattern of the whole name: * for any characters, ? for one.
    #[arg(value_name = "PATTERN")]
    name: std::ffi::OsString,
    #[command(flatten)]
    unlock: Unlock,
}

/// Chunks on their way to a thread that writes them.
const CHUNKS_WAITING: usize = 4;

impl FilesCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Ls(place) => {
                let (image, path) = place.opened(context).await?;
                if is_root(&path) {
                    let volumes = context.client.volumes(image.query()).await?;
                    return context.output.list(&volumes, "no volumes: the disks hold nothing that is known");
                }
                let mut lines = context.client.files(image.query(), path.as_os_str().as_bytes()).await?;
                let mut files = Vec::new();
                while let Some(file) = lines.next().await? {
                    files.push(file);
                }
                files.sort_by(|one: &FileView, other| one.path.cmp(&other.path));
                context.output.list(&files, "the directory is empty")
            }
            Self::Cat(place) => {
                let (image, path) = place.opened(context).await?;
                let mut content =
                    context.client.file_content(image.query(), path.as_os_str().as_bytes()).await?;
                copy(&mut content, &mut io::stdout().lock()).await
            }
            Self::Get(get) => get.run(context).await,
            Self::Find(Find { image, path, name, unlock }) => {
                let place = Place { image, path, unlock };
                let (image, path) = place.opened(context).await?;
                let found =
                    context.client.find_files(image.query(), path.as_os_str().as_bytes(), name.as_bytes());
                let mut lines = found.await?;
                let mut files = Vec::new();
                while let Some(file) = lines.next().await? {
                    files.push(file);
                }
                context.output.list(&files, "nothing has such a name")
            }
        }
    }
}

impl Place {
    /// The image and the path, once encrypted volumes are open.
    async fn opened(self, context: &Context) -> Result<(NamedImage, PathBuf)> {
        let image = self.image.checked()?;
        if let Some(passphrase) = self.unlock.passphrase()? {
            context.client.unlock_volumes(&image.unlocked_by(passphrase)).await?;
        }
        Ok((image, self.path))
    }
}

type Result<T, E = Failure> = std::result::Result<T, E>;

impl Get {
    async fn run(self, context: &Context) -> Result<()> {
        let (image, path) = self.place.opened(context).await?;
        if is_root(&path) {
            return Err(Failure::usage("the root lists the volumes; name one of them, or something in one")
                .with_hint(context.command(&format!("files ls {}", api::shell_word(&image.reference)))));
        }
        let mut archive = context
            .client
            .file_archive(
                image.query(),
                path.as_os_str().as_bytes(),
                if self.zip.is_some() { "zip" } else { "tar" },
            )
            .await?;
        match (self.tar.or(self.zip), self.to) {
            (Some(file), _) if file == Path::new("-") => copy(&mut archive, &mut io::stdout().lock()).await,
            (Some(path), _) => {
                let file = std::fs::File::create_new(&path).map_err(|error| Failure::file(&path, &error))?;
                let written = copy(&mut archive, &mut io::BufWriter::new(file)).await;
                // Half an archive would only be taken for a whole one.
                written.inspect_err(|_| drop(std::fs::remove_file(&path)))
            }
            (None, Some(target)) => extract(archive, target, context).await,
            (None, None) => Err(Failure::usage("name a directory with --to, or an archive with --tar")),
        }
    }
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().as_bytes().iter().all(|&byte| byte == b'/')
}

async fn copy(source: &mut ByteStream, target: &mut impl io::Write) -> Result<()> {
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
