//! What can be done with every image: a disk of a recovery point, or an image file.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use api::{ExportRequest, ImageExtentView, ImageQuery, UnlockVolumes};
use clap::Args;
use model::{ByteCount, ImageFormat, ImageReference};

use crate::{
    context::Context, exit::Exit, failure::Failure, location, render::ExportPlan, wait::WaitArguments,
};

/// The image that a command is about.
#[derive(Debug, Args)]
pub struct ImageArgument {
    /// The image: point:VM/POINT[/DISK], where POINT is latest, an id or the start of one, or a time; or
    /// snapshot:NAME[/DISK]; or file:PATH of an image at rest: raw, qcow2, VHD, VHDX or VMDK.
    #[arg(value_name = "REF")]
    reference: String,
    /// Read a copy instead of the vault, which need not be there any more: COPY, or VAULT/COPY.
    #[arg(long, value_name = "COPY")]
    from_copy: Option<String>,
}

/// An image as the server knows it.
#[derive(Debug)]
pub struct NamedImage {
    /// The reference, with absolute paths.
    pub reference: String,
    /// The copy to look in.
    pub from_copy: Option<String>,
}

impl ImageArgument {
    /// The image as the server knows it, once the reference is known to be one.
    pub fn checked(self) -> Result<NamedImage, Failure> {
        Ok(NamedImage { reference: checked(&self.reference)?, from_copy: self.from_copy })
    }
}

impl NamedImage {
    /// The same with its encrypted volumes opened.
    pub fn unlocked_by(&self, passphrase: String) -> UnlockVolumes {
        let (reference, from_copy) = (self.reference.clone(), self.from_copy.clone());
        UnlockVolumes { reference, from_copy, passphrase }
    }

    /// As a question names it.
    pub fn query(&self) -> ImageQuery<'_> {
        ImageQuery { reference: &self.reference, from_copy: self.from_copy.as_deref() }
    }
}

/// Writes an image to a file of any format.
#[derive(Debug, Args)]
#[command(after_long_help = EXPORT_EXAMPLES)]
pub struct Export {
    #[command(flatten)]
    image: ImageArgument,
    /// The file to write, a block device, or - for standard output, which takes raw bytes only.
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// The format: raw, qcow2, vhd (fixed, as Azure takes it), vhd-dynamic, vhdx or vmdk; by the file's extension where it
    /// is left out.
    #[arg(long)]
    format: Option<ImageFormat>,
    /// Compress the data, as qcow2 and vmdk can.
    #[arg(long)]
    compress: bool,
    /// Replace the file where it exists, or overwrite the block device.
    #[arg(long)]
    replace: bool,
    /// Show what would be written and replaced, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArguments,
}

const EXPORT_EXAMPLES: &str = "\
Examples:
  holdfast export point:web-1/latest/vroot --to /srv/web-1.vhd
  holdfast export point:web-1/latest/vdb --to /srv/vdb.qcow2 --compress
  holdfast export point:web-1/latest/vdb --to - | ssh other 'cat > vdb.img'
  holdfast export file:/srv/old.vmdk --to /srv/new.qcow2";

/// Shows where two images differ, in bytes; `files diff` shows which files differ.
#[derive(Debug, Args)]
#[command(after_long_help = DIFF_EXAMPLES)]
pub struct Diff {
    /// The image to compare with: point:VM/POINT[/DISK], snapshot:NAME[/DISK] or file:PATH.
    #[arg(value_name = "BASE")]
    base: String,
    /// The image that may differ.
    #[arg(value_name = "REF")]
    reference: String,
    /// Read both from a copy instead of the vault: COPY, or VAULT/COPY.
    #[arg(long, value_name = "COPY")]
    from_copy: Option<String>,
}

const DIFF_EXAMPLES: &str = "\
Examples:
  holdfast diff point:web-1/2026-03-01T14:05:00Z/vdb point:web-1/latest/vdb
  holdfast diff point:web-1/latest/vroot file:/srv/vroot.img -o json
  holdfast files diff point:web-1/2026-03-01T14:05:00Z point:web-1/latest      # files instead of bytes";

impl Export {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        if self.to == Path::new("-") {
            return self.stream(context).await;
        }
        let image = self.image.checked()?;
        let path = location::absolute(&self.to)?;
        let exists = self.to.symlink_metadata().is_ok();
        let format = self.format.unwrap_or_else(|| format_of(&self.to));
        if self.dry_run {
            let (reference, replace) = (image.reference, self.replace);
            return context.output.one(&ExportPlan { reference, path, format, exists, replace });
        }
        if exists && self.replace {
            context.confirm(&format!("Replace {path}?"))?;
        }
        let request = ExportRequest {
            reference: image.reference,
            from_copy: image.from_copy,
            path,
            format,
            compress: self.compress,
            replace: self.replace,
        };
        let job = context.client.export(&request).await?;
        self.wait.finish(context, &job).await
    }

    /// Sends the bytes to standard output.
    async fn stream(self, context: &Context) -> Result<(), Failure> {
        if self.compress || self.format.is_some_and(|format| format != ImageFormat::Raw) {
            return Err(Failure::usage("only raw bytes can be written to standard output")
                .with_hint("leave --format and --compress out, or name a file"));
        }
        let mut data = context.client.image_data(self.image.checked()?.query()).await?;
        let mut stdout = std::io::stdout().lock();
        let cannot = |error| Failure::new(Exit::Error, format!("cannot write to standard output: {error}"));
        while let Some(bytes) = data.next().await? {
            stdout.write_all(&bytes).map_err(cannot)?;
        }
        stdout.flush().map_err(cannot)
    }
}

impl Diff {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let (base, reference) = (checked(&self.base)?, checked(&self.reference)?);
        let mut extents: Vec<ImageExtentView> = Vec::new();
        let (mut next, mut size_bytes) = (Some(0), 0);
        while let Some(offset) = next {
            let image = ImageQuery { reference: &reference, from_copy: self.from_copy.as_deref() };
            let page = context.client.image_changes(&base, image, offset).await?;
            // An extent may go on over the end of a page.
            for extent in page.extents {
                match extents.last_mut() {
                    Some(last) if last.offset_bytes + last.length_bytes == extent.offset_bytes => {
                        last.length_bytes += extent.length_bytes;
                    }
                    _ => extents.push(extent),
                }
            }
            (next, size_bytes) = (page.next_bytes, page.size_bytes);
        }
        context.output.list(&extents, "the images are the same")?;
        if !extents.is_empty() {
            let differing = ByteCount(extents.iter().map(|extent| extent.length_bytes).sum());
            context.note(&format!("{differing} of {} differ", ByteCount(size_bytes)));
        }
        Ok(())
    }
}

/// The reference as the server takes it: the path of a file is absolute.
pub(super) fn checked(text: &str) -> Result<String, Failure> {
    match text.parse() {
        Ok(ImageReference::Point(_) | ImageReference::Snapshot(_) | ImageReference::Replica(_)) => {
            Ok(text.to_owned())
        }
        Ok(ImageReference::File(path)) => Ok(format!("file:{}", location::absolute(&path)?)),
        Err(error) => {
            let failure = Failure::usage(format!("{error}"));
            match text {
                path if Path::new(path).exists() => Err(failure.with_hint(format!("write file:{path}"))),
                _ => Err(failure.with_hint("holdfast point list shows the references of all points")),
            }
        }
    }
}

/// The format that a file's name promises; raw for any other name.
fn format_of(path: &Path) -> ImageFormat {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    extension.to_ascii_lowercase().parse().unwrap_or(ImageFormat::Raw)
}
