//! One action of a plan or a runbook, carried out: a program on this host or in a guest, a request, a playbook.
//!
//! Whoever drops the future ends what runs on this host. What runs in a guest goes on there: its agent cannot end it.

mod guest;
mod playbook;
mod request;
mod script;

use std::{collections::BTreeMap, time::Duration};

use model::VmId;
use plan::{Action, ActionWork, Outcome, Output, Where};
use runbook::{Exit, Log};
use serde_json::Value;

use crate::{runbooks, site::Site};

/// The longest context that is also a variable of the environment: Linux takes 128 KiB for one at most.
const CONTEXT_VARIABLE_BYTES_MAX: usize = 96 << 10;

/// What an action is told.
pub(crate) struct Told {
    /// The context, as `plan::context` makes it.
    pub(crate) context: Value,
    /// Its plain parts, as `plan::environment` makes them.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// How long it may take.
    pub(crate) time_limit: Duration,
    /// The VMs that came up, by their names in the plan.
    pub(crate) guests: BTreeMap<String, VmId>,
}

impl Told {
    /// The context as text, which goes to standard input.
    fn input(&self) -> String {
        self.context.to_string()
    }

    /// The environment: the plain parts, all of the context where it is short enough, parameters and variables each by its name.
    fn environment(&self) -> BTreeMap<String, String> {
        let plain = self.environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let named = |of: &str, prefix: &'static str| {
            let values = self.context[of].as_object().cloned().unwrap_or_default();
            values.into_iter().filter_map(move |(name, value)| {
                let name = name.to_ascii_uppercase();
                Some((format!("{prefix}{name}"), value.as_str()?.to_owned()))
            })
        };
        let mut environment: BTreeMap<_, _> = plain.collect();
        environment.extend(named("Variables", "HOLDFAST_VARIABLE_"));
        environment.extend(named("Parameters", "HOLDFAST_PARAMETER_"));
        let context = self.input();
        if context.len() <= CONTEXT_VARIABLE_BYTES_MAX {
            environment.insert("HOLDFAST_CONTEXT".to_owned(), context);
        }
        environment
    }
}

/// Carries an action out, once. What it prints goes to the log as it comes.
pub(crate) async fn perform(site: &Site, action: &Action, told: &Told, log: &Log) -> Outcome {
    match action.work() {
        Some(ActionWork::Runbook(call)) if call.site == Where::Target => {
            let found = runbooks::filled(site, &call.name, &call.parameters).await;
            match found {
                Ok((action, values)) => {
                    let own_limit = action.timeout_seconds.map_or(told.time_limit, Duration::from_secs);
                    let mut context = told.context.clone();
                    context["Parameters"] = serde_json::json!(values);
                    let told = Told {
                        context,
                        environment: told.environment.clone(),
                        time_limit: told.time_limit.min(own_limit),
                        guests: told.guests.clone(),
                    };
                    by_itself(site, &action, &told, log).await
                }
                Err(failure) => failed(failure.detail().to_owned(), log),
            }
        }
        _ => by_itself(site, action, told, log).await,
    }
}

async fn by_itself(site: &Site, action: &Action, told: &Told, log: &Log) -> Outcome {
    match action.work() {
        Some(ActionWork::Script(script)) if script.site == Where::Source => {
            failed("programs are not run at other sites; runbooks are, which these allow".to_owned(), log)
        }
        Some(ActionWork::Script(script)) => script::perform(site, script, told, log).await,
        Some(ActionWork::Guest(command)) => guest::perform(site, command, told, log).await,
        Some(ActionWork::Http(call)) => request::perform(call, told, log).await,
        Some(ActionWork::Ansible(ansible)) => playbook::perform(site, ansible, told, log).await,
        Some(ActionWork::Manual(_)) => failed("a person does this".to_owned(), log),
        Some(ActionWork::Runbook(_)) | None => failed("there is nothing to do in it".to_owned(), log),
    }
}

fn failed(why: String, log: &Log) -> Outcome {
    Outcome::Failed { why, output: output(None, log) }
}

fn output(exit_code: Option<i32>, log: &Log) -> Output {
    Output { exit_code, text: log.text(), ..Output::default() }
}

/// What an action that did not fail leaves: what it printed, and the variables that its last line sets.
fn succeeded(exit_code: Option<i32>, last_line: &str, log: &Log) -> Outcome {
    match runbook::variables(last_line) {
        Ok(variables) => Outcome::Succeeded(Output { variables, ..output(exit_code, log) }),
        Err(error) => {
            let hint = error.guidance().map(|guidance| format!("; {guidance}")).unwrap_or_default();
            Outcome::Failed { why: format!("{error}{hint}"), output: output(exit_code, log) }
        }
    }
}

/// What the end of a program on this host means.
fn ended(finished: runbook::Result<runbook::Finished>, log: &Log) -> Outcome {
    match finished {
        Ok(finished) => match finished.exit {
            Exit::Code(0) => succeeded(Some(0), &finished.last_line, log),
            Exit::Code(code) => {
                let said = if finished.last_line.is_empty() {
                    String::new()
                } else {
                    format!(": {}", finished.last_line)
                };
                Outcome::Failed {
                    why: format!("it ended with code {code}{said}"),
                    output: output(Some(code), log),
                }
            }
            exit @ (Exit::Signal(_) | Exit::TimedOut) => failed(format!("it {exit}"), log),
            Exit::Unkillable => Outcome::Unknown { why: format!("it {}", Exit::Unkillable) },
        },
        Err(error) => not_done(&error, log),
    }
}

fn not_done(error: &runbook::Error, log: &Log) -> Outcome {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let hint = error.guidance().map(|guidance| format!("; {guidance}")).unwrap_or_default();
    let why = format!("{error}{cause}{hint}");
    match error.kind() {
        // It may have been heard, and done.
        runbook::ErrorKind::Io | runbook::ErrorKind::TimedOut | runbook::ErrorKind::NoAnswer => {
            Outcome::Unknown { why }
        }
        _ => failed(why, log),
    }
}
