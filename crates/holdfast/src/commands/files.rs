//! Files inside images.

mod diff;
mod get;

use std::{
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use api::FileView;
use clap::{Args, Subcommand};

pub use self::get::take_out;
use self::{diff::DiffFiles, get::Get};
use super::image::{ImageArgument, NamedImage};
use crate::{context::Context, failure::Failure, secret};

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
    /// Shows which files differ between two images: added, removed and changed, and what changed of them.
    ///
    /// Volumes are matched by name. Whether a file's content changed is told by its size; where only its times or its inode
    /// say so it is called likely, unless --content looks at the bytes, which also finds what changed behind equal times.
    #[command(after_long_help = diff::EXAMPLES)]
    Diff(DiffFiles),
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
                get::copy(&mut content, &mut io::stdout().lock()).await
            }
            Self::Get(get) => get.run(context).await,
            Self::Diff(diff) => diff.run(context).await,
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

fn is_root(path: &Path) -> bool {
    path.as_os_str().as_bytes().iter().all(|&byte| byte == b'/')
}
