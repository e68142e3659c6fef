//! Shows held moments as images.

use std::{path::PathBuf, sync::Arc};

use ::image::DiskImage;
use hypervisor::{CapturedDisk, DiskChanges, Error, ErrorKind, Result};
use image_formats::RawImage;
use nbd::{Endpoint, NbdImage};
use serde_json::json;

use super::{
    image::HeldImage,
    plan::{Method, PlannedDisk, Reading},
    scratch_watch::GivenUp,
};
use crate::{
    export_server::{self, ServerUse},
    names,
    session::Session,
};

/// The images of a capture.
#[derive(Default)]
pub(super) struct Exports {
    pub(super) disks: Vec<CapturedDisk>,
    connections: Vec<Arc<NbdImage>>,
    given_up: GivenUp,
    server: Option<ServerUse>,
}

impl Exports {
    /// Exports all disks of a fixed moment, after [`start`], and connects to them.
    pub(super) async fn open(
        session: &Session,
        disks: &[PlannedDisk],
        given_up: GivenUp,
        server: Option<ServerUse>,
    ) -> Result<Self> {
        let mut exports = Self { given_up, server, ..Self::default() };
        for (index, planned) in disks.iter().enumerate() {
            exports.open_disk(session, index, planned).await?;
        }
        Ok(exports)
    }

    async fn open_disk(&mut self, session: &Session, index: usize, planned: &PlannedDisk) -> Result<()> {
        let bitmap = planned.baseline.as_ref().ok();
        let (image, changes) = match planned.reading {
            Reading::Nbd => {
                let image = self.open_nbd(session, planned, &names::overlay(index), bitmap).await?;
                let changes = bitmap.and_then(|bitmap| image.changes(bitmap));
                (image as Arc<dyn DiskImage>, changes)
            }
            Reading::Fuse => (open_fuse(session, &names::overlay(index)).await?, None),
        };
        let image: Arc<dyn DiskImage> = match planned.method {
            Method::Filter => {
                let probe = self.open_probe(session, index, planned).await?;
                Arc::new(HeldImage::new(image, probe, self.given_up.clone()))
            }
            Method::Job => image,
        };
        let unknown =
            || planned.baseline.clone().err().unwrap_or_else(|| "QEMU does not show the bitmap".to_owned());
        let changes = changes.map_or_else(|| DiskChanges::Unknown { reason: unknown() }, DiskChanges::Since);
        self.disks.push(CapturedDisk { name: planned.disk.name.clone(), image, changes });
        Ok(())
    }

    async fn open_probe(
        &mut self,
        session: &Session,
        index: usize,
        planned: &PlannedDisk,
    ) -> Result<Arc<dyn DiskImage>> {
        let node = names::probe(index);
        let probe = json!({"driver": "snapshot-access", "node-name": node, "file": names::filter(index)});
        session.monitor.execute("blockdev-add", probe).await?;
        match planned.reading {
            Reading::Nbd => Ok(self.open_nbd(session, planned, &node, None).await?),
            Reading::Fuse => open_fuse(session, &node).await,
        }
    }

    async fn open_nbd(
        &mut self,
        session: &Session,
        planned: &PlannedDisk,
        node: &str,
        bitmap: Option<&String>,
    ) -> Result<Arc<NbdImage>> {
        let mut export = json!({"type": "nbd", "id": node, "name": node, "node-name": node});
        if let Some(bitmap) = bitmap {
            export["bitmaps"] = json!([{"node": planned.disk.format_node, "name": bitmap}]);
        }
        session.monitor.execute("block-export-add", export).await?;
        let endpoint = Endpoint::Unix(session.config.export_socket(session.vm.vm_id)?);
        let contexts: Vec<String> =
            bitmap.map(|bitmap| nbd::dirty_bitmap_context(bitmap)).into_iter().collect();
        let image = NbdImage::connect(endpoint, node, &contexts, NbdImage::CONNECTIONS_DEFAULT).await;
        let image = Arc::new(image.map_err(|source| unreadable(planned, source))?);
        self.connections.push(image.clone());
        Ok(image)
    }

    /// Ends the connections. Readers that still hold an image find it gone.
    pub(super) async fn close(&mut self) {
        self.disks.clear();
        for image in self.connections.drain(..) {
            let _ = image.disconnect().await; // QEMU may have gone first
        }
        self.server = None;
    }
}

fn unreadable(planned: &PlannedDisk, source: ::image::Error) -> Error {
    let context = format!("the held moment of the disk {} cannot be read", planned.disk.name);
    Error::new(ErrorKind::Failed, context).with_source(source)
}

/// Starts what the exports need. Before the moment is fixed: a server that is taken should cost the guest no freeze.
pub(super) async fn start(session: &Session, disks: &[PlannedDisk]) -> Result<Option<ServerUse>> {
    if disks.iter().any(|planned| planned.reading == Reading::Nbd) {
        return export_server::join(session).await.map(Some);
    }
    Ok(None)
}

/// The files through which a capture shows its disks by FUSE, for the ledger.
pub(super) fn fuse_files(session: &Session, index: usize) -> [PathBuf; 2] {
    [names::overlay(index), names::probe(index)].map(|node| fuse_file(session, &node))
}

fn fuse_file(session: &Session, node: &str) -> PathBuf {
    session.config.vm_dir(session.vm.vm_id).join(node)
}

async fn open_fuse(session: &Session, node: &str) -> Result<Arc<dyn DiskImage>> {
    let path = fuse_file(session, node);
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Failed, format!("cannot show a disk as {}", path.display())).with_source(source)
    };
    std::fs::write(&path, "").map_err(|source| failed(source.into()))?;
    let export = json!({"type": "fuse", "id": node, "node-name": node, "mountpoint": path.to_string_lossy()});
    session.monitor.execute("block-export-add", export).await?;
    let image = RawImage::open(&path).await.map_err(|source| failed(source.into()))?;
    Ok(Arc::new(image))
}
