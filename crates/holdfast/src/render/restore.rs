//! Restores: what one did, and what one would do.

use api::{HydratedView, RestoredDiskView, RestoredFilesView, RestoredInPlaceView, RestoredVmView};
use model::ByteCount;
use serde::Serialize;

use super::{Identified, Page, Times, table};

impl Identified for RestoredVmView {
    fn id(&self) -> String {
        self.vm_id.clone()
    }
}

impl Page for RestoredVmView {
    fn page(&self, _: &Times) -> String {
        let power = if self.started { "started" } else { "stopped" };
        let mut fields = vec![("VM", format!("{} ({})", self.vm_name, self.vm_id))];
        fields.extend(self.reference.clone().map(|reference| ("From", reference)));
        fields.push(("Power", power.to_owned()));
        table::fields(fields) + &disks_section(&self.disks)
    }
}

impl Identified for RestoredFilesView {
    fn id(&self) -> String {
        self.vm_name.clone()
    }
}

impl Page for RestoredFilesView {
    fn page(&self, _: &Times) -> String {
        let what = if self.dry_run { "Would write" } else { "Written" };
        let counts = format!(
            "{} files with {}, {} directories, {} links",
            self.files, self.written_bytes, self.directories, self.links
        );
        let place = self.to.clone().unwrap_or_else(|| "their own places".to_owned());
        let mut fields = vec![("Guest", self.vm_name.clone()), ("To", place), (what, counts)];
        if self.kept > 0 {
            fields.push(("Kept", format!("{} that exist; --overwrite replaces them", self.kept)));
        }
        if self.failed > 0 {
            fields.push(("Failed", self.failed.to_string()));
        }
        table::fields(fields)
    }
}

impl Identified for HydratedView {
    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Page for HydratedView {
    fn page(&self, _: &Times) -> String {
        table::fields(vec![
            ("Name", self.name.clone()),
            ("Whole", format!("{}; nothing else is needed any more", self.whole_bytes)),
        ])
    }
}

impl Identified for RestoredInPlaceView {
    fn id(&self) -> String {
        self.vm_id.clone()
    }
}

impl Page for RestoredInPlaceView {
    fn page(&self, _: &Times) -> String {
        let before = match (&self.safety_point_id, self.dry_run) {
            _ if let Some(snapshot) = &self.safety_snapshot => format!("snapshot:{snapshot}"),
            (Some(point), _) => format!("point:{}/{point}, now its latest point", self.vm_name),
            (None, true) => "nothing was written".to_owned(),
            (None, false) => "kept nowhere".to_owned(),
        };
        let power = if self.started { "started" } else { "stopped" };
        let disks = self.disks.iter().map(disk_cells).collect();
        let columns = if self.dry_run { WOULD_WRITE_COLUMNS } else { DISK_COLUMNS };
        table::fields(vec![
            ("VM", format!("{} ({})", self.vm_name, self.vm_id)),
            ("From", self.reference.clone()),
            ("As it was", before),
            ("Power", power.to_owned()),
        ]) + &table::section("Disks", columns, disks)
    }
}

/// The disks that a restore wrote.
pub fn disks_section(disks: &[RestoredDiskView]) -> String {
    table::section("Disks", DISK_COLUMNS, disks.iter().map(disk_cells).collect())
}

impl Identified for RestoredDiskView {
    fn id(&self) -> String {
        self.path.clone()
    }
}

impl Page for RestoredDiskView {
    fn page(&self, _: &Times) -> String {
        table::with_header(DISK_COLUMNS, vec![disk_cells(self)])
    }
}

const DISK_COLUMNS: &[&str] = &["name", "size", "written", "format", "path"];

const WOULD_WRITE_COLUMNS: &[&str] = &["name", "size", "differs", "format", "path"];

fn disk_cells(disk: &RestoredDiskView) -> Vec<String> {
    vec![
        disk.name.clone(),
        disk.size_bytes.to_string(),
        disk.written_bytes.to_string(),
        disk.format.to_string(),
        disk.path.clone(),
    ]
}

/// What a restore would do.
#[derive(Debug, Serialize)]
pub struct RestorePlan {
    /// The point, by ids.
    pub point: String,
    /// The disks that would be written.
    pub disks: Vec<PlannedDisk>,
    /// The file or the directory that they would go to; none where the server makes a new directory.
    pub target: Option<String>,
    /// Whether the file exists, or the directory and something in it.
    pub target_exists: bool,
    /// Whether what exists would be replaced.
    pub replace: bool,
}

/// A disk that a restore would write.
#[derive(Debug, Serialize)]
pub struct PlannedDisk {
    /// The disk's name within the VM.
    pub name: String,
    /// Its virtual size.
    pub size_bytes: ByteCount,
}

impl Identified for RestorePlan {
    fn id(&self) -> String {
        self.point.clone()
    }
}

impl Page for RestorePlan {
    fn page(&self, _: &Times) -> String {
        let target = self.target.as_deref().unwrap_or("a new directory of the site's own");
        let effect = match (self.target_exists, self.replace) {
            (false, _) => "nothing that exists is touched",
            (true, true) => "replaces what is there under the same name",
            (true, false) => "refused where a file is there under the same name; --replace replaces it",
        };
        let disks = self.disks.iter().map(|disk| vec![disk.name.clone(), disk.size_bytes.to_string()]);
        table::fields(vec![
            ("Point", self.point.clone()),
            ("Target", target.to_owned()),
            ("Effect", effect.to_owned()),
        ]) + &table::section("Would write", &["disk", "size"], disks.collect())
    }
}
