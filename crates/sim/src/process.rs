//! A process: it can die at any request, stand still for days and go on, and have a wrong clock.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use env::{Env, SeededEntropy, Threads};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{clock::SimClock, dice::Dice, trace::Trace};

/// How likely what befalls a process at each step, in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fate {
    pub(crate) crash: u32,
    pub(crate) pause: u32,
    pub(crate) clock_jump: u32,
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    clock: Arc<SimClock>,
    dice: Dice,
    fate: Fate,
    paused_until: Mutex<Instant>,
    /// Cancelled when the process is dead.
    dead: CancellationToken,
    trace: Arc<Trace>,
}

impl Process {
    pub(crate) fn new(name: String, start: Instant, dice: Dice, fate: Fate, trace: Arc<Trace>) -> Self {
        let clock = Arc::new(SimClock::new(start));
        let paused_until = Mutex::new(start);
        Self { name, clock, dice, fate, paused_until, dead: CancellationToken::new(), trace }
    }

    /// What the process sees of the world.
    pub(crate) fn env(&self) -> Env {
        Env {
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::new(SeededEntropy::new(self.dice.roll())),
            threads: Threads::Inline,
        }
    }

    /// A moment at which anything may happen to the process. Never returns in a dead one.
    pub(crate) async fn step(&self) {
        self.befall();
        loop {
            if self.dead.is_cancelled() {
                std::future::pending::<()>().await;
            }
            let until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Runs the process's work until it ends or the process dies. In a dead process everything stands where it stood.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.dead.run_until_cancelled(work).await
    }

    /// Lets the process do nothing for a while, from its next step on.
    pub(crate) fn stand_still(&self, pause: Duration) {
        self.trace.add(&self.name, format!("stands still for {} s", pause.as_secs()));
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + pause;
    }

    /// It dies now.
    pub(crate) fn kill(&self) {
        self.dead.cancel();
    }

    /// Whether it has died.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    fn befall(&self) {
        let Fate { crash, pause, clock_jump } = self.fate;
        if self.dice.chance(crash) {
            self.trace.add(&self.name, "dies");
            self.dead.cancel();
        } else if self.dice.chance(pause) {
            let most = [Duration::from_secs(90), HOUR, 3 * DAY];
            let pause = self.dice.duration(Duration::from_secs(1), *self.dice.pick(&most).unwrap_or(&HOUR));
            self.stand_still(pause);
        } else if self.dice.chance(clock_jump) {
            let (by, is_ahead) = (self.dice.duration(Duration::ZERO, 40 * DAY), self.dice.chance(500));
            self.trace.add(
                &self.name,
                format!("has a clock that is {} s {}", by.as_secs(), if is_ahead { "fast" } else { "slow" }),
            );
            self.clock.set_wrong(by, is_ahead);
        }
    }
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
