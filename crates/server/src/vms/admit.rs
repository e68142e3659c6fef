//! A VM becomes known.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use api::{AddVm, Code};
use catalog::{KnownVm, Origin, ReplacedVm};
use model::{DiskDefinition, DiskName, JobKind, VmDefinition, VmId, VmName};

use super::definition;
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// How long a VM may take to answer when it becomes known.
const FIRST_LOOK_LIMIT: Duration = Duration::from_secs(20);

/// Makes a VM known: one that Holdfast starts, or one that runs already.
pub(crate) async fn add(site: &Site, request: AddVm) -> Result<KnownVm> {
    let name = request.name.as_deref().map(parse_name).transpose()?;
    let vm = match (request.definition, request.qmp) {
        (Some(_), None) if request.qmp_out_of_band.is_some() || request.agent.is_some() => {
            return Err(Failure::invalid(
                "a VM that Holdfast starts has sockets of its own; leave the others out",
            ));
        }
        (Some(definition), None) => managed(site, definition, name).await?,
        (None, Some(qmp)) => external(site, &qmp, request.qmp_out_of_band, request.agent, name).await?,
        _ => return Err(Failure::invalid("give either a definition or a QMP socket")),
    };
    let _admission = site.admission.lock().await;
    admit(site, &vm).await?;
    Ok(vm)
}

/// Adds a VM whose name, socket and disks no other has. The caller holds the admission.
pub(crate) async fn admit(site: &Site, vm: &KnownVm) -> Result<()> {
    if let Origin::External { qmp, .. } = &vm.origin {
        check_socket_free(site, qmp).await?;
    }
    check_name_free(site, &vm.name, vm.id).await?;
    check_paths_free(site, &disk_paths(vm)).await?;
    site.catalog.add_vm(vm).await?;
    tracing::info!(vm = %vm.name, id = %vm.id, "a VM is known");
    Ok(())
}

/// Makes a known VM another one under the same id. The caller holds the admission.
pub(crate) async fn replace(site: &Site, vm: &KnownVm, replaced: &ReplacedVm) -> Result<()> {
    if site.catalog.vm(vm.name.as_str()).await?.is_some_and(|named| named.id != vm.id) {
        return Err(name_taken(&vm.name));
    }
    check_paths_free(site, &disk_paths(vm)).await?;
    site.catalog.replace_vm(vm, replaced).await?;
    tracing::info!(vm = %vm.name, id = %vm.id, "a VM takes the place of what it was here before");
    Ok(())
}

fn name_taken(name: &VmName) -> Failure {
    Failure::conflict(format!("there is a VM {name} already"))
        .with_hint("choose another name: --name NAME, or vm add NAME")
}

/// Fails when another VM has the name, or a restore is about to give it to one.
pub(crate) async fn check_name_free(site: &Site, name: &VmName, vm_id: VmId) -> Result<()> {
    let restores = site.jobs.unfinished().into_iter().filter(|job| is_new_vm(job.kind));
    let is_restored =
        restores.into_iter().any(|job| job.vm_id != Some(vm_id) && job.subject == name.as_str());
    if is_restored || site.catalog.vm(name.as_str()).await?.is_some() {
        return Err(name_taken(name));
    }
    Ok(())
}

/// Whether jobs of a kind make a VM of the name that they are about.
fn is_new_vm(kind: JobKind) -> bool {
    matches!(
        kind,
        JobKind::RestoreVm
            | JobKind::Boot
            | JobKind::CreateVm
            | JobKind::TestFailover
            | JobKind::FailOver
            | JobKind::ChangePoint
    )
}

/// Fails when a VM has one of the files for a disk.
pub(crate) async fn check_paths_free(site: &Site, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        if let Some(owner) = owner_of(site, path).await? {
            return Err(Failure::conflict(format!("{} is a disk of the VM {}", path.display(), owner.name)));
        }
    }
    Ok(())
}

