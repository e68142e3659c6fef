//! What is known of an image file without reading its data.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
};

use image::DiskImage;
use model::DiskFormat;
use rustix::fs::OFlags;
use serde::Deserialize;

use crate::{
    Error, ErrorKind, RawImage, Result,
    magic::{HEADER_LENGTH_BYTES, Recognised, recognise},
    qemu_img, raw,
};

/// What is known of an image file without reading its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its format.
    pub format: DiskFormat,
    /// The size of the disk that it holds; a multiple of 512.
    pub size_bytes: u64,
    /// Its persistent dirty bitmaps.
    pub bitmaps: Vec<BitmapInfo>,
    /// The file that it is an overlay of, relative to this image's folder or absolute. Unchecked: whoever wrote the image
    /// chose it.
    pub backing: Option<PathBuf>,
}

/// A persistent dirty bitmap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitmapInfo {
    /// Its name.
    pub name: String,
    /// Whether it records writes when the image is opened.
    pub recording: bool,
    /// Whether it cannot be trusted: a process has the image open, or died having it open.
    pub inconsistent: bool,
    /// How many bytes one of its bits stands for.
    pub granularity_bytes: u64,
}

/// What to make of other processes that have the image open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// The image must be at rest: a process that writes to it is an error of kind [`ErrorKind::InUse`]; for a raw image, a
    /// process that holds any lock on it.
    AtRest,
    /// A VM may run from the image; what is told may be outdated already.
    Live,
}

/// Finds out the format of an image file by its first bytes, and what else is known of it.
///
/// A guest that may write the first bytes of a raw disk can dress it up as another format: use [`info`] with the known
/// format wherever there is one.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for formats that are not handled, and for an image that does not record the format of its
/// backing file; [`ErrorKind::NotFound`], [`ErrorKind::Denied`],
/// [`ErrorKind::InUse`] as the usage says.
pub async fn detect(path: &Path, usage: Usage) -> Result<ImageInfo> {
    match recognise_file(path).await? {
        Recognised::Handled(format) => report(path, format, usage).await,
        Recognised::Readable(format) => Err(foreign(path, format.as_str())),
        Recognised::Foreign(name) => Err(foreign(path, name)),
    }
}

/// What is known of an image file whose format is known.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a qcow2 file that is none or keeps its data elsewhere, else as [`detect`].
pub async fn info(path: &Path, format: DiskFormat, usage: Usage) -> Result<ImageInfo> {
    match (format, recognise_file(path).await?) {
        // A raw disk may hold anything.
        (DiskFormat::Raw, _) | (DiskFormat::Qcow2, Recognised::Handled(DiskFormat::Qcow2)) => {
            report(path, format, usage).await
        }
        (DiskFormat::Qcow2, Recognised::Readable(format)) => Err(foreign(path, format.as_str())),
        (DiskFormat::Qcow2, Recognised::Foreign(name)) => Err(foreign(path, name)),
        (DiskFormat::Qcow2, Recognised::Handled(DiskFormat::Raw)) => {
            Err(Error::new(ErrorKind::Unsupported, format!("{} is not a qcow2 image", path.display())))
        }
    }
}

pub(crate) async fn recognise_file(path: &Path) -> Result<Recognised> {
    let doing = format!("reading the first bytes of {}", path.display());
    let file = raw::open(path, OpenOptions::new().read(true), OFlags::empty()).await?;
    let header = raw::blocking(move || read_header(&file)).await;
    header.map(|header| recognise(&header)).map_err(|error| Error::from_io(doing, error))
}

fn read_header(file: &File) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(HEADER_LENGTH_BYTES);
    file.take(HEADER_LENGTH_BYTES as u64).read_to_end(&mut header)?;
    Ok(header)
}

pub(crate) fn foreign(path: &Path, name: &str) -> Error {
    let context = format!("{} is in the format {name}, which is not supported", path.display());
    Error::new(ErrorKind::Unsupported, context).with_guidance(
        "convert it with qemu-img convert -O qcow2, or name its format if these are the bytes of a raw disk",
    )
}

async fn report(path: &Path, format: DiskFormat, usage: Usage) -> Result<ImageInfo> {
    let doing = format!("looking at {}", path.display());
    if format == DiskFormat::Raw {
        if usage == Usage::AtRest {
            raw::check_at_rest(path).await?;
        }
        let size_bytes = RawImage::open(path).await?.size_bytes();
        return Ok(ImageInfo { format, size_bytes, bitmaps: Vec::new(), backing: None });
    }
    let mut arguments = vec!["info".into(), "--output=json".into(), format!("--format={format}").into()];
    if usage == Usage::Live {
        arguments.push("--force-share".into());
    }
    arguments.push(qemu_img::file_name(path)?.into_os_string());
    let output = qemu_img::run(&doing, arguments).await?;
    let report = Report::read(&doing, &output)?;
    if report.backing_filename.is_some() && report.backing_filename_format.is_none() {
        return Err(backing_of_any_format(path));
    }
    Ok(report.into_info(format))
}

/// QEMU would guess the format of such a backing file by its first bytes, which a guest may have written.
fn backing_of_any_format(path: &Path) -> Error {
    let shown = path.display();
    let context = format!("{shown} does not record the format of its backing file");
    Error::new(ErrorKind::Unsupported, context)
        .with_guidance(format!("record it: qemu-img rebase -u -F FORMAT -b BACKING-FILE {shown}"))
}

/// The parts of qemu-img's report that matter.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    virtual_size: u64,
    backing_filename: Option<PathBuf>,
    backing_filename_format: Option<String>,
    format_specific: Option<FormatSpecific>,
}

#[derive(Deserialize)]
struct FormatSpecific {
    data: FormatReport,
}

#[derive(Deserialize)]
struct FormatReport {
    #[serde(default)]
    bitmaps: Vec<BitmapReport>,
}

#[derive(Deserialize)]
struct BitmapReport {
    name: String,
    granularity: u64,
    flags: Vec<String>,
}

impl Report {
    fn read(doing: &str, output: &[u8]) -> Result<Self> {
        serde_json::from_slice(output).map_err(|error| {
            Error::new(ErrorKind::Failed, format!("{doing}: qemu-img's answer")).with_source(error)
        })
    }

    fn into_info(self, format: DiskFormat) -> ImageInfo {
        let bitmaps = self.format_specific.map(|specific| specific.data.bitmaps).unwrap_or_default();
        ImageInfo {
            format,
            size_bytes: self.virtual_size,
            bitmaps: bitmaps.into_iter().map(BitmapReport::into_info).collect(),
            backing: self.backing_filename,
        }
    }
}

impl BitmapReport {
    fn into_info(self) -> BitmapInfo {
        let has = |flag: &str| self.flags.iter().any(|name| name == flag);
        BitmapInfo {
            recording: has("auto"),
            inconsistent: has("in-use"),
            granularity_bytes: self.granularity,
            name: self.name,
        }
    }
}
