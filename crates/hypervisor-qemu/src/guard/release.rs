//! Thawing and resuming a VM, patiently, by whoever is left alive.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::json;
use tokio::time::{self, Instant};

use crate::{
    agent::{self, Agent, FreezeState},
    qmp::{self, Qmp},
};

/// How long one command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two tries.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Thaws the guest's file systems where they are frozen; tries again until `patience` is over. Returns whether it thawed any.
///
/// # Errors
/// The last try's error.
pub(crate) async fn thaw(agent: &Path, patience: Duration) -> agent::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let outcome = thaw_once(agent, patience.min(COMMAND_TIMEOUT)).await;
        let retry = outcome.as_ref().is_err_and(|error| error.kind() != agent::ErrorKind::NoChannel);
        if !retry || Instant::now() >= deadline {
            return outcome;
        }
        time::sleep(RETRY_INTERVAL).await;
    }
}

async fn thaw_once(path: &Path, timeout: Duration) -> agent::Result<bool> {
    let mut agent = Agent::connect(path, timeout).await?;
    if agent.freeze_state(timeout).await? == FreezeState::Thawed {
        return Ok(false);
    }
    agent.thaw(timeout).await?;
    Ok(true)
}

/// Resumes a VM whose virtual CPUs we have stopped, through whichever monitor is free; tries again until `patience` is over.
/// Returns whether it stood still.
///
/// # Errors
/// The last try's error. A VM that is gone needs no resuming: that is no error.
pub(crate) async fn resume(monitors: &[PathBuf], patience: Duration) -> qmp::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let mut failure = None;
        for monitor in monitors {
            match resume_once(monitor).await {
                Ok(stood_still) => return Ok(stood_still),
                Err(error) if error.kind() == qmp::ErrorKind::Absent => {}
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            None => return Ok(false),
            Some(error) if Instant::now() >= deadline => return Err(error),
            Some(_) => time::sleep(RETRY_INTERVAL).await,
        }
    }
}

async fn resume_once(monitor: &Path) -> qmp::Result<bool> {
    let qmp = Qmp::connect(monitor).await?;
    let status = qmp.execute("query-status", json!({}), COMMAND_TIMEOUT).await?;
    let stands_still = status["status"] == "paused";
    if stands_still {
        qmp.execute("cont", json!({}), COMMAND_TIMEOUT).await?;
    }
    Ok(stands_still)
}
