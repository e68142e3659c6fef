//! A recovery point becomes a new VM, whole at once, or a VM goes back to one.

use api::{RestoreVmRequest, shell_word};
use catalog::{Job, KnownVm};
use model::{DiskFormat, JobKind, PointSelector, VmName};
use protection::VmRestore;

use super::{
    new_vm::{Asked, Content, NewVm, Place},
    restore_in_place::{InPlace, Stop},
};
use crate::{
    failure::{Failure, Result},
    points::{self, FoundPoint, Named},
    site::Site,
};

/// Lines up the restore of a VM.
pub(crate) async fn submit(site: &Site, request: RestoreVmRequest) -> Result<Job> {
    let (Named { point, selector, .. }, name) =
        moment_and_name(site, &request.reference, request.from_copy.as_deref(), request.name.as_deref())
            .await?;
    if request.replace
        && let Some(vm) = site.catalog.vm(name.as_str()).await?
    {
        return in_place(site, vm, point, selector, &request).await;
    }
    super::check_in_place_only(request.no_safety_point, request.dry_run, request.stop)?;
    let place = Place::choose(site, request.directory.as_deref())?;
    let order = VmRestore {
        point_id: point.record.summary.id,
        name: name.clone(),
        directory: place.directory.clone(),
        format: request.format.unwrap_or(DiskFormat::Qcow2),
        keep_identity: request.keep_identity,
        replace: request.replace,
        backing: None,
    };
    let asked = Asked {
        kind: JobKind::RestoreVm,
        reference: request.reference,
        paths: order.disk_paths(&point.record.summary),
        format: order.format,
        replace: order.replace,
    };
    let new = NewVm {
        replaces: None,
        vm_id: place.vm_id,
        name,
        content: Content::Point { point: Box::new(point), order },
        isolated: false,
        dependence: None,
        start: request.start,
        test: None,
    };
    new.submit(site, place, asked).await
}

/// The point or snapshot that a reference names as a whole, and the name of the VM that it becomes.
pub(super) async fn moment_and_name(
    site: &Site,
    reference: &str,
    from_copy: Option<&str>,
    name: Option<&str>,
) -> Result<(Named, VmName)> {
    let named = points::resolve_named(site, reference, from_copy).await?;
    if named.disk.is_some() {
        return Err(Failure::invalid(format!("{reference} is a disk")).with_hint(format!(
            "leave the disk out, or restore it alone: holdfast restore disk {} --to FILE",
            shell_word(reference)
        )));
    }
    let name = match name {
        Some(name) => name.parse().map_err(|error| Failure::invalid(format!("the VM's name: {error}")))?,
        None => named.point.record.summary.vm_name.clone(),
    };
    Ok((named, name))
}

/// Lines up the restore of a VM that is known, as itself.
async fn in_place(
    site: &Site,
    vm: KnownVm,
    point: FoundPoint,
    selector: PointSelector,
    request: &RestoreVmRequest,
) -> Result<Job> {
    if request.directory.is_some() || request.format.is_some() {
        let detail =
            format!("there is a VM {} already, whose disks can only be overwritten where they are", vm.name);
        return Err(Failure::conflict(detail)
            .with_hint("name a VM that is new, or leave directory and format out to take this one back"));
    }
    let restore = InPlace {
        vm,
        point,
        selector,
        disk: None,
        no_safety_point: request.no_safety_point,
        dry_run: request.dry_run,
        start: request.start,
        stop: Stop::wanted(request.stop, request.force),
    };
    let _admission = site.admission.lock().await;
    restore.submit(site).await
}
