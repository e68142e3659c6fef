//! An export that is read.

use std::sync::Arc;

use ::image::{ByteRange, ChangeMap, DiskImage, Extent, ExtentKind, Result};
use async_trait::async_trait;

use crate::{
    BASE_ALLOCATION, Endpoint, changes::DirtyBitmap, codec::transmission::BlockStatus,
    connections::Connections, dirty_bitmap_context,
};

/// An export that is read, over several connections where the server allows it.
///
/// Nobody may write to the export meanwhile. Without the context `base:allocation` everything is data.
#[derive(Debug)]
pub struct NbdImage {
    connections: Arc<Connections>,
}

impl NbdImage {
    /// A number of connections that keeps one server thread and one reader busy.
    pub const CONNECTIONS_DEFAULT: usize = 4;

    /// Connects to an export, with `base:allocation` and these further metadata contexts as far as the server has them.
    /// Opens up to `connections` connections; one where the export is writable and not marked as safe for more.
    ///
    /// # Errors
    /// As [`crate::Client::connect`]; `Protocol` for a size that is not a multiple of 512.
    pub async fn connect(
        endpoint: Endpoint,
        export: &str,
        contexts: &[String],
        connections: usize,
    ) -> Result<Self> {
        let mut all_contexts = vec![BASE_ALLOCATION.to_owned()];
        all_contexts.extend(contexts.iter().filter(|context| *context != BASE_ALLOCATION).cloned());
        let connections = Connections::open(&endpoint, export, &all_contexts, connections).await?;
        Ok(Self { connections: Arc::new(connections) })
    }

    /// What changed according to a dirty bitmap; nothing when its context was not asked for or not granted.
    #[must_use]
    pub fn changes(&self, bitmap: &str) -> Option<Arc<dyn ChangeMap>> {
        let context = dirty_bitmap_context(bitmap);
        let granted = self.connections.has_context(&context);
        granted
            .then(|| Arc::new(DirtyBitmap::new(Arc::clone(&self.connections), context)) as Arc<dyn ChangeMap>)
    }

    /// Ends the connections in order, after the requests that are in flight; later requests fail with `Gone`.
    ///
    /// # Errors
    /// `Io` when the server does not close a connection within 5 s.
    pub async fn disconnect(&self) -> Result<()> {
        self.connections.disconnect().await
    }
}

#[async_trait]
impl DiskImage for NbdImage {
    fn size_bytes(&self) -> u64 {
        self.connections.export().size_bytes
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        range.check_within(self.size_bytes())?;
        if !self.connections.has_context(BASE_ALLOCATION) && !range.is_empty() {
            return Ok(vec![Extent { range, kind: ExtentKind::Data }]);
        }
        let runs = self.connections.runs(BASE_ALLOCATION, range).await?;
        let mut extents: Vec<Extent> = Vec::with_capacity(runs.len());
        for run in runs {
            let kind =
                if run.flags & BlockStatus::FLAG_ZERO != 0 { ExtentKind::Zero } else { ExtentKind::Data };
            match extents.last_mut() {
                // Runs that differ in flags which do not matter here.
                Some(last) if last.kind == kind => last.range.length_bytes += run.range.length_bytes,
                _ => extents.push(Extent { range: run.range, kind }),
            }
        }
        Ok(extents)
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        ByteRange { offset_bytes, length_bytes: buffer.len() as u64 }.check_within(self.size_bytes())?;
        self.connections.read_at(offset_bytes, buffer).await
    }
}
