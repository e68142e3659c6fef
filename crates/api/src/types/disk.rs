//! Disks that have names of their own on the site.

use model::{ByteCount, DiskId, JobId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::restore::{day_seconds, yes};

/// Makes a disk from an image: usable at once, and whole by and by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDisk {
    /// The disk's name: letters, digits, '.', '_' and '-'.
    pub name: String,
    /// The image: `point:<vm>/<point>/<disk>`, where the disk may be left out if there is only one, or `file:<path>`. An image
    /// file must stay as it is until the disk is whole.
    pub reference: String,
    /// The copy to read instead of the vault: `<copy>`, or `<vault>/<copy>` where several have the name.
    #[serde(default)]
    pub from_copy: Option<String>,
    /// Its size, not below that of the image, which is the default.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    pub size_bytes: Option<ByteCount>,
    /// Make the last partition reach the end of the larger disk, and its file system fill it: ext4, XFS or btrfs. Where that
    /// fails, there is no disk.
    #[serde(default)]
    pub grow_file_system: bool,
    /// The directory for its file, as an absolute path; defaults to one in the site's data directory.
    #[serde(default)]
    pub directory: Option<String>,
    /// Make it whole. Otherwise it depends on the image until it is hydrated.
    #[serde(default = "yes")]
    pub hydrate: bool,
    /// The most that is copied in a second, in bytes.
    #[serde(default)]
    pub rate_limit_bytes_per_second: Option<u64>,
    /// How long a read waits while the image cannot be read, in seconds; then it fails. A day by default.
    #[serde(default = "day_seconds")]
    pub wait_limit_seconds: u64,
}

/// A disk that has a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteDiskView {
    /// The disk.
    #[schema(value_type = String)]
    pub id: DiskId,
    /// Its name.
    pub name: String,
    /// Its qcow2 file, which can be given to any QEMU of this host.
    pub path: String,
    /// Its virtual size.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// What it was made from.
    pub source: String,
    /// How far it is.
    pub state: DiskState,
    /// The image that it still reads from, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads_from: Option<String>,
    /// Why that cannot be read now, or why the disk did not become whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The VM that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// The job that makes it whole now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hydration_job: Option<JobId>,
    /// When it was made.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}

/// How far a disk is on its way to being whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskState {
    /// It reads from an image, and stays so.
    Dependent,
    /// What it still reads from an image is being copied into its file.
    Hydrating,
    /// It needs nothing but its file.
    Whole,
    /// It reads from an image, and copying has failed.
    Failed,
    /// Its bytes are being uploaded; it has no file yet.
    Uploading,
}

impl DiskState {
    /// The state in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dependent => "dependent",
            Self::Hydrating => "hydrating",
            Self::Whole => "whole",
            Self::Failed => "failed",
            Self::Uploading => "uploading",
        }
    }
}
