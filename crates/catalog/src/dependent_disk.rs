//! Disks that still read from an image somewhere else.

use std::path::PathBuf;

use model::{CopyName, DiskName, JournalId, PointId, SnapshotId, VaultId, VmId};
use serde::{Deserialize, Serialize};

use crate::{Catalog, Result, row};

/// A disk of a VM that reads from an image wherever it was not written yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DependentDisk {
    /// The disk.
    pub disk: DiskName,
    /// Its size, which is that of the image.
    pub size_bytes: u64,
    /// The image.
    pub source: ImageSource,
    /// How long a read may wait while the image cannot be read, in seconds; then the guest sees an error.
    pub wait_limit_seconds: u64,
    /// Whether it is to become whole by and by, rather than read from the image for as long as it lives.
    pub hydrates: bool,
    /// The most that is copied into it in a second, in bytes.
    pub rate_limit_bytes_per_second: Option<u64>,
}

/// Where an image is, told so that it is found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum ImageSource {
    /// A disk of a recovery point.
    #[serde(rename_all = "kebab-case")]
    Point {
        /// The vault.
        vault_id: VaultId,
        /// The copy of it that is read instead.
        copy: Option<CopyName>,
        /// The point.
        point_id: PointId,
        /// The disk of the point.
        disk: DiskName,
    },
    /// A disk of a managed snapshot, wherever its data is.
    #[serde(rename_all = "kebab-case")]
    Snapshot {
        /// The snapshot.
        snapshot_id: SnapshotId,
        /// The disk of it.
        disk: DiskName,
    },
    /// A disk of a replica at a moment.
    #[serde(rename_all = "kebab-case")]
    Replica {
        /// The replica.
        journal_id: JournalId,
        /// The VM in it.
        vm_id: VmId,
        /// The record after which it is shown.
        sequence: u64,
        /// The disk of the VM.
        disk: DiskName,
    },
    /// An image file.
    File {
        /// Its path.
        path: PathBuf,
    },
}

impl Catalog {
    /// Keeps which disks of a VM still depend on images.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`].
    pub async fn set_dependent_disks(&self, id: VmId, disks: &[DependentDisk]) -> Result<()> {
        let query = sqlx::query("UPDATE vms SET dependent_disks = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(row::json_column(&disks)?);
        self.change(&format!("keeping what the disks of the VM {id} depend on"), query).await
    }
}
