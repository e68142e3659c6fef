//! From a plan to waves.

use std::collections::BTreeMap;

use model::VmName;

use super::{Act, Direction, Kind, Lane, Run, Step, StepId, StepState, VmFacts, Wave, Work};
use crate::{Action, Attachment, FailbackOrder, Group, OnFailure, Plan, Vm};

/// How long is waited before a step about a VM is tried again, in seconds.
const VM_RETRY_PAUSE_SECONDS: u64 = 5;

impl Run {
    /// Lays out what brings the VMs up.
    pub(super) fn lay_out(&mut self, plan: &Plan) {
        self.push("before anything is changed", None, vec![vec![waiting(Work::Check)]]);
        let mut groups: Vec<(u32, &Group)> = (0..).zip(&plan.groups).collect();
        for (number, group) in &groups {
            for vm in &group.vms {
                let networks = self.attachments(vm);
                let facts = VmFacts { group: *number, networks, ..VmFacts::default() };
                self.vms.insert(vm.name.clone(), facts);
            }
        }
        if self.direction == Direction::Failback && plan.failback_order == FailbackOrder::Reverse {
            groups.reverse();
        }
        if self.kind == Kind::Planned {
            for (number, group) in groups.iter().rev() {
                let lanes = group.vms.iter().map(|vm| vec![of_vm(vm, Work::ShutDown(vm.name.clone()))]);
                self.push(&format!("shut down group {}", group.name), Some(*number), lanes.collect());
            }
            let all = groups.iter().flat_map(|(_, group)| &group.vms);
            let lanes = all.map(|vm| vec![of_vm(vm, Work::Drain(vm.name.clone()))]).collect();
            self.push("wait for the last writes", None, lanes);
        }
        for (number, group) in groups {
            self.lay_out_group(number, group);
        }
    }

    fn lay_out_group(&mut self, number: u32, group: &Group) {
        for action in &group.pre {
            self.push_action(&format!("before group {}", group.name), Some(number), action);
        }
        let lanes = group.vms.iter().map(|vm| self.lane(vm)).collect();
        self.push(&format!("group {}", group.name), Some(number), lanes);
        for action in &group.post {
            self.push_action(&format!("after group {}", group.name), Some(number), action);
        }
    }

    /// What brings one VM up.
    fn lane(&self, vm: &Vm) -> Vec<Step> {
        let mut steps = vec![of_vm(vm, Work::BringUp(vm.name.clone()))];
        let mut attachments: Vec<_> = self.attachments(vm).into_iter().collect();
        attachments.retain(|(_, attachment)| attachment.address.is_some());
        if !attachments.is_empty() {
            steps.push(of_vm(vm, Work::SetAddresses(vm.name.clone(), attachments)));
        }
        steps.extend(vm.health.iter().map(|gate| of_vm(vm, Work::Gate(vm.name.clone(), gate.clone()))));
        steps
    }

    /// What the network devices of a VM are connected to in such a run.
    fn attachments(&self, vm: &Vm) -> BTreeMap<u32, Attachment> {
        let chosen = vm.networks.iter().filter_map(|network| {
            Some((network.device, network.attachment(self.kind, self.direction)?.clone()))
        });
        chosen.collect()
    }

    pub(super) fn push_action(&mut self, title: &str, group: Option<u32>, action: &Action) {
        let state = if action.applies(self.kind, self.direction) {
            StepState::Waiting
        } else {
            let (kind, direction) = (self.kind, self.direction);
            StepState::LeftOut { why: format!("it is not for a {kind} {direction}") }
        };
        let retries = if action.manual.is_some() { 0 } else { action.retries };
        let step = Step {
            on_failure: action.on_failure,
            retries,
            retries_left: retries,
            retry_pause_seconds: action.retry_pause_seconds,
            state,
            ..waiting(Work::Act(Box::new(action.clone())))
        };
        self.push(title, group, vec![vec![step]]);
    }

    /// One lane for each VM, with one step that stops the run where it fails.
    pub(super) fn push_for_vms(&mut self, title: &str, vms: &[VmName], work: impl Fn(VmName) -> Work) {
        let lanes = vms.iter().map(|vm| vec![waiting(work(vm.clone()))]).collect();
        self.push(title, None, lanes);
    }

    fn push(&mut self, title: &str, group: Option<u32>, lanes: Vec<Vec<Step>>) {
        if lanes.is_empty() {
            return;
        }
        let mut numbered = |mut step: Step| {
            step.id = StepId(self.next_step);
            self.next_step += 1;
            step
        };
        let lanes = lanes.into_iter().map(|steps| {
            let steps: Vec<_> = steps.into_iter().map(&mut numbered).collect();
            Lane { vm: steps.first().and_then(|step| step.work.vm().cloned()), steps }
        });
        let lanes = lanes.collect();
        self.waves.push(Wave { title: title.to_owned(), act: self.act, group, lanes });
    }

    /// Leaves the VM out of what is still to come.
    pub(super) fn leave_out(&mut self, vm: &VmName, why: &str) {
        for step in self.current_steps_mut() {
            if step.state == StepState::Waiting && step.work.vm() == Some(vm) {
                step.state = StepState::LeftOut { why: why.to_owned() };
            }
        }
    }

    /// Begins another part of the run's life. What was left of the part before is not done any more; what asked has failed.
    pub(super) fn enter(&mut self, act: Act) {
        for step in self.current_steps_mut().filter(|step| !step.state.is_settled()) {
            step.state = match std::mem::replace(&mut step.state, StepState::Cancelled) {
                StepState::Failed { why } | StepState::Asking { why } => StepState::Failed { why },
                _ => StepState::Cancelled,
            };
        }
        self.act = act;
    }
}

fn of_vm(vm: &Vm, work: Work) -> Step {
    Step { on_failure: vm.on_failure, ..waiting(work) }
}

fn waiting(work: Work) -> Step {
    Step {
        id: StepId(0),
        work,
        on_failure: OnFailure::Stop,
        retries: 0,
        retries_left: 0,
        retry_pause_seconds: VM_RETRY_PAUSE_SECONDS,
        state: StepState::Waiting,
        attempts: 0,
        history: Vec::new(),
    }
}
