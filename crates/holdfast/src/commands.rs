//! The commands, one file per noun. Each asks the API, and hands the answer to `output`;
//! `serve` alone is the server.

pub mod backup;
pub mod boot;
pub mod completion;
pub mod disk;
pub mod drill;
pub mod failover;
pub mod files;
pub mod image;
pub mod job;
pub mod mount;
pub mod nbd;
mod new_vm;
pub mod peer;
pub mod plan;
pub mod point;
pub mod policy;
pub mod protect;
pub mod replica;
pub mod replication;
pub mod rescue;
pub mod restore;
pub mod runbook;
pub mod serve;
mod site;
pub mod snapshot;
pub mod vault;
mod version;
pub mod vm;

use std::process::ExitCode;

use crate::{
    arguments::{Arguments, ClientCommand, Command},
    context::{self, Context},
    exit::Exit,
    failure::Failure,
    output::Output,
};

/// Does what the command line asks for.
pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let global = &arguments.global;
    match arguments.command {
        Command::CaptureGuard => return Ok(hypervisor_qemu::guard::run()),
        Command::JournalTap { arguments } => {
            serve::start_log("info")?;
            return Ok(tap::run(&arguments));
        }
        Command::ActionSupervisor => return Ok(::runbook::supervise()),
        Command::FileHelper { arguments } => return Ok(::files::appliance::run(&arguments)),
        Command::Serve(serve) => serve.run(context::data_directory(global)?)?,
        Command::Completion(completion) => completion.run()?,
        Command::Version => version::run(&Output::new(global.output, global.quiet))?,
        Command::Rescue(rescue) => rescue.run(global)?,
        Command::Client(command) => {
            let context = Context::new(global)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime =
                runtime.map_err(|error| Failure::new(Exit::Error, format!("cannot start: {error}")))?;
            runtime.block_on(Box::pin(ask_the_server(command, &context)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask_the_server(command: ClientCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ClientCommand::Status => site::status(context).await,
        ClientCommand::Doctor => site::doctor(context).await,
        ClientCommand::Vm(command) => command.run(context).await,
        ClientCommand::Disk(command) => command.run(context).await,
        ClientCommand::Vault(command) => command.run(context).await,
        ClientCommand::Protect(protect) => protect.run(context).await,
        ClientCommand::Unprotect(unprotect) => unprotect.run(context).await,
        ClientCommand::Backup(backup) => backup.run(context).await,
        ClientCommand::Point(command) => command.run(context).await,
        ClientCommand::Snapshot(command) => command.run(context).await,
        ClientCommand::Policy(command) => command.run(context).await,
        ClientCommand::Boot(boot) => boot.run(context).await,
        ClientCommand::Restore(command) => command.run(context).await,
        ClientCommand::Export(export) => export.run(context).await,
        ClientCommand::Diff(diff) => diff.run(context).await,
        ClientCommand::Files(command) => command.run(context).await,
        ClientCommand::Mount(mount) => mount.run(context).await,
        ClientCommand::Site(command) => command.run(context).await,
        ClientCommand::Replica(command) => command.run(context).await,
        ClientCommand::Runbook(command) => command.run(context).await,
        ClientCommand::Failover(command) => command.run(context).await,
        ClientCommand::Plan(command) => command.run(context).await,
        ClientCommand::Drill(command) => command.run(context).await,
        ClientCommand::Replication(command) => command.run(context).await,
        ClientCommand::Nbd(nbd) => nbd.run(context).await,
        ClientCommand::Job(command) => command.run(context).await,
    }
}
