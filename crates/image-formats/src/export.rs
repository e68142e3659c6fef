//! Any image becomes a file of any format.

use std::{
    ffi::OsString,
    fs::File,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use image::{ByteRange, DiskImage, Extent, PaddedImage};
use model::ImageFormat;
use nbd::{Endpoint, Exports, Server};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{
    Error, ErrorKind, Result,
    private_folder::PrivateFolder,
    qemu_img::{command, file_name, read_all, spawn_error, tool_error},
    raw::blocking,
};

/// VHDs hold whole MiB: Azure refuses others.
/// <https://learn.microsoft.com/azure/virtual-machines/linux/create-upload-generic>
const VHD_UNIT_BYTES: u64 = 1 << 20;

/// What `qemu-img` reads and writes at once.
const COROUTINES: &str = "-m8";

/// The file to make of an image.
#[derive(Debug, Clone)]
pub struct Export {
    /// The file: a new one, or a block device of at least the image's size, which only takes raw bytes.
    pub path: PathBuf,
    /// Its format.
    pub format: ImageFormat,
    /// Whether its data is compressed, as qcow2 and VMDK can.
    pub compress: bool,
}

/// Writes an image to a file by `qemu-img`, zeros as holes where the format has them. When this returns, the bytes are
/// durable; the name of a new file is not yet. `progress` is told the part that is done, from 0 to 1. When this fails or is
/// dropped, what was written stays.
///
/// # Errors
/// [`ErrorKind::Image`] when the image cannot be read; [`ErrorKind::NoSpace`], [`ErrorKind::Denied`],
/// [`ErrorKind::ToolMissing`]; [`ErrorKind::Unsupported`] for compression that the format does not have.
pub async fn export_image(
    image: Arc<dyn DiskImage>,
    export: &Export,
    progress: impl FnMut(f64) + Send,
) -> Result<()> {
    let doing = format!("writing {}", export.path.display());
    let options = export.options()?;
    let image: Arc<dyn DiskImage> = match export.format {
        ImageFormat::Vhd | ImageFormat::VhdDynamic => Arc::new(PaddedImage::new(image, VHD_UNIT_BYTES)),
        _ => image,
    };
    let witness = Arc::new(Witness { image, failure: Mutex::default() });
    let folder =
        PrivateFolder::create().map_err(|error| Error::from_io(format!("{doing}: a folder"), error))?;
    let socket = folder.path().join("socket");
    let exports = Exports::new();
    exports.add("", Arc::clone(&witness) as Arc<dyn DiskImage>);
    let server = Server::bind(&Endpoint::Unix(socket.clone()), exports).await;
    let server = server.map_err(|error| Error::new(ErrorKind::Failed, &doing).with_source(error))?;

    let mut source = OsString::from("nbd+unix:///?socket=");
    source.push(&socket);
    let mut convert = command("qemu-img");
    convert.args(["convert", "-p", "-W", COROUTINES, "-f", "raw"]).args(options);
    convert.arg(source).arg(file_name(&export.path)?).stdout(Stdio::piped());
    let mut child = convert.spawn().map_err(|error| spawn_error(&doing, "qemu-img", error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let converted = async { tokio::join!(watch(stdout, progress), read_all(stderr), child.wait()) };
    let ((), messages, status) = tokio::select! {
        converted = converted => converted,
        () = server.run() => return Err(Error::new(ErrorKind::Failed, format!("{doing}: the server ended"))),
    };
    let status = status.map_err(|error| Error::from_io(format!("{doing}: waiting for qemu-img"), error))?;
    if let Some(failure) = witness.failure() {
        return Err(Error::new(ErrorKind::Image(failure.kind()), doing).with_source(failure));
    }
    if !status.success() {
        return Err(tool_error(&doing, &messages));
    }
    let path = export.path.clone();
    blocking(move || File::open(path)?.sync_all()).await.map_err(|error| Error::from_io(doing, error))
}

impl Export {
    /// What `qemu-img convert` is told of the file.
    fn options(&self) -> Result<Vec<OsString>> {
        let options: &[&str] = match self.format {
            _ if self.compress && !self.can_compress() => {
                let context = format!("the format {} has no compression", self.format);
                return Err(Error::new(ErrorKind::Unsupported, context)
                    .with_guidance("leave --compress out, or use the format qcow2 or vmdk"));
            }
            ImageFormat::Raw if is_block_device(&self.path) => &["-O", "raw", "-n"],
            ImageFormat::Raw => &["-O", "raw"],
            ImageFormat::Qcow2 if self.compress => &["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
            ImageFormat::Qcow2 => &["-O", "qcow2"],
            ImageFormat::Vhd => &["-O", "vpc", "-o", "subformat=fixed,force_size=on"],
            ImageFormat::VhdDynamic => &["-O", "vpc", "-o", "subformat=dynamic,force_size=on"],
            ImageFormat::Vhdx => &["-O", "vhdx", "-o", "subformat=dynamic"],
            ImageFormat::Vmdk if self.compress => &["-O", "vmdk", "-c", "-o", "subformat=streamOptimized"],
            ImageFormat::Vmdk => &["-O", "vmdk", "-o", "subformat=monolithicSparse"],
        };
        if self.format != ImageFormat::Raw && is_block_device(&self.path) {
            let context = format!("{} is a block device", self.path.display());
            return Err(Error::new(ErrorKind::Unsupported, context)
                .with_guidance("write raw bytes to it with --format raw, or name a file"));
        }
        Ok(options.iter().map(OsString::from).collect())
    }

    fn can_compress(&self) -> bool {
        matches!(self.format, ImageFormat::Qcow2 | ImageFormat::Vmdk)
    }
}

fn is_block_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_block_device())
}

/// Follows what `qemu-img -p` prints: `    (12.34/100%)` and a carriage return, again and again.
async fn watch(stdout: Option<impl AsyncRead + Unpin>, mut progress: impl FnMut(f64)) {
    let Some(mut stdout) = stdout else { return };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stdout.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..length]);
        let percent = text.rsplit('(').find_map(|part| part.split_once('/')?.0.trim().parse::<f64>().ok());
        if let Some(percent) = percent {
            progress(percent / 100.0);
        }
    }
}

/// An image that remembers why it could not be read: `qemu-img` says only that it could not.
struct Witness {
    image: Arc<dyn DiskImage>,
    failure: Mutex<Option<image::Error>>,
}

impl Witness {
    fn failure(&self) -> Option<image::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps the first failure; the reader gets one of the same kind.
    fn note<T>(&self, outcome: image::Result<T>) -> image::Result<T> {
        outcome.map_err(|error| {
            let told = image::Error::new(error.kind(), error.to_string());
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            told
        })
    }
}

#[async_trait]
impl DiskImage for Witness {
    fn size_bytes(&self) -> u64 {
        self.image.size_bytes()
    }

    async fn extents(&self, range: ByteRange) -> image::Result<Vec<Extent>> {
        self.note(self.image.extents(range).await)
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> image::Result<()> {
        self.note(self.image.read_at(offset_bytes, buffer).await)
    }
}
