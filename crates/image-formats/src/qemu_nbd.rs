//! Image files served by a `qemu-nbd` of their own.

mod server;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use image::{ByteRange, ChangeMap, DiskImage, Extent};
use model::DiskFormat;
use nbd::NbdImage;

use crate::{Result, qemu_img};
pub(crate) use server::Server;

/// An image file that is read through a `qemu-nbd` of its own, which holds QEMU's lock on it: no VM can start from the
/// image, and no other process write to it, for as long as this lives.
#[derive(Debug)]
pub struct QemuNbdImage {
    image: NbdImage,
    server: Server,
}

impl QemuNbdImage {
    /// Opens an image at rest, together with some of its persistent dirty bitmaps.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InUse`] when a process writes to the image, [`crate::ErrorKind::NotFound`] when it or one of
    /// the bitmaps is missing, [`crate::ErrorKind::ToolMissing`].
    pub async fn open(path: &Path, format: DiskFormat, bitmaps: &[String]) -> Result<Self> {
        Self::open_as(path, format.as_str(), bitmaps).await
    }

    /// The same by the name of QEMU's driver.
    pub(crate) async fn open_as(path: &Path, driver: &str, bitmaps: &[String]) -> Result<Self> {
        let mut arguments =
            vec!["--read-only".into(), "--shared=8".into(), format!("--format={driver}").into()];
        arguments.extend(bitmaps.iter().map(|bitmap| format!("--bitmap={bitmap}").into()));
        arguments.push(qemu_img::file_name(path)?.into_os_string());
        let contexts: Vec<String> = bitmaps.iter().map(|bitmap| nbd::dirty_bitmap_context(bitmap)).collect();
        let connect = |endpoint| NbdImage::connect(endpoint, "", &contexts, NbdImage::CONNECTIONS_DEFAULT);
        let (server, image) =
            Server::start(&format!("opening {}", path.display()), arguments, connect).await?;
        Ok(Self { image, server })
    }

    /// What changed according to one of the bitmaps that were opened.
    #[must_use]
    pub fn changes(&self, bitmap: &str) -> Option<Arc<dyn ChangeMap>> {
        self.image.changes(bitmap)
    }

    /// Lets go of the file. When this returns, others can open it.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Failed`] when `qemu-nbd` does not end; it is killed then.
    pub async fn close(self) -> Result<()> {
        // A server that is gone already shows in how it ended.
        let _ = self.image.disconnect().await;
        self.server.ended().await
    }
}

#[async_trait]
impl DiskImage for QemuNbdImage {
    fn size_bytes(&self) -> u64 {
        self.image.size_bytes()
    }

    async fn extents(&self, range: ByteRange) -> image::Result<Vec<Extent>> {
        self.image.extents(range).await
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> image::Result<()> {
        self.image.read_at(offset_bytes, buffer).await
    }
}
