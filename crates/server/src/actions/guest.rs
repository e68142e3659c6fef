//! Programs in the guests that came up.

use hypervisor::{ErrorKind, GuestProgram};
use plan::{GuestCommand, Outcome};
use runbook::Log;

use super::{Told, failed, output, succeeded};
use crate::{site::Site, vms};

/// The longest context that is handed to a guest, whose agent takes it in one piece.
const INPUT_BYTES_MAX: usize = 1 << 20;

pub(super) async fn perform(site: &Site, command: &GuestCommand, told: &Told, log: &Log) -> Outcome {
    let Some(vm_id) = told.guests.get(&command.vm) else {
        return failed(format!("the VM {} has not come up", command.vm), log);
    };
    let vm = match vms::find(site, vm_id.as_str()).await {
        Ok(vm) => vm,
        Err(failure) => return failed(failure.detail().to_owned(), log),
    };
    let input = told.input();
    let program = GuestProgram {
        command: command.command.clone(),
        environment: told.environment().into_iter().collect(),
        input: if input.len() <= INPUT_BYTES_MAX { input } else { String::new() },
    };
    match site.hypervisor.run_in_guest(&vms::access(&vm), &program, told.time_limit).await {
        Ok(exit) => {
            log.push(&exit.output);
            let code = exit.code.and_then(|code| i32::try_from(code).ok());
            let text = String::from_utf8_lossy(&exit.output);
            let last_line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            match exit.code {
                Some(0) => succeeded(code, last_line, log),
                Some(other) => Outcome::Failed {
                    why: format!("in {}, it ended with code {other}: {last_line}", command.vm),
                    output: output(code, log),
                },
                None => failed(format!("in {}, it was ended by a signal", command.vm), log),
            }
        }
        // It may have begun, and may go on.
        Err(error) if error.kind() == ErrorKind::Unreachable => Outcome::Unknown { why: error.to_string() },
        Err(error) => failed(error.to_string(), log),
    }
}
