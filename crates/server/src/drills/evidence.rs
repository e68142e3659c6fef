//! What is seen of the VMs of a drill before they are removed: kept in files, so that it outlives the server.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
};

use catalog::KnownVm;
use futures::{StreamExt as _, stream};
use model::{PlanRunId, VmName};
use plan::{
    Run, VmFacts,
    drill::{Screenshot, Seen},
};

use crate::{
    failure::{Failure, Result},
    plans,
    site::Site,
    vms,
};

/// VMs that are looked at at once.
const VMS_AT_ONCE: usize = 8;

/// How much is kept of what a guest wrote to its serial port, in bytes.
const CONSOLE_BYTES: u64 = 16 << 10;

/// Larger pictures are not shown, nor more of them than this together, in bytes.
const PICTURES_BYTES_MAX: u64 = 32 << 20;

/// The files about a VM, by its place among the VMs of the run.
fn files(folder: &Path, place: usize) -> (PathBuf, PathBuf) {
    let number = place + 1;
    (folder.join(format!("{number}.png")), folder.join(format!("{number}.console")))
}

/// Looks at each VM of a run that has come up, well or not. What cannot be seen is missing, and nothing else.
pub(crate) async fn keep(site: &Site, id: PlanRunId, run: &Run) {
    let folder = site.directory.drill(id);
    if let Err(error) = std::fs::create_dir_all(&folder) {
        tracing::warn!(%error, folder = %folder.display(), "what is seen of a drill cannot be kept");
        return;
    }
    let looks = run.vms().iter().enumerate().map(|(place, (name, facts))| {
        let folder = &folder;
        async move {
            let Some(vm) = came_up(site, id, name, facts).await else { return };
            let (picture, console) = files(folder, place);
            vms::keep_screenshot(site, &vm, &picture).await;
            let written = site.hypervisor.console(&vms::access(&vm), CONSOLE_BYTES).await;
            let kept = written.map(|written| std::fs::write(&console, written));
            if let Ok(Err(error)) = kept {
                tracing::warn!(%error, vm = %vm.name, "the console of a drill could not be kept");
            }
        }
    });
    let looks: Vec<_> = looks.collect();
    stream::iter(looks).buffer_unordered(VMS_AT_ONCE).collect::<()>().await;
}

/// The VM that was made for one of the plan, also where it is not known to have come up.
async fn came_up(site: &Site, id: PlanRunId, name: &VmName, facts: &VmFacts) -> Option<KnownVm> {
    let known = match facts.vm_id {
        Some(vm_id) => site.catalog.vm(vm_id.as_str()).await,
        None => site.catalog.vm(&plans::test_name(id, name)).await,
    };
    known.ok().flatten()
}

/// What was kept of each VM of a run.
pub(super) fn of(site: &Site, id: PlanRunId, run: &Run) -> BTreeMap<VmName, Seen> {
    let folder = site.directory.drill(id);
    let seen = run.vms().keys().enumerate().map(|(place, name)| {
        let (picture, console) = files(&folder, place);
        let size_bytes = std::fs::metadata(&picture).map(|found| found.len()).ok();
        let file = picture.file_name().map(|file| file.to_string_lossy().into_owned());
        let screenshot = size_bytes.zip(file).map(|(size_bytes, file)| Screenshot { file, size_bytes });
        let console = read(&console, CONSOLE_BYTES).unwrap_or_default();
        (name.clone(), Seen { screenshot, console: String::from_utf8_lossy(&console).into_owned() })
    });
    seen.collect()
}

/// The pictures of a report, by their files, as many as one page can hold.
pub(super) fn pictures(
    site: &Site,
    report: &plan::drill::Report,
    id: PlanRunId,
) -> BTreeMap<String, Vec<u8>> {
    let folder = site.directory.drill(id);
    let mut left = PICTURES_BYTES_MAX;
    let files = report.vms.iter().filter_map(|vm| vm.screenshot.as_ref()).map(|picture| &picture.file);
    let pictures = files.filter_map(|file| {
        // The name comes from a document: it is one in the folder, or none.
        let name = Path::new(file).file_name().filter(|name| *name == file.as_str())?;
        let bytes = read(&folder.join(name), left).ok()?;
        left = left.saturating_sub(bytes.len() as u64);
        Some((file.clone(), bytes))
    });
    pictures.collect()
}

/// A whole file of at most so many bytes.
fn read(path: &Path, limit_bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Removes what was kept of a drill. May be asked for again.
pub(super) fn remove(site: &Site, id: PlanRunId) -> Result<()> {
    let folder = site.directory.drill(id);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::from_io(format!("removing {}", folder.display()), &error))
        }
        _ => Ok(()),
    }
}
