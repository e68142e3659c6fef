//! What VMs were here before a failover has replaced them by themselves: kept until the failover is committed, then gone.

use std::path::{Path, PathBuf};

use api::ReplacedVmView;
use catalog::{KnownReplica, KnownVm, Origin, ReplacedVm};
use model::JournalId;
use recovery::Stage;

use crate::{
    dependents::{self, Owner},
    failure::{Failure, Result},
    site::Site,
    vms,
};

/// What a failover would replace.
pub(crate) async fn would_replace(
    site: &Site,
    vm: &KnownVm,
    journal_id: JournalId,
) -> Result<ReplacedVmView> {
    let replaced = ReplacedVm { journal_id, vm: vm.clone(), replaced_at: site.env.clock.now() };
    view(site, &replaced).await
}

/// What a failover has replaced, and that is kept until its commit.
pub(crate) async fn replaced_by(site: &Site, journal_id: JournalId) -> Result<Option<ReplacedVmView>> {
    match site.catalog.replaced_vm(journal_id).await? {
        Some(replaced) => view(site, &replaced).await.map(Some),
        None => Ok(None),
    }
}

async fn view(site: &Site, replaced: &ReplacedVm) -> Result<ReplacedVmView> {
    let goes = files_that_go(site, replaced).await?;
    let stays = vms::disk_paths(&replaced.vm).into_iter().filter(|path| !goes.contains(path));
    let shown = |path: PathBuf| path.display().to_string();
    Ok(ReplacedVmView {
        vm_name: replaced.vm.name.to_string(),
        disks_that_stay: stays.map(shown).collect(),
        disks_that_go: goes.into_iter().map(shown).collect(),
    })
}

/// The files of a VM that go once it is replaced for good: those of disks that this site has started it from, and that nobody else
/// has. A VM that somebody else starts keeps its files.
async fn files_that_go(site: &Site, replaced: &ReplacedVm) -> Result<Vec<PathBuf>> {
    let Origin::Managed { .. } = replaced.vm.origin else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for path in vms::disk_paths(&replaced.vm) {
        if path.exists() && !is_needed(site, &replaced.vm, &path).await? {
            files.push(path);
        }
    }
    Ok(files)
}

/// Whether another VM has a file, a disk with a name of its own is in it, or something reads from it.
async fn is_needed(site: &Site, old: &KnownVm, path: &Path) -> Result<bool> {
    // What takes its place has the same id.
    let is_old = |vm: &KnownVm| vm.id == old.id && vm.created_at == old.created_at;
    if site.catalog.vms().await?.iter().any(|vm| !is_old(vm) && vms::has_file(vm, path)) {
        return Ok(true);
    }
    if site.catalog.disks().await?.iter().any(|disk| disk.path == path) {
        return Ok(true);
    }
    let owners = Owner::all(&site.catalog).await?;
    let others = owners.iter().filter(|owner| !matches!(owner, Owner::Vm(vm) if is_old(vm)));
    Ok(others.into_iter().any(|owner| owner.reads(|source| dependents::is_file(source, path))))
}

/// Removes what a VM was before a failover that is committed by now. May be done again.
pub(super) async fn discard(site: &Site, known: &KnownReplica) -> Result<()> {
    if !matches!(known.standing.stage, Stage::Committed { .. }) {
        return Ok(());
    }
    let Some(replaced) = site.catalog.replaced_vm(known.journal_id).await? else { return Ok(()) };
    let own = site.directory.site_disks();
    for path in files_that_go(site, &replaced).await? {
        let failed = |error: std::io::Error| Failure::from_io(format!("removing {}", path.display()), &error);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {
                tracing::info!(vm = %known.vm_name, path = %path.display(), "a disk that was replaced is gone")
            }
        }
        // A directory that was there for these disks alone; one that holds more stays.
        if let Some(directory) = path.parent().filter(|directory| directory.parent() == Some(&own)) {
            let _ = std::fs::remove_dir(directory);
        }
    }
    site.catalog.remove_replaced_vm(known.journal_id).await?;
    Ok(())
}
