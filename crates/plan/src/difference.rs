//! What an edit takes out of a plan.

use std::collections::BTreeSet;

use crate::Plan;

/// What was in the plan before and is not in the one after, each in a few words. What only moved is not lost.
#[must_use]
pub fn dropped(before: &Plan, after: &Plan) -> Vec<String> {
    let kept: BTreeSet<String> = parts(after).into_iter().collect();
    parts(before).into_iter().filter(|part| !kept.contains(part)).collect()
}

fn parts(plan: &Plan) -> Vec<String> {
    let mut parts = Vec::new();
    for group in &plan.groups {
        parts.push(format!("the group {}", group.name));
        for vm in &group.vms {
            parts.push(format!("the VM {}", vm.name));
            parts.extend(vm.health.iter().map(|gate| format!("of the VM {}: {}", vm.name, gate.title())));
            let networks = vm.networks.iter();
            parts.extend(
                networks.map(|network| format!("of the VM {}: network device {}", vm.name, network.device)),
            );
        }
    }
    parts.extend(plan.actions().map(|(_, action)| format!("the action {}", action.name)));
    parts
}
