//! Has shared checkpoints made, one at a time, by the clock and by command.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use catalog::{KnownGroup, KnownVm};
use futures::future::{join_all, try_join_all};
use hypervisor::Quiet;
use model::{GroupId, ProtectionSettings};
use tokio::{
    sync::{Mutex as Turn, Notify},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    checkpoint::{Marked, Member, confirm, mark},
    figures::{Figures, Numbered},
    mark::{GroupMark, Says},
};
use crate::{
    failure::{Failure, Result},
    site::Site,
    vms,
};

/// Numbers that are reserved at once, so that none is used twice whatever becomes of the server.
const NUMBERS_AT_ONCE: u64 = 10_000;

/// A group that is kept.
pub(super) struct Kept {
    id: GroupId,
    pub(super) stop: CancellationToken,
    /// Told when it is to be looked at anew how often checkpoints are made.
    pub(super) changed: Notify,
    /// One is made at a time. The last number that was used, and the last that may be.
    numbers: Turn<(u64, u64)>,
    figures: Mutex<Figures>,
}

impl Kept {
    pub(super) fn new(site: &Site, known: &KnownGroup) -> Arc<Self> {
        Arc::new(Self {
            id: known.id,
            stop: site.stopping.child_token(),
            changed: Notify::new(),
            numbers: Turn::new((known.numbers_through, known.numbers_through)),
            figures: Mutex::default(),
        })
    }

    pub(super) fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of how it went, after a look at how far the other site is.
    pub(super) fn settled(&self, site: &Site) -> MutexGuard<'_, Figures> {
        let mut figures = self.figures();
        figures.settle(|vm| site.replications.durable_there(vm));
        figures
    }
}

/// Makes shared checkpoints by the clock until the group is kept no more.
pub(super) async fn run(site: Site, kept: Arc<Kept>) {
    let stop = kept.stop.clone();
    let keeping = async {
        let mut due = Instant::now();
        loop {
            let every = match known(&site, kept.id).await {
                Ok(group) => {
                    let says = Says::Moment { is_application: false, name: String::new() };
                    // Why not is kept with the figures.
                    make(&site, &kept, &group, says).await.ok();
                    Duration::from_millis(group.every_ms.into())
                }
                Err(failure) => {
                    tracing::warn!(group = %kept.id, reason = failure.detail(), "a group is not known");
                    Duration::from_secs(1)
                }
            };
            due = (due + every).max(Instant::now());
            tokio::select! {
                () = sleep_until(due) => {}
                () = kept.changed.notified() => due = Instant::now(),
            }
        }
    };
    stop.run_until_cancelled(keeping).await;
}

async fn known(site: &Site, id: GroupId) -> Result<KnownGroup> {
    super::find(site, id.as_str()).await
}

/// Makes a shared checkpoint; keeps how that went, and returns its number.
pub(super) async fn make(site: &Site, kept: &Kept, group: &KnownGroup, says: Says) -> Result<Numbered> {
    let mut numbers = kept.numbers.lock().await;
    let made = try_make(site, &mut numbers, group, says).await;
    let now = site.env.clock.now();
    let mut figures = kept.settled(site);
    match made {
        Ok((number, marked)) => {
            let checkpoint = Numbered { number, at: now };
            figures.note_made(checkpoint, marked.records, marked.held);
            Ok(checkpoint)
        }
        Err(failure) => {
            if figures.trouble.is_none() {
                tracing::warn!(group = %group.name, reason = failure.detail(), "no shared checkpoint was made");
            }
            figures.note_missed(now, failure.detail().to_owned());
            Err(failure)
        }
    }
}

async fn try_make(
    site: &Site,
    numbers: &mut (u64, u64),
    group: &KnownGroup,
    says: Says,
) -> Result<(u64, Marked)> {
    let vms = super::members(site, group).await?;
    let members = ready(site, group, &vms)?;
    let (last, reserved) = numbers;
    if last == reserved {
        let through = *reserved + NUMBERS_AT_ONCE;
        site.catalog.reserve_group_numbers(group.id, through).await?;
        *reserved = through;
    }
    *last += 1;
    let mark = GroupMark { group: group.id, number: *last, says };
    let not_shared = |why: String| Failure::conflict(why).with_hint(super::show(group));
    let is_application = matches!(mark.says, Says::Moment { is_application: true, .. });
    let mut marked = match is_application {
        false => self::mark(&members, &mark).await.map_err(not_shared)?,
        true => while_quiet(site, &vms, &members, &mark).await?,
    };
    confirm(&members, &mark, &mut marked).await.map_err(not_shared)?;
    Ok((mark.number, marked))
}

/// The members, if every write of each is taken now.
fn ready(site: &Site, group: &KnownGroup, vms: &[KnownVm]) -> Result<Vec<Member>> {
    if vms.is_empty() || vms.len() != group.members.len() {
        return Err(Failure::conflict("not all of its members are known").with_hint(super::show(group)));
    }
    let member = |vm: &KnownVm| match site.replications.protecting(vm.id) {
        Some(attached) => Ok(Member { vm_id: vm.id, vm_name: vm.name.clone(), attached }),
        None => {
            let detail = format!("not every write of the VM {} is taken now", vm.name);
            let name = api::shell_word(vm.name.as_str());
            Err(Failure::conflict(detail).with_hint(format!("see why: holdfast replication status {name}")))
        }
    };
    vms.iter().map(member).collect()
}

/// Marks a moment while the applications in all guests stand still.
async fn while_quiet(site: &Site, vms: &[KnownVm], members: &[Member], mark: &GroupMark) -> Result<Marked> {
    // Whoever is frozen goes on when this is given up.
    let quiet = try_join_all(vms.iter().map(|vm| quiesce(site, vm))).await?;
    let marked = self::mark(members, mark).await;
    let ended = join_all(quiet.into_iter().map(Quiet::end)).await;
    let marked = marked.map_err(Failure::conflict)?;
    // One that had to go on earlier did not stand still.
    for ended in ended {
        ended?;
    }
    Ok(marked)
}

async fn quiesce(site: &Site, vm: &KnownVm) -> Result<Box<dyn Quiet>> {
    let protection = site.catalog.protection(vm.id).await?;
    let limit_ms =
        protection.map_or(ProtectionSettings::FREEZE_LIMIT_DEFAULT_MS, |known| known.freeze_limit_ms);
    let quiet = site.hypervisor.quiesce(&vms::access(vm), Duration::from_millis(limit_ms.into())).await;
    quiet.map_err(|error| Failure::from(error).during(&format!("freezing {}", vm.name)))
}
