//! What can be known to be wrong with a plan by looking at nothing else.

use std::{collections::BTreeSet, net::IpAddr};

use model::NetworkConnection;

use crate::{Action, ActionWork, Attachment, Finding, Gate, Plan, Vm, document::VERSION};

/// The most of each in a plan.
const GROUPS_MAX: usize = 100;
const VMS_MAX: usize = 1000;
const ACTIONS_MAX: usize = 1000;

/// The longest name, instruction and command, in bytes.
const NAME_MAX_BYTES: usize = 200;
const TEXT_MAX_BYTES: usize = 16 << 10;

/// The longest time limit, in seconds.
const LIMIT_MAX_SECONDS: u64 = 7 * 24 * 3600;

/// The most retries.
const RETRIES_MAX: u32 = 1000;

/// What is wrong with it, in the order of the document. A plan without errors can be laid out.
#[must_use]
pub fn validate(plan: &Plan) -> Vec<Finding> {
    let mut findings = Findings::default();
    if plan.version != VERSION {
        findings.error("version", format!("is {}, and this Holdfast knows {VERSION}", plan.version));
    }
    if plan.groups.is_empty() {
        findings.error("groups", "there are none");
    }
    findings.at_most("groups", plan.groups.len(), GROUPS_MAX);
    findings.at_most("groups", plan.vms().count(), VMS_MAX);
    findings.at_most("groups", plan.actions().count(), ACTIONS_MAX);
    findings.limit("rto_seconds", plan.rto_seconds);
    findings.limit("rpo_seconds", plan.rpo_seconds);
    groups(plan, &mut findings);
    let vms: BTreeSet<&str> = plan.vms().map(|vm| vm.name.as_str()).collect();
    let mut names = BTreeSet::new();
    for (path, one) in plan.actions() {
        if !names.insert(one.name.as_str()) {
            findings.error(&format!("{path}.name"), format!("another action is called {} too", one.name));
        }
        action(&path, one, &vms, &mut findings);
    }
    findings.0
}

/// What is wrong with the action that a runbook is. Which VMs there are, only a plan knows.
pub(crate) fn runbook(one: &Action) -> Vec<Finding> {
    let mut findings = Findings::default();
    let vms = one.guest.iter().map(|guest| guest.vm.as_str()).collect();
    if one.works().count() == 1 {
        action("", one, &vms, &mut findings);
    } else {
        findings.error("", "is one of script, guest, http, ansible");
    }
    let relative =
        |finding: Finding| Finding { path: finding.path.trim_start_matches('.').to_owned(), ..finding };
    findings.0.into_iter().map(relative).collect()
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, path: &str, message: impl Into<String>) {
        self.0.push(Finding::error(path, message));
    }

    fn at_most(&mut self, path: &str, count: usize, limit: usize) {
        if count > limit {
            self.error(path, format!("{count} of a kind are too many; {limit} may be"));
        }
    }

    fn limit(&mut self, path: &str, seconds: Option<u64>) {
        if seconds.is_some_and(|seconds| !(1..=LIMIT_MAX_SECONDS).contains(&seconds)) {
            self.error(path, format!("is one second to seven days, {LIMIT_MAX_SECONDS} s"));
        }
    }

    fn text(&mut self, path: &str, text: &str, limit_bytes: usize) {
        if text.trim().is_empty() {
            self.error(path, "is empty");
        } else if text.len() > limit_bytes {
            self.error(path, format!("has at most {limit_bytes} bytes"));
        }
    }

    fn name(&mut self, path: &str, name: &str) {
        self.text(path, name, NAME_MAX_BYTES);
        if name.chars().any(char::is_control) {
            self.error(path, "holds a control character");
        }
    }

    fn command(&mut self, path: &str, command: &[String]) {
        match command.first() {
            None => self.error(path, "names no program"),
            Some(program) => self.text(&format!("{path}[0]"), program, TEXT_MAX_BYTES),
        }
        if command.iter().map(String::len).sum::<usize>() > TEXT_MAX_BYTES {
            self.error(path, format!("has at most {TEXT_MAX_BYTES} bytes"));
        }
        if command.iter().any(|part| part.contains('\0')) {
            self.error(path, "holds a zero byte, which no program can be given");
        }
    }

    fn url(&mut self, path: &str, url: &str) {
        self.text(path, url, TEXT_MAX_BYTES);
        if !url.starts_with("http://") && !url.starts_with("https://") {
            self.error(path, "begins with http:// or https://");
        }
    }
}

fn groups(plan: &Plan, findings: &mut Findings) {
    let (mut names, mut vms) = (BTreeSet::new(), BTreeSet::new());
    for (number, group) in plan.groups.iter().enumerate() {
        let path = format!("groups[{number}]");
        findings.name(&format!("{path}.name"), &group.name);
        if !names.insert(group.name.as_str()) {
            findings.error(&format!("{path}.name"), format!("another group is called {} too", group.name));
        }
        if group.vms.is_empty() && group.pre.is_empty() && group.post.is_empty() {
            findings.0.push(Finding::warning(path.clone(), "nothing is in it"));
        }
        for (number, one) in group.vms.iter().enumerate() {
            let path = format!("{path}.vms[{number}]");
            if !vms.insert(one.name.as_str()) {
                findings
                    .error(&format!("{path}.name"), format!("the VM {} is in the plan already", one.name));
            }
            vm(&path, one, findings);
        }
    }
    if vms.is_empty() && !plan.groups.is_empty() {
        findings.error("groups", "no VM is in any of them");
    }
}

