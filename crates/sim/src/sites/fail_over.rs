//! The VM comes to run at the site of its replica.

use std::sync::Arc;

use image::DiskImage as _;
use journal::{At, Generation, Moment, Sequence};
use model::{JournalId, VmId};
use recovery::{Action, Event, Stage, step};

use super::{
    Broken,
    guest::{DISK_NAMES, Disks},
    network::Progress,
    server::{Failure, Result, Server, refused},
    site::KnownVm,
};

/// A failover that somebody has asked for, or another point of one.
struct Takeover {
    journal: JournalId,
    event: Event,
    /// Any one where none is chosen: then the newest, and nothing of a VM that was handed over is lost.
    chosen: Option<Sequence>,
}

/// The source has shut its VM down, and its last record is this.
pub(crate) async fn take_over(
    server: &Arc<Server>,
    journal: JournalId,
    through: Sequence,
) -> Result<Progress> {
    let known = server.known(journal)?;
    let kept = server.replica(journal)?;
    server.step().await;
    let durable_through = kept.replica.durable_through();
    let wanted = kept.replica.wanted().map_err(|error| Failure::Refused(error.to_string()))?;
    let taken = Progress { wanted, durable_through };
    if known.standing.failover().is_some() {
        return Ok(taken);
    }
    if durable_through < through && !server.is_broken(Broken::HandOverEarly) {
        return refused(format!("not everything has come: {durable_through} records of {through}"));
    }
    submit(server, journal, fail_over_event(server), None).await?;
    Ok(taken)
}

fn fail_over_event(server: &Server) -> Event {
    Event::FailOver { vm_id: server.site.vm_id, at: server.now() }
}

/// An operator has the VM run here.
pub(crate) async fn unplanned(
    server: &Arc<Server>,
    journal: JournalId,
    chosen: Option<Sequence>,
) -> Result<()> {
    submit(server, journal, fail_over_event(server), chosen).await
}

/// An operator has the VM made anew from another moment.
pub(crate) async fn change_point(
    server: &Arc<Server>,
    journal: JournalId,
    chosen: Option<Sequence>,
) -> Result<()> {
    submit(server, journal, Event::ChangePoint, chosen).await
}

/// Lines it up: all that can be refused is refused before anything is done.
async fn submit(
    server: &Arc<Server>,
    journal: JournalId,
    event: Event,
    chosen: Option<Sequence>,
) -> Result<()> {
    let known = server.known(journal)?;
    check_newest(server, journal)?;
    step(&known.standing, event)?;
    moment(server, journal, chosen)?;
    server.step().await;
    let (has_vm, is_replicated) = {
        let catalog = server.site.catalog();
        (catalog.vm.is_some(), catalog.replication.is_some())
    };
    if event == Event::ChangePoint && is_replicated {
        return refused("the VM is replicated from here");
    }
    if has_vm && known.standing.failover().is_none() {
        return refused("there is another VM of that name");
    }
    server.refuse_unless_alive()?;
    let takeover = Takeover { journal, event, chosen };
    let worker = Arc::clone(server);
    server.spawn(async move {
        let done = takeover.work(&worker).await;
        worker.say(format!("failover: {done:?}"));
    });
    Ok(())
}

/// Fails for a replica of which a newer generation has run here.
fn check_newest(server: &Server, journal: JournalId) -> Result<()> {
    let (known, fence) = (server.known(journal)?, server.site.catalog().fence);
    match server.is_broken(Broken::OldReplicaFailsOver) {
        true => Ok(()),
        false => Ok(known.standing.check_newest(fence)?),
    }
}

fn moment(server: &Server, journal: JournalId, chosen: Option<Sequence>) -> Result<Moment> {
    let kept = server.replica(journal)?;
    let at = chosen.map_or(At::Latest, At::Sequence);
    kept.replica.moment(server.site.vm_id, at).map_err(|error| Failure::Refused(error.to_string()))
}