/// The VM that has a file for a disk, under whatever name.
pub(crate) async fn owner_of(site: &Site, path: &Path) -> Result<Option<KnownVm>> {
    Ok(site.catalog.vms().await?.into_iter().find(|vm| has_file(vm, path)))
}

/// Whether a VM has a file for a disk, under whatever name.
pub(crate) fn has_file(vm: &KnownVm, path: &Path) -> bool {
    let Some(file) = identity(path) else { return false };
    disk_paths(vm).iter().any(|path| identity(path) == Some(file))
}

/// Which of a VM's disks a file is, under whatever name.
pub(crate) fn disk_at(vm: &KnownVm, path: &Path) -> Option<DiskName> {
    let file = identity(path)?;
    let disks = super::known_definition(vm)?.disks.iter();
    let is_it = |disk: &&DiskDefinition| disk.path.as_deref().and_then(identity) == Some(file);
    disks.filter(is_it).map(|disk| disk.name.clone()).next()
}

/// What makes a file itself, whatever its name: symbolic and hard links have the same.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The files of a VM's disks, as far as they are known.
pub(crate) fn disk_paths(vm: &KnownVm) -> Vec<PathBuf> {
    let definition = super::known_definition(vm);
    definition.iter().flat_map(|definition| &definition.disks).filter_map(|disk| disk.path.clone()).collect()
}

async fn managed(site: &Site, definition: VmDefinition, name: Option<VmName>) -> Result<KnownVm> {
    let mut definition = definition::complete(definition).await?;
    if let Some(name) = name {
        definition.name = name;
    }
    let name = definition.name.clone();
    Ok(new_vm(site, name, Origin::Managed { definition }, None))
}

async fn external(
    site: &Site,
    qmp: &str,
    qmp_out_of_band: Option<String>,
    agent: Option<String>,
    name: Option<VmName>,
) -> Result<KnownVm> {
    let socket = |path: &str| match Path::new(path) {
        path if path.is_absolute() => Ok(path.to_owned()),
        path => Err(Failure::invalid(format!("the socket {} is not an absolute path", path.display()))),
    };
    let origin = Origin::External {
        qmp: socket(qmp)?,
        qmp_out_of_band: qmp_out_of_band.as_deref().map(socket).transpose()?,
        agent: agent.as_deref().map(socket).transpose()?,
    };
    // Until it has told its own, the VM is known by its socket.
    let provisional = match &name {
        Some(name) => name.clone(),
        None => parse_name(qmp)?,
    };
    let mut vm = new_vm(site, provisional, origin, None);
    let looked = tokio::time::timeout(FIRST_LOOK_LIMIT, site.hypervisor.inspect(&super::access(&vm))).await;
    let inspection = looked.map_err(|_| {
        Failure::new(
            Code::Unreachable,
            format!("{qmp} has not answered for {} s", FIRST_LOOK_LIMIT.as_secs()),
        )
    })??;
    vm.name = name.unwrap_or_else(|| inspection.definition.name.clone());
    vm.last_seen = Some(inspection.definition);
    Ok(vm)
}

async fn check_socket_free(site: &Site, socket: &Path) -> Result<()> {
    let has_it = |vm: &KnownVm| {
        matches!(&vm.origin, Origin::External { qmp, .. }
            if qmp == socket || identity(qmp).is_some_and(|file| identity(socket) == Some(file)))
    };
    match site.catalog.vms().await?.iter().find(|vm| has_it(vm)) {
        Some(vm) => {
            Err(Failure::conflict(format!("{} is the socket of the VM {}", socket.display(), vm.name)))
        }
        None => Ok(()),
    }
}

fn new_vm(site: &Site, name: VmName, origin: Origin, last_seen: Option<VmDefinition>) -> KnownVm {
    let id = VmId::from_random(env::random(&*site.env.entropy));
    let created_at = site.env.clock.now();
    KnownVm { id, name, origin, last_seen, dependent_disks: Vec::new(), created_at, half_restored: None }
}

fn parse_name(text: &str) -> Result<VmName> {
    text.parse().map_err(|error| Failure::invalid(format!("the VM's name: {error}")))
}
