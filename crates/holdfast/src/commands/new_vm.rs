//! How a VM is made from an image, whether it is started at once or not.

use std::{path::PathBuf, time::Duration};

use api::CreateVm;
use clap::{Args, ValueEnum};
use model::{ByteCount, Firmware, VmDefinition, VmName};

use super::image;
use crate::{arguments, definition_file, failure::Failure, location};

/// How a VM is made from an image.
#[derive(Debug, Args)]
pub struct NewVmArguments {
    /// The directory for its disks; one in the site's data directory where it is left out.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Keep the MAC addresses and the UUID, for a VM that takes the old one's place; otherwise both are new.
    #[arg(long)]
    keep_identity: bool,
    /// Let the guest reach nothing over its networks, as for a look beside the VM that still runs.
    #[arg(long)]
    isolated: bool,
    /// Read a copy instead of the vault, which need not be there any more: COPY, or VAULT/COPY.
    #[arg(long, value_name = "COPY")]
    from_copy: Option<String>,
    /// Leave the data where it is; the VM depends on the image until holdfast vm hydrate.
    #[arg(long)]
    no_hydrate: bool,
    /// The fastest rate a second at which data is copied to the local disks, as in 100MiB; as fast as it can by default.
    #[arg(long, value_name = "SIZE", value_parser = arguments::rate, conflicts_with = "no_hydrate")]
    hydrate_limit: Option<ByteCount>,
    /// How long the guest waits while the image cannot be read, before it sees errors of its disk.
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration, default_value = "24h")]
    wait_limit: Duration,
    #[command(flatten)]
    machine: MachineArguments,
}

/// What a VM is, where the image does not tell.
#[derive(Debug, Args)]
#[command(next_help_heading = "What an image file does not tell")]
struct MachineArguments {
    /// The VM's definition; its one disk without a path is the image's, and where it has no disk, the image is its only one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["memory", "cpus", "firmware"])]
    definition: Option<PathBuf>,
    /// Its memory, as in 2GiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteCount>,
    /// Its virtual CPUs; one where it is left out.
    #[arg(long, value_name = "COUNT", requires = "memory")]
    cpus: Option<u32>,
    /// Its firmware; BIOS where it is left out.
    #[arg(long, requires = "memory")]
    firmware: Option<FirmwareName>,
}

/// Firmware that needs no more than its name.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FirmwareName {
    Bios,
    Uefi,
}

impl NewVmArguments {
    /// The fastest rate a second at which data is copied, in bytes.
    pub fn pace(&self) -> Option<u64> {
        self.hydrate_limit.map(|limit| limit.0)
    }

    /// What the server is asked for.
    pub fn request(self, reference: &str, name: Option<VmName>, start: bool) -> Result<CreateVm, Failure> {
        Ok(CreateVm {
            reference: image::checked(reference)?,
            rate_limit_bytes_per_second: self.pace(),
            from_copy: self.from_copy,
            definition: self.machine.definition(name.as_ref())?,
            name: name.map(String::from),
            directory: location::absolute_if_given(self.directory.as_deref())?,
            keep_identity: self.keep_identity,
            isolated: self.isolated,
            hydrate: !self.no_hydrate,
            wait_limit_seconds: self.wait_limit.as_secs(),
            start,
        })
    }
}

impl MachineArguments {
    fn definition(self, name: Option<&VmName>) -> Result<Option<VmDefinition>, Failure> {
        if let Some(file) = &self.definition {
            return definition_file::read(file).map(Some);
        }
        let Some(memory) = self.memory else { return Ok(None) };
        let name = name.ok_or_else(|| {
            Failure::usage("the VM has no name").with_hint("give it one with --name, or use --definition")
        })?;
        let mut definition = definition_file::plain(name.clone(), memory);
        definition.cpus = self.cpus.unwrap_or(1);
        definition.firmware = match self.firmware {
            Some(FirmwareName::Uefi) => Firmware::Uefi { variables: None },
            Some(FirmwareName::Bios) | None => Firmware::Bios,
        };
        Ok(Some(definition))
    }
}
