//! An image becomes a new VM at once: its disks read from the image until they are whole.

use std::{sync::Arc, time::Duration};

use api::{CreateVm, shell_word};
use catalog::Job;
use model::{
    DiskBus, DiskDefinition, DiskFormat, DiskName, ImageReference, JobKind, ReplicaReference, VmDefinition,
    VmName,
};
use protection::VmRestore;

use super::{
    new_vm::{self, Asked, Content, Dependence, ImageDisk, NewVm, Place},
    restore_vm::moment_and_name,
};
use crate::{
    failure::{Failure, Result},
    images::Source,
    replicas,
    site::Site,
    vms,
};

/// Lines a new VM up.
pub(crate) async fn submit(site: &Site, request: CreateVm) -> Result<Job> {
    let reference: ImageReference =
        request.reference.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
    let dependence = Dependence {
        hydrates: request.hydrate,
        rate_limit_bytes_per_second: request.rate_limit_bytes_per_second,
        wait_limit: Duration::from_secs(request.wait_limit_seconds),
    };
    let place = Place::choose(site, request.directory.as_deref())?;
    let (name, content, paths) = match reference {
        ImageReference::Point(_) | ImageReference::Snapshot(_) => {
            from_moment(site, &request, &place, dependence.wait_limit).await?
        }
        ImageReference::Replica(reference) if reference.disk.is_none() => {
            from_replica(site, &request, &reference, &place).await?
        }
        ImageReference::Replica(_) | ImageReference::File(_) => from_image(site, &request, &place).await?,
    };
    let asked = Asked {
        kind: if request.start { JobKind::Boot } else { JobKind::CreateVm },
        reference: request.reference,
        paths,
        format: DiskFormat::Qcow2,
        replace: false,
    };
    let new = NewVm {
        replaces: None,
        vm_id: place.vm_id,
        name,
        content,
        isolated: request.isolated,
        dependence: Some(dependence),
        start: request.start,
        test: None,
    };
    new.submit(site, place, asked).await
}

type Planned = (VmName, Content, Vec<std::path::PathBuf>);

/// The whole VM of a recovery point or a snapshot.
async fn from_moment(
    site: &Site,
    request: &CreateVm,
    place: &Place,
    wait_limit: Duration,
) -> Result<Planned> {
    if request.definition.is_some() {
        return Err(Failure::invalid("a recovery point or a snapshot tells itself what its VM is")
            .with_hint("leave the definition out, or change the VM afterwards"));
    }
    let (named, name) =
        moment_and_name(site, &request.reference, request.from_copy.as_deref(), request.name.as_deref())
            .await?;
    let point = named.point;
    let summary = &point.record.summary;
    let disks = VmRestore::dependent_disks(summary).into_iter().map(|disk| disk.name.clone());
    let order = VmRestore {
        point_id: summary.id,
        name: name.clone(),
        directory: place.directory.clone(),
        format: DiskFormat::Qcow2,
        keep_identity: request.keep_identity,
        replace: false,
        backing: Some(new_vm::backing(site, place.vm_id, disks, wait_limit)),
    };
    let paths = order.disk_paths(summary);
    Ok((name, Content::Point { point: Box::new(point), order }, paths))
}

/// The whole VM of a replica at a moment.
async fn from_replica(
    site: &Site,
    request: &CreateVm,
    reference: &ReplicaReference,
    place: &Place,
) -> Result<Planned> {
    if request.definition.is_some() || request.from_copy.is_some() {
        return Err(Failure::invalid("a replica tells itself what its VM is, and is in no copy of a vault")
            .with_hint("leave the definition and the copy out"));
    }
    let found = Arc::new(replicas::resolve(site, reference).await?);
    let name = match &request.name {
        Some(name) => name.parse().map_err(|error| Failure::invalid(format!("the VM's name: {error}")))?,
        None => found.replica.vm_name.clone(),
    };
    let mut definition = found.definition(site)?;
    definition.name = name.clone();
    if !request.keep_identity {
        definition.uuid = None;
        definition.networks.iter_mut().for_each(|network| network.mac = None);
    }
    let (content, paths) = new_vm::of_moment(found, definition, &place.directory)?;
    Ok((name, content, paths))
}

/// A VM of a definition, one disk of which is the image.
async fn from_image(site: &Site, request: &CreateVm, place: &Place) -> Result<Planned> {
    let mut definition = request.definition.clone().ok_or_else(|| {
        Failure::invalid("the image does not tell what the VM is").with_hint(format!(
            "say it: holdfast vm create NAME --from {} --memory 2GiB",
            shell_word(&request.reference)
        ))
    })?;
    if let Some(name) = &request.name {
        definition.name =
            name.parse().map_err(|error| Failure::invalid(format!("the VM's name: {error}")))?;
    }
    let disk = image_disk(&mut definition)?;
    // The others must be there, and all that can be checked of the VM is.
    let mut others = definition.clone();
    others.disks.retain(|other| other.name != disk);
    others = vms::complete_definition(others).await?;
    for completed in others.disks {
        definition
            .disks
            .iter_mut()
            .filter(|it| it.name == completed.name)
            .for_each(|it| it.format = completed.format);
    }
    let source = Source::resolve_one(site, &request.reference, request.from_copy.as_deref()).await?;
    let size_bytes = source.open_one(site).await?.image.size_bytes();
    let (_, source) = source
        .image_sources()?
        .into_iter()
        .next()
        .ok_or_else(|| Failure::not_found("the image has no disk"))?;
    let path = place.directory.join("0-disk.qcow2");
    let disks = vec![ImageDisk { name: disk, path: path.clone(), size_bytes, source }];
    Ok((definition.name.clone(), Content::Images { definition, disks, _held: None }, vec![path]))
}

/// The disk of a definition that the image becomes: its one disk without a path, or its only one.
fn image_disk(definition: &mut VmDefinition) -> Result<DiskName> {
    if definition.disks.is_empty() {
        let name: DiskName = "root".parse().map_err(|error| Failure::invalid(format!("{error}")))?;
        definition.disks.push(DiskDefinition {
            name: name.clone(),
            path: None,
            format: None,
            bus: DiskBus::default(),
            serial: None,
            iothread: false,
        });
        return Ok(name);
    }
    let mut open = definition.disks.iter().filter(|disk| disk.path.is_none());
    match (open.next(), open.next()) {
        (Some(disk), None) => Ok(disk.name.clone()),
        (Some(_), Some(_)) => Err(Failure::invalid("several disks of the definition have no path")
            .with_hint("leave out the path of the one disk that the image becomes")),
        (None, _) => Err(Failure::invalid("every disk of the definition has a path")
            .with_hint("leave out the path of the disk that the image becomes")),
    }
}
