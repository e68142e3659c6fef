//! Programs on this host.

use plan::{HostScript, Outcome};
use runbook::{Log, Program};

use super::{Told, ended, failed};
use crate::site::Site;

pub(super) async fn perform(site: &Site, script: &HostScript, told: &Told, log: &Log) -> Outcome {
    let Some((name, arguments)) = script.command.split_first() else {
        return failed("it names no program".to_owned(), log);
    };
    let mut program = Program::new(name, told.time_limit);
    program.arguments = arguments.to_vec();
    program.environment = told.environment();
    program.input = told.input();
    ended(runbook::run(&site.plans.supervisor, &program, log).await, log)
}
