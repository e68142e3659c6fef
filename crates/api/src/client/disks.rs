//! What is made from images: VMs and disks that read from them until they are whole.

use bytes::Bytes;
use hyper::Method;

use super::{Client, Result, segment};
use crate::{
    BeginUpload, CreateDisk, CreateVm, HydrateRequest, JobView, SealUpload, SiteDiskView, UploadedBlocksView,
};

impl Client {
    /// Builds a new VM on an image.
    pub async fn create_vm(&self, request: &CreateVm) -> Result<JobView> {
        self.post("/v1/creations/vm", request).await
    }

    /// Makes the disks of a VM whole.
    pub async fn hydrate(&self, vm: &str, request: &HydrateRequest) -> Result<JobView> {
        self.post(&format!("/v1/vms/{}/hydrations", segment(vm)), request).await
    }

    /// All disks that have names of their own, by name.
    pub async fn disks(&self) -> Result<Vec<SiteDiskView>> {
        self.get("/v1/disks").await
    }

    /// One disk, by name or id.
    pub async fn disk(&self, disk: &str) -> Result<SiteDiskView> {
        self.get(&format!("/v1/disks/{}", segment(disk))).await
    }

    /// Makes a disk from an image.
    pub async fn create_disk(&self, request: &CreateDisk) -> Result<JobView> {
        self.post("/v1/disks", request).await
    }

    /// Begins to upload a disk; one of the same name and size goes on.
    pub async fn begin_upload(&self, request: &BeginUpload) -> Result<SiteDiskView> {
        self.post("/v1/uploads", request).await
    }

    /// A page of the blocks that the server has of an upload.
    pub async fn uploaded_blocks(&self, disk: &str, start: u64) -> Result<UploadedBlocksView> {
        self.get(&format!("/v1/uploads/{}/blocks?start={start}", segment(disk))).await
    }

    /// Sends a block; durable when this returns. The digest is BLAKE3's, in hexadecimal digits.
    pub async fn put_block(&self, disk: &str, number: u64, blake3: &str, bytes: Bytes) -> Result<()> {
        let path = format!("/v1/uploads/{}/blocks/{number}?blake3={blake3}", segment(disk));
        self.call(Method::PUT, &path, bytes).await
    }

    /// Starts to make the disk out of an upload that is all there.
    pub async fn seal_upload(&self, disk: &str, request: &SealUpload) -> Result<JobView> {
        self.post(&format!("/v1/uploads/{}/seal", segment(disk)), request).await
    }

    /// Makes a disk whole.
    pub async fn hydrate_disk(&self, disk: &str, request: &HydrateRequest) -> Result<JobView> {
        self.post(&format!("/v1/disks/{}/hydrations", segment(disk)), request).await
    }

    /// Deletes a disk and its file; with `dry_run`, only asks whether that could be.
    pub async fn delete_disk(&self, disk: &str, dry_run: bool) -> Result<()> {
        let path = format!("/v1/disks/{}?dry_run={dry_run}", segment(disk));
        self.call(Method::DELETE, &path, Bytes::new()).await
    }
}
