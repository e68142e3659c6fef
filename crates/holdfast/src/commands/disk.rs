//! Disks that have names of their own.

mod upload;

use std::{path::PathBuf, time::Duration};

use api::{CreateDisk, HydrateRequest, JobResult, SiteDiskView};
use clap::{Args, Subcommand};
use model::ByteCount;

use super::image;
use crate::{
    arguments,
    context::Context,
    failure::Failure,
    location,
    wait::{TimeoutArgument, WaitArguments},
};

/// What can be done with disks.
#[derive(Debug, Subcommand)]
pub enum DiskCommand {
    /// Makes a disk from an image: a disk of a recovery point, or an image file.
    ///
    /// It is a qcow2 file that can be used at once, whatever its size: what was never written to it is read from the image.
    /// Meanwhile, while no program has it open, all data is copied into it, until nothing else is needed. In a VM that
    /// Holdfast starts, that goes on while the VM runs.
    Create(Create),
    /// Lists the disks.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast disk list -o json")]
    List,
    /// Shows one disk: its file, what it still needs, and the VM that has it.
    #[command(after_long_help = "Example:\n  holdfast disk show data-2")]
    Show(Disk),
    /// Copies into a disk what it still reads from its image, or goes on at another pace.
    #[command(after_long_help = "Example:\n  holdfast disk hydrate data-2 --limit 50MiB")]
    Hydrate(Hydrate),
    /// Deletes a disk and its file. One that a VM has, that another disk reads from or that a program has open, is refused.
    #[command(after_long_help = "Example:\n  holdfast disk delete data-2 --dry-run")]
    Delete(Delete),
}

/// Makes a disk.
#[derive(Debug, Args)]
#[command(after_long_help = CREATE_EXAMPLES)]
pub struct Create {
    /// The disk's name: letters, digits, '.', '_' and '-'. Its file is NAME.qcow2.
    name: String,
    /// The image: point:VM/POINT[/DISK], snapshot:NAME[/DISK] or file:PATH. An image file must stay as it is until the disk is whole.
    #[arg(long, value_name = "REF", required_unless_present = "upload")]
    from: Option<String>,
    /// Send an image file of this machine to the server instead, whatever its format: only what holds data, in blocks that are
    /// checked. Asked for again after an interruption, it goes on where it was.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["from", "from_copy", "size", "grow_file_system", "no_hydrate", "hydrate_limit", "wait_limit", "wait"]
    )]
    upload: Option<PathBuf>,
    /// Read a copy instead of the vault, which need not be there any more: COPY, or VAULT/COPY.
    #[arg(long, value_name = "COPY")]
    from_copy: Option<String>,
    /// Its size, as in 20GiB; that of the image where it is left out. It can only be larger.
    #[arg(long, value_name = "SIZE")]
    size: Option<ByteCount>,
    /// Make the last partition reach the end of the larger disk, and its file system fill it: ext4, XFS or btrfs, without
    /// partitions, in GPT or in MBR. That is done by the small virtual machine of holdfast files; where it fails, there is no disk.
    #[arg(long, requires = "size")]
    grow_file_system: bool,
    /// The directory for its file; one in the site's data directory where it is left out.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the data where it is; the disk depends on the image until holdfast disk hydrate. For a QEMU that is not
    /// Holdfast's, which would find the file in use.
    #[arg(long)]
    no_hydrate: bool,
    /// The fastest rate a second at which data is copied, as in 50MiB; as fast as it can by default.
    #[arg(long, value_name = "SIZE", value_parser = arguments::rate, conflicts_with = "no_hydrate")]
    hydrate_limit: Option<ByteCount>,
    /// How long a read of the disk waits while the image cannot be read, before it fails.
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration, default_value = "24h")]
    wait_limit: Duration,
    /// Wait until the disk is whole.
    #[arg(long, conflicts_with = "no_hydrate")]
    wait: bool,
    #[command(flatten)]
    timeout: TimeoutArgument,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  holdfast disk create data-2 --from point:db-1/latest/data
  holdfast disk create big --from file:/srv/images/debian-12.qcow2 --size 40GiB --grow-file-system --dir /srv/vms
  holdfast disk create moved --upload old-server.vmdk
  holdfast disk create look --from point:db-1/2026-03-01T14:05:00Z/data --no-hydrate";

/// The disk that a command is about.
#[derive(Debug, Args)]
pub struct Disk {
    /// The disk, by name or id.
    disk: String,
}

/// Makes a disk whole.
#[derive(Debug, Args)]
pub struct Hydrate {
    #[command(flatten)]
    disk: Disk,
    /// The fastest rate a second at which data is copied, as in 50MiB; as fast as it can by default.
    #[arg(long, value_name = "SIZE", value_parser = arguments::rate)]
    limit: Option<ByteCount>,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Deletes a disk.
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    disk: Disk,
    /// Show the disk that would be deleted, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl DiskCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Create(create) => create.run(context).await,
            Self::List => {
                let none = format!("no disks yet; make one: {}", context.command("disk create --help"));
                context.output.list(&client.disks().await?, &none)
            }
            Self::Show(Disk { disk }) => context.output.one(&client.disk(&disk).await?),
            Self::Hydrate(Hydrate { disk, limit, wait }) => {
                let request = HydrateRequest { rate_limit_bytes_per_second: limit.map(|limit| limit.0) };
                let job = client.hydrate_disk(&disk.disk, &request).await?;
                wait.finish(context, &job).await
            }
            Self::Delete(delete) => delete.run(context).await,
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let directory = location::absolute_if_given(self.dir.as_deref())?;
        if let Some(file) = &self.upload {
            let job = upload::upload(context, self.name, file, directory).await?;
            return self.timeout.watch(context, &job).await;
        }
        let request = CreateDisk {
            name: self.name,
            reference: image::checked(self.from.as_deref().unwrap_or_default())?,
            from_copy: self.from_copy,
            size_bytes: self.size,
            grow_file_system: self.grow_file_system,
            directory,
            hydrate: !self.no_hydrate,
            rate_limit_bytes_per_second: self.hydrate_limit.map(|limit| limit.0),
            wait_limit_seconds: self.wait_limit.as_secs(),
        };
        let job = context.client.create_disk(&request).await?;
        let made = self.timeout.watch_quietly(context, &job).await?;
        let Some(JobResult::CreatedDisk(disk)) = made.result else { return Ok(()) };
        let Some(hydration) = disk.hydration_job else { return context.output.one(&disk) };
        if self.wait {
            self.timeout.watch_quietly(context, &context.client.job(hydration.as_str()).await?).await?;
            return context.output.one(&context.client.disk(disk.id.as_str()).await?);
        }
        context.output.one(&disk)?;
        context.note(&format!(
            "it can be used now, and becomes whole meanwhile; watch it: {}",
            context.command(&format!("job watch {hydration}"))
        ));
        Ok(())
    }
}

impl Delete {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let disk: SiteDiskView = context.client.disk(&self.disk.disk).await?;
        if self.dry_run {
            context.client.delete_disk(disk.id.as_str(), true).await?;
            context.note(&format!("{} would be deleted, with its file {}", disk.name, disk.path));
            return context.output.one(&disk);
        }
        context.confirm(&format!("Delete {} and its file {}?", disk.name, disk.path))?;
        context.client.delete_disk(disk.id.as_str(), false).await?;
        context.note(&format!("{} is deleted", disk.name));
        Ok(())
    }
}
