//! Images, and what is done with them.

use model::{ByteCount, ImageFormat};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Writes an image to a file of any format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The image: `point:<vm>/<point>/<disk>` or `snapshot:<name>/<disk>`, where the disk may be left out if there is only one, or
    /// `file:<path>`.
    pub reference: String,
    /// The copy to read instead of the vault: `<copy>`, or `<vault>/<copy>` where several have the name.
    #[serde(default)]
    pub from_copy: Option<String>,
    /// The file to write, as an absolute path; or a block device, which takes raw bytes only.
    pub path: String,
    /// Its format: raw, qcow2, vhd, vhd-dynamic, vhdx or vmdk.
    #[schema(value_type = String)]
    pub format: ImageFormat,
    /// Compress the data, as qcow2 and vmdk can.
    #[serde(default)]
    pub compress: bool,
    /// Replace the file where it exists. A block device needs it too.
    #[serde(default)]
    pub replace: bool,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportedView {
    /// The file.
    pub path: String,
    /// Its format.
    #[schema(value_type = String)]
    pub format: ImageFormat,
    /// The virtual size of the image. That of a VHD is rounded up to whole MiB.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// The space that the file takes.
    #[schema(value_type = u64)]
    pub allocated_bytes: ByteCount,
}

/// Ranges of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageExtentsView {
    /// The size of the image; of two, the larger one.
    pub size_bytes: u64,
    /// The ranges, in order.
    pub extents: Vec<ImageExtentView>,
    /// Where to ask on; none when this was the last page.
    pub next_bytes: Option<u64>,
}

/// A range of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageExtentView {
    /// The first byte.
    pub offset_bytes: u64,
    /// The number of bytes.
    pub length_bytes: u64,
}

/// Shows the disks of an image over NBD, read-only, for as long as the answer is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NbdRequest {
    /// The image: `point:<vm>/<point>[/<disk>]`, with all its disks where none is named, or `file:<path>`.
    pub reference: String,
    /// The copy to read instead of the vault: `<copy>`, or `<vault>/<copy>` where several have the name.
    #[serde(default)]
    pub from_copy: Option<String>,
    /// The unix socket, as an absolute path; defaults to one in the site's data directory.
    #[serde(default)]
    pub socket: Option<String>,
    /// The TCP port instead, as `<host>:<port>`; port 0 takes one that is free.
    #[serde(default)]
    pub listen: Option<String>,
    /// The directory with `server-cert.pem`, `server-key.pem` and `ca-cert.pem`, as an absolute path: then there is TLS, and
    /// only clients with a certificate of that authority are let in. A port that others can reach needs it.
    #[serde(default)]
    pub tls_certificates: Option<String>,
}

/// Disks that are shown over NBD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NbdView {
    /// The image, named so that it stays the same when newer points come.
    pub reference: String,
    /// The unix socket; none on a TCP port.
    pub socket: Option<String>,
    /// The TCP port; none on a unix socket.
    pub listen: Option<String>,
    /// Whether clients must use TLS.
    pub tls: bool,
    /// The disks.
    pub exports: Vec<NbdExportView>,
}

/// One disk that is shown over NBD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NbdExportView {
    /// The disk's name, and the export's.
    pub name: String,
    /// Its virtual size.
    #[schema(value_type = u64)]
    pub size_bytes: ByteCount,
    /// Where it is, as NBD's tools take it.
    pub uri: String,
}
