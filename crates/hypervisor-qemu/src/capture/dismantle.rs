//! Takes down what a capture has put into a QEMU, found by name, from the top of the graph to its bottom.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use hypervisor::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::moment;
use crate::{
    config::QemuConfig, export_server, ledger::Ledger, monitor::Monitor, names, session::Session,
    topology::Topology,
};

/// How long QEMU may take to let go of something.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes everything down and returns what was there, a sentence each. The device goes back to the node that is below the
/// filter *now*: another program may have put an overlay there meanwhile.
pub(super) async fn dismantle(session: &Session) -> Result<Vec<String>> {
    let monitor = &session.monitor;
    let mut done = Vec::new();
    let exports = remove_exports(monitor, names::is_of_capture).await?;
    note(&mut done, exports, "exports");
    export_server::stop_unused(session).await?;
    note(&mut done, cancel_jobs(monitor, names::is_of_capture).await?, "block jobs");
    remove_nodes(monitor, |node| names::is(names::probe, node)).await?;
    note(&mut done, detach_filters(session).await?, "filters");
    remove_nodes(monitor, |node| names::is(names::filter, node)).await?;
    note(&mut done, remove_nodes(monitor, |node| names::is(names::overlay, node)).await?, "overlays");
    remove_nodes(monitor, |node| names::is(names::shield, node)).await?;
    dismiss_creations(monitor).await?;
    remove_nodes(monitor, |node| names::is(names::scratch, node)).await?;
    Ok(done)
}

fn note(done: &mut Vec<String>, count: usize, what: &str) {
    if count > 0 {
        done.push(format!("removed {count} {what} of a capture"));
    }
}

fn field<'a>(list: &'a Value, name: &'static str) -> impl Iterator<Item = &'a str> {
    list.as_array().into_iter().flatten().filter_map(move |entry| entry[name].as_str())
}

async fn list(
    monitor: &Monitor,
    query: &str,
    id: &'static str,
    is_wanted: fn(&str) -> bool,
) -> Result<Vec<String>> {
    let all = monitor.query(query).await?;
    Ok(field(&all, id).filter(|id| is_wanted(id)).map(str::to_owned).collect())
}

/// Removes the exports of these names; returns how many there were.
pub(crate) async fn remove_exports(monitor: &Monitor, is_wanted: fn(&str) -> bool) -> Result<usize> {
    let exports = list(monitor, "query-block-exports", "id", is_wanted).await?;
    for id in &exports {
        monitor.execute("block-export-del", json!({"id": id, "mode": "hard"})).await?;
    }
    wait_until_none(monitor, "query-block-exports", "id", is_wanted).await?;
    Ok(exports.len())
}

/// Waits until a query lists nothing of these names any more.
async fn wait_until_none(
    monitor: &Monitor,
    query: &str,
    id: &'static str,
    is_wanted: fn(&str) -> bool,
) -> Result<()> {
    let mut wait = monitor.wait(RELEASE_TIMEOUT);
    loop {
        let left = list(monitor, query, id, is_wanted).await?;
        if left.is_empty() {
            return Ok(());
        }
        if !wait.again().await {
            return Err(Error::new(
                ErrorKind::Failed,
                format!("QEMU does not let go of {}", left.join(", ")),
            ));
        }
    }
}

/// Ends the block jobs of these names; returns how many there were.
pub(crate) async fn cancel_jobs(monitor: &Monitor, is_wanted: fn(&str) -> bool) -> Result<usize> {
    let jobs = list(monitor, "query-block-jobs", "device", is_wanted).await?;
    for id in &jobs {
        let cancelled = monitor.execute("block-job-cancel", json!({"device": id, "force": true})).await;
        if let Err(error) = cancelled
            && error.kind() != ErrorKind::Failed
        {
            return Err(error); // else it has ended by itself
        }
    }
    wait_until_none(monitor, "query-block-jobs", "device", is_wanted).await?;
    Ok(jobs.len())
}

/// Forgets jobs that formatted scratch files and that nobody has waited for.
async fn dismiss_creations(monitor: &Monitor) -> Result<()> {
    let jobs = monitor.query("query-jobs").await?;
    for id in field(&jobs, "id").filter(|id| names::is(names::creation, id)) {
        monitor.execute("job-dismiss", json!({"id": id})).await?;
    }
    Ok(())
}

async fn nodes(monitor: &Monitor, is_wanted: fn(&str) -> bool) -> Result<Vec<String>> {
    let all = monitor.execute("query-named-block-nodes", json!({"flat": true})).await?;
    Ok(field(&all, "node-name").filter(|node| is_wanted(node)).map(str::to_owned).collect())
}

/// Removes the nodes of these names. QEMU may still be letting go of one: tries again until it has.
pub(crate) async fn remove_nodes(monitor: &Monitor, is_wanted: fn(&str) -> bool) -> Result<usize> {
    let mut wait = monitor.wait(RELEASE_TIMEOUT);
    let mut count = 0;
    loop {
        let mut refusal = None;
        for node in nodes(monitor, is_wanted).await? {
            match monitor.execute("blockdev-del", json!({"node-name": node})).await {
                Ok(_) => count += 1,
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            None => return Ok(count),
            Some(error) if error.kind() != ErrorKind::Failed || !wait.again().await => return Err(error),
            Some(_) => {}
        }
    }
}

async fn detach_filters(session: &Session) -> Result<usize> {
    if nodes(&session.monitor, |node| names::is(names::filter, node)).await?.is_empty() {
        return Ok(0);
    }
    let topology = Topology::read(&session.monitor, &session.vm).await?;
    let mut count = 0;
    for disk in &topology.disks {
        if !names::is(names::filter, &disk.root_node) {
            continue;
        }
        let below = disk.below_captures.as_deref().ok_or_else(|| {
            let context = format!("QEMU does not say what the filter of the disk {} stands on", disk.name);
            Error::new(ErrorKind::Failed, context)
        })?;
        moment::attach(&session.monitor, &disk.device, &disk.root_node, below).await?;
        count += 1;
    }
    Ok(count)
}

/// Removes the files of captures: those that the ledger names, and those in the scratch directory that are named so.
pub(super) fn remove_files(config: &QemuConfig, vm: &hypervisor::VmAccess) -> Result<Vec<String>> {
    let ledger = Ledger::read(&config.ledger(vm.vm_id));
    let mut files: Vec<PathBuf> = ledger.map(|ledger| ledger.files).unwrap_or_default();
    let prefix = QemuConfig::scratch_prefix(vm.vm_id);
    for entry in fs::read_dir(&config.scratch_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            files.push(entry.path());
        }
    }
    let mut count = 0;
    for file in files {
        count += usize::from(remove_file(&file)?);
    }
    let mut done = Vec::new();
    note(&mut done, count, "scratch files");
    Ok(done)
}

/// Removes a file; returns whether there was one.
fn remove_file(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => {
            Err(Error::new(ErrorKind::Failed, format!("cannot remove {}", path.display()))
                .with_source(source))
        }
    }
}
