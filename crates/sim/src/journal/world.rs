//! One world: what happens in it is drawn step by step.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use env::Clock;
use journal::{ErrorKind, Flaw, Sequence};
use model::{Timestamp, VmId};

use super::{Broken, folder::SimDisk, guest::Guest, source::Source, target::Target};
use crate::{dice::Dice, trace::Trace};

/// A clock that goes on when the world says so, and may jump.
#[derive(Debug)]
struct WorldClock(AtomicI64);

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microseconds(self.0.load(Ordering::Relaxed))
    }
}

/// A world that follows from a seed.
pub(crate) struct World {
    pub(crate) dice: Dice,
    trace: Arc<Trace>,
    broken: Option<Broken>,
    clock: Arc<WorldClock>,
    pub(crate) guest: Guest,
    pub(crate) source_disk: Arc<SimDisk>,
    pub(crate) target_disk: Arc<SimDisk>,
    pub(crate) source: Option<Source>,
    pub(crate) target: Option<Target>,
    /// What the source has called durable.
    pub(crate) acknowledged: Sequence,
    /// What the target has called durable.
    pub(crate) shipped: Sequence,
    pub(crate) pins: BTreeMap<String, Sequence>,
    pub(crate) memory_bytes: u64,
    pub(crate) segment_age_ms: u64,
    /// How often a host dies, in a thousand.
    crash: u32,
    violation: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Arc<Trace>, broken: Option<Broken>) -> Self {
        let dice = Dice::new(seed);
        Self {
            clock: Arc::new(WorldClock(AtomicI64::new(1_767_225_600_000_000))),
            guest: Guest::new(VmId::from_random(dice.bytes())),
            source_disk: SimDisk::new(dice.fork()),
            target_disk: SimDisk::new(dice.fork()),
            source: None,
            target: None,
            acknowledged: Sequence(0),
            shipped: Sequence(0),
            pins: BTreeMap::new(),
            memory_bytes: *dice.pick(&[60_000, 120_000, 1 << 20]).unwrap_or(&60_000),
            segment_age_ms: *dice.pick(&[20, 200, 2000]).unwrap_or(&200),
            crash: dice.number(0..60) as u32,
            violation: None,
            dice,
            trace,
            broken,
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as _
    }

    pub(crate) fn flaw(&self) -> Option<Flaw> {
        self.broken.map(Broken::flaw)
    }

    pub(crate) fn say(&self, who: &str, what: impl Into<String>) {
        self.trace.add(who, what);
    }

    pub(crate) fn violated(&mut self, why: String) {
        self.say("checker", why.clone());
        self.violation.get_or_insert(why);
    }

    /// Something failed. In this world nothing rots, so damage is a mistake.
    pub(crate) fn failed(&mut self, who: &str, doing: &str, error: &journal::Error) {
        self.say(who, format!("{doing}: {error}"));
        if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::UnsupportedVersion) {
            self.violated(format!("{who}, {doing}: {error}"));
        }
    }

    /// Lives through the world; the rule that was broken, if one was.
    pub(crate) async fn run(mut self) -> Option<String> {
        for _ in 0..self.dice.number(50..700) {
            self.step().await;
            if self.violation.is_some() {
                return self.violation;
            }
        }
        self.end().await;
        self.violation
    }

    async fn step(&mut self) {
        self.clock.0.fetch_add(self.dice.number(0..20_000) as i64, Ordering::Relaxed);
        if self.source.is_none() && self.dice.chance(500) {
            self.start_source();
        }
        if self.target.is_none() && self.dice.chance(500) {
            self.start_target();
        }
        self.befall();
        match self.dice.number(0..100) {
            0..40 => self.write(),
            40..45 => self.checkpoint(),
            45..57 => self.flush(),
            57..68 => self.resync(),
            68..80 => self.ship(),
            80..85 => self.fold(),
            85..87 => self.merge(),
            87..92 => self.hold(),
            92..94 => self.add_disk(),
            _ => self.check(false).await,
        }
    }

    /// What comes upon hosts, processes and clocks.
    fn befall(&mut self) {
        if self.dice.chance(self.crash) {
            match self.dice.number(0..6) {
                0 => self.lose_source(true),
                1 => self.lose_source(false),
                2 => self.source_disk.die_after(self.dice.number(1..12)),
                3 => self.lose_target(true),
                4 => self.lose_target(false),
                _ => self.target_disk.die_after(self.dice.number(1..20)),
            }
        }
        if self.dice.chance(20) {
            let (full, fails) = (self.dice.chance(300), self.dice.number(0..200) as u32);
            let fails = if self.dice.chance(500) { fails } else { 0 };
            let disk = if self.dice.chance(500) { &self.source_disk } else { &self.target_disk };
            disk.set_weather(full, fails);
        }
        if self.dice.chance(5) {
            let jump = self.dice.number(0..7_200_000_000) as i64 - 3_600_000_000;
            self.clock.0.fetch_add(jump, Ordering::Relaxed);
            self.say("clock", "jumps");
        }
    }

    /// Everything comes to rest, and then everything must be there.
    async fn end(&mut self) {
        self.source_disk.set_weather(false, 0);
        self.target_disk.set_weather(false, 0);
        self.lose_source(true);
        self.lose_target(true);
        self.start_source();
        self.start_target();
        for _ in 0..500 {
            if self.violation.is_some() {
                return;
            }
            self.resync();
            self.flush();
            self.ship();
        }
        self.check(true).await;
        if !self.guest.torn.is_empty() {
            return self.violated("the guest's disks do not become whole".to_owned());
        }
        if self.shipped < self.acknowledged {
            return self.violated("what is durable at the source does not reach the target".to_owned());
        }
        self.merge();
        self.fold();
        if self.violation.is_none() {
            self.check(true).await;
        }
    }
}
