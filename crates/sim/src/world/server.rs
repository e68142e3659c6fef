//! A server: opens the vault, works with it for a while, dies, and starts again.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use vault::Vault;

use super::World;
use crate::{dice::Dice, process::Process};

/// One server.
pub(crate) struct Server {
    pub(super) world: Arc<World>,
    pub(super) dice: Dice,
    name: String,
}

/// One of the things that a server does with an open vault.
pub(super) struct Work<'a> {
    pub(super) world: &'a World,
    pub(super) dice: Dice,
    pub(super) process: &'a Arc<Process>,
    pub(super) vault: Vault,
}

impl Server {
    pub(super) fn new(world: &Arc<World>, name: String) -> Self {
        Self { world: Arc::clone(world), dice: world.dice.fork(), name }
    }

    /// Works until the time is over.
    pub(super) async fn run(self, time: Duration) {
        let until = Instant::now() + time;
        let mut lives = 0;
        while Instant::now() < until && !self.world.is_over() {
            lives += 1;
            let process = self.world.frail_process(&format!("{}.{lives}", self.name));
            // Two hands of one process share its handle.
            process.run(Box::pin(self.live(&process, until))).await;
            sleep(self.dice.duration(Duration::from_secs(1), Duration::from_secs(200))).await;
        }
    }

    async fn live(&self, process: &Arc<Process>, until: Instant) {
        while Instant::now() < until && !self.world.is_over() {
            let vault = match self.world.open(process).await {
                Ok(vault) => vault,
                Err(error) => {
                    self.world.trace.add(&process.name, format!("cannot open the vault: {error}"));
                    sleep(Duration::from_secs(20)).await;
                    continue;
                }
            };
            let hand = || Work { world: &self.world, dice: self.dice.fork(), process, vault: vault.clone() };
            let (first, second) = (hand(), hand());
            let pieces = self.dice.number(1..6);
            if self.dice.chance(300) {
                tokio::join!(first.run(pieces, until), second.run(pieces, until));
            } else {
                first.run(pieces, until).await;
            }
        }
    }
}

impl Work<'_> {
    async fn run(&self, pieces: u64, until: Instant) {
        for _ in 0..pieces {
            if Instant::now() >= until || self.world.is_over() {
                return;
            }
            match self.dice.number(0..18) {
                0..7 => Box::pin(self.back_up()).await,
                7..11 => Box::pin(self.change_points()).await,
                11..14 => Box::pin(self.collect()).await,
                14..16 => Box::pin(self.copy()).await,
                _ => Box::pin(self.restore_any()).await,
            }
            sleep(self.dice.duration(Duration::ZERO, Duration::from_secs(40))).await;
        }
    }

    pub(super) fn note(&self, what: impl Into<String>) {
        self.world.trace.add(&self.process.name, what);
    }
}
