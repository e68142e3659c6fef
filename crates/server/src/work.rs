//! What jobs do. Each submits its job after everything that can be known at once is checked; each checks its vault once
//! more when its turn comes, before it touches anything; but a snapshot, whose moment must not wait for that, right after it.

mod back_up_replica;
mod backup;
mod collect;
mod copy;
mod copy_snapshot;
mod create_disk;
mod create_vm;
mod export;
mod failover;
mod failover_test;
mod group_failover;
mod group_hand_over;
mod hand_over;
mod hydrate;
mod new_vm;
mod overall;
mod repair;
mod restore_disk;
mod restore_files;
mod restore_in_place;
mod restore_vm;
mod revert;
mod seal_upload;
mod snapshot;
mod test_point;
pub(crate) mod test_runbook;
mod verify;

use std::path::{Path, PathBuf};

use catalog::{Job, KnownVault};
use model::DiskFormat;
use protection::{HeldPoint, RestoreSource};
use serde::{Deserialize, Serialize};
use vault::Vault;

pub(crate) use self::{
    back_up_replica::submit as back_up_replica,
    backup::{is_by_policy, submit as backup, submit_by_policy as backup_by_policy},
    collect::{collect_snapshot_store, submit as collect, submit_for_snapshots as collect_for_snapshots},
    copy::{subject as copy_subject, submit as copy},
    copy_snapshot::{go_on as go_on_copying, submit as copy_snapshot},
    create_disk::{clean_up as clean_up_disk, submit as create_disk},
    create_vm::submit as create_vm,
    export::submit as export,
    failover::{
        change_point, commit, could_take_over, could_take_over_as, plan as plan_failover, plan_change,
        submit as fail_over, take_over,
    },
    failover_test::{
        clean_up as clean_up_tests, clean_up_dead as clean_up_failover_test, selector as moment_selector,
        submit as test_failover,
    },
    group_failover::{
        change_point as change_group_point, clean_up as clean_up_group_tests, commit as commit_group,
        fail_over as fail_over_group, plan as plan_group_failover, test as test_group_failover,
    },
    group_hand_over::submit as hand_over_group,
    hand_over::submit as hand_over,
    hydrate::{of as hydration_of, submit as hydrate},
    repair::submit as repair,
    restore_disk::submit as restore_disk,
    restore_files::submit as restore_files,
    restore_in_place::{needs_snapshot, stops_its_vm},
    restore_vm::submit as restore_vm,
    revert::submit as revert,
    seal_upload::submit as seal_upload,
    snapshot::{submit as snapshot, submit_by_policy as snapshot_by_policy},
    test_point::{submit as test_point, take_down as take_down_test, view as point_test_view},
    verify::submit as verify,
};
use crate::{
    failure::{Failure, Result},
    jobs::JobMonitor,
    points::FoundPoint,
    site::Site,
};

/// What the request document of a restore holds.
#[derive(Debug, Serialize)]
struct RestoreDocument {
    reference: String,
    /// The files that it writes.
    paths: Vec<PathBuf>,
    format: DiskFormat,
    replace: bool,
    /// A directory that exists for this restore alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    own_directory: Option<PathBuf>,
}

/// What of a request document matters to whoever cleans up after the job.
#[derive(Debug, Deserialize)]
struct Written {
    paths: Vec<PathBuf>,
    #[serde(default)]
    own_directory: Option<PathBuf>,
}

/// The files that a restore or an export wrote or was to write.
pub(crate) fn written_paths(job: &Job) -> Vec<PathBuf> {
    document(job).map(|document| document.paths).unwrap_or_default()
}

/// The directory that existed for this restore alone.
pub(crate) fn own_directory(job: &Job) -> Option<PathBuf> {
    document(job)?.own_directory
}

fn document(job: &Job) -> Option<Written> {
    serde_json::from_value(job.request.clone()).ok()
}

/// The job's vault, certainly open.
async fn open_vault(site: &Site, known: &KnownVault, monitor: &JobMonitor) -> Result<Vault> {
    monitor.phase(format!("opening the vault {}", known.name));
    site.vaults.open_checked(known).await
}

/// Where a restore reads from, certainly open: a vault, a copy of it, or a snapshot whose moment is held.
async fn open_source(site: &Site, point: &FoundPoint, monitor: &JobMonitor) -> Result<RestoreSource> {
    match point.held() {
        Some(held) => Ok(RestoreSource::Held(Box::new(HeldPoint {
            summary: held.record.summary.clone(),
            definition: held.record.definition.clone(),
            images: held.images(),
        }))),
        None => Ok(RestoreSource::Vault(open_vault_of(site, point, monitor).await?)),
    }
}

/// The vault that a point is in, or the copy of it that is read instead, certainly open.
async fn open_vault_of(site: &Site, point: &FoundPoint, monitor: &JobMonitor) -> Result<Vault> {
    monitor.phase(match &point.copy {
        None => format!("opening the vault {}", point.vault.name),
        Some(copy) => format!("opening the copy {}", copy.name),
    });
    site.vaults.open_source(&point.vault, point.copy.as_ref()).await
}

/// The file that is to be written, once it is known that it may be.
fn target_file(path: &str, replace: bool) -> Result<PathBuf> {
    let path = absolute(path)?;
    if path.file_name().is_none() || path.is_dir() {
        return Err(Failure::invalid(format!("{} is a directory", path.display()))
            .with_hint("name the file that the disk becomes"));
    }
    if !replace {
        check_absent(std::slice::from_ref(&path))?;
    }
    Ok(path)
}

/// Fails for what only a restore in place can do.
fn check_in_place_only(no_safety_point: bool, dry_run: bool, stop: bool) -> Result<()> {
    if no_safety_point || dry_run || stop {
        let detail = "a safety point, a dry run and stopping a VM are for restores that overwrite the disks of a known VM";
        return Err(Failure::invalid(detail).with_hint("leave them out"));
    }
    Ok(())
}

pub(crate) fn make_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path)
        .map_err(|error| Failure::from_io(format!("the directory {}", path.display()), &error))
}

pub(crate) fn absolute(path: &str) -> Result<PathBuf> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err(Failure::invalid(format!("{} is not an absolute path", path.display())));
    }
    Ok(path.to_owned())
}

/// Fails when there is a file that must not be replaced.
pub(crate) fn check_absent(paths: &[PathBuf]) -> Result<()> {
    match paths.iter().find(|path| std::fs::symlink_metadata(path).is_ok()) {
        Some(path) => Err(Failure::conflict(format!("{} exists", path.display()))
            .with_hint("name another place, or replace what is there with --replace")),
        None => Ok(()),
    }
}

/// Fails when another unfinished job writes one of these files.
pub(crate) fn check_unclaimed(site: &Site, paths: &[PathBuf]) -> Result<()> {
    for job in site.jobs.unfinished() {
        if let Some(path) = written_paths(&job).iter().find(|path| paths.contains(path)) {
            return Err(Failure::conflict(format!("job {} is writing {} already", job.id, path.display())));
        }
    }
    Ok(())
}

fn document_of(request: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(request).unwrap_or_default()
}
