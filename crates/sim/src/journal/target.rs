//! What happens on the host that keeps the replica.

use std::{sync::Arc, time::Duration};

use env::Threads;
use image::DiskImage;
use journal::{At, ErrorKind, Moment, Part, Received, Replica, Retention, Sequence};

use super::world::World;

/// The replica's process, while it lives.
pub(crate) struct Target {
    pub(crate) replica: Replica,
    /// Moments that somebody reads.
    held: Vec<Moment>,
    /// Parts on their way.
    underway: Vec<Part>,
}

impl World {
    /// Starts the replica's process, and checks that it has what was acknowledged.
    pub(crate) fn start_target(&mut self) {
        let folder = self.target_disk.folder();
        let opened = match self.flaw() {
            Some(flaw) => Replica::open_with_flaw(folder, Threads::Inline, flaw),
            None => Replica::open(folder, Threads::Inline),
        };
        match opened {
            Ok(replica) => {
                let durable = replica.durable_through();
                self.say("target", format!("starts, durable through {durable}"));
                if durable < self.shipped {
                    let shipped = self.shipped;
                    return self.violated(format!("{shipped} was durable at the target, now {durable} is"));
                }
                self.target = Some(Target { replica, held: Vec::new(), underway: Vec::new() });
            }
            Err(error) => {
                self.failed("target", "starting", &error);
                self.lose_target(self.target_disk.is_dead());
            }
        }
    }

    pub(crate) fn lose_target(&mut self, host_crashes: bool) {
        self.say("target", if host_crashes { "host crashes" } else { "process dies" });
        self.target = None;
        if host_crashes {
            self.target_disk.crash();
        }
    }

    fn target_failed(&mut self, doing: &str, error: &journal::Error) {
        self.failed("target", doing, error);
        if self.target_disk.is_dead() {
            self.lose_target(true);
        }
    }

