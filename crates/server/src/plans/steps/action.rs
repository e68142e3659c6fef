//! Actions: programs, requests, playbooks and commands in guests. Those of people are not begun by anybody.

use std::{path::Path, time::Duration};

use plan::{Action, ActionWork, Ansible, GuestCommand, HostScript, HttpCall, Outcome, Output, Where};
use runbook::{ErrorKind, Exit, Playbook, Program};
use serde_json::Value;

use super::Order;
use crate::{site::Site, vms};

/// How long an action may take that says nothing else.
const LIMIT_DEFAULT: Duration = Duration::from_secs(300);

/// Does what an action says.
pub(super) async fn carry_out(order: &Order, action: &Action) -> Outcome {
    let context = plan::context(&order.run, &order.step, &order.sites, false);
    let limit = action.limit_seconds().map_or(LIMIT_DEFAULT, Duration::from_secs);
    match action.work() {
        Some(ActionWork::Script(script)) => run_script(order, script, &context, limit).await,
        Some(ActionWork::Guest(guest)) => in_guest(order, guest, limit).await,
        Some(ActionWork::Http(http)) => call(order, http, &context, limit).await,
        Some(ActionWork::Ansible(ansible)) => play(order, ansible, &context, limit).await,
        Some(ActionWork::Runbook(call)) => failed(format!("this site has no runbook {}", call.name)),
        Some(ActionWork::Manual(_)) | None => failed("nobody but a person can do it"),
    }
}

fn failed(why: impl Into<String>) -> Outcome {
    Outcome::Failed { why: why.into(), output: Output::default() }
}

async fn run_script(order: &Order, script: &HostScript, context: &Value, limit: Duration) -> Outcome {
    if script.site == Where::Source {
        return failed("programs are run on the hosts of the site that runs the plan");
    }
    let Some((program, arguments)) = script.command.split_first() else {
        return failed("it names no program");
    };
    let mut program = Program::new(program, limit);
    program.arguments = arguments.to_vec();
    program.input = context.to_string();
    run(order, program).await
}

async fn play(order: &Order, ansible: &Ansible, context: &Value, limit: Duration) -> Outcome {
    let inventory = match &ansible.inventory {
        Some(inventory) => inventory.clone(),
        // Host names with a comma after each are an inventory.
        None => order.run.vms().values().filter_map(|facts| facts.addresses.first()).fold(
            String::new(),
            |mut all, address| {
                all.push_str(address);
                all.push(',');
                all
            },
        ),
    };
    let mut values: serde_json::Map<String, Value> =
        ansible.variables.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect();
    values.insert("RecoveryPlanContext".to_owned(), context.clone());
    let inventory = (!inventory.is_empty()).then_some(inventory);
    let values = Value::Object(values).to_string();
    match Playbook::new(Path::new(&ansible.playbook), inventory.as_deref(), &values, limit) {
        Ok(playbook) => run(order, playbook.program.clone()).await,
        Err(error) => failed(described(&error)),
    }
}

/// Runs a program of this host to its end.
async fn run(order: &Order, mut program: Program) -> Outcome {
    let plain = plan::environment(&order.run, &order.step, &order.sites, false);
    program.environment.extend(plain.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let finished = runbook::run(&order.site.plans.supervisor, &program, &order.log).await;
    let mut output = Output { text: order.log.text(), ..Output::default() };
    let finished = match finished {
        Ok(finished) => finished,
        // Nothing was begun.
        Err(error) if matches!(error.kind(), ErrorKind::NotStarted | ErrorKind::Invalid) => {
            return Outcome::Failed { why: described(&error), output };
        }
        Err(error) => return Outcome::Unknown { why: described(&error) },
    };
    if let Exit::Code(code) = finished.exit {
        output.exit_code = Some(code);
    }
    match runbook::variables(&finished.last_line) {
        _ if !finished.exit.is_success() => Outcome::Failed { why: format!("it {}", finished.exit), output },
        Ok(variables) => Outcome::Succeeded(Output { variables, ..output }),
        Err(error) => Outcome::Failed { why: described(&error), output },
    }
}

async fn call(order: &Order, http: &HttpCall, context: &Value, limit: Duration) -> Outcome {
    let mut headers = http.headers.clone();
    let names_type = headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
    if http.body.is_none() && !names_type {
        headers.insert("content-type".to_owned(), "application/json".to_owned());
    }
    let call = runbook::HttpCall {
        method: http.method.clone(),
        url: http.url.clone(),
        headers,
        body: http.body.clone().unwrap_or_else(|| context.to_string()),
        time_limit: limit,
    };
    let answer = match call.make(&order.log).await {
        Ok(answer) => answer,
        Err(error) if error.kind() == ErrorKind::Invalid => return failed(described(&error)),
        // It may have been heard.
        Err(error) => return Outcome::Unknown { why: described(&error) },
    };
    let output = Output { text: order.log.text(), ..Output::default() };
    let is_right = match http.statuses.as_slice() {
        [] => answer.is_success(),
        statuses => statuses.contains(&answer.status),
    };
    if !is_right {
        return Outcome::Failed { why: format!("it answered with the status {}", answer.status), output };
    }
    let variables = runbook::variables(&answer.last_line).unwrap_or_default();
    Outcome::Succeeded(Output { variables, ..output })
}

async fn in_guest(order: &Order, guest: &GuestCommand, limit: Duration) -> Outcome {
    let site: &Site = &order.site;
    let name = guest.vm.parse().map_err(|error| format!("{error}"));
    let up = match name {
        Ok(name) => super::up_vm(order, &name).await.map_err(|failure| failure.detail().to_owned()),
        Err(why) => Err(why),
    };
    let up = match up {
        Ok(up) => up,
        Err(why) => return failed(why),
    };
    let ended = site.hypervisor.run_in_guest(&vms::access(&up), &guest.command, limit).await;
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) if error.kind() == hypervisor::ErrorKind::Failed => return failed(error.to_string()),
        Err(error) => return Outcome::Unknown { why: error.to_string() },
    };
    let text = String::from_utf8_lossy(&ended.output).into_owned();
    let exit_code = ended.code.and_then(|code| i32::try_from(code).ok());
    let output = Output { text: text.clone(), exit_code, ..Output::default() };
    if ended.code != Some(0) {
        let how = ended.code.map_or_else(|| "by a signal".to_owned(), |code| format!("with code {code}"));
        return Outcome::Failed { why: format!("it ended {how}"), output };
    }
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let variables = runbook::variables(last).unwrap_or_default();
    Outcome::Succeeded(Output { variables, ..output })
}

/// An error with what caused it and what to do about it.
fn described(error: &runbook::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    match error.guidance() {
        Some(guidance) => format!("{text} ({guidance})"),
        None => text,
    }
}
