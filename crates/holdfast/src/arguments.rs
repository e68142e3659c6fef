//! The command line as a whole.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use jiff::SignedDuration;
use model::{ByteCount, NetworkConnection, ParseByteCountError, ParseNetworkConnectionError};

use crate::{
    commands::{
        backup::Backup,
        boot::Boot,
        completion::Completion,
        disk::DiskCommand,
        drill::DrillCommand,
        failover::FailoverCommand,
        files::FilesCommand,
        image::{Diff, Export},
        job::JobCommand,
        mount::Mount,
        nbd::Nbd,
        peer::SiteCommand,
        plan::PlanCommand,
        point::PointCommand,
        policy::PolicyCommand,
        protect::Protect,
        protect::Unprotect,
        replica::ReplicaCommand,
        replication::ReplicationCommand,
        rescue::Rescue,
        restore::RestoreCommand,
        runbook::RunbookCommand,
        serve::Serve,
        snapshot::SnapshotCommand,
        vault::VaultCommand,
        vm::VmCommand,
    },
    output::Format,
};

/// Backs up running virtual machines into an encrypted vault, and brings them back.
///
/// One server per host holds a site: `holdfast serve`. Every other command is a client of it.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, max_term_width = 100, after_long_help = FIRST_STEPS)]
pub struct Arguments {
    /// What every command understands.
    #[command(flatten)]
    pub global: GlobalArguments,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  holdfast serve --data-dir /srv/holdfast
  holdfast serve --peer-listen 0.0.0.0:8443 --peer-address east.example.com:8443 --site-name east";

const FIRST_STEPS: &str = "\
First steps:
  holdfast serve &
  holdfast vault create main --save-key main.key
  holdfast vm add web-1 --qmp /run/web-1.qmp --agent /run/web-1.agent
  holdfast protect web-1 --vault main
  holdfast backup web-1
  holdfast restore vm point:web-1/latest --name web-2
  holdfast files get point:web-1/latest /vda-1/etc --to restored
  holdfast vault copy add main offsite --url 's3://bucket/prefix?region=eu-1'
  holdfast vault key kit main > kit.txt    # print it, and keep it in a safe

Exit codes:
  0 ok · 1 error · 2 usage · 3 finished with some items failed · 4 not found · 5 denied
  6 conflict · 7 unreachable · 8 damaged data · 9 wait timed out · 10 no vault · 12 wrong key
  130 interrupted";

/// What every command understands.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArguments {
    /// The site's data directory: /var/lib/holdfast for root, else ~/.local/share/holdfast.
    #[arg(long, global = true, value_name = "DIR", env = "HOLDFAST_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<PathBuf>,
    /// How to print what a command answers.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        env = "HOLDFAST_OUTPUT",
        hide_env_values = true,
        default_value = "table"
    )]
    pub output: Format,
    /// Print only ids, one a line, as other commands take them; no progress.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Answer every question with yes. Questions are only asked on a terminal.
    #[arg(short, long, global = true)]
    pub yes: bool,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the server of a site until it is told to stop.
    ///
    /// The server keeps the catalog, runs the jobs and listens on a unix socket in the data directory, which only its own
    /// user may use. It logs to standard error; HOLDFAST_LOG sets what, as in HOLDFAST_LOG=debug. SIGTERM and SIGINT stop
    /// it: guests are thawed and captures let go first. A second signal ends it at once.
    ///
    /// With --peer-listen it also listens for other sites that this one is paired with: HTTPS with certificates on both sides.
    /// Nothing of the API is reached there.
    #[command(after_long_help = SERVE_EXAMPLES)]
    Serve(Serve),
    #[command(flatten)]
    Client(ClientCommand),
    /// Restores from a vault or a copy of one where nothing else is left: no server, only its URL and a key.
    ///
    /// Reads the store directly and changes nothing in it. Clouds take their credentials from the environment, by their own
    /// names: AWS_ACCESS_KEY_ID, AZURE_STORAGE_ACCOUNT_KEY, GOOGLE_APPLICATION_CREDENTIALS and so on.
    Rescue(Rescue),
    /// Writes a completion script for a shell.
    Completion(Completion),
    /// Shows the version of this program.
    #[command(after_long_help = "Example:\n  holdfast version -o json")]
    Version,
    /// Thaws a guest should the server die while it is frozen; the server starts it.
    #[command(hide = true)]
    CaptureGuard,
    /// Takes the writes of replicated VMs into a journal; the server starts it, and it outlives the server.
    #[command(hide = true)]
    JournalTap {
        /// Its folder, and what it tells itself.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Runs an action of a recovery plan and ends it in time; the server starts it.
    #[command(hide = true)]
    ActionSupervisor,
    /// Reads disks inside the machine that the server starts for it, and starts that machine.
    #[command(hide = true)]
    FileHelper {
        /// What the server says.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

/// Every command that asks a server.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Shows the site in a few lines.
    #[command(after_long_help = "Example:\n  holdfast status")]
    Status,
    /// Checks what the host offers: QEMU, its tools, permissions, space.
    ///
    /// Exits with 3 when a check fails; warnings are no failure.
    #[command(after_long_help = "Example:\n  holdfast doctor")]
    Doctor,
    /// Virtual machines: make them known, look at them, start and stop them.
    #[command(subcommand)]
    Vm(Box<VmCommand>),
    /// Disks with names of their own: made from images, whole by and by, for any VM.
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Vaults: the encrypted stores that recovery points live in, their copies, keys and upkeep.
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Protects a VM, or changes how it is protected.
    ///
    /// What is not given is as by default, also where the VM is protected already. The guest always wins: a backup that
    /// would hold it up for too long breaks off instead.
    Protect(Protect),
    /// Ends a VM's protection; its recovery points stay.
    Unprotect(Unprotect),
    /// Policies: backups that run by themselves, on time, and points that go by rule.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Backs up a protected VM now.
    ///
    /// The first backup reads all that the disks hold; later ones read what has changed since. Prints the recovery point.
    Backup(Backup),
    /// Recovery points: the moments of VMs that can be restored; deleted, brought back, held.
    #[command(subcommand)]
    Point(PointCommand),
    /// Managed snapshots: moments of VMs, disks and image files, usable at once, kept by the site.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    Boot(Box<Boot>),
    /// Restores a VM, a disk of it, or files, from a recovery point. Where no server is left, see holdfast rescue.
    #[command(subcommand)]
    Restore(RestoreCommand),
    /// Writes a disk to an image file of any format: raw, qcow2, VHD, VHDX, VMDK.
    ///
    /// Every byte is checked on the way, holes stay holes, and the file has its name only when all of it is durable.
    Export(Export),
    /// Shows where two images differ: points of one VM, of two, or image files.
    ///
    /// Of two points in one vault only what may differ is read. With -o json, a list of extents. For which files differ, and
    /// what of them: holdfast files diff.
    Diff(Diff),
    /// Files inside recovery points and image files: list them, read them, take them out, compare them.
    ///
    /// They are read by a small virtual machine with the host's kernel and no network. It stays up for a minute.
    #[command(subcommand)]
    Files(FilesCommand),
    /// Shows a recovery point or an image file in a directory, read-only: its disks as raw files, and the files in them.
    ///
    /// `DIR/disks` holds a raw file for each disk, `DIR/files` a directory for each volume. It is there until Ctrl-C or umount, for
    /// the user alone who has mounted it; newer points do not change it. Files are read by the small virtual machine of
    /// `holdfast files`, which is started when somebody looks into `DIR/files`; disks need none.
    Mount(Mount),
    /// Other sites: pair this one with them, see how they are.
    #[command(subcommand)]
    Site(SiteCommand),
    /// Replicas: VMs of other sites whose journals this one keeps, with every moment of them.
    #[command(subcommand)]
    Replica(ReplicaCommand),
    /// Failing over: replicated VMs run at this site, as a test or in earnest.
    #[command(subcommand)]
    Failover(FailoverCommand),
    /// Recovery plans: applications of several VMs come up at this site, in order, as a test or in earnest.
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Drills: recovery plans that are tested on time and without anybody, with a report of each.
    #[command(subcommand)]
    Drill(DrillCommand),
    /// Replication of VMs to another site: every write, in order, so that it can go back to any moment.
    #[command(subcommand)]
    Replication(ReplicationCommand),
    /// Runbooks: programs, requests and playbooks with parameters, which recovery plans use.
    #[command(subcommand)]
    Runbook(RunbookCommand),
    /// Shows the disks of a recovery point or an image file over NBD, read-only, to whatever speaks it: QEMU, nbdcopy, nbd-client.
    ///
    /// They are there until Ctrl-C, under the names of the disks, on a unix socket for the site's own user alone; newer points
    /// do not change them. Any number of programs may read at once. Without the server nothing can be read; when it is back,
    /// the disks are in the same place.
    Nbd(Nbd),
    /// Jobs: backups, restores, copies and the upkeep of vaults, running and ended.
    #[command(subcommand)]
    Job(JobCommand),
}

/// Reads a duration as people write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    parsed
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a number and a unit, as in 500ms, 10s or 2h".to_owned())
}

