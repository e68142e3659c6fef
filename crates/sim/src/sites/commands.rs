//! What operators ask for, at any moment.

use std::{sync::Arc, time::Duration};

use journal::Sequence;
use model::JournalId;
use replication::{Event, Standing, Wish};
use tokio::time::timeout;

use super::{
    Broken, fail_over,
    hand_over::hand_over,
    keeper,
    network::Question,
    server::{Failure, Result, Server, refused},
    site::KnownReplication,
};

/// How long it may take to tell the other site.
const TELL_LIMIT: Duration = Duration::from_secs(15);

/// What an operator may ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    Start,
    Stop,
    Replicate,
    Pause,
    Resume,
    EndReplication {
        delete: bool,
    },
    Planned,
    Unplanned {
        newest: bool,
    },
    ChangePoint,
    Commit,
    Test,
    CleanUp,
    DeleteReplica,
    /// The VM of a site that must not have it go on is removed there, with its replication.
    Retire,
}

/// Asks, and does not wait.
pub(crate) fn ask(server: &Arc<Server>, command: Command) {
    let asked = Arc::clone(server);
    server.spawn(async move {
        let done = asked.carry_out(command).await;
        asked.say(format!("{command:?}: {done:?}"));
    });
}

impl Server {
    pub(crate) async fn carry_out(self: &Arc<Self>, command: Command) -> Result<()> {
        self.step().await;
        match command {
            Command::Start => {
                let _claim = self.claim()?;
                if self.site.truth().is_overridden {
                    return refused("nobody wants that, though it would be done");
                }
                fail_over::start(self).await
            }
            Command::Stop => {
                let _claim = self.claim()?;
                self.step().await;
                self.site.host().stop_vm();
                self.site.changed();
                Ok(())
            }
            Command::Replicate => self.replicate().await,
            Command::Pause => self.want(Wish::Pause).await,
            Command::Resume => self.want(Wish::Replicate).await,
            Command::EndReplication { delete } => self.end_replication(delete).await,
            Command::Planned => hand_over(self).await,
            Command::Unplanned { newest } => {
                let (journal, chosen) = self.choose(newest)?;
                fail_over::unplanned(self, journal, chosen).await
            }
            Command::ChangePoint => {
                let (journal, chosen) = self.choose(false)?;
                fail_over::change_point(self, journal, chosen).await
            }
            Command::Commit => fail_over::commit(self, self.choose(true)?.0).await,
            Command::Test => self.test(self.choose(true)?.0).await,
            Command::CleanUp => {
                let number = self.site.catalog().tests.first().map(|test| test.number);
                self.clean_up(number.unwrap_or_default()).await
            }
            Command::DeleteReplica => self.remove_replica(self.choose(true)?.0).await,
            Command::Retire => self.retire().await,
        }
    }

    /// A replica that is not committed, mostly the newest; and one of its moments, or none for the latest.
    fn choose(&self, newest: bool) -> Result<(JournalId, Option<Sequence>)> {
        let catalog = self.site.catalog();
        let open = catalog.replicas.iter().filter(|(_, known)| !known.is_committed());
        let Some((journal, _)) = open.max_by_key(|(_, known)| known.standing.generation) else {
            return refused("there is no replica here");
        };
        let (journal, vm) = (*journal, self.site.vm_id);
        drop(catalog);
        if newest {
            return Ok((journal, None));
        }
        let kept = self.replica(journal)?;
        let reach = kept.replica.status().map_or(Sequence(0), |status| status.reaches_back_to);
        let Some(whole) = kept.replica.newest_whole(vm) else { return refused("no moment is whole") };
        let chosen = self.dice.number(reach.0..whole.0.max(reach.0) + 1);
        Ok((journal, Some(Sequence(chosen))))
    }

