//! Restores.

mod files;

use std::path::{Path, PathBuf};

use api::{PointDiskView, PointView, RestoreDiskRequest, RestoreVmRequest, VmView};
use clap::{Args, Subcommand};
use model::{DiskFormat, ImageReference, PointReference, SnapshotReference, VmName};

use self::files::RestoreFiles;
use super::point::MomentArgument;
use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    location,
    render::{Identified as _, PlannedDisk, RestorePlan},
    wait::WaitArguments,
};

/// What can be restored.
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Builds a new VM from a recovery point, or takes a VM back to one with --replace.
    ///
    /// A new VM's disks are new files; nothing that exists is touched without --replace. Every byte is checked while it is
    /// written.
    ///
    /// With --replace, the stopped VM of that name goes back to the point, one that runs with --stop: its disks are overwritten in place where they differ,
    /// and its hardware becomes the point's; it keeps its name, UUID and files. What it was before is kept as a recovery point
    /// of its own, which is then the latest. If that restore is interrupted, the VM is not started until it is run again.
    #[command(after_long_help = VM_EXAMPLES)]
    Vm(RestoreVm),
    /// Writes one disk of a recovery point to an image file.
    ///
    /// Holes stay holes. A file that exists is not touched without --replace. With it, the disk of a stopped VM that the site
    /// knows is overwritten in place where it differs, after the VM is backed up; --stop stops the VM for it.
    #[command(after_long_help = DISK_EXAMPLES)]
    Disk(RestoreDisk),
    /// Puts files of an image into a running guest through its agent, or takes them out to a directory of this host.
    ///
    /// In a guest, a file is written beside its place and gets its name when it is whole; what exists is kept without
    /// --overwrite. Owners, modes, times and symbolic links are kept as far as the guest's agent allows, and what was not is
    /// warned of; extended attributes are not, and hard links become files of their own. On Windows, and where the agent may
    /// not run programs, files get their contents and nothing else. Restore into directories only that nobody else in the
    /// guest can rename things in: the agent writes with all rights.
    #[command(after_long_help = files::EXAMPLES)]
    Files(RestoreFiles),
}

const VM_EXAMPLES: &str = "\
Examples:
  holdfast restore vm point:web-1/latest --name web-2 --start
  holdfast restore vm point:web-1/2026-03-01T14:05:00Z --keep-identity --directory /srv/vms/web-1
  holdfast restore vm point:web-1/latest --from-copy offsite
  holdfast restore vm point:web-1/2026-03-01T14:05:00Z --replace --stop    # the VM itself goes back, and runs on";

const DISK_EXAMPLES: &str = "\
Example:
  holdfast restore disk point:web-1/latest/vdb --to /srv/vdb.qcow2 --format qcow2";

