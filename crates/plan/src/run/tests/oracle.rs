//! What must be so, told from the plan, from what was done, and from what the operator said; never from the states of the run.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Act, Action, Direction, FailbackOrder, Kind, OnFailure, Plan, Step, Work};

/// What has become of a step for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    Done,
    /// Somebody skipped it, it is not for this run, or it failed and the run was to go on.
    Without,
}

/// A step as the oracle knows it.
#[derive(Debug, Clone, Default)]
struct Known {
    resolution: Option<Resolution>,
    /// Failures since it was first tried or an operator wanted it again.
    failures: u32,
    /// It has failed for good and holds the run up.
    holds_up: bool,
    /// It may have been done, and nobody has said that it may be again.
    in_doubt: bool,
    /// It was begun, and nothing has been heard of it since.
    is_open: bool,
    /// It waits to be skipped once it has ended.
    is_being_skipped: bool,
}

pub struct Oracle {
    plan: Plan,
    kind: Kind,
    order: Vec<(String, u32)>,
    /// The VMs that steps were begun for.
    pub begun: BTreeSet<String>,
    known: BTreeMap<String, Known>,
    pub is_paused: bool,
    pub is_cancelled: bool,
}

impl Oracle {
    pub fn new(plan: &Plan, kind: Kind, direction: Direction) -> Self {
        let mut known = BTreeMap::new();
        for (_, action) in plan.actions().filter(|(_, action)| !action.applies(kind, direction)) {
            known.insert(
                action.name.clone(),
                Known { resolution: Some(Resolution::Without), ..Known::default() },
            );
        }
        let order = order(plan, kind, direction);
        let plan = plan.clone();
        Self { plan, kind, order, begun: BTreeSet::new(), known, is_paused: false, is_cancelled: false }
    }

    fn of(&mut self, step: &Step) -> &mut Known {
        self.known.entry(step.work.title()).or_default()
    }

    /// A step begins.
    pub fn begins(&mut self, act: Act, step: &Step, is_under_way: bool) -> Result<(), String> {
        let title = step.work.title();
        if self.is_paused || self.is_cancelled {
            return Err(format!("{title} begins although the run is paused or cancelled"));
        }
        if let Some((other, _)) = self.known.iter().find(|(_, known)| known.holds_up) {
            return Err(format!("{title} begins although {other} has failed"));
        }
        if is_under_way {
            return Err(format!("{title} begins while it is under way"));
        }
        if act == Act::Recover {
            self.check_order(step)?;
        }
        let is_repeatable = step.work.is_repeatable();
        let known = self.of(step);
        if known.resolution.is_some() {
            return Err(format!("{title} begins although it is settled"));
        }
        if known.in_doubt && !is_repeatable {
            return Err(format!("{title} begins again although it may have been done"));
        }
        (known.in_doubt, known.is_open) = (true, true);
        self.begun.insert(title);
        Ok(())
    }

    fn check_order(&self, step: &Step) -> Result<(), String> {
        let title = step.work.title();
        let place = self.order.iter().find(|(known, _)| *known == title).map(|(_, rank)| *rank);
        let Some(rank) = place else { return Err(format!("{title} is not in the plan")) };
        for (other, before) in &self.order {
            let is_resolved = self.known.get(other).is_some_and(|known| known.resolution.is_some());
            if *before < rank && !is_resolved {
                return Err(format!("{title} begins before {other} is over"));
            }
        }
        // What is done for one VM is done one after the other.
        if let Some(vm) = step.work.vm().and_then(|vm| self.plan.vms().find(|known| known.name == *vm)) {
            let up = Work::BringUp(vm.name.clone()).title();
            let gates = vm.health.iter().map(|gate| Work::Gate(vm.name.clone(), gate.clone()).title());
            let lane: Vec<_> = std::iter::once(up).chain(gates).collect();
            let before = lane.iter().take_while(|other| **other != title);
            let is_in_lane = lane.contains(&title);
            for other in before.filter(|_| is_in_lane) {
                if self.known.get(other).is_none_or(|known| known.resolution.is_none()) {
                    return Err(format!("{title} begins before {other} is over"));
                }
            }
        }
        Ok(())
    }

    pub fn succeeded(&mut self, step: &Step) {
        let known = self.of(step);
        (known.in_doubt, known.is_open) = (false, false);
        known.resolution = Some(Resolution::Done);
    }

    /// It has failed for certain.
    pub fn failed(&mut self, step: &Step) {
        let is_cancelled = self.is_cancelled;
        let known = self.of(step);
        (known.in_doubt, known.is_open) = (false, false);
        if known.is_being_skipped {
            return self.without(step);
        }
        if is_cancelled {
            return;
        }
        known.failures += 1;
        let is_over = known.failures > step.retries;
        match step.on_failure {
            OnFailure::Continue if is_over => self.without(step),
            OnFailure::Stop if is_over => self.of(step).holds_up = true,
            _ => {}
        }
    }