    /// Ships some parts, out of order and twice where it comes so.
    pub(crate) fn ship(&mut self) {
        let (Some(source), Some(target)) = (&self.source, &mut self.target) else { return };
        let wanted = match target.replica.wanted() {
            Ok(wanted) => wanted,
            Err(error) => return self.target_failed("looking for its end", &error),
        };
        match source.journal.parts(wanted, self.dice.number(1..8192)) {
            Ok(parts) => target.underway.extend(parts),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                return self.violated(format!("the source cannot be read: {error}"));
            }
            Err(error) => return self.failed("source", "reading parts", &error),
        }
        if self.dice.chance(100) && target.underway.len() > 1 {
            let (from, to) = (self.dice.number(0..2) as usize, target.underway.len() - 1);
            target.underway.swap(from.min(to), to);
        }
        for part in std::mem::take(&mut target.underway) {
            let received = target.replica.receive(&part);
            if self.dice.chance(50) {
                target.underway.push(part);
            }
            match received {
                Ok(Received::Appended | Received::Duplicate | Received::Gap { .. }) => {}
                Err(error) => return self.target_failed("receiving", &error),
            }
        }
        if self.dice.chance(700) {
            self.sync();
        }
    }

    fn sync(&mut self) {
        let Some(target) = &self.target else { return };
        match target.replica.sync() {
            Ok(through) => {
                self.shipped = self.shipped.max(through);
                self.say("target", format!("durable through {through}"));
                if let Some(source) = &self.source
                    && self.dice.chance(500)
                    && let Ok(wanted) = target.replica.wanted()
                    && let Err(error) = source.journal.release(wanted.segment)
                {
                    self.failed("source", "releasing", &error);
                }
            }
            Err(error) => self.target_failed("syncing", &error),
        }
    }

    pub(crate) fn fold(&mut self) {
        let Some(target) = &self.target else { return };
        let window = Duration::from_millis(self.dice.number(0..20) * self.segment_age_ms);
        let segment_bytes = self.dice.chance(300).then(|| self.dice.number(0..20_000));
        let plan = target.replica.plan_fold(&Retention { window, segment_bytes });
        match target.replica.fold(&plan) {
            Ok(folded) => self.say("target", format!("folded to {}", folded.reaches_back_to)),
            Err(error) => self.target_failed("folding", &error),
        }
    }

    pub(crate) fn merge(&mut self) {
        let Some(target) = &self.target else { return };
        match target.replica.merge_indexes() {
            Ok(count) => self.say("target", format!("made {count} indexes")),
            Err(error) => self.target_failed("merging", &error),
        }
    }

    /// Somebody holds a moment, or lets one go; by name, or as a reader.
    pub(crate) fn hold(&mut self) {
        let reach = self.reach();
        let Some(target) = &mut self.target else { return };
        if self.dice.chance(400) {
            target.held.pop();
            if let Some(name) = self.dice.pick(&["drill", "restore"])
                && target.replica.unpin(name).is_ok()
            {
                self.pins.remove(*name);
            }
            return;
        }
        let durable = target.replica.durable_through();
        let known: Vec<Sequence> = self.guest.shown.range(reach..=durable).map(|(at, _)| *at).collect();
        let Some(&at) = self.dice.pick(&known) else { return };
        match target.replica.moment(self.guest.vm, At::Sequence(at)) {
            Ok(moment) => target.held.push(moment),
            Err(error) => return self.violated(format!("record {at} cannot be held: {error}")),
        }
        if self.dice.chance(300)
            && let Some(name) = self.dice.pick(&["drill", "restore"])
        {
            match target.replica.pin(name, at) {
                Ok(()) => drop(self.pins.insert((*name).to_owned(), at)),
                // Whether it is pinned is not known.
                Err(error) => {
                    self.pins.remove(*name);
                    self.target_failed("pinning", &error);
                }
            }
        }
        self.say("target", format!("holds {at}"));
    }

    fn reach(&self) -> Sequence {
        let status = self.target.as_ref().and_then(|target| target.replica.status());
        status.map_or(Sequence(0), |status| status.reaches_back_to)
    }

    /// Looks at moments: some, or all of them.
    pub(crate) async fn check(&mut self, all: bool) {
        let reach = self.reach();
        let Some(target) = &self.target else { return };
        let durable = target.replica.durable_through();
        for (name, at) in &self.pins {
            if *at < reach {
                return self
                    .violated(format!("pin {name} at {at} was folded: the replica begins at {reach}"));
            }
        }
        let mut moments: Vec<Sequence> = (reach.0..=durable.0).map(Sequence).collect();
        let held: Vec<Moment> = target.held.clone();
        if !all {
            let few = (0..3).filter_map(|_| self.dice.pick(&moments).copied()).collect();
            moments = few;
        }
        for moment in held {
            if let Err(why) = self.look(&moment).await {
                return self.failed_look(&why);
            }
        }
        for at in moments.into_iter().filter(|at| *at > Sequence(0)) {
            let Some(target) = &self.target else { return };
            let shown = self.guest.shown.get(&at).cloned();
            match (target.replica.moment(self.guest.vm, At::Sequence(at)), shown) {
                (Ok(moment), Some(_)) => {
                    if let Err(why) = self.look(&moment).await {
                        return self.failed_look(&why);
                    }
                }
                (Ok(_), None) => {
                    return self.violated(format!("record {at} is shown, and the VM was not whole"));
                }
                (Err(error), Some(_)) => {
                    return self.violated(format!("record {at} is not shown: {error}"));
                }
                (Err(error), None) if matches!(error.kind(), ErrorKind::NotWhole | ErrorKind::NotFound) => {}
                (Err(error), None) => return self.violated(format!("record {at}: {error}")),
            }
        }
    }

    fn failed_look(&mut self, why: &str) {
        if !self.target_disk.is_dead() {
            self.violated(why.to_owned());
        }
    }

    /// Compares a moment with what the guest's disks held.
    async fn look(&self, moment: &Moment) -> Result<(), String> {
        let at = moment.sequence();
        let Some(shown) = self.guest.shown.get(&at).map(Arc::clone) else { return Ok(()) };
        let disks: Vec<_> = moment.disks().map(|(disk, _)| disk).collect();
        if !disks.iter().eq(shown.keys()) {
            return Err(format!("record {at} shows other disks than the guest had"));
        }
        for (disk, bytes) in shown.iter() {
            let image = moment.image(*disk).map_err(|error| format!("record {at}: {error}"))?;
            let mut read = vec![0; image.size_bytes() as usize];
            image.read_at(0, &mut read).await.map_err(|error| format!("record {at}: {error}"))?;
            if read != *bytes {
                let place = read.iter().zip(bytes).position(|(read, written)| read != written);
                return Err(format!(
                    "record {at} differs on disk {disk} at byte {}",
                    place.unwrap_or_default()
                ));
            }
        }
        Ok(())
    }
}
