//! Files inside images.

use model::{ByteCount, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something in an image that may hold files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeView {
    /// The first name of every path in it.
    pub name: String,
    /// The file system or container, as in `ext4` and `crypto_LUKS`.
    pub content: String,
    /// Its size.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// Whether its files can be read.
    pub state: VolumeStateView,
    /// Why not, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether the files of a volume can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeStateView {
    /// As far as is known.
    Readable,
    /// Encrypted; a passphrase opens it.
    Locked,
    /// Not here.
    Unreadable,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// One file, directory or anything else that has a name in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileView {
    /// Where it is. Bytes that are no UTF-8 are replaced; then `path_hex` has them all.
    pub path: String,
    /// The path's bytes in hexadecimal digits, where it is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// What it is.
    pub kind: FileKind,
    /// Permissions in octal digits, with set-user-id, set-group-id and sticky.
    pub mode: String,
    /// The owner's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
    /// The length of a file.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// How much of it is allocated.
    #[schema(value_type = u64)]
    pub allocated_bytes: ByteCount,
    /// When the contents changed last; none where the image's time is none that can be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub modified_at: Option<Timestamp>,
    /// Where a symbolic link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What is known of a file in one of two images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileStateView {
    /// What it is.
    pub kind: FileKind,
    /// Permissions in octal digits, with set-user-id, set-group-id and sticky.
    pub mode: String,
    /// The owner's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
    /// The length of a file.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// When the contents changed last; none where the image's time is none that can be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub modified_at: Option<Timestamp>,
    /// When anything about it changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub changed_at: Option<Timestamp>,
    /// Where a symbolic link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What became of a path from one image to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileChange {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Removed,
    /// Both have it, and it is not the same.
    Changed,
    /// It, or what lies below it, cannot be read in one of the images; of what lies below it nothing more is told.
    Unreadable,
}

/// What differs of something that is in both images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileDifference {
    /// What it is: a file, a directory, a link.
    Kind,
    /// The length of the file.
    Size,
    /// The permissions.
    Mode,
    /// The owner or the group.
    Owner,
    /// When it, or its content, was changed last.
    Times,
    /// Where the link leads.
    Target,
    /// Which device it stands for.
    Device,
    /// The extended attributes.
    Attributes,
    /// The bytes of the file.
    Content,
    /// The bytes of the file, as its times or its inode suggest; nobody has looked at them.
    ContentLikely,
}

/// A path at which two images differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileChangeView {
    /// Where it is. Bytes that are no UTF-8 are replaced; then `path_hex` has them all.
    pub path: String,
    /// The path's bytes in hexadecimal digits, where it is no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// What became of it.
    pub change: FileChange,
    /// What differs of something that changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<FileDifference>,
    /// What it is in the first image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<FileStateView>,
    /// What it is in the second image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<FileStateView>,
    /// Why it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Opens the encrypted volumes of an image, for as long as somebody looks at its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnlockVolumes {
    /// The image: `point:<vm>/<id, start of one, latest or time>[/<disk>]` or `file:<path>`.
    pub reference: String,
    /// The copy to look in instead: `<copy>` or `<vault>/<copy>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_copy: Option<String>,
    /// The passphrase.
    pub passphrase: String,
}
