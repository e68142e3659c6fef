//! What a site answers to the site whose VM it keeps, in the steps in which the server does.

use std::sync::Arc;

use journal::{Part, Received, Replica, SegmentNumber, Sequence};
use model::{JournalId, Timestamp};
use recovery::{Action, Event, Stage, Standing, Step, step};

use super::{
    Broken, fail_over,
    network::{Progress, Question},
    server::{Failure, Kept, Result, Server, refused},
    site::KnownReplica,
};

impl KnownReplica {
    pub(crate) fn is_committed(&self) -> bool {
        matches!(self.standing.stage, Stage::Committed { .. })
    }
}

impl From<recovery::Refusal> for Failure {
    fn from(refusal: recovery::Refusal) -> Self {
        match refusal.is_fence() {
            true => Self::Fenced(refusal.to_string()),
            false => Self::Refused(refusal.to_string()),
        }
    }
}

fn of_journal(error: &journal::Error) -> Failure {
    match error.kind() {
        journal::ErrorKind::Fenced => Failure::Fenced(error.to_string()),
        _ => Failure::Refused(error.to_string()),
    }
}

impl Server {
    pub(crate) async fn answer(self: &Arc<Self>, journal: JournalId, question: Question) -> Result<Progress> {
        self.step().await;
        let answered = match question {
            Question::Offer { generation, start } => self.offer(journal, generation, start).await,
            Question::Parts(parts) => self.take(journal, parts).await,
            Question::Progress => self.progress(journal).await,
            Question::HandOver { through } => fail_over::take_over(self, journal, through).await,
            Question::End { delete } => self.source_ends(journal, delete).await,
        };
        self.step().await;
        answered
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.process.env().clock.now()
    }

    pub(crate) fn known(&self, journal: JournalId) -> Result<KnownReplica> {
        let known = self.site.catalog().replicas.get(&journal).cloned();
        known.ok_or_else(|| Failure::Refused(format!("there is no replica {journal} here")))
    }

    /// Puts an event into a replica's state machine. What comes out is durable; what is to be done then is the caller's.
    pub(crate) async fn put_in(
        &self,
        journal: JournalId,
        event: Event,
    ) -> Result<(KnownReplica, Vec<Action>)> {
        let kept = self.replica(journal)?;
        let _gate = kept.gate.lock().await;
        self.step().await;
        let mut known = self.known(journal)?;
        let Step { standing, actions } = step(&known.standing, event)?;
        known.standing = standing;
        self.step().await;
        self.put_replica(journal, known.clone());
        self.step().await;
        Ok((known, actions))
    }

    pub(crate) fn put_replica(&self, journal: JournalId, known: KnownReplica) {
        self.site.catalog().replicas.insert(journal, known);
    }

    async fn offer(
        self: &Arc<Self>,
        journal: JournalId,
        generation: u64,
        start: SegmentNumber,
    ) -> Result<Progress> {
        self.check_fence(generation)?;
        let _admission = self.admission.lock().await;
        self.step().await;
        if self.known(journal).is_ok() {
            let kept = self.replica(journal)?;
            self.step().await;
            let _gate = kept.gate.lock().await;
            let mut known = self.known(journal)?;
            known.standing = step(&known.standing, Event::Offered { generation })?.standing;
            self.step().await;
            self.put_replica(journal, known);
            return tell(&kept);
        }
        self.begin_replica(journal, generation, start).await
    }

    /// Refuses the source of a VM that was failed over to this site, whatever journal it offers.
    fn check_fence(&self, generation: u64) -> Result<()> {
        let fence = self.site.catalog().fence;
        match fence {
            Some(fence) if generation <= fence => {
                Err(Failure::Fenced(format!("generation {fence} runs here")))
            }
            _ => Ok(()),
        }
    }

    async fn begin_replica(
        self: &Arc<Self>,
        journal: JournalId,
        generation: u64,
        start: SegmentNumber,
    ) -> Result<Progress> {
        let others: Vec<_> = self.site.catalog().replicas.clone().into_iter().collect();
        let of_failover = others.iter().find_map(|(_, other)| other.standing.failover());
        if let Some(failover) = of_failover.filter(|failover| generation <= failover.generation) {
            return Err(Failure::Fenced(format!("generation {} has begun", failover.generation)));
        }
        if start > SegmentNumber(1) && !self.is_broken(Broken::BeginLate) {
            return refused("the journal no longer has its beginning");
        }
        let kept = self.take_up(journal)?;
        let _ = kept.replica.begin_at(start);
        self.step().await;
        self.put_replica(journal, KnownReplica { first: start, standing: Standing::new(generation) });
        self.say(format!("keeps a replica of {journal}, generation {generation}"));
        self.step().await;
        for (other, _) in others {
            drop(self.put_in(other, Event::SourceEnded { at: self.now() }).await);
        }
        tell(&kept)
    }

