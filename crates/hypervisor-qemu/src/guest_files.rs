//! Files put into a running guest, through its agent.
//!
//! Where the agent runs programs, each file is written into a directory of ours beside its place, which only the guest's
//! administrator may enter, and moved to its name when it is whole and has its owner, mode and times. Items come in groups, so
//! that a few programs do for many of them. Elsewhere files are written in their places, and nothing but contents is kept.
//!
//! Invariants: without leave to overwrite, nothing that is there changes. Directories of ours that a dead process left are
//! removed when the next file goes to the same place; callers take turns at a VM.

mod programs;
mod writing;

use std::time::Duration;

use async_trait::async_trait;
use hypervisor::{
    Error, ErrorKind, GuestAbilities, GuestContent, GuestFiles, GuestItem, GuestItemKind, GuestItemOutcome,
    Result, VmAccess,
};

use crate::{
    agent::{self, Agent},
    config::{QemuConfig, Sockets},
};

/// How long the agent may take to answer at all.
const AGENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it may take for what reaches the guest's disks.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// The commands without which no file gets into a guest.
const FILE_COMMANDS: [&str; 5] =
    ["guest-file-open", "guest-file-write", "guest-file-seek", "guest-file-flush", "guest-file-close"];
const PROGRAM_COMMANDS: [&str; 2] = ["guest-exec", "guest-exec-status"];

/// A guest that takes files.
struct Guest {
    agent: Agent,
    name: String,
    abilities: GuestAbilities,
}

/// Opens a guest; see [`hypervisor::Hypervisor::guest_files`].
pub(crate) async fn open(config: &QemuConfig, vm: &VmAccess) -> Result<Box<dyn GuestFiles>> {
    let name = vm.name.to_string();
    let channel = Sockets::of(config, vm)?.agent.ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("the VM {name} has no guest agent"))
            .with_guidance("files get into a running guest through qemu-guest-agent only; take them out with --to DIR instead")
    })?;
    let failed = |error| failure(&name, error);
    let mut agent = Agent::connect(&channel, AGENT_TIMEOUT).await.map_err(failed)?;
    if !agent.allows(&FILE_COMMANDS, AGENT_TIMEOUT).await.map_err(failed)? {
        let context = format!("the guest agent of {name} may not write files");
        return Err(Error::new(ErrorKind::Unsupported, context).with_guidance(format!(
            "allow {} in the agent's configuration inside the guest, and restart it",
            FILE_COMMANDS.join(", ")
        )));
    }
    let is_windows = agent.is_windows(AGENT_TIMEOUT).await;
    // Ours are for the shell of Unix.
    let programs = !is_windows && agent.allows(&PROGRAM_COMMANDS, AGENT_TIMEOUT).await.map_err(failed)?;
    let abilities = GuestAbilities { programs, is_windows };
    Ok(Box::new(Guest { agent, name, abilities }))
}

#[async_trait]
impl GuestFiles for Guest {
    fn abilities(&self) -> GuestAbilities {
        self.abilities
    }

    async fn exist(&mut self, paths: &[String]) -> Result<Vec<bool>> {
        if self.abilities.programs {
            return self.exist_by_program(paths).await;
        }
        let mut found = Vec::new();
        for path in paths {
            found.push(self.exists(path).await?);
        }
        Ok(found)
    }

    async fn put(
        &mut self,
        items: &[GuestItem],
        content: &dyn GuestContent,
        overwrite: bool,
    ) -> Result<Vec<GuestItemOutcome>> {
        if self.abilities.programs {
            return self.put_by_programs(items, content, overwrite).await;
        }
        let mut outcomes = Vec::new();
        for (number, item) in items.iter().enumerate() {
            outcomes.push(match &item.kind {
                // One that is missing shows by what then cannot be written into it.
                GuestItemKind::Directory => GuestItemOutcome::Kept,
                GuestItemKind::Symlink { .. } => GuestItemOutcome::Failed {
                    reason: "a symbolic link takes a program, which the agent does not run".to_owned(),
                },
                GuestItemKind::File { size_bytes } => {
                    self.write_in_place(&item.path, (content, number), *size_bytes, overwrite).await?
                }
            });
        }
        Ok(outcomes)
    }

    async fn settle(&mut self, directories: &[GuestItem]) -> Result<Vec<GuestItemOutcome>> {
        if !self.abilities.programs {
            return Ok(directories.iter().map(|_| GuestItemOutcome::Kept).collect());
        }
        self.settle_by_program(directories).await
    }
}

/// An agent's failure as the seam's.
fn failure(vm: &str, error: agent::Error) -> Error {
    let kind = match error.kind() {
        agent::ErrorKind::NoChannel | agent::ErrorKind::Silent => ErrorKind::Unreachable,
        _ => ErrorKind::Failed,
    };
    Error::new(kind, format!("the guest agent of {vm}: {error}")).with_source(error)
}
