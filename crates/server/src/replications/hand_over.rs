//! A VM is handed over: it has ended here, the other site gets all that it wrote, and runs it.
//!
//! Before the other site is asked, it is durable here that the VM must not run any more. Only a refusal takes that back: of
//! an answer that does not come nobody knows what it was.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use api::{Code, HandedOverView, ProofView, shell_word};
use catalog::{KnownReplication, KnownVm};
use journal::Sequence;
use peer::{ErrorKind, Patience, replicas::HandOver};
use replication::{Drain, Drained, Event, Record, Standing};
use tokio::time::{Instant, sleep, timeout};

use super::{Told, find, view::standing_unkept};
use crate::{
    failure::{Failure, Result},
    jobs::JobMonitor,
    peers,
    site::Site,
};

/// How often is looked how far the other site is.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long the other site may come no further.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// How long the other site may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// What the replication of a VM has come to.
struct Look {
    standing: Standing,
    durable_through: Option<Sequence>,
    tap: Option<tap::Client>,
}

async fn look(site: &Site, vm: &KnownVm) -> Result<Look> {
    let known = find(site, vm).await?;
    let looked = site.replications.with(vm.id, |handle| {
        let figures = handle.figures.lock().unwrap_or_else(PoisonError::into_inner);
        Look {
            standing: figures.standing.clone(),
            durable_through: figures.progress.map(|progress| progress.durable_through),
            tap: handle.tap.borrow().clone(),
        }
    });
    let unkept = || Look { standing: standing_unkept(&known), durable_through: None, tap: None };
    Ok(looked.unwrap_or_else(unkept))
}

/// The process that has taken what the VM wrote.
pub(super) fn tap_of(site: &Site, vm: &KnownVm) -> Option<tap::Client> {
    site.replications.with(vm.id, |handle| handle.tap.borrow().clone()).flatten()
}

/// Fails unless everything that the VM writes is taken, or it has ended.
pub(crate) async fn check(site: &Site, vm: &KnownVm) -> Result<()> {
    check_not_taken(vm, &find(site, vm).await?)?;
    match look(site, vm).await?.standing {
        Standing::Protected | Standing::VmStopped | Standing::Fenced(_) => Ok(()),
        standing => Err(lacking(vm, &standing)),
    }
}

/// Fails for a VM that the other site has taken over by itself: nobody hands it over any more.
fn check_not_taken(vm: &KnownVm, known: &KnownReplication) -> Result<()> {
    let Some(why) = known.fenced.as_ref().filter(|_| !known.is_handed_over) else { return Ok(()) };
    let detail =
        format!("the VM {} was not handed over: {} has taken it over ({why})", vm.name, known.peer_name);
    let bring_back = format!(
        "it runs there; to have it back, ask there: holdfast failover reprotect {0}, and holdfast failover failback {0}",
        shell_word(vm.name.as_str())
    );
    Err(Failure::new(Code::Fenced, detail).with_hint(bring_back))
}

/// Fails unless everything is taken that a VM writes which runs. One that has ended and runs again may have written meanwhile.
pub(crate) async fn check_running(site: &Site, vm: &KnownVm) -> Result<()> {
    match look(site, vm).await?.standing {
        Standing::Protected | Standing::Fenced(_) => Ok(()),
        standing => Err(lacking(vm, &standing)),
    }
}

fn lacking(vm: &KnownVm, standing: &Standing) -> Failure {
    let name = shell_word(vm.name.as_str());
    let how = match standing {
        Standing::Degraded(why) => why.clone(),
        Standing::Paused => "its replication is paused".to_owned(),
        Standing::Protected => "it runs again".to_owned(),
        Standing::VmStopped => "it runs again, or what held its journal has ended".to_owned(),
        _ => "it is still being copied".to_owned(),
    };
    Failure::conflict(format!("the other site lacks something of the VM {}: {how}", vm.name))
        .with_hint(format!("have it run until it is protected: holdfast replication status {name}"))
}