    async fn replicate(self: &Arc<Self>) -> Result<()> {
        let _admission = self.admission.lock().await;
        self.step().await;
        let journal = JournalId::from_random(self.dice.bytes());
        let generation = {
            let mut catalog = self.site.catalog();
            if catalog.vm.is_none() || catalog.replication.is_some() {
                return refused("there is nothing to replicate, or it is replicated");
            }
            let is_uncommitted =
                catalog.replicas.values().any(|known| known.standing.uncommitted().is_some());
            if is_uncommitted && !self.is_broken(Broken::ReplicateUncommitted) {
                return refused("its failover is not committed");
            }
            // A VM that was failed over to this site is written by right of that.
            let generation = catalog.fence.unwrap_or(1);
            catalog.replication = Some(KnownReplication {
                journal,
                generation,
                is_paused: false,
                is_at_intervals: self.world.is_at_intervals(journal),
                trusted: None,
                fenced: None,
                is_handed_over: false,
                ends: None,
            });
            generation
        };
        self.say(format!("replicates by {journal}, generation {generation}"));
        self.step().await;
        keeper::begin(self);
        Ok(())
    }

    async fn want(&self, wish: Wish) -> Result<()> {
        let _admission = self.admission.lock().await;
        self.step().await;
        {
            let mut catalog = self.site.catalog();
            let Some(known) = &mut catalog.replication else { return refused("it is not replicated") };
            if known.ends.is_some() {
                return refused("it is being ended");
            }
            if known.fenced.is_some() && wish == Wish::Replicate {
                return refused("it must not be replicated");
            }
            known.is_paused = wish == Wish::Pause;
        }
        self.step().await;
        let Some(keeping) = self.keeping().clone() else { return Ok(()) };
        let mut figures = keeping.figures();
        figures.standing = match wish {
            Wish::Pause => Standing::Paused,
            Wish::Replicate if figures.standing == Standing::Paused => Standing::Starting,
            Wish::Replicate => figures.standing.clone(),
        };
        drop(figures);
        keeping.tell(Event::Want(wish));
        Ok(())
    }

    pub(crate) async fn end_replication(self: &Arc<Self>, delete: bool) -> Result<()> {
        let known = {
            let _admission = self.admission.lock().await;
            self.step().await;
            let mut catalog = self.site.catalog();
            let Some(known) = &mut catalog.replication else { return refused("it is not replicated") };
            (known.is_paused, known.ends) = (true, Some(delete));
            known.clone()
        };
        self.step().await;
        keeper::end(self);
        self.site.host().break_mirror();
        self.site.host().remove_journal(known.journal);
        self.site.changed();
        self.step().await;
        let told = timeout(TELL_LIMIT, self.ask(known.journal, Question::End { delete })).await;
        self.step().await;
        {
            let mut catalog = self.site.catalog();
            let fenced = catalog.fenced().map(str::to_owned);
            if fenced != known.fenced && !self.is_broken(Broken::StopForgetsFence) {
                return refused("the VM was taken over meanwhile");
            }
            catalog.replication.take_if(|it| it.journal == known.journal);
        }
        // Who ends what is fenced wants the VM here all the same.
        if known.fenced.is_some() {
            self.site.truth().is_overridden = true;
        }
        match told {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Failure::Unknown),
        }
    }

    /// What is left of a VM that runs at the other site is removed.
    async fn retire(self: &Arc<Self>) -> Result<()> {
        let is_over = self.site.catalog().fenced().is_some() || self.site.truth().is_overridden;
        if !is_over {
            return refused("it may run here");
        }
        {
            let _claim = self.claim()?;
            self.step().await;
            self.site.host().stop_vm();
            self.site.changed();
        }
        if self.site.catalog().replication.is_some() {
            drop(self.end_replication(false).await);
        }
        let _claim = self.claim()?;
        self.step().await;
        let mut catalog = self.site.catalog();
        if catalog.replication.is_some() || self.site.host().runs() {
            return refused("it is in use");
        }
        catalog.vm = None;
        drop(catalog);
        self.site.host().vm = None;
        let mut truth = self.site.truth();
        (truth.handed, truth.is_overridden) = (None, false);
        drop(truth);
        self.say("has removed the VM");
        Ok(())
    }
}
