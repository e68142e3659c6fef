//! What is durable in the journal goes to the other site, in order, from where it says.

use std::{sync::Arc, time::Duration};

use journal::{ErrorKind, Position, SegmentNumber};
use replication::{Event, pause};

use super::{
    keeper::{Keeping, tap},
    network::{Progress, Question},
    server::{Failure, Server},
};

const PARTS_WAIT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

pub(crate) async fn run(server: Arc<Server>, keeping: Arc<Keeping>) {
    let (mut failures, mut ships) = (0, keeping.ships.subscribe());
    loop {
        ships.wait_for(|ships| *ships).await.ok();
        let failure = tokio::select! {
            biased;
            failure = send(&server, &keeping, &mut failures) => failure,
            _ = ships.wait_for(|ships| !*ships) => continue,
        };
        server.say(format!("sends no more: {failure:?}"));
        if let Failure::Fenced(why) = failure {
            keeping.tell(Event::Fenced(why));
            return;
        }
        failures += 1;
        tokio::time::sleep(pause(failures, FIRST_PAUSE, LONGEST_PAUSE)).await;
    }
}

/// Sends until something is in the way.
async fn send(server: &Arc<Server>, keeping: &Keeping, failures: &mut u32) -> Failure {
    match try_send(server, keeping, failures).await {
        Ok(never) => never,
        Err(failure) => failure,
    }
}

async fn try_send(
    server: &Arc<Server>,
    keeping: &Keeping,
    failures: &mut u32,
) -> super::server::Result<Failure> {
    let journal = keeping.known.journal;
    server.step().await;
    let life = match *keeping.tap.borrow() {
        Some(life) => Some(life),
        None => server.site.host().has_journal(journal).then_some(0),
    };
    let life = match life {
        Some(0) => tap(server, keeping).map_err(Failure::Refused)?,
        Some(life) => life,
        None => {
            let mut taps = keeping.tap.subscribe();
            match taps.wait_for(Option::is_some).await.map(|tap| *tap) {
                Ok(Some(life)) => life,
                _ => return Err(Failure::Unknown),
            }
        }
    };
    let source = server.site.host().tap_of(journal, life).map(|tap| tap.journal.clone());
    let source = source.map_err(Failure::Refused)?;
    let mut released = source.start().segment;
    let offer = Question::Offer { generation: keeping.known.generation, start: released };
    let progress = server.ask(journal, offer).await?;
    let mut wanted = acknowledged(server, keeping, &source, &mut released, progress)?;
    let mut changes = server.site.watch();
    loop {
        *failures = 0;
        server.step().await;
        let most_bytes = server.dice.number(1..20_000);
        let parts = source.parts(wanted, most_bytes).map_err(|error| {
            if error.kind() == ErrorKind::Corrupt {
                server.world.violated(format!("the journal {journal} cannot be read: {error}"));
            }
            Failure::Refused(error.to_string())
        })?;
        if server.site.host().tap_of(journal, life).is_err() {
            return Err(Failure::Refused("the tap is gone".to_owned()));
        }
        if parts.is_empty() {
            changes.mark_unchanged();
            if tokio::time::timeout(PARTS_WAIT, changes.changed()).await.is_ok() {
                continue;
            }
        }
        let question = if parts.is_empty() { Question::Progress } else { Question::Parts(parts) };
        let progress = server.ask(journal, question).await?;
        wanted = acknowledged(server, keeping, &source, &mut released, progress)?;
    }
}

/// Everything before what is wanted is durable there: it goes here.
fn acknowledged(
    server: &Server,
    keeping: &Keeping,
    source: &journal::Journal,
    released: &mut SegmentNumber,
    progress: Progress,
) -> super::server::Result<Position> {
    let durable = progress.durable_through;
    server.world.note_durable_there(keeping.known.journal, durable);
    let mut figures = keeping.figures();
    figures.durable_through = figures.durable_through.max(Some(durable));
    drop(figures);
    if progress.wanted.segment > *released {
        source.release(progress.wanted.segment).map_err(|error| Failure::Refused(error.to_string()))?;
        *released = progress.wanted.segment;
    }
    Ok(progress.wanted)
}