/// Reads a key and its value.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=').filter(|(key, _)| !key.is_empty());
    split.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "write KEY=VALUE".to_owned())
}

/// Reads what a network interface is to be connected to; nothing takes it back.
pub fn connection(text: &str) -> Result<Option<NetworkConnection>, String> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error: ParseNetworkConnectionError| error.to_string()),
    }
}

/// Reads a duration of hours, days or weeks, as hours.
pub fn hours(text: &str) -> Result<u32, String> {
    let factor = |unit| match unit {
        "h" => Some(1),
        "d" => Some(24),
        "w" => Some(24 * 7),
        _ => None,
    };
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let count = number.parse::<u32>().ok();
    count
        .zip(factor(unit.trim()))
        .and_then(|(count, hours)| count.checked_mul(hours))
        .ok_or_else(|| "write a number and a unit, as in 12h, 30d or 2w".to_owned())
}

/// Reads a duration of whole days.
pub fn days(text: &str) -> Result<u32, String> {
    match hours(text) {
        Ok(hours) if hours % 24 == 0 => Ok(hours / 24),
        Ok(_) => Err("write whole days, as in 30d or 2w".to_owned()),
        Err(_) => Err("write a number and a unit, as in 30d or 2w".to_owned()),
    }
}

/// Reads a share in per cent.
pub fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse() {
        Ok(percent @ 1..=100) => Ok(percent),
        _ => Err("write 1% to 100%".to_owned()),
    }
}

/// Reads a size a second.
pub fn rate(text: &str) -> Result<ByteCount, String> {
    match text.strip_suffix("/s").unwrap_or(text).parse() {
        Ok(ByteCount(0)) => Err("nothing could ever be read".to_owned()),
        Ok(rate) => Ok(rate),
        Err(error) => Err(ParseByteCountError::to_string(&error)),
    }
}

#[cfg(test)]
mod tests;