/// Builds a new VM.
#[derive(Debug, Args)]
pub struct RestoreVm {
    #[command(flatten)]
    reference: MomentArgument,
    /// The new VM's name; the old one's where that is free.
    #[arg(long)]
    name: Option<VmName>,
    /// The directory for its disks; one in the site's data directory where it is left out.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The format of its disks: qcow2, which can track changes and is the default, or raw.
    #[arg(long)]
    format: Option<DiskFormat>,
    /// Keep the MAC addresses and the UUID, for a VM that takes the old one's place; otherwise both are new.
    #[arg(long)]
    keep_identity: bool,
    /// Start the VM when it is restored.
    #[arg(long)]
    start: bool,
    /// Read a copy instead of the vault, which need not be there any more: COPY, or VAULT/COPY.
    #[arg(long, value_name = "COPY")]
    from_copy: Option<String>,
    #[command(flatten)]
    caution: Caution,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Writes one disk.
#[derive(Debug, Args)]
pub struct RestoreDisk {
    #[command(flatten)]
    reference: MomentArgument,
    /// The image file to write.
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// The file's format: raw, which is the default, or qcow2.
    #[arg(long)]
    format: Option<DiskFormat>,
    /// Read a copy instead of the vault, which need not be there any more: COPY, or VAULT/COPY.
    #[arg(long, value_name = "COPY")]
    from_copy: Option<String>,
    #[command(flatten)]
    caution: Caution,
    #[command(flatten)]
    wait: WaitArguments,
}

/// How a restore treats what exists.
#[derive(Debug, Args)]
pub struct Caution {
    /// Replace disk files that exist; overwrite the disks of a VM that the site knows where they differ.
    #[arg(long)]
    replace: bool,
    /// Do not back a VM up before its disks are overwritten, say where the vault has no room for it.
    #[arg(long, requires = "replace")]
    no_safety_point: bool,
    /// Show what would be written and replaced, and change nothing. Disks that would be overwritten in place are compared.
    #[arg(long)]
    dry_run: bool,
    /// Where the VM whose disks are overwritten runs, ask its guest to shut down first, and start it again afterwards.
    #[arg(long, requires = "replace", conflicts_with = "dry_run")]
    stop: bool,
    /// Power the VM off where its guest has not shut down within two minutes, which is a power cut for it.
    #[arg(long, requires = "stop")]
    force: bool,
}

impl RestoreCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Vm(restore) => restore.run(context).await,
            Self::Disk(restore) => restore.run(context).await,
            Self::Files(restore) => restore.run(context).await,
        }
    }
}

impl RestoreVm {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let reference = self.reference.checked()?;
        let directory = location::absolute_if_given(self.directory.as_deref())?;
        let known = match self.caution.replace {
            true => known_vm(context, &reference, self.name.as_ref(), self.from_copy.as_deref()).await?,
            false => None,
        };
        if let Some(vm) = known {
            self.caution.confirm_in_place(context, &format!("the disks of the VM {}", vm.name))?;
        } else if self.caution.needs_plan() {
            let point = point(context, &reference, self.from_copy.as_deref()).await?;
            let holds_files = |path: &Path| path.read_dir().is_ok_and(|mut entries| entries.next().is_some());
            let plan = RestorePlan {
                point: point.id(),
                disks: point.disks.iter().map(planned).collect(),
                target_exists: directory.as_deref().map(Path::new).is_some_and(holds_files),
                target: directory.clone(),
                replace: self.caution.replace,
            };
            if self.caution.stops_at(context, &plan)? {
                return Ok(());
            }
        }
        let request = RestoreVmRequest {
            reference,
            from_copy: self.from_copy,
            name: self.name.map(String::from),
            directory,
            format: self.format,
            keep_identity: self.keep_identity,
            replace: self.caution.replace,
            start: self.start,
            no_safety_point: self.caution.no_safety_point,
            dry_run: self.caution.dry_run,
            stop: self.caution.stop,
            force: self.caution.force,
        };
        let job = context.client.restore_vm(&request).await?;
        self.wait.finish(context, &job).await
    }
}

impl RestoreDisk {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let reference = self.reference.checked()?;
        let path = location::absolute(&self.to)?;
        let owner = match self.caution.replace {
            true => owner_of(context, &path).await?,
            false => None,
        };
        if let Some(vm) = owner {
            self.caution.confirm_in_place(context, &format!("{path}, a disk of the VM {}", vm.name))?;
        } else if self.caution.needs_plan() {
            let point = point(context, &reference, self.from_copy.as_deref()).await?;
            let plan = RestorePlan {
                point: point.id(),
                disks: vec![planned(only_disk(&reference, &point)?)],
                target_exists: self.to.symlink_metadata().is_ok(),
                target: Some(path.clone()),
                replace: self.caution.replace,
            };
            if self.caution.stops_at(context, &plan)? {
                return Ok(());
            }
        }
        let request = RestoreDiskRequest {
            reference,
            from_copy: self.from_copy,
            path,
            format: self.format,
            replace: self.caution.replace,
            no_safety_point: self.caution.no_safety_point,
            dry_run: self.caution.dry_run,
            stop: self.caution.stop,
            force: self.caution.force,
        };
        let job = context.client.restore_disk(&request).await?;
        self.wait.finish(context, &job).await
    }
}

