//! The commands, one file per noun. Each asks the API, and hands the answer to `output`.

pub mod backup;
pub mod completion;
pub mod job;
pub mod point;
pub mod protect;
pub mod restore;
mod site;
pub mod vault;
mod version;
pub mod vm;

use crate::{
    arguments::{Arguments, Command},
    context::Context,
    exit::Exit,
    failure::Failure,
    output::Output,
};

/// Does what the command line asks for.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let global = &arguments.global;
    match arguments.command {
        Command::Completion(completion) => completion.run(),
        Command::Version => version::run(&Output::new(global.output, global.quiet)),
        command => {
            let context = Context::new(global)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime =
                runtime.map_err(|error| Failure::new(Exit::Error, format!("cannot start: {error}")))?;
            runtime.block_on(Box::pin(ask_the_server(command, &context)))
        }
    }
}

async fn ask_the_server(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Status => site::status(context).await,
        Command::Doctor => site::doctor(context).await,
        Command::Vm(command) => command.run(context).await,
        Command::Vault(command) => command.run(context).await,
        Command::Protect(protect) => protect.run(context).await,
        Command::Unprotect(unprotect) => unprotect.run(context).await,
        Command::Backup(backup) => backup.run(context).await,
        Command::Point(command) => command.run(context).await,
        Command::Restore(command) => command.run(context).await,
        Command::Job(command) => command.run(context).await,
        Command::Serve | Command::Completion(_) | Command::Version | Command::CaptureGuard => Ok(()),
    }
}
