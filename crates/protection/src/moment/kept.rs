//! A moment that is kept somewhere else already: nobody has to hold it.

use async_trait::async_trait;
use hypervisor::{Capture, CaptureFacts, CaptureOutcome, CapturedDisk};
use model::CaptureCost;

/// What is known of it. Its disks are the moment's.
pub(super) struct Kept(pub(super) CaptureFacts);

#[async_trait]
impl Capture for Kept {
    fn facts(&self) -> &CaptureFacts {
        &self.0
    }

    fn disks(&self) -> &[CapturedDisk] {
        &[]
    }

    async fn cost(&self) -> CaptureCost {
        CaptureCost::default()
    }

    async fn finish(self: Box<Self>, _: CaptureOutcome) -> hypervisor::Result<()> {
        Ok(())
    }
}
