//! Restores without a server.

use std::path::{Path, PathBuf};

use api::RestoredDiskView;
use clap::{Args, Subcommand};
use model::{DiskFormat, DiskName, JobKind, PointReference, VmName};
use protection::{DiskRestore, RestoreSource, RestoredDisk, VmRestore};
use serde::Serialize;
use vault::{PointRecord, Vault};

use super::{definition, points, source::SourceArguments, watch::watched};
use crate::{
    commands::point::ReferenceArgument,
    context::Context,
    exit::Exit,
    failure::Failure,
    location,
    render::{Identified, Page, PlannedDisk, RestorePlan, Times, disks_section, table},
};

/// What can be restored.
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Writes all disks of a VM into a directory, and a definition that vm add makes the VM from.
    ///
    /// Every byte is checked while it is written; nothing that exists is touched without --replace.
    #[command(after_long_help = VM_EXAMPLE)]
    Vm(RestoreVm),
    /// Writes one disk of a VM to an image file.
    #[command(after_long_help = DISK_EXAMPLE)]
    Disk(RestoreDisk),
}

const VM_EXAMPLE: &str = "\
Example:
  holdfast rescue --url /mnt/nas/vault --kit restore vm point:web-1/latest --to /srv/web-1";

const DISK_EXAMPLE: &str = "\
Example:
  holdfast rescue --url /mnt/nas/vault --key-file main.key restore disk point:web-1/latest/vdb --to /srv/vdb.img";

/// Writes all disks.
#[derive(Debug, Args)]
pub struct RestoreVm {
    #[command(flatten)]
    reference: ReferenceArgument,
    /// The directory for the disks and the definition; made where it does not exist.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The VM's name in the definition; the old one where it is left out.
    #[arg(long)]
    name: Option<VmName>,
    /// The format of the disks: qcow2, which can track changes and is the default, or raw.
    #[arg(long)]
    format: Option<DiskFormat>,
    /// Give the definition new MAC addresses and a new UUID, for a VM that runs beside the old one.
    #[arg(long)]
    new_identity: bool,
    #[command(flatten)]
    caution: Caution,
}

/// Writes one disk.
#[derive(Debug, Args)]
pub struct RestoreDisk {
    #[command(flatten)]
    reference: ReferenceArgument,
    /// The image file to write.
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// The file's format: raw, which is the default, or qcow2.
    #[arg(long)]
    format: Option<DiskFormat>,
    #[command(flatten)]
    caution: Caution,
}

