//! A VM that stands still for a moment, with nothing in flight.

use std::path::Path;

use hypervisor::{Error, ErrorKind, Result};

use crate::{
    guard::{Guard, Setup},
    ledger::Ledger,
    session::Session,
};

/// Does something while the virtual CPUs stand still and none of their I/O is in flight. A guard resumes them when everybody
/// else is dead. Runs to its end even when the caller is cancelled.
pub(super) async fn standing_still<W>(session: &Session, work: W) -> Result<()>
where
    W: Future<Output = Result<()>> + Send + 'static,
{
    let session = session.clone();
    let running = tokio::spawn(async move { run(&session, work).await });
    running.await.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Failed, "a VM could not be made to stand still: a defect of Holdfast")
            .with_source(error))
    })
}

async fn run(session: &Session, work: impl Future<Output = Result<()>>) -> Result<()> {
    let monitor = &session.monitor;
    if monitor.status().await? != "running" {
        return work.await; // it stands still already, and is somebody else's to resume
    }
    let path = session.ledger()?;
    let setup = Setup {
        agent: session.sockets.agent.clone(),
        monitors: session.sockets.monitors_for_others(),
        ledger: path.clone(),
    };
    note_paused(&path, true)?;
    let mut guard = Guard::start(&session.config.guard_command, &setup).await?;
    guard.pausing().await?;
    let done = match monitor.query("stop").await {
        Ok(_) => work.await,
        Err(error) => Err(error),
    };
    monitor.query("cont").await?; // else the guard goes on trying
    guard.resumed().await;
    note_paused(&path, guard.owes_resume())?;
    done
}

fn note_paused(path: &Path, paused: bool) -> Result<()> {
    Ledger::note(path, |ledger| ledger.paused = paused)
        .map_err(|source| Error::new(ErrorKind::Failed, "cannot write the ledger").with_source(source))
}
