//! Images: written to files, and compared.

use api::{ExportedView, ImageExtentView, NbdView, shell_word};
use model::{ByteCount, ImageFormat};
use serde::Serialize;

use super::{Identified, Page, Row, Times, table};

impl Identified for ExportedView {
    fn id(&self) -> String {
        self.path.clone()
    }
}

impl Page for ExportedView {
    fn page(&self, _: &Times) -> String {
        table::fields(vec![
            ("File", self.path.clone()),
            ("Format", self.format.to_string()),
            ("Disk", self.size_bytes.to_string()),
            ("Takes", self.allocated_bytes.to_string()),
        ])
    }
}

impl Identified for ImageExtentView {
    fn id(&self) -> String {
        format!("{}+{}", self.offset_bytes, self.length_bytes)
    }
}

impl Row for ImageExtentView {
    const COLUMNS: &'static [&'static str] = &["offset", "length", "size"];

    fn cells(&self, _: &Times) -> Vec<String> {
        vec![
            self.offset_bytes.to_string(),
            self.length_bytes.to_string(),
            ByteCount(self.length_bytes).to_string(),
        ]
    }
}

impl Identified for NbdView {
    fn id(&self) -> String {
        let uris: Vec<_> = self.exports.iter().map(|export| export.uri.as_str()).collect();
        uris.join("\n")
    }
}

impl Page for NbdView {
    fn page(&self, _: &Times) -> String {
        let rows = self.exports.iter();
        let rows =
            rows.map(|export| vec![export.name.clone(), export.size_bytes.to_string(), export.uri.clone()]);
        let table = table::with_header(&["disk", "size", "address"], rows.collect());
        let Some(first) = self.exports.first() else { return table };
        if self.tls {
            let uri = shell_word(&format!("{}?tls-certificates=DIR", first.uri));
            return format!(
                "{table}\nRead with, where DIR holds the client's certificate:\n  nbdinfo {uri}\n"
            );
        }
        let (uri, file) = (shell_word(&first.uri), shell_word(&format!("{}.qcow2", first.name)));
        format!(
            "{table}\nRead with, as in:\n  nbdinfo {uri}\n  qemu-img convert -p -f raw -O qcow2 {uri} {file}\n"
        )
    }
}

/// What an export would do.
#[derive(Debug, Serialize)]
pub struct ExportPlan {
    /// The image.
    pub reference: String,
    /// The file.
    pub path: String,
    /// Its format.
    pub format: ImageFormat,
    /// Whether the file exists.
    pub exists: bool,
    /// Whether it would be replaced.
    pub replace: bool,
}

impl Identified for ExportPlan {
    fn id(&self) -> String {
        self.path.clone()
    }
}

impl Page for ExportPlan {
    fn page(&self, _: &Times) -> String {
        let what = match (self.exists, self.replace) {
            (false, _) => "new",
            (true, true) => "exists, and would be replaced",
            (true, false) => "exists, and is refused without --replace",
        };
        table::fields(vec![
            ("Image", self.reference.clone()),
            ("File", self.path.clone()),
            ("Format", self.format.to_string()),
            ("The file", what.to_owned()),
        ])
    }
}
