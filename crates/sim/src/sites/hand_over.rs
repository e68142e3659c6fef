//! A planned failover at the source: the VM is shut down, all of it goes to the other site, and that runs it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use journal::Sequence;
use replication::{Drain, Drained, Event, Record, Standing};
use tokio::time::Instant;

use super::{
    Broken,
    keeper::Keeping,
    network::Question,
    server::{Failure, Result, Server, refused},
};

const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// What the replication of the VM has come to.
struct Look {
    standing: Standing,
    durable_through: Option<Sequence>,
    tap: Option<u64>,
}

fn look(keeping: &Keeping) -> Look {
    let figures = keeping.figures().clone();
    Look { standing: figures.standing, durable_through: figures.durable_through, tap: *keeping.tap.borrow() }
}

fn keeping(server: &Server) -> Result<Arc<Keeping>> {
    server.keeping().clone().ok_or_else(|| Failure::Refused("the VM is not replicated".to_owned()))
}

/// Fails for a VM that the other site has taken over by itself.
fn check_not_taken(server: &Server) -> Result<()> {
    let catalog = server.site.catalog();
    let known = catalog.replication.as_ref();
    match known.filter(|known| known.fenced.is_some() && !known.is_handed_over) {
        Some(_) => refused("the other site has taken it over"),
        None => Ok(()),
    }
}

fn check(server: &Server, keeping: &Keeping) -> Result<()> {
    check_not_taken(server)?;
    match look(keeping).standing {
        Standing::Protected | Standing::VmStopped | Standing::Fenced(_) => Ok(()),
        standing => refused(format!("the other site lacks something: {standing:?}")),
    }
}

/// Hands the VM over.
pub(crate) async fn hand_over(server: &Arc<Server>) -> Result<()> {
    let keeping = keeping(server)?;
    check(server, &keeping)?;
    let _claim = server.claim()?;
    server.step().await;
    check(server, &keeping)?;
    if server.site.host().runs() {
        if look(&keeping).standing == Standing::VmStopped {
            return refused("it runs again, and nobody has taken what it writes");
        }
        // The guest writes until it has ended.
        tokio::time::sleep(server.dice.duration(Duration::ZERO, Duration::from_secs(3))).await;
        server.step().await;
        server.site.host().stop_vm();
        server.site.changed();
        server.say("has shut the VM down");
    }
    let through = drain(server, &keeping).await?;
    give(server, &keeping, through).await
}

async fn drain(server: &Server, keeping: &Keeping) -> Result<Option<Sequence>> {
    if !keeping.known.is_at_intervals {
        return wait_for_all(server, keeping).await;
    }
    keeping.lends_turn.store(true, Ordering::Relaxed);
    if look(keeping).standing == Standing::Protected {
        keeping.tell(Event::VmChanged);
    }
    let drained = wait_for_all(server, keeping).await;
    keeping.lends_turn.store(false, Ordering::Relaxed);
    drained
}

async fn wait_for_all(server: &Server, keeping: &Keeping) -> Result<Option<Sequence>> {
    let (mut drain, mut before, mut moved_at) = (Drain::default(), None, Instant::now());
    loop {
        let look = look(keeping);
        let there = match server.is_broken(Broken::HandOverEarly) {
            true => Some(Record(u64::MAX)),
            false => look.durable_through.map(|through| Record(through.0)),
        };
        match drain.next(&look.standing, look.tap, there) {
            Drained::AskLast { tap } => {
                server.step().await;
                let taken = server.site.host().taken_through(keeping.known.journal, tap);
                let (last, _) = taken.map_err(Failure::Refused)?;
                drain.note_last(tap, Record(last.0));
                continue;
            }
            Drained::Waiting => {}
            Drained::Through(last) => return Ok(Some(Sequence(last.0))),
            Drained::Over => return Ok(None),
            Drained::Lacking => {
                return refused(format!("the other site lacks something: {:?}", look.standing));
            }
        }
        if look.durable_through != before {
            (before, moved_at) = (look.durable_through, Instant::now());
        }
        if moved_at.elapsed() > STALL_LIMIT {
            return refused("the other site comes no further");
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        server.step().await;
    }
}

/// Has the other site run a VM of which it has everything.
async fn give(server: &Arc<Server>, keeping: &Keeping, through: Option<Sequence>) -> Result<()> {
    let (journal, why) = (keeping.known.journal, "it was handed over".to_owned());
    let known = server.site.catalog().replication.clone();
    let known = known.ok_or_else(|| Failure::Refused("the VM is not replicated".to_owned()))?;
    server.step().await;
    let fences_late = server.is_broken(Broken::AskBeforeFence);
    let was_fenced = known.fenced.is_some();
    if was_fenced {
        check_not_taken(server)?;
    } else if !fences_late {
        set_fenced(server, Some(&why));
    }
    server.step().await;
    if through.is_some() {
        server.site.truth().handed = Some(journal);
    }
    let asked = server.ask(journal, Question::HandOver { through: through.unwrap_or(Sequence(0)) }).await;
    server.step().await;
    server.say(format!("handing over through {through:?}: {asked:?}"));
    match asked {
        Ok(_) => {
            if fences_late {
                set_fenced(server, Some(&why));
            }
            server.site.truth().over = Some(keeping.known.generation);
            if !was_fenced {
                keeping.tell(Event::Fenced(why));
            }
            Ok(())
        }
        Err(Failure::Refused(refusal)) => {
            if !was_fenced {
                let mut catalog = server.site.catalog();
                if let Some(known) = &mut catalog.replication
                    && known.fenced.as_deref() == Some(&why)
                {
                    (known.fenced, known.is_handed_over) = (None, false);
                    server.site.truth().handed = None;
                }
            }
            refused(refusal)
        }
        Err(unknown) => {
            if server.is_broken(Broken::SilenceIsRefusal) {
                set_fenced(server, None);
            }
            Err(unknown)
        }
    }
}

fn set_fenced(server: &Server, why: Option<&str>) {
    if let Some(known) = &mut server.site.catalog().replication {
        (known.fenced, known.is_handed_over) = (why.map(str::to_owned), why.is_some());
    }
}
