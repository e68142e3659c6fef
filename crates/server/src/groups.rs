//! Consistency groups: VMs that are replicated from here to one site, and whose journals mark moments that all of them share.
//!
//! A [`keeper`] has one [`checkpoint`] taken at a time, by the clock and by command. Which VMs are in a group is in the catalog; the
//! other site is told so with each member's journal. What a shared checkpoint is called in a journal is told by [`mark`].

mod checkpoint;
mod command;
mod figures;
mod keeper;
pub(crate) mod mark;
mod view;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use api::shell_word;
use catalog::{KnownGroup, KnownVm};
use model::{GroupId, VmId};
use peer::replicas::GroupOffer;
use tokio::task::JoinHandle;

use self::keeper::Kept;
pub(crate) use self::{
    command::{add, create, edit, leave, make_checkpoint, remove, remove_member},
    view::{check, list, metrics, view},
};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// The groups that are kept, and the task of each.
type Running = BTreeMap<GroupId, (Arc<Kept>, JoinHandle<()>)>;

/// The groups that are kept now.
#[derive(Default)]
pub(crate) struct Groups {
    running: Mutex<Running>,
}

impl Groups {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, id: GroupId) -> Option<Arc<Kept>> {
        self.running().get(&id).map(|(kept, _)| Arc::clone(kept))
    }
}

/// Keeps all groups until the server stops.
pub(crate) async fn run(site: Site) {
    match site.catalog.groups().await {
        Ok(known) => known.into_iter().for_each(|known| begin(&site, &known)),
        Err(error) => tracing::error!(%error, "which consistency groups there are cannot be found out"),
    }
    site.stopping.cancelled().await;
    let running = std::mem::take(&mut *site.groups.running());
    for (id, (_, task)) in running {
        if let Err(error) = task.await {
            tracing::error!(group = %id, %error, "the keeper of a group ended by a defect");
        }
    }
}

fn begin(site: &Site, known: &KnownGroup) {
    let kept = Kept::new(site, known);
    let task = tokio::spawn(keeper::run(site.clone(), Arc::clone(&kept)));
    site.groups.running().insert(known.id, (kept, task));
}

/// The group of this name or id.
pub(crate) async fn find(site: &Site, name: &str) -> Result<KnownGroup> {
    let all = site.catalog.groups().await?;
    let found = all.into_iter().find(|group| group.name.as_str() == name || group.id.as_str() == name);
    found.ok_or_else(|| {
        Failure::not_found(format!("there is no consistency group {name} here"))
            .with_hint("see them with: holdfast replication group list")
    })
}

/// The group that a VM is in.
pub(crate) async fn of_vm(site: &Site, vm: VmId) -> Result<Option<KnownGroup>> {
    Ok(site.catalog.groups().await?.into_iter().find(|group| group.members.contains(&vm)))
}

/// What the other site is told of the group that a VM is in.
pub(crate) async fn offer(site: &Site, vm: VmId) -> Result<Option<GroupOffer>> {
    let Some(group) = of_vm(site, vm).await? else { return Ok(None) };
    let replications = site.catalog.replications().await?;
    let journal = |member: &VmId| replications.iter().find(|it| it.vm_id == *member).map(|it| it.journal_id);
    let members = group.members.iter().filter_map(journal).collect();
    Ok(Some(GroupOffer { id: group.id, name: group.name, members, revision: group.revision }))
}

/// The members of a group, as they are known.
pub(crate) async fn members(site: &Site, group: &KnownGroup) -> Result<Vec<KnownVm>> {
    let mut members = Vec::with_capacity(group.members.len());
    for id in &group.members {
        members.extend(site.catalog.vm(id.as_str()).await?);
    }
    Ok(members)
}

/// The command that shows a group.
fn show(group: &KnownGroup) -> String {
    format!("holdfast replication group show {}", shell_word(group.name.as_str()))
}
