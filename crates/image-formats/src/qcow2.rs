//! qcow2 files that are written.

use std::{fs, path::Path, sync::Arc};

use async_trait::async_trait;
use image::{ByteRange, DiskTarget};
use model::DiskFormat;
use nbd::{Endpoint, NbdImage, NbdTarget};

use crate::{
    Error, ErrorKind, FileTarget, Result, Usage, info,
    new_file::NewEntry,
    qemu_img,
    qemu_nbd::Server,
    raw::{blocking, create_new},
};

/// How `qemu-nbd` writes: zeros become holes.
const WRITABLE: [&str; 4] =
    ["--format=qcow2", "--cache=writeback", "--discard=unmap", "--detect-zeroes=unmap"];

/// A qcow2 file that is written through a `qemu-nbd` of its own.
#[derive(Debug)]
pub struct Qcow2Target {
    target: NbdTarget,
    server: Server,
    /// Only of a file that was created here.
    entry: Option<Arc<NewEntry>>,
    /// Other ways into a file that was there already.
    readers: Vec<Arc<NbdImage>>,
}

impl Qcow2Target {
    /// Creates an empty image that only its owner may read. The file is removed again when that fails.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`], [`ErrorKind::NotFound`] for a missing folder, [`ErrorKind::Denied`],
    /// [`ErrorKind::ToolMissing`].
    pub async fn create(path: &Path, size_bytes: u64) -> Result<Self> {
        let doing = format!("creating {}", path.display());
        let new_path = path.to_owned();
        // qemu-img would overwrite a file that is there.
        blocking(move || create_new(&new_path)).await.map_err(|error| Error::from_io(&doing, error))?;
        let target = Self::fill(path, size_bytes, &doing).await;
        target.inspect_err(|_| drop(fs::remove_file(path)))
    }

    async fn fill(path: &Path, size_bytes: u64, doing: &str) -> Result<Self> {
        let file_name = qemu_img::file_name(path)?.into_os_string();
        let create = ["create", "-q", "-f", "qcow2"].map(Into::into);
        qemu_img::run(doing, create.into_iter().chain([file_name.clone(), size_bytes.to_string().into()]))
            .await?;

        let arguments = WRITABLE.into_iter().map(Into::into).chain([file_name]).collect();
        let (server, target) =
            Server::start(doing, arguments, |endpoint| NbdTarget::connect(endpoint, "", true)).await?;
        if target.size_bytes() != size_bytes {
            return Err(Error::new(ErrorKind::Failed, format!("{doing}: qemu-nbd shows another size")));
        }
        Ok(Self { target, server, entry: Some(Arc::new(NewEntry::of(path))), readers: Vec::new() })
    }

    /// Opens an image at rest to write over what it holds, and as what it holds. Dirty bitmaps that record go on recording: `qemu-nbd` writes as a
    /// VM would.
    ///
    /// # Errors
    /// As [`info`], and [`ErrorKind::InUse`], [`ErrorKind::ToolMissing`].
    pub async fn open_existing(path: &Path) -> Result<(Self, Arc<NbdImage>)> {
        // Refuses a backing file whose format QEMU would have to guess.
        info(path, DiskFormat::Qcow2, Usage::AtRest).await?;
        let file_name = qemu_img::file_name(path)?.into_os_string();
        let shared = ["--shared=8".into()];
        let arguments = WRITABLE.into_iter().map(Into::into).chain(shared).chain([file_name]).collect();
        let connect = |endpoint: Endpoint| async move {
            let target = NbdTarget::connect(endpoint.clone(), "", false).await?;
            let present = NbdImage::connect(endpoint, "", &[], NbdImage::CONNECTIONS_DEFAULT).await?;
            Ok((target, present))
        };
        let doing = format!("opening {} for writing", path.display());
        let (server, (target, present)) = Server::start(&doing, arguments, connect).await?;
        let present = Arc::new(present);
        Ok((Self { target, server, entry: None, readers: vec![Arc::clone(&present)] }, present))
    }
}

#[async_trait]
impl DiskTarget for Qcow2Target {
    fn size_bytes(&self) -> u64 {
        self.target.size_bytes()
    }

    fn starts_zeroed(&self) -> bool {
        self.entry.is_some()
    }

    async fn write_at(&self, offset_bytes: u64, data: &[u8]) -> image::Result<()> {
        self.target.write_at(offset_bytes, data).await
    }

    async fn write_zeroes(&self, range: ByteRange) -> image::Result<()> {
        self.target.write_zeroes(range).await
    }

    async fn flush(&self) -> image::Result<()> {
        self.target.flush().await?;
        let Some(entry) = self.entry.clone() else { return Ok(()) };
        let durable = blocking(move || entry.make_durable()).await;
        durable.map_err(|error| image::Error::from_io("flushing the folder of a qcow2 image", error))
    }
}

#[async_trait]
impl FileTarget for Qcow2Target {
    async fn finish(self: Box<Self>) -> image::Result<()> {
        self.flush().await?;
        for reader in &self.readers {
            reader.disconnect().await?;
        }
        self.target.disconnect().await?;
        let ended = self.server.ended().await;
        ended.map_err(|error| {
            image::Error::new(image::ErrorKind::Io, "closing a qcow2 image").with_source(error)
        })
    }
}
