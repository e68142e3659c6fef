//! Managed snapshots.

use super::{Client, Result, segment};
use crate::{
    CollectRequest, CopySnapshot, CreateSnapshot, CreatedSnapshot, DeleteSnapshot, JobView, LockSnapshot,
    RevertVm, SnapshotPage, SnapshotView, TagSnapshot, VaultView,
};

/// Which snapshots are wanted.
#[derive(Debug, Clone, Default)]
pub struct SnapshotQuery<'a> {
    /// Only those of this VM, by name or id, or of this image file, as `file:<path>`.
    pub family: Option<&'a str>,
    /// Only those with this tag: `<key>=<value>`.
    pub tag: Option<&'a str>,
    /// Those that are deleted instead.
    pub deleted: bool,
    /// Also what each takes, for which the maps of all are read.
    pub sizes: bool,
    /// The page before's `next`.
    pub after: Option<&'a str>,
}

impl Client {
    /// Makes a snapshot. It exists once its moment is fixed, which its state tells.
    pub async fn create_snapshot(&self, request: &CreateSnapshot) -> Result<CreatedSnapshot> {
        self.post("/v1/snapshots", request).await
    }

    /// A page of snapshots, newest first.
    pub async fn snapshots(&self, query: &SnapshotQuery<'_>) -> Result<SnapshotPage> {
        let mut path = format!("/v1/snapshots?deleted={}&sizes={}", query.deleted, query.sizes);
        for (key, value) in [("family", query.family), ("tag", query.tag), ("after", query.after)] {
            if let Some(value) = value {
                path.push_str(&format!("&{key}={}", segment(value)));
            }
        }
        self.get(&path).await
    }

    /// One snapshot, by name, id or the start of an id; a deleted one too, where no other fits.
    pub async fn snapshot(&self, snapshot: &str) -> Result<SnapshotView> {
        self.get(&of(snapshot)).await
    }

    /// The same with what it takes, for which the maps of all snapshots are read.
    pub async fn snapshot_with_sizes(&self, snapshot: &str) -> Result<SnapshotView> {
        self.get(&format!("{}?sizes=true", of(snapshot))).await
    }

    /// Deletes a snapshot. The answer is what it is then, or was.
    pub async fn delete_snapshot(&self, snapshot: &str, request: &DeleteSnapshot) -> Result<SnapshotView> {
        self.post(&format!("{}/delete", of(snapshot)), request).await
    }

    /// Brings a deleted snapshot back.
    pub async fn undelete_snapshot(&self, snapshot: &str) -> Result<SnapshotView> {
        self.post(&format!("{}/undelete", of(snapshot)), &()).await
    }

    /// Starts to make a VM's disks what a snapshot of it holds.
    pub async fn revert_vm(&self, snapshot: &str, request: &RevertVm) -> Result<JobView> {
        self.post(&format!("{}/revert", of(snapshot)), request).await
    }

    /// Starts to copy a snapshot into a vault or to another site.
    pub async fn copy_snapshot(&self, snapshot: &str, request: &CopySnapshot) -> Result<JobView> {
        self.post(&format!("{}/copies", of(snapshot)), request).await
    }

    /// Locks a snapshot until a date.
    pub async fn lock_snapshot(&self, snapshot: &str, request: &LockSnapshot) -> Result<SnapshotView> {
        self.post(&format!("{}/lock", of(snapshot)), request).await
    }

    /// Changes a snapshot's tags.
    pub async fn tag_snapshot(&self, snapshot: &str, request: &TagSnapshot) -> Result<SnapshotView> {
        self.post(&format!("{}/tags", of(snapshot)), request).await
    }

    /// The snapshot store; none before the first snapshot.
    pub async fn snapshot_store(&self) -> Result<Option<VaultView>> {
        self.get("/v1/snapshot-store").await
    }

    /// Starts to give back the room of purged and failed snapshots.
    pub async fn collect_snapshot_store(&self, request: &CollectRequest) -> Result<JobView> {
        self.post("/v1/snapshot-store/collections", request).await
    }
}

fn of(snapshot: &str) -> String {
    format!("/v1/snapshots/{}", segment(snapshot))
}