/// How a restore treats what exists.
#[derive(Debug, Args)]
struct Caution {
    /// Replace files that exist.
    #[arg(long)]
    replace: bool,
    /// Show what would be written and replaced, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A VM whose disks were restored.
#[derive(Debug, Serialize)]
struct RescuedVm {
    vm_name: String,
    point_id: String,
    /// The file from which `vm add --definition` makes the VM.
    definition: String,
    disks: Vec<RestoredDiskView>,
}

impl RestoreCommand {
    /// Does it.
    pub async fn run(self, context: &Context, source: &SourceArguments) -> Result<(), Failure> {
        match self {
            Self::Vm(restore) => restore.run(context, source).await,
            Self::Disk(restore) => restore.run(context, source).await,
        }
    }
}

impl RestoreVm {
    async fn run(self, context: &Context, source: &SourceArguments) -> Result<(), Failure> {
        let reference = self.reference.parsed()?;
        if reference.disk.is_some() {
            return Err(Failure::usage(format!("{reference} is a disk"))
                .with_hint("leave the disk out, or use restore disk"));
        }
        let directory = PathBuf::from(location::absolute(&self.to)?);
        let vault = source.open().await?;
        let (point, _) = points::find(&vault, &reference).await?;
        let order = VmRestore {
            point_id: point.summary.id,
            name: self.name.unwrap_or_else(|| point.summary.vm_name.clone()),
            directory: directory.clone(),
            format: self.format.unwrap_or(DiskFormat::Qcow2),
            keep_identity: !self.new_identity,
            replace: self.caution.replace,
            backing: None,
        };
        let mut files = order.disk_paths(&point.summary);
        files.push(definition::path_in(&directory));
        let disks = point.summary.disks.iter().map(|disk| planned(&disk.name, &point)).collect();
        if self.caution.stops_at(context, &reference, disks, &directory, &files)? {
            return Ok(());
        }
        let subject = reference.to_string();
        let restored = watched(context, JobKind::RestoreVm, &subject, async |monitor| {
            protection::restore_vm(&RestoreSource::Vault(vault.clone()), &order, &monitor).await
        });
        let restored = restored.await?;
        let definition = definition::write(&directory, &restored.definition)?;
        context.note(&format!(
            "give it to a site with: holdfast vm add --definition {}",
            api::shell_word(&definition.to_string_lossy())
        ));
        context.output.one(&RescuedVm {
            vm_name: order.name.to_string(),
            point_id: order.point_id.to_string(),
            definition: definition.display().to_string(),
            disks: restored.disks.into_iter().map(view).collect(),
        })
    }
}

impl RestoreDisk {
    async fn run(self, context: &Context, source: &SourceArguments) -> Result<(), Failure> {
        let mut reference = self.reference.parsed()?;
        let path = PathBuf::from(location::absolute(&self.to)?);
        if path.file_name().is_none() || path.is_dir() {
            return Err(Failure::usage(format!("{} is a directory", path.display()))
                .with_hint("name the file that the disk becomes"));
        }
        let vault: Vault = source.open().await?;
        let (point, _) = points::find(&vault, &reference).await?;
        let disk = choose_disk(&point, reference.disk.take())?;
        reference.disk = Some(disk.clone());
        let disks = vec![planned(&disk, &point)];
        if self.caution.stops_at(context, &reference, disks, &path, std::slice::from_ref(&path))? {
            return Ok(());
        }
        let order = DiskRestore {
            point_id: point.summary.id,
            disk,
            path,
            format: self.format.unwrap_or(DiskFormat::Raw),
            replace: self.caution.replace,
        };
        let subject = reference.to_string();
        let restored = watched(context, JobKind::RestoreDisk, &subject, async |monitor| {
            protection::restore_disk(&RestoreSource::Vault(vault.clone()), &order, &monitor).await
        });
        context.output.one(&view(restored.await?))
    }
}

impl Caution {
    /// Refuses, asks or only shows, before anything is written. True when the restore ends here.
    fn stops_at(
        &self,
        context: &Context,
        reference: &PointReference,
        disks: Vec<PlannedDisk>,
        target: &Path,
        files: &[PathBuf],
    ) -> Result<bool, Failure> {
        let existing = files.iter().find(|file| file.symlink_metadata().is_ok());
        if self.dry_run {
            context.output.one(&RestorePlan {
                point: reference.to_string(),
                disks,
                target: Some(target.display().to_string()),
                target_exists: existing.is_some(),
                replace: self.replace,
            })?;
            return Ok(true);
        }
        match existing {
            Some(file) if !self.replace => {
                Err(Failure::new(Exit::Conflict, format!("{} exists", file.display()))
                    .with_hint("name another place, or replace what is there with --replace"))
            }
            Some(file) => {
                context.confirm(&format!("Replace {} and what else has these names?", file.display()))?;
                Ok(false)
            }
            None => Ok(false),
        }
    }
}

/// The disk that is named, or the only one.
fn choose_disk(point: &PointRecord, named: Option<DiskName>) -> Result<DiskName, Failure> {
    let names: Vec<&DiskName> = point.summary.disks.iter().map(|disk| &disk.name).collect();
    match (named, names.as_slice()) {
        (Some(name), names) if names.contains(&&name) => Ok(name),
        (None, [only]) => Ok((*only).clone()),
        _ => {
            let list: Vec<_> = names.iter().map(|name| name.as_str()).collect();
            Err(Failure::new(Exit::NotFound, "the reference does not name one disk")
                .with_hint(format!("add one of its disks: {}", list.join(", "))))
        }
    }
}

fn planned(name: &DiskName, point: &PointRecord) -> PlannedDisk {
    let disk = point.summary.disks.iter().find(|disk| disk.name == *name);
    PlannedDisk { name: name.to_string(), size_bytes: disk.map(|disk| disk.size_bytes).unwrap_or_default() }
}

fn view(disk: RestoredDisk) -> RestoredDiskView {
    RestoredDiskView {
        name: disk.name.into(),
        path: disk.path.display().to_string(),
        format: disk.format,
        size_bytes: disk.size_bytes,
        written_bytes: disk.written_bytes,
    }
}

impl Identified for RescuedVm {
    fn id(&self) -> String {
        self.definition.clone()
    }
}

impl Page for RescuedVm {
    fn page(&self, _: &Times) -> String {
        table::fields(vec![
            ("VM", self.vm_name.clone()),
            ("From point", self.point_id.clone()),
            ("Definition", self.definition.clone()),
        ]) + &disks_section(&self.disks)
    }
}