fn vm(path: &str, vm: &Vm, findings: &mut Findings) {
    for (number, one) in vm.health.iter().enumerate() {
        gate(&format!("{path}.health[{number}]"), one, findings);
    }
    let mut devices = BTreeSet::new();
    for (number, network) in vm.networks.iter().enumerate() {
        let path = format!("{path}.networks[{number}]");
        if !devices.insert(network.device) {
            findings.error(&path, format!("network device {} is in the list already", network.device));
        }
        let all = [("production", &network.production), ("home", &network.home), ("test", &network.test)];
        for (name, attachment) in all {
            if let Some(found) = attachment {
                self::attachment(&format!("{path}.{name}"), found, findings);
            }
        }
    }
}

fn gate(path: &str, gate: &Gate, findings: &mut Findings) {
    if gate.kinds() != 1 {
        findings.error(path, "asks for one of agent, tcp, http and command");
    }
    findings.limit(&format!("{path}.timeout_seconds"), Some(gate.timeout_seconds));
    if gate.tcp.as_ref().is_some_and(|tcp| tcp.port == 0) {
        findings.error(&format!("{path}.tcp.port"), "is 1 to 65535");
    }
    if let Some(http) = &gate.http {
        findings.url(&format!("{path}.http.url"), &http.url);
    }
    if let Some(command) = &gate.command {
        findings.command(&format!("{path}.command"), command);
    }
}

fn attachment(path: &str, attachment: &Attachment, findings: &mut Findings) {
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    if let Some(Err(error)) = attachment.bridge.as_ref().map(|bridge| bridge.parse::<NetworkConnection>()) {
        findings.error(&format!("{path}.bridge"), error.to_string());
    }
    if let Some(address) = &attachment.address {
        let parts = address.split_once('/').and_then(|(address, length)| {
            Some((address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?))
        });
        if parts.is_none_or(|(address, length)| length > if address.is_ipv4() { 32 } else { 128 }) {
            findings.error(&format!("{path}.address"), "is written as in 10.2.0.5/24");
        }
    }
    if attachment.gateway.as_deref().is_some_and(|gateway| !is_address(gateway)) {
        findings.error(&format!("{path}.gateway"), "is an address as in 10.2.0.1");
    }
    if attachment.name_servers.iter().any(|server| !is_address(server)) {
        findings.error(&format!("{path}.name_servers"), "are addresses as in 10.2.0.1");
    }
    if attachment.address.is_none() && (attachment.gateway.is_some() || !attachment.name_servers.is_empty()) {
        findings.error(&format!("{path}.address"), "is missing: without one nothing is set in the guest");
    }
}

fn action(path: &str, action: &Action, vms: &BTreeSet<&str>, findings: &mut Findings) {
    findings.name(&format!("{path}.name"), &action.name);
    if action.works().count() != 1 {
        findings.error(path, "is one of script, guest, http, ansible, manual and runbook");
    }
    for work in action.works() {
        match work {
            ActionWork::Script(script) => {
                findings.command(&format!("{path}.script.command"), &script.command);
            }
            ActionWork::Guest(guest) => {
                findings.command(&format!("{path}.guest.command"), &guest.command);
                if !vms.contains(guest.vm.as_str()) {
                    findings.error(
                        &format!("{path}.guest.vm"),
                        format!("the VM {} is not in the plan", guest.vm),
                    );
                }
            }
            ActionWork::Http(http) => findings.url(&format!("{path}.http.url"), &http.url),
            ActionWork::Ansible(ansible) => {
                findings.text(&format!("{path}.ansible.playbook"), &ansible.playbook, TEXT_MAX_BYTES);
            }
            ActionWork::Manual(manual) => {
                findings.text(&format!("{path}.manual.instructions"), &manual.instructions, TEXT_MAX_BYTES);
            }
            ActionWork::Runbook(runbook) => findings.name(&format!("{path}.runbook.name"), &runbook.name),
        }
    }
    findings.limit(&format!("{path}.timeout_seconds"), action.timeout_seconds);
    if action.retries > RETRIES_MAX {
        findings.error(&format!("{path}.retries"), format!("are {RETRIES_MAX} at most"));
    }
    if action.retry_pause_seconds > LIMIT_MAX_SECONDS {
        findings.error(&format!("{path}.retry_pause_seconds"), format!("is {LIMIT_MAX_SECONDS} at most"));
    }
    if action.applies_to.is_empty() {
        findings.error(
            &format!("{path}.applies_to"),
            "names none of test, planned and unplanned: it is never done",
        );
    }
    if action.directions.is_empty() {
        findings
            .error(&format!("{path}.directions"), "names neither failover nor failback: it is never done");
    }
    let pause = action.retries > 0 && action.manual.is_some();
    if pause {
        findings.0.push(Finding::warning(format!("{path}.retries"), "a person is asked once"));
    }
}