impl Takeover {
    async fn work(self, server: &Arc<Server>) -> Result<()> {
        let _claim = server.wait_for_claim().await;
        if server.is_broken(Broken::BuildBeforeStanding) && self.event != Event::ChangePoint {
            let generation = server.known(self.journal)?.standing.generation + 1;
            self.build(server, generation).await?;
        }
        check_newest(server, self.journal)?;
        let (known, actions) = server.put_in(self.journal, self.event).await?;
        let failover = known.standing.failover().cloned();
        let failover = failover.ok_or_else(|| Failure::Refused("there is no failover".to_owned()))?;
        let generation = match server.is_broken(Broken::SameGeneration) {
            true => failover.generation - 1,
            false => failover.generation,
        };
        for action in actions {
            server.step().await;
            match action {
                Action::RaiseGeneration => {
                    {
                        let mut catalog = server.site.catalog();
                        catalog.fence = catalog.fence.max(Some(generation));
                    }
                    server.step().await;
                    let kept = server.replica(self.journal)?;
                    let raised = kept.replica.raise_generation(Generation(generation));
                    raised.map_err(|error| Failure::Refused(error.to_string()))?;
                }
                Action::TakeDown => self.take_down(server).await?,
                Action::Build => self.build(server, generation).await?,
                Action::Start => start(server).await?,
                Action::Receive | Action::BuildTest | Action::DropMoments | Action::Remove => {}
            }
        }
        server.put_in(self.journal, Event::FailedOver).await?;
        Ok(())
    }

    async fn take_down(&self, server: &Server) -> Result<()> {
        server.site.host().stop_vm();
        server.site.changed();
        server.step().await;
        if server.site.catalog().replication.is_some() {
            return refused("the VM is replicated from here");
        }
        server.site.catalog().vm = None;
        server.site.host().vm = None;
        Ok(())
    }

    /// Makes the VM, unless an attempt that broke off has.
    async fn build(&self, server: &Server, generation: u64) -> Result<()> {
        if server.site.catalog().vm.is_some() {
            return Ok(());
        }
        let moment = moment(server, self.journal, self.chosen)?;
        let disks = read(server.site.vm_id, &moment).await.map_err(Failure::Refused)?;
        server.step().await;
        server.world.check_moment(self.journal, moment.sequence(), &disks, "a failover");
        if self.chosen.is_none() {
            server.world.check_handed(server.site.place, self.journal, &disks);
        }
        server.site.host().create_vm(Arc::new(disks));
        server.site.catalog().vm = Some(KnownVm { generation });
        server.say(format!(
            "has the VM of {} at {}, generation {generation}",
            self.journal,
            moment.sequence()
        ));
        Ok(())
    }
}

/// Starts the VM where it may run.
pub(crate) async fn start(server: &Server) -> Result<()> {
    server.step().await;
    let may_run = server.site.catalog().may_run();
    if !may_run && !server.is_broken(Broken::StartIgnoresFence) {
        return refused("the VM must not run here");
    }
    server.step().await;
    server.site.host().start_vm();
    server.say("starts the VM");
    if let Some(keeping) = server.keeping().as_ref() {
        keeping.tell(replication::Event::VmChanged);
    }
    Ok(())
}

/// What the disks of a moment hold.
pub(crate) async fn read(vm: VmId, moment: &Moment) -> std::result::Result<Disks, String> {
    let mut disks = Vec::new();
    for name in DISK_NAMES {
        let found = moment.disks().find(|(_, disk)| disk.vm == vm && disk.name.as_str() == name);
        let (number, _) = found.ok_or_else(|| format!("the moment has no disk {name}"))?;
        let image = moment.image(number).map_err(|error| error.to_string())?;
        let mut bytes = vec![0; image.size_bytes() as usize];
        image.read_at(0, &mut bytes).await.map_err(|error| error.to_string())?;
        disks.push(bytes);
    }
    Ok(disks)
}

/// The VM runs here for good.
pub(crate) async fn commit(server: &Server, journal: JournalId) -> Result<()> {
    let (known, _) = server.put_in(journal, Event::Commit { at: server.now() }).await?;
    debug_assert!(matches!(known.standing.stage, Stage::Committed { .. }));
    Ok(())
}