/// Waits until the other site durably has everything of a VM that has ended, and returns the last record; none of a VM that
/// was handed over before or taken over, which had come to that then.
pub(crate) async fn drain(site: &Site, vm: &KnownVm, monitor: &JobMonitor) -> Result<Option<Sequence>> {
    monitor.phase("sending what is left");
    let _lent = lend_turn(site, vm).await?;
    let (mut drain, mut before, mut moved_at) = (Drain::default(), None, Instant::now());
    loop {
        let look = look(site, vm).await?;
        let process = look.tap.as_ref().map(|tap| u64::from(tap.process_id()));
        let there = look.durable_through.map(|through| Record(through.0));
        match (drain.next(&look.standing, process, there), &look.tap) {
            (Drained::AskLast { tap: process }, Some(tap)) => {
                let status = tap.status().await;
                let status = status.map_err(|error| Failure::of(Code::Conflict, &error, error.guidance()))?;
                // What comes after it is a mark: nothing writes.
                drain.note_last(process, Record(status.usage.taken_through.0));
                continue;
            }
            (Drained::Through(last), _) => return Ok(Some(Sequence(last.0))),
            (Drained::Over, _) => return Ok(None),
            (Drained::Lacking, _) => return Err(lacking(vm, &look.standing)),
            (Drained::Waiting | Drained::AskLast { .. }, _) => {}
        }
        if look.durable_through != before {
            (before, moved_at) = (look.durable_through, Instant::now());
        }
        if moved_at.elapsed() > STALL_LIMIT {
            return Err(Failure::new(
                Code::Unreachable,
                "the other site comes no further, and the VM has ended",
            )
            .with_hint(
                "ask again when the other site is reached, or start the VM again: nothing was handed over",
            ));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// The VM's turn is lent to its epochs, as long as this lives.
struct LentTurn(Arc<AtomicBool>);

impl Drop for LentTurn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// At intervals the VM has written something that only one more epoch brings, and whoever hands it over has its turn.
async fn lend_turn(site: &Site, vm: &KnownVm) -> Result<Option<LentTurn>> {
    if find(site, vm).await?.settings.interval_seconds.is_none() {
        return Ok(None);
    }
    let lent = site.replications.with(vm.id, |handle| {
        handle.lends_turn.store(true, Ordering::Relaxed);
        let figures = handle.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if figures.standing == Standing::Protected {
            // A keeper that has ended needs not be told.
            handle.told.send(Told::Event(Event::VmChanged)).ok();
        }
        LentTurn(Arc::clone(&handle.lends_turn))
    });
    Ok(lent)
}

/// Has the other site run a VM of which it has everything.
pub(crate) async fn give(
    site: &Site,
    vm: &KnownVm,
    through: Option<Sequence>,
    proof: Option<ProofView>,
) -> Result<HandedOverView> {
    let known = find(site, vm).await?;
    let peer = peers::find(site, known.peer_id.as_str()).await?;
    let client = site.peers.client(&peer, Patience::NONE)?;
    let client = client.ok_or_else(|| Failure::conflict(format!("the site {} has no address", peer.name)))?;
    let why = format!("it was handed over to {}", peer.name);
    let was_fenced = known.fenced.is_some();
    if was_fenced {
        check_not_taken(vm, &known)?;
    } else {
        // Nobody is just about to forget it.
        let _admission = site.admission.lock().await;
        site.catalog.set_handed_over(vm.id, &why).await?;
    }
    let request = HandOver { through: through.unwrap_or(Sequence(0)) };
    let asked = timeout(ANSWER_LIMIT, client.hand_over(known.journal_id, request)).await;
    let taken = match asked {
        Ok(Ok(taken)) => taken,
        Ok(Err(error)) if is_refusal(error.kind()) => {
            if !was_fenced {
                site.catalog.lift_fence(vm.id, &why).await?;
            }
            return Err(Failure::from(error).during(&format!("handing {} over to {}", vm.name, peer.name)));
        }
        Ok(Err(_)) | Err(_) => {
            let name = shell_word(vm.name.as_str());
            let detail = format!("it is not known whether {} has taken the VM {} over", peer.name, vm.name);
            return Err(Failure::new(Code::Unreachable, detail).with_hint(format!(
                "ask again: holdfast failover planned {name}; until then it does not run here"
            )));
        }
    };
    if !was_fenced {
        site.replications.with(vm.id, |handle| handle.told.send(Told::Event(Event::Fenced(why))).is_ok());
    }
    tracing::warn!(vm = %vm.name, site = %peer.name, "a VM was handed over");
    Ok(HandedOverView {
        vm: vm.name.to_string(),
        site: peer.name.to_string(),
        through: through.map(|through| through.0),
        proof,
        job_there: taken.job,
    })
}

/// Whether the other site has said that it did nothing.
fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Denied
            | ErrorKind::Invalid
            | ErrorKind::Version
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Damaged
            | ErrorKind::NoSpace
            | ErrorKind::Busy
    )
}
