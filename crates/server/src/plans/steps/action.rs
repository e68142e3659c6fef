//! Actions: programs, requests, playbooks and commands in guests. Those of people are not begun by anybody.

use std::{collections::BTreeMap, time::Duration};

use plan::{Action, ActionWork, Outcome, Where};

use super::Order;
use crate::{
    actions::{self, Told},
    runbooks::elsewhere,
};

/// Does what an action says.
pub(super) async fn carry_out(order: &Order, action: &Action) -> Outcome {
    let mut guests = BTreeMap::new();
    for name in order.run.vms().keys() {
        // One that has not come up yet is none.
        if let Ok(up) = super::up_vm(order, name).await {
            guests.insert(name.to_string(), up.id);
        }
    }
    let told = Told {
        context: plan::context(&order.run, &order.step, &order.sites, false),
        environment: plan::environment(&order.run, &order.step, &order.sites, false),
        time_limit: Duration::from_secs(action.limit_seconds().unwrap_or_default()),
        guests,
    };
    match action.work() {
        Some(ActionWork::Runbook(call)) if call.site == Where::Source => {
            let name = format!("{}-{}-{}", order.run_id, order.step.id, order.step.attempts);
            elsewhere::perform(&order.site, &order.sites.sources, call, &name, &told, &order.log).await
        }
        _ => actions::perform(&order.site, action, &told, &order.log).await,
    }
}
