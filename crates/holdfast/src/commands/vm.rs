//! VMs.

use std::path::PathBuf;

use api::{AddVm, HydrateRequest, StopVm};
use clap::{ArgGroup, Args, Subcommand};
use model::{ByteCount, VmName};

use super::new_vm::NewVmArguments;
use crate::{arguments, context::Context, definition_file, failure::Failure, location, wait::WaitArguments};

/// What can be done with VMs.
#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// Makes a VM known: one that runs already, or one that Holdfast is to start from a definition.
    ///
    /// Disks, their formats and sizes are discovered. Paths in a definition are relative to its file.
    #[command(after_long_help = ADD_EXAMPLES)]
    Add(Add),
    /// Makes a VM from a recovery point or an image file: usable at once, and whole by and by.
    ///
    /// Its disks read from the image what was never written to them, until everything is copied, whether the VM runs or not. A
    /// recovery point tells itself what the VM is; for an image file it is to be said.
    Create(Create),
    /// Lists the VMs.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast vm list -o json")]
    List,
    /// Shows one VM: its disks, guest agent, protection, and what cannot be done with it.
    #[command(after_long_help = "Example:\n  holdfast vm show web-1")]
    Show(Vm),
    /// Forgets a VM; its disks and its recovery points stay.
    #[command(after_long_help = "Example:\n  holdfast vm remove web-1 --dry-run")]
    Remove(Remove),
    /// Starts a VM that was added by its definition, or restored.
    #[command(after_long_help = "Example:\n  holdfast vm start web-1")]
    Start(Vm),
    /// Copies into a VM's disks what they still read from an image, whether it runs or not, or goes on at another pace.
    #[command(after_long_help = "Example:\n  holdfast vm hydrate web-2 --limit 50MiB")]
    Hydrate(Hydrate),
    /// Stops a VM by asking its guest to shut down.
    #[command(after_long_help = "Example:\n  holdfast vm stop web-1 --force")]
    Stop(Stop),
}

const ADD_EXAMPLES: &str = r#"Examples:
  holdfast vm add web-1 --qmp /run/web-1.qmp --agent /run/web-1.agent
  holdfast vm add --definition web-2.toml

A definition, with everything but name and memory optional:
  name = "web-2"
  memory = "2GiB"
  cpus = 2
  machine = "q35"
  firmware = { kind = "bios" }    # or uefi, or kernel with kernel = "…", initrd, arguments
  agent = true                    # a channel for the guest agent

  [[disk]]
  name = "root"
  path = "web-2.qcow2"
  bus = "virtio"                  # or scsi, sata, nvme

  [[network]]
  mac = "52:54:00:12:34:56"
  kind = "user"                   # or isolated, disconnected, or bridge with bridge = "br0""#;

/// The VM that a command is about.
#[derive(Debug, Args)]
pub struct Vm {
    /// The VM, by name or id.
    vm: String,
}

/// Makes a VM known.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).args(["definition", "qmp"]))]
pub struct Add {
    /// The VM's name on this site; the definition's or QEMU's own name where it is left out.
    name: Option<VmName>,
    /// A VM that Holdfast starts and stops, described by this TOML file.
    #[arg(long, value_name = "FILE")]
    definition: Option<PathBuf>,
    /// A VM that somebody else started: its QMP socket.
    #[arg(long, value_name = "SOCKET")]
    qmp: Option<PathBuf>,
    /// A second QMP socket of it, for commands that must get through while the first is busy.
    #[arg(long, value_name = "SOCKET", requires = "qmp")]
    qmp_out_of_band: Option<PathBuf>,
    /// The socket of its guest agent's channel.
    #[arg(long, value_name = "SOCKET", requires = "qmp")]
    agent: Option<PathBuf>,
}

/// Makes a VM from an image.
#[derive(Debug, Args)]
#[command(after_long_help = CREATE_EXAMPLES)]
pub struct Create {
    /// The new VM's name.
    name: VmName,
    /// The image: point:VM/POINT, where POINT is latest, an id or the start of one, or a time; or file:PATH of an image at rest,
    /// which must stay as it is until the VM is whole.
    #[arg(long, value_name = "REF")]
    from: String,
    #[command(flatten)]
    new: NewVmArguments,
    /// Start it at once, as holdfast boot does.
    #[arg(long)]
    start: bool,
    #[command(flatten)]
    wait: WaitArguments,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  holdfast vm create web-2 --from point:web-1/latest
  holdfast vm create look --from point:web-1/2026-03-01T14:05:00Z --isolated --no-hydrate --start
  holdfast vm create try --from file:/srv/images/debian-12.qcow2 --memory 2GiB --cpus 2 --firmware uefi";

/// Makes a VM's disks whole.
#[derive(Debug, Args)]
pub struct Hydrate {
    /// The VM, by name or id.
    vm: String,
    /// The fastest rate a second at which data is copied, as in 50MiB; as fast as it can by default.
    #[arg(long, value_name = "SIZE", value_parser = arguments::rate)]
    limit: Option<ByteCount>,
    #[command(flatten)]
    wait: WaitArguments,
}

/// Forgets a VM.
#[derive(Debug, Args)]
pub struct Remove {
    /// The VM, by name or id.
    vm: String,
    /// Show the VM that would be forgotten, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Stops a VM.
#[derive(Debug, Args)]
pub struct Stop {
    /// The VM, by name or id.
    vm: String,
    /// End it at once, as a power cut would.
    #[arg(long)]
    force: bool,
}

impl VmCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Add(add) => context.output.one(&client.add_vm(&add.request()?).await?),
            Self::Create(Create { name, from, new, start, wait }) => {
                let job = client.create_vm(&new.request(&from, Some(name), start)?).await?;
                wait.finish(context, &job).await
            }
            Self::Hydrate(Hydrate { vm, limit, wait }) => {
                let request = HydrateRequest { rate_limit_bytes_per_second: limit.map(|limit| limit.0) };
                wait.finish(context, &client.hydrate(&vm, &request).await?).await
            }
            Self::List => {
                let none = format!("no VMs yet; add one: {}", context.command("vm add --help"));
                context.output.list(&client.vms().await?, &none)
            }
            Self::Show(Vm { vm }) => context.output.one(&client.vm(&vm).await?),
            Self::Remove(remove) => remove.run(context).await,
            Self::Start(Vm { vm }) => context.output.one(&client.start_vm(&vm).await?),
            Self::Stop(Stop { vm, force }) => {
                context.output.one(&client.stop_vm(&vm, StopVm { force }).await?)
            }
        }
    }
}

impl Add {
    fn request(&self) -> Result<AddVm, Failure> {
        Ok(AddVm {
            name: self.name.as_ref().map(VmName::to_string),
            definition: self.definition.as_deref().map(definition_file::read).transpose()?,
            qmp: location::absolute_if_given(self.qmp.as_deref())?,
            qmp_out_of_band: location::absolute_if_given(self.qmp_out_of_band.as_deref())?,
            agent: location::absolute_if_given(self.agent.as_deref())?,
        })
    }
}

impl Remove {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let vm = context.client.vm(&self.vm).await?;
        if self.dry_run {
            context.note(&format!("{} would be forgotten; its disks and its recovery points stay", vm.name));
            return context.output.one(&vm);
        }
        context.confirm(&format!("Forget {}? Its disks and its recovery points stay.", vm.name))?;
        context.client.remove_vm(vm.id.as_str()).await?;
        context.note(&format!("{} is forgotten; its disks and its recovery points stay", vm.name));
        Ok(())
    }
}