    /// Nobody knows whether it was done.
    pub fn in_doubt(&mut self, step: &Step) {
        self.of(step).is_open = false;
        if self.of(step).is_being_skipped {
            self.without(step);
        } else if step.work.is_repeatable() {
            self.failed(step);
        }
    }

    pub fn restarted(&mut self, step: &Step) {
        self.of(step).is_open = false;
        if self.of(step).is_being_skipped {
            self.without(step);
        }
    }

    pub fn skipped(&mut self, step: &Step, is_active: bool) {
        match is_active {
            true => self.of(step).is_being_skipped = true,
            false => self.without(step),
        }
    }

    pub fn confirmed(&mut self, step: &Step) {
        let known = self.of(step);
        (known.holds_up, known.in_doubt, known.is_open) = (false, false, false);
        known.resolution = Some(Resolution::Done);
    }

    pub fn retried(&mut self, step: &Step) {
        let known = self.of(step);
        (known.holds_up, known.in_doubt, known.is_being_skipped) = (false, false, false);
        (known.is_open, known.failures) = (false, 0);
    }

    /// Another part of the run's life has begun.
    pub fn entered(&mut self) {
        (self.is_cancelled, self.is_paused) = (false, false);
        self.known.values_mut().for_each(|known| known.holds_up = false);
    }

    fn without(&mut self, step: &Step) {
        let known = self.of(step);
        (known.holds_up, known.in_doubt, known.resolution) = (false, false, Some(Resolution::Without));
        let Some(vm) = step.work.vm().cloned() else { return };
        let left = match &step.work {
            Work::ShutDown(_) => vec![Work::Drain(vm.clone()), Work::BringUp(vm.clone())],
            // What is not under way for its sake is not begun any more.
            Work::BringUp(_) => {
                let before = [Work::ShutDown(vm.clone()), Work::Drain(vm.clone())];
                let is_open = |title: String| self.known.get(&title).is_some_and(|known| known.is_open);
                before.into_iter().filter(|work| !is_open(work.title())).collect()
            }
            _ => return,
        };
        let of_plan = self.plan.vms().find(|known| known.name == vm);
        let gates = of_plan.into_iter().flat_map(|known| &known.health);
        let gates = gates.map(|gate| Work::Gate(vm.clone(), gate.clone()));
        let titles: Vec<_> = left.into_iter().chain(gates).map(|work| work.title()).collect();
        for title in titles {
            self.known.entry(title).or_default().resolution = Some(Resolution::Without);
        }
    }

    /// The run says that its VMs are up.
    pub fn is_recovered(&self) -> Result<(), String> {
        for (title, _) in &self.order {
            if self.known.get(title).is_none_or(|known| known.resolution.is_none()) {
                return Err(format!("the run is over, and {title} is lost"));
            }
        }
        Ok(())
    }

    /// The run says that it is cleaned up.
    pub fn is_cleaned_up(&self) -> Result<(), String> {
        for vm in self.plan.vms() {
            let (up, down) = (Work::BringUp(vm.name.clone()), Work::TakeDown(vm.name.clone()));
            let is_removed = self.known.get(&down.title()).is_some_and(|known| known.resolution.is_some());
            if self.kind == Kind::Test && self.begun.contains(&up.title()) && !is_removed {
                return Err(format!("the test of {} is left behind", vm.name));
            }
        }
        Ok(())
    }
}

/// All steps that bring the VMs up, and after which others each may come.
fn order(plan: &Plan, kind: Kind, direction: Direction) -> Vec<(String, u32)> {
    let (mut order, mut rank) = (vec![(Work::Check.title(), 0)], 0);
    let mut groups: Vec<_> = plan.groups.iter().collect();
    if direction == Direction::Failback && plan.failback_order == FailbackOrder::Reverse {
        groups.reverse();
    }
    if kind == Kind::Planned {
        for group in groups.iter().rev() {
            rank += 1;
            order.extend(group.vms.iter().map(|vm| (Work::ShutDown(vm.name.clone()).title(), rank)));
        }
        rank += 1;
        order.extend(plan.vms().map(|vm| (Work::Drain(vm.name.clone()).title(), rank)));
    }
    for group in groups {
        in_turn(&mut order, &mut rank, &group.pre);
        rank += 1;
        for vm in &group.vms {
            order.push((Work::BringUp(vm.name.clone()).title(), rank));
            let gates = vm.health.iter().map(|gate| Work::Gate(vm.name.clone(), gate.clone()).title());
            order.extend(gates.map(|gate| (gate, rank)));
        }
        in_turn(&mut order, &mut rank, &group.post);
    }
    order
}

/// Actions one after the other.
fn in_turn(order: &mut Vec<(String, u32)>, rank: &mut u32, actions: &[Action]) {
    for action in actions {
        *rank += 1;
        order.push((action.name.clone(), *rank));
    }
}
