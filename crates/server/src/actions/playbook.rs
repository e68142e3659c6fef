//! Ansible playbooks.

use std::path::Path;

use plan::{Ansible, Outcome};
use runbook::{Log, Playbook};
use serde_json::{Map, Value};

use super::{Told, ended, not_done};
use crate::site::Site;

pub(super) async fn perform(site: &Site, ansible: &Ansible, told: &Told, log: &Log) -> Outcome {
    let inventory = ansible.inventory.clone().or_else(|| addresses(&told.context));
    let mut values: Map<String, Value> =
        ansible.variables.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    values.insert("RecoveryPlanContext".to_owned(), told.context.clone());
    let values = Value::Object(values).to_string();
    let made = Playbook::new(Path::new(&ansible.playbook), inventory.as_deref(), &values, told.time_limit);
    let mut playbook = match made {
        Ok(playbook) => playbook,
        Err(error) => return not_done(&error, log),
    };
    playbook.program.environment = told.environment();
    ended(runbook::run(&site.plans.supervisor, &playbook.program, log).await, log)
}

/// The first address of each VM that came up, as an inventory.
fn addresses(context: &Value) -> Option<String> {
    let vms = context["VmMap"].as_object()?;
    let first = vms.values().filter_map(|vm| vm["Addresses"].get(0)?.as_str());
    let list: String = first.map(|address| format!("{address},")).collect();
    (!list.is_empty()).then_some(list)
}
