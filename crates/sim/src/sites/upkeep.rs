//! What a server does for its replicas now and then; and tests of them.

use std::{sync::Arc, time::Duration};

use journal::{At, Retention};
use model::JournalId;
use recovery::{Event, step};

use super::{
    Broken, fail_over,
    server::{Failure, Result, Server, refused},
    site::KnownTest,
};

impl Server {
    pub(crate) async fn look_after_replicas(self: &Arc<Self>) {
        let known: Vec<_> = self.site.catalog().replicas.clone().into_iter().collect();
        for (journal, known) in known {
            self.step().await;
            if known.is_committed() {
                if self.site.catalog().tests.iter().all(|test| test.journal != journal) {
                    self.kept().remove(&journal);
                    self.world.forget(journal);
                }
                continue;
            }
            let Ok(kept) = self.replica(journal) else { continue };
            let _ = kept.replica.merge_indexes(); // it is tried again
            let window = Duration::from_millis(self.dice.number(0..20_000));
            let plan = kept.replica.plan_fold(&Retention { window, segment_bytes: None });
            if plan.segments > 0
                && let Err(error) = kept.replica.fold(&plan)
            {
                self.world.check_damage("folding", &error);
            }
        }
    }

    /// Makes a VM of a test, and keeps its moment.
    pub(crate) async fn test(self: &Arc<Self>, journal: JournalId) -> Result<()> {
        let known = self.known(journal)?;
        step(&known.standing, Event::Test)?;
        let kept = self.replica(journal)?;
        let moment = kept.replica.moment(self.site.vm_id, At::Latest);
        let moment = moment.map_err(|error| Failure::Refused(error.to_string()))?;
        let number = {
            let mut catalog = self.site.catalog();
            catalog.tests_given += 1;
            catalog.tests_given
        };
        self.step().await;
        // What it needs is pinned before anybody knows of it.
        if !self.is_broken(Broken::TestUnpinned) {
            let pinned = kept.replica.pin(&pin(number), moment.sequence());
            pinned.map_err(|error| Failure::Refused(error.to_string()))?;
        }
        self.step().await;
        // It may have been removed since, and another one of the journal begun.
        let _admission = self.admission.lock().await;
        let _gate = kept.gate.lock().await;
        step(&self.known(journal)?.standing, Event::Test)?;
        if !Arc::ptr_eq(&kept, &self.replica(journal)?) {
            return refused("the replica was deleted meanwhile");
        }
        let sequence = moment.sequence();
        self.site.catalog().tests.push(KnownTest { number, journal, sequence });
        self.say(format!("tests {journal} at {sequence}"));
        Ok(())
    }

    /// Looks at what a test's disks show.
    pub(crate) async fn look_at_tests(&self) {
        let tests = self.site.catalog().tests.clone();
        for test in tests {
            let Ok(kept) = self.replica(test.journal) else { continue };
            let looked = match kept.replica.moment(self.site.vm_id, At::Sequence(test.sequence)) {
                Ok(moment) => fail_over::read(self.site.vm_id, &moment).await,
                Err(error) => Err(error.to_string()),
            };
            let is_there = || self.site.catalog().tests.iter().any(|known| known.number == test.number);
            match looked {
                Ok(disks) => self.world.check_moment(test.journal, test.sequence, &disks, "a test"),
                Err(why) if is_there() && !self.process.is_dead() => {
                    self.world.violated(format!(
                        "a test at {} of {} cannot be read: {why}",
                        test.sequence, test.journal
                    ));
                }
                Err(_) => {}
            }
        }
    }

    pub(crate) async fn clean_up(&self, number: u64) -> Result<()> {
        let test = self.site.catalog().tests.iter().find(|test| test.number == number).cloned();
        let Some(test) = test else { return refused("there is no such test") };
        self.step().await;
        self.site.catalog().tests.retain(|known| known.number != number);
        self.step().await;
        if let Ok(kept) = self.replica(test.journal) {
            let _ = kept.replica.unpin(&pin(number)); // it keeps more than it has to
        }
        Ok(())
    }
}

fn pin(number: u64) -> String {
    format!("test-{number}")
}