impl Caution {
    fn needs_plan(&self) -> bool {
        self.dry_run || self.replace
    }

    /// Asks before a VM's disks are overwritten; a dry run overwrites nothing.
    fn confirm_in_place(&self, context: &Context, what: &str) -> Result<(), Failure> {
        if self.dry_run {
            return Ok(());
        }
        let safety = match self.no_safety_point {
            true => "What they hold now is kept nowhere.",
            false => "What they hold now becomes a recovery point first.",
        };
        let power = match self.stop {
            true => " A VM that runs is stopped for it.",
            false => "",
        };
        context.confirm(&format!("Overwrite {what}, where the point differs? {safety}{power}"))
    }

    /// Prints the plan where that is all that is wanted; asks before anything is replaced. True when the restore ends here.
    fn stops_at(&self, context: &Context, plan: &RestorePlan) -> Result<bool, Failure> {
        if self.dry_run {
            context.output.one(plan)?;
            return Ok(true);
        }
        if let Some(target) = plan.target.as_deref().filter(|_| plan.target_exists) {
            context.confirm(&format!("Replace what a restore finds under its names at {target}?"))?;
        }
        Ok(false)
    }
}

/// The VM that has the name that a restored one is to have, if there is one.
async fn known_vm(
    context: &Context,
    reference: &str,
    name: Option<&VmName>,
    copy: Option<&str>,
) -> Result<Option<VmView>, Failure> {
    let name = match name {
        Some(name) => name.to_string(),
        None => point(context, reference, copy).await?.vm_name,
    };
    Ok(context.client.vms().await?.into_iter().find(|vm| vm.name == name))
}

/// The VM of which a file is a disk, under the name by which the site knows it.
async fn owner_of(context: &Context, path: &str) -> Result<Option<VmView>, Failure> {
    let vms = context.client.vms().await?;
    Ok(vms.into_iter().find(|vm| vm.disks.iter().any(|disk| same_file(&disk.path, path))))
}

fn same_file(one: &str, other: &str) -> bool {
    let real = |path: &str| Path::new(path).canonicalize();
    one == other || real(one).ok().zip(real(other).ok()).is_some_and(|(one, other)| one == other)
}

async fn point(context: &Context, reference: &str, copy: Option<&str>) -> Result<PointView, Failure> {
    Ok(match copy {
        Some(copy) => context.client.point_in_copy(reference, copy).await?,
        None => context.client.point(reference).await?,
    })
}

/// The disk that the reference names, or the point's only one.
fn only_disk<'a>(reference: &str, point: &'a PointView) -> Result<&'a PointDiskView, Failure> {
    let wanted = match reference.parse() {
        Ok(ImageReference::Point(PointReference { disk, .. })) => disk,
        Ok(ImageReference::Snapshot(SnapshotReference { disk, .. })) => disk,
        Ok(ImageReference::Replica(_) | ImageReference::File(_)) | Err(_) => None,
    };
    let is_wanted = |disk: &&PointDiskView| wanted.as_ref().is_none_or(|name| name.as_str() == disk.name);
    let mut found = point.disks.iter().filter(is_wanted);
    match (found.next(), found.next()) {
        (Some(disk), None) => Ok(disk),
        _ => {
            let names: Vec<_> = point.disks.iter().map(|disk| disk.name.as_str()).collect();
            Err(Failure::new(Exit::NotFound, format!("{reference} does not name one disk"))
                .with_hint(format!("add one of its disks: {}", names.join(", "))))
        }
    }
}

fn planned(disk: &PointDiskView) -> PlannedDisk {
    PlannedDisk { name: disk.name.clone(), size_bytes: disk.size_bytes }
}
