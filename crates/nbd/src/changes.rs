//! What changed, by one of QEMU's dirty bitmaps.

use std::sync::Arc;

use async_trait::async_trait;
use image::{ByteRange, ChangeMap, Result};

use crate::{codec::transmission::BlockStatus, connections::Connections};

/// What changed, by one of QEMU's dirty bitmaps.
#[derive(Debug)]
pub(crate) struct DirtyBitmap {
    connections: Arc<Connections>,
    context: String,
}

impl DirtyBitmap {
    pub(crate) fn new(connections: Arc<Connections>, context: String) -> Self {
        Self { connections, context }
    }
}

#[async_trait]
impl ChangeMap for DirtyBitmap {
    async fn changed_within(&self, window: ByteRange) -> Result<Vec<ByteRange>> {
        window.check_within(self.connections.export().size_bytes)?;
        let runs = self.connections.runs(&self.context, window).await?;
        Ok(runs.iter().filter(|run| run.flags & BlockStatus::FLAG_DIRTY != 0).map(|run| run.range).collect())
    }
}
