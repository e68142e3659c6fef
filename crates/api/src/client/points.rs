//! Recovery points: looking at them, and what becomes of them.

use super::{Client, Result, segment};
use crate::{ChosenPoints, DeletePoints, HoldPoints, JobView, PointView, TestPoint};

impl Client {
    /// Recovery points, oldest first; of one VM, or of all. With `deleted`, also those that can still be brought back.
    pub async fn points(&self, vm: Option<&str>, deleted: bool) -> Result<Vec<PointView>> {
        let vm = vm.map(|vm| format!("&vm={}", segment(vm))).unwrap_or_default();
        self.get(&format!("/v1/points?deleted={deleted}{vm}")).await
    }

    /// The point that a reference names, with the VM's definition. A deleted one too, where no other fits.
    pub async fn point(&self, reference: &str) -> Result<PointView> {
        self.get(&format!("/v1/point?reference={}", segment(reference))).await
    }

    /// The point that a reference names in a copy of a vault, which need not be there any more.
    pub async fn point_in_copy(&self, reference: &str, copy: &str) -> Result<PointView> {
        self.get(&format!("/v1/point?reference={}&from_copy={}", segment(reference), segment(copy))).await
    }

    /// Deletes points; until they are purged they can be brought back.
    pub async fn delete_points(&self, request: &DeletePoints) -> Result<Vec<PointView>> {
        self.post("/v1/points/delete", request).await
    }

    /// Brings deleted points back.
    pub async fn undelete_points(&self, request: &ChosenPoints) -> Result<Vec<PointView>> {
        self.post("/v1/points/undelete", request).await
    }

    /// Puts points under a legal hold.
    pub async fn hold_points(&self, request: &HoldPoints) -> Result<Vec<PointView>> {
        self.post("/v1/points/hold", request).await
    }

    /// Releases points from their hold.
    pub async fn release_points(&self, request: &ChosenPoints) -> Result<Vec<PointView>> {
        self.post("/v1/points/release", request).await
    }

    /// Starts to boot a recovery point in isolation.
    pub async fn test_point(&self, request: &TestPoint) -> Result<JobView> {
        self.post("/v1/points/test", request).await
    }
}
