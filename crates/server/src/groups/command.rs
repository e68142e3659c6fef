//! Groups begin, change and end.

use api::{
    AddGroupMember, CreateReplicationGroup, EditReplicationGroup, GroupCheckpointView, MakeCheckpoint,
    shell_word,
};
use catalog::{KnownGroup, KnownReplication, KnownVm};
use model::{GroupId, GroupName, VmId};
use peer::replicas::GROUP_MEMBERS_MAX;

use super::{
    begin, find, keeper,
    mark::{NAME_BYTES_MAX, Says},
    of_vm,
};
use crate::{
    failure::{Failure, Result},
    site::Site,
    vms,
};

/// How often a shared checkpoint is made where nobody says how often.
const EVERY_DEFAULT_MS: u32 = 1000;

/// More often the members would be held up for nothing; less often it is hardly of use.
const EVERY_MS: std::ops::RangeInclusive<u32> = 100..=3_600_000;

/// Makes a group of VMs that are replicated to one site.
pub(crate) async fn create(site: &Site, request: CreateReplicationGroup) -> Result<KnownGroup> {
    let name: GroupName =
        request.name.parse().map_err(|error| Failure::invalid(format!("the group's name: {error}")))?;
    let _admission = site.admission.lock().await;
    let mut members: Vec<KnownReplication> = Vec::new();
    for vm in &request.vms {
        let vm = vms::find(site, vm).await?;
        if members.iter().any(|member| member.vm_id == vm.id) {
            return Err(Failure::invalid(format!("the VM {} is named twice", vm.name)));
        }
        members.push(admissible(site, &vm).await?);
    }
    let Some(first) = members.first() else {
        return Err(Failure::invalid("a consistency group has a VM at least")
            .with_hint("name its VMs: --vm A --vm B"));
    };
    if let Some(other) = members.iter().find(|member| member.peer_id != first.peer_id) {
        let detail = format!(
            "the VMs of a group are replicated to one site, and these to {} and {}",
            first.peer_name, other.peer_name
        );
        return Err(Failure::conflict(detail));
    }
    check_count(members.len())?;
    let every_ms = request.every_ms.unwrap_or(EVERY_DEFAULT_MS);
    check_every(every_ms)?;
    let group = KnownGroup {
        id: GroupId::from_random(env::random(&*site.env.entropy)),
        name,
        peer_id: first.peer_id,
        peer_name: first.peer_name.clone(),
        members: members.iter().map(|member| member.vm_id).collect(),
        every_ms,
        revision: 1,
        numbers_through: 0,
        created_at: site.env.clock.now(),
    };
    site.catalog.add_group(&group).await?;
    tell_anew(site, &group.members);
    begin(site, &group);
    tracing::info!(group = %group.name, site = %group.peer_name, "a consistency group begins");
    Ok(group)
}

/// Takes one more VM into a group. Moments that all share are those from then on.
pub(crate) async fn add(site: &Site, name: &str, request: AddGroupMember) -> Result<KnownGroup> {
    let _admission = site.admission.lock().await;
    let mut group = find(site, name).await?;
    let vm = vms::find(site, &request.vm).await?;
    if group.members.contains(&vm.id) {
        return Ok(group);
    }
    let replication = admissible(site, &vm).await?;
    if replication.peer_id != group.peer_id {
        return Err(Failure::conflict(format!(
            "the VM {} is replicated to {}, and the group {} to {}",
            vm.name, replication.peer_name, group.name, group.peer_name
        )));
    }
    check_count(group.members.len() + 1)?;
    group.members.push(vm.id);
    keep_members(site, &mut group).await?;
    tracing::info!(group = %group.name, vm = %vm.name, "a VM joins a consistency group");
    Ok(group)
}

/// Takes a VM out of a group. With the last one the group goes.
pub(crate) async fn remove_member(site: &Site, name: &str, vm: &str) -> Result<()> {
    let _admission = site.admission.lock().await;
    let (group, vm) = (find(site, name).await?, vms::find(site, vm).await?);
    if !group.members.contains(&vm.id) {
        return Err(Failure::not_found(format!("the VM {} is not in the group {}", vm.name, group.name))
            .with_hint(super::show(&group)));
    }
    take_out(site, group, vm.id).await
}

/// Takes a VM out of its group, if it is in one, because its replication ends. The caller has the admission.
pub(crate) async fn leave(site: &Site, vm: VmId) -> Result<()> {
    match of_vm(site, vm).await? {
        Some(group) => take_out(site, group, vm).await,
        None => Ok(()),
    }
}

