//! Calls between the sites: a question, and an answer that may not come.

use std::{sync::Arc, time::Duration};

use journal::{Part, Position, SegmentNumber, Sequence};
use model::JournalId;

use super::{
    server::{Failure, Result, Server},
    site::Place,
};

/// How long an answer is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// What a site asks of the other.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    Offer { generation: u64, start: SegmentNumber },
    Parts(Vec<Part>),
    Progress,
    HandOver { through: Sequence },
    End { delete: bool },
}

/// How far a replica is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) wanted: Position,
    pub(crate) durable_through: Sequence,
}

/// How the network is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) is_parted: bool,
    /// In a thousand.
    pub(crate) loses: u32,
    pub(crate) doubles: u32,
    pub(crate) delays: u32,
}

impl Server {
    /// Asks the other site. It is told what was answered, or nothing.
    pub(crate) async fn ask(self: &Arc<Self>, journal: JournalId, question: Question) -> Result<Progress> {
        let (world, place) = (Arc::clone(&self.world), self.site.place);
        let (to, weather) = (1 - place, world.weather());
        let dice = self.dice.fork();
        if dice.chance(weather.doubles) {
            let (world, question, late) = (Arc::clone(&world), question.clone(), delay(&dice, 1000));
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                drop(answer(&world, to, journal, question).await);
            });
        }
        let (early, late) = (delay(&dice, weather.delays), delay(&dice, weather.delays));
        let is_lost = |world: &super::world::World| world.weather().is_parted || dice.chance(weather.loses);
        // The question goes on its way, whether anybody waits for the answer or not.
        let lost_there = is_lost(&world);
        let asked = {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                tokio::time::sleep(early).await;
                if lost_there { None } else { answer(&world, to, journal, question).await }
            })
        };
        let answered = tokio::time::timeout(ANSWER_LIMIT, async {
            let answered = asked.await.ok().flatten();
            tokio::time::sleep(late).await;
            answered
        });
        match answered.await {
            Ok(Some(answered)) if !is_lost(&world) => answered,
            _ => Err(Failure::Unknown),
        }
    }
}

/// What a server that is alive answers, unless it dies of it.
async fn answer(
    world: &super::world::World,
    to: Place,
    journal: JournalId,
    question: Question,
) -> Option<Result<Progress>> {
    let server = world.site(to).server()?;
    let process = Arc::clone(&server.process);
    process.run(server.answer(journal, question)).await
}

/// Mostly some milliseconds; so many in a thousand may take longer than anybody waits.
fn delay(dice: &crate::dice::Dice, often: u32) -> Duration {
    let most = if dice.chance(often) { 90_000 } else { 40 };
    dice.duration(Duration::from_millis(1), Duration::from_millis(most))
}
