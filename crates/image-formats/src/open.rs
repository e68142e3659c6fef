//! Image files of any format, to be read.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use image::DiskImage;
use model::{DiskFormat, ImageFormat};
use rustix::fs::OFlags;

use crate::{
    Error, ErrorKind, QemuNbdImage, RawImage, Result, Usage,
    info::{foreign, info, recognise_file},
    magic::{Recognised, VHD_MAGIC},
    raw,
};

/// The footer of a VHD, in bytes.
const VHD_FOOTER_LENGTH_BYTES: u64 = 512;

/// The format of an image file, by its first bytes; by its last ones too where they are those of a fixed VHD and the
/// name says so: the guest of a raw disk may write anything at its end.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for other formats, [`ErrorKind::NotFound`], [`ErrorKind::Denied`].
pub async fn file_format(path: &Path) -> Result<ImageFormat> {
    match recognise_file(path).await? {
        Recognised::Handled(DiskFormat::Qcow2) => Ok(ImageFormat::Qcow2),
        Recognised::Handled(DiskFormat::Raw) => match is_named_vhd(path) && has_vhd_footer(path).await? {
            true => Ok(ImageFormat::Vhd),
            false => Ok(ImageFormat::Raw),
        },
        Recognised::Readable(format) => Ok(format),
        Recognised::Foreign(name) => Err(foreign(path, name)),
    }
}

/// Opens an image file at rest, of the format that is told or else found by [`file_format`]. No VM can start from it, and no
/// program of QEMU's write to it, for as long as the image lives.
///
/// # Errors
/// As [`file_format`], and [`ErrorKind::Unsupported`] for an overlay in a foreign format; [`ErrorKind::InUse`],
/// [`ErrorKind::ToolMissing`].
pub async fn open_image(path: &Path, format: Option<ImageFormat>) -> Result<Arc<dyn DiskImage>> {
    let format = match format {
        Some(format) => format,
        None => file_format(path).await?,
    };
    let driver = match format {
        ImageFormat::Raw => return Ok(Arc::new(RawImage::open_locked(path).await?)),
        ImageFormat::Qcow2 => {
            // Refuses a backing file whose format QEMU would have to guess.
            info(path, DiskFormat::Qcow2, Usage::AtRest).await?;
            "qcow2"
        }
        ImageFormat::Vhd | ImageFormat::VhdDynamic => "vpc",
        ImageFormat::Vhdx => "vhdx",
        ImageFormat::Vmdk => {
            check_stands_alone(path).await?;
            "vmdk"
        }
    };
    Ok(Arc::new(QemuNbdImage::open_as(path, driver, &[]).await?))
}

fn is_named_vhd(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("vhd"))
}

async fn has_vhd_footer(path: &Path) -> Result<bool> {
    let file = raw::open(path, OpenOptions::new().read(true), OFlags::empty()).await?;
    let read = raw::blocking(move || read_footer(&file)).await;
    let footer =
        read.map_err(|error| Error::from_io(format!("reading the end of {}", path.display()), error))?;
    Ok(footer.is_some_and(|footer| footer.starts_with(VHD_MAGIC)))
}

fn read_footer(file: &File) -> io::Result<Option<[u8; VHD_MAGIC.len()]>> {
    let Some(offset_bytes) = file.metadata()?.len().checked_sub(VHD_FOOTER_LENGTH_BYTES) else {
        return Ok(None);
    };
    let mut magic = [0; VHD_MAGIC.len()];
    file.read_exact_at(&mut magic, offset_bytes)?;
    Ok(Some(magic))
}

/// A VMDK's descriptor may name other files: a parent, or the extents that hold the data. QEMU would open whatever a
/// stranger wrote there.
async fn check_stands_alone(path: &Path) -> Result<()> {
    let file = raw::open(path, OpenOptions::new().read(true), OFlags::empty()).await?;
    let read = raw::blocking(move || read_descriptor(&file)).await;
    let descriptor =
        read.map_err(|error| Error::from_io(format!("reading the descriptor of {}", path.display()), error))?;
    let has = |line: &str| descriptor.lines().any(|it| it.trim_start().starts_with(line));
    let alone = ["createType=\"monolithicSparse\"", "createType=\"streamOptimized\""].into_iter().any(has);
    match alone && !has("parentFileNameHint") {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} is a VMDK that consists of several files", path.display()),
        )
        .with_guidance("convert it into one file where all its parts are: qemu-img convert -O qcow2")),
    }
}

/// The text that describes a sparse VMDK, cut at 64 KiB; empty where the header points nowhere.
fn read_descriptor(file: &File) -> io::Result<String> {
    const SECTOR_BYTES: u64 = 512;
    const LENGTH_MAX_BYTES: u64 = 64 << 10;
    // "VMware Virtual Disk Format 1.1", SparseExtentHeader: descriptorOffset and descriptorSize, in sectors.
    let mut header = [0; 16];
    file.read_exact_at(&mut header, 28)?;
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let (offset, length) = (number(&header[..8]), number(&header[8..]));
    let (Some(offset_bytes), Some(length_bytes)) =
        (offset.checked_mul(SECTOR_BYTES), length.checked_mul(SECTOR_BYTES))
    else {
        return Ok(String::new());
    };
    let mut text = vec![0; length_bytes.min(LENGTH_MAX_BYTES) as usize];
    let read = file.read_at(&mut text, offset_bytes.min(i64::MAX as u64))?;
    text.truncate(read);
    Ok(String::from_utf8_lossy(&text).into_owned())
}