async fn take_out(site: &Site, mut group: KnownGroup, vm: VmId) -> Result<()> {
    tracing::info!(group = %group.name, %vm, "a VM leaves a consistency group");
    group.members.retain(|member| *member != vm);
    match group.members.is_empty() {
        true => end(site, &group).await?,
        false => keep_members(site, &mut group).await?,
    }
    tell_anew(site, &[vm]);
    Ok(())
}

/// Changes how often a shared checkpoint is made.
pub(crate) async fn edit(site: &Site, name: &str, request: EditReplicationGroup) -> Result<KnownGroup> {
    let _admission = site.admission.lock().await;
    let mut group = find(site, name).await?;
    check_every(request.every_ms)?;
    group.every_ms = request.every_ms;
    site.catalog.set_group(&group).await?;
    if let Some(kept) = site.groups.kept(group.id) {
        kept.changed.notify_one();
    }
    Ok(group)
}

/// Ends a group. The VMs go on being replicated, each by itself.
pub(crate) async fn remove(site: &Site, name: &str) -> Result<()> {
    let _admission = site.admission.lock().await;
    let group = find(site, name).await?;
    end(site, &group).await?;
    tell_anew(site, &group.members);
    Ok(())
}

async fn end(site: &Site, group: &KnownGroup) -> Result<()> {
    site.catalog.remove_group(group.id).await?;
    let running = site.groups.running().remove(&group.id);
    if let Some((kept, task)) = running {
        kept.stop.cancel();
        if let Err(error) = task.await {
            tracing::error!(group = %group.name, %error, "the keeper of a group ended by a defect");
        }
    }
    tracing::info!(group = %group.name, "a consistency group has ended");
    Ok(())
}

/// Names a moment that all members share.
pub(crate) async fn make_checkpoint(
    site: &Site,
    name: &str,
    request: MakeCheckpoint,
) -> Result<GroupCheckpointView> {
    let group = find(site, name).await?;
    if request.name.len() > NAME_BYTES_MAX {
        let detail = format!("a shared checkpoint's name has at most {NAME_BYTES_MAX} bytes");
        return Err(Failure::invalid(detail));
    }
    let kept = site.groups.kept(group.id);
    let kept = kept.ok_or_else(|| Failure::conflict(format!("the group {} is not kept now", group.name)))?;
    let says = Says::Moment { is_application: request.application, name: request.name.clone() };
    let made = keeper::make(site, &kept, &group, says).await?;
    Ok(GroupCheckpointView {
        group: group.name.to_string(),
        number: made.number,
        name: request.name,
        application: request.application,
        made_at: made.at,
    })
}

async fn keep_members(site: &Site, group: &mut KnownGroup) -> Result<()> {
    group.revision += 1;
    site.catalog.set_group(group).await?;
    tell_anew(site, &group.members);
    Ok(())
}

/// The other site is told anew what each of these is a member of.
fn tell_anew(site: &Site, vms: &[VmId]) {
    vms.iter().for_each(|vm| site.replications.offer_anew(*vm));
}

/// The replication of a VM that may join a group.
async fn admissible(site: &Site, vm: &KnownVm) -> Result<KnownReplication> {
    let name = shell_word(vm.name.as_str());
    let known = site.catalog.replication(vm.id).await?.ok_or_else(|| {
        Failure::conflict(format!("the VM {} is not replicated", vm.name))
            .with_hint(format!("begin with: holdfast replication start {name} --to SITE"))
    })?;
    if let Some(why) = &known.fenced {
        return Err(Failure::new(api::Code::Fenced, format!("the VM {} is fenced: {why}", vm.name)));
    }
    if known.settings.interval_seconds.is_some() {
        let detail = format!(
            "the VM {} is replicated at intervals: nobody can hold its writes for a moment that others share",
            vm.name
        );
        let anew = format!(
            "stop its replication, and start it anew without --mode interval: holdfast replication stop {name}"
        );
        return Err(Failure::conflict(detail).with_hint(anew));
    }
    if let Some(group) = of_vm(site, vm.id).await? {
        let group = group.name;
        return Err(Failure::conflict(format!("the VM {} is in the group {group} already", vm.name))
            .with_hint(format!("take it out first: holdfast replication group remove {group} {name}")));
    }
    Ok(known)
}

fn check_count(count: usize) -> Result<()> {
    match count <= GROUP_MEMBERS_MAX {
        true => Ok(()),
        false => Err(Failure::invalid(format!("a consistency group has at most {GROUP_MEMBERS_MAX} VMs"))),
    }
}

fn check_every(every_ms: u32) -> Result<()> {
    match EVERY_MS.contains(&every_ms) {
        true => Ok(()),
        false => {
            Err(Failure::invalid("a shared checkpoint is made every 100 ms at most and every hour at least"))
        }
    }
}
