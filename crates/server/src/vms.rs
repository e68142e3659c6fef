//! The VMs of a site: made known, looked at, started and stopped.

mod admit;
mod definition;
mod half_restored;
mod look;
mod power;
mod protect;
mod remove;
mod screen;
mod wellness;

use catalog::{KnownVm, Origin};
use hypervisor::{VmAccess, VmOrigin};

pub(crate) use self::{
    admit::{
        add, admit, check_name_free, check_paths_free, disk_at, disk_paths, has_file, owner_of, replace,
    },
    definition::complete as complete_definition,
    half_restored::{check_whole, reference_to, way_out},
    look::{known_definition, list, refresh, view},
    power::{check_stopped, end, is_running, run, start, stop},
    protect::{protect, unprotect},
    remove::remove,
    screen::keep_screenshot,
    wellness::{agent, check},
};
use crate::{
    failure::{Failure, Result},
    jobs::{Holder, Ticket},
    site::Site,
};

/// The VM with this name or id.
pub(crate) async fn find(site: &Site, name_or_id: &str) -> Result<KnownVm> {
    site.catalog.vm(name_or_id).await?.ok_or_else(|| {
        Failure::not_found(format!("there is no VM {name_or_id}"))
            .with_hint("see them with: holdfast vm list")
    })
}

/// How the hypervisor reaches a VM.
pub(crate) fn access(vm: &KnownVm) -> VmAccess {
    let origin = match &vm.origin {
        Origin::External { qmp, qmp_out_of_band, agent } => VmOrigin::External {
            qmp: qmp.clone(),
            qmp_out_of_band: qmp_out_of_band.clone(),
            agent: agent.clone(),
            last_seen: vm.last_seen.clone().map(Box::new),
        },
        Origin::Managed { definition } => VmOrigin::Managed { definition: Box::new(definition.clone()) },
    };
    VmAccess { vm_id: vm.id, name: vm.name.clone(), origin }
}

/// Takes a VM for something short that must not meet a job.
pub(crate) fn claim(site: &Site, vm: &KnownVm, operation: &'static str) -> Result<Ticket> {
    site.jobs.queue().claim(vm.id, operation).map_err(|holder| {
        let busy = Failure::conflict(format!("the VM {} is busy with {holder}", vm.name));
        match holder {
            Holder::Job(job) | Holder::Prompt(job) | Holder::Background(job) => {
                busy.with_hint(format!("wait until it has ended, or cancel it: holdfast job cancel {job}"))
            }
            Holder::Operation(_) => busy.with_hint("try again in a moment"),
        }
    })
}