    /// Takes parts. What is acknowledged is durable.
    async fn take(&self, journal: JournalId, parts: Vec<Part>) -> Result<Progress> {
        let early = self.known(journal)?;
        let kept = self.replica(journal)?;
        self.step().await;
        let _gate = kept.gate.lock().await;
        self.step().await;
        let known = match self.is_broken(Broken::LookBeforeTurn) {
            true => early,
            // It may have been failed over while this waited.
            false => self.known(journal)?,
        };
        step(&known.standing, Event::PartsCame)?;
        self.check_newest(&known)?;
        self.check_own_vm(journal, known.standing.generation);
        self.step().await;
        let before = kept.replica.durable_through();
        receive(&kept.replica, &parts).map_err(|error| {
            self.world.check_damage("receiving", &error);
            of_journal(&error)
        })?;
        let through = kept.replica.durable_through();
        if through > before
            && let Ok(known) = self.known(journal)
            && known.standing.failover().is_some()
        {
            self.world.violated(format!("{through} of {journal} was taken after the VM was failed over"));
        }
        tell(&kept)
    }

    /// Refuses the source of a VM that was failed over to this site by another journal.
    fn check_newest(&self, known: &KnownReplica) -> Result<()> {
        let fence = self.site.catalog().fence;
        match self.is_broken(Broken::OtherReplicaUnfenced) {
            true => Ok(()),
            false => Ok(known.standing.check_newest(fence)?),
        }
    }

    /// Nothing older is taken where a newer generation of the VM is.
    fn check_own_vm(&self, journal: JournalId, generation: u64) {
        let own = self.site.catalog().vm.as_ref().map(|vm| vm.generation);
        if own.is_some_and(|own| own > generation) {
            self.world
                .violated(format!("parts of {journal} are taken where a newer generation of the VM is"));
        }
    }

    async fn progress(&self, journal: JournalId) -> Result<Progress> {
        let known = self.known(journal)?;
        if let Err(refusal) = step(&known.standing, Event::PartsCame)
            && refusal.is_fence()
        {
            return Err(refusal.into());
        }
        self.check_newest(&known)?;
        let kept = self.replica(journal)?;
        self.step().await;
        tell(&kept)
    }

    async fn source_ends(self: &Arc<Self>, journal: JournalId, delete: bool) -> Result<Progress> {
        let (known, _) = self.put_in(journal, Event::SourceEnded { at: self.now() }).await?;
        let nothing = Progress {
            wanted: journal::Position { segment: known.first, offset_bytes: 0 },
            durable_through: Sequence(0),
        };
        if delete && known.standing.failover().is_none() {
            self.remove_replica(journal).await?;
        }
        Ok(nothing)
    }

    /// Removes a replica that nobody uses, and all that it has.
    pub(crate) async fn remove_replica(self: &Arc<Self>, journal: JournalId) -> Result<()> {
        let _admission = self.admission.lock().await;
        let kept = self.replica(journal)?;
        let _gate = kept.gate.lock().await;
        self.step().await;
        let known = self.known(journal)?;
        let running_tests = self.site.catalog().tests.iter().filter(|test| test.journal == journal).count();
        step(&known.standing, Event::Delete { running_tests })?;
        self.step().await;
        {
            let mut catalog = self.site.catalog();
            catalog.replicas.remove(&journal);
        }
        self.kept().remove(&journal);
        self.site.host().remove_replica(journal);
        self.world.forget(journal);
        self.say(format!("deletes the replica {journal}"));
        Ok(())
    }

    pub(crate) fn refuse_unless_alive(&self) -> Result<()> {
        match self.process.is_dead() {
            true => refused("the server is dead"),
            false => Ok(()),
        }
    }
}

fn receive(replica: &Replica, parts: &[Part]) -> journal::Result<()> {
    let received = parts.iter().try_for_each(|part| match replica.receive(part) {
        Ok(Received::Gap { .. }) => Err(None),
        Ok(Received::Appended | Received::Duplicate) => Ok(()),
        Err(error) => Err(Some(error)),
    });
    let synced = replica.sync();
    match received {
        Err(Some(error)) => Err(error),
        _ => synced.map(drop),
    }
}

fn tell(kept: &Kept) -> Result<Progress> {
    let wanted = kept.replica.wanted().map_err(|error| of_journal(&error))?;
    Ok(Progress { wanted, durable_through: kept.replica.durable_through() })
}
