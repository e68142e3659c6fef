//! A VM is built and becomes known, whole or reading from an image.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use api::{JobResult, RestoredVmView};
use catalog::{DependentDisk, FailoverTest, ImageSource, Job, KnownVm, Origin, ReplacedVm};
use image_formats::NbdBacking;
use model::{
    ByteCount, DiskFormat, DiskName, JobKind, NetworkKind, PointId, VaultId, VmDefinition, VmId, VmName,
};
use protection::{Backing, Monitor, NewOverlay, RestoredDisk, RestoredVm, VmRestore};

use super::{RestoreDocument, absolute, check_absent, check_unclaimed, document_of, hydrate, open_source};
use crate::{
    backing::export_name,
    dependents::Owner,
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome, WorkFailure},
    points::FoundPoint,
    replicas::{FoundMoment, directory_in},
    site::Site,
    vms,
};

/// A VM that is to be built.
pub(super) struct NewVm {
    pub(super) vm_id: VmId,
    pub(super) name: VmName,
    pub(super) content: Content,
    /// Let the guest reach nothing over its networks.
    pub(super) isolated: bool,
    /// How its disks read from what they are built from; none where they are whole at once.
    pub(super) dependence: Option<Dependence>,
    /// Start it when it is built.
    pub(super) start: bool,
    /// The test that it is for, which is known before the VM is.
    pub(super) test: Option<FailoverTest>,
    /// What the VM was here before, whose place it takes.
    pub(super) replaces: Option<ReplacedVm>,
}

/// What a VM is built from.
pub(super) enum Content {
    /// A recovery point, a copy of it, or a snapshot.
    Point { point: Box<FoundPoint>, order: VmRestore },
    /// A definition, and the images of some of its disks; the moment that they show is held until the VM is known.
    Images { definition: VmDefinition, disks: Vec<ImageDisk>, _held: Option<Arc<FoundMoment>> },
}

/// A disk that reads from an image.
pub(super) struct ImageDisk {
    pub(super) name: DiskName,
    pub(super) path: PathBuf,
    pub(super) size_bytes: u64,
    pub(super) source: ImageSource,
}

/// How disks read from images until they are whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dependence {
    pub(super) hydrates: bool,
    pub(super) rate_limit_bytes_per_second: Option<u64>,
    pub(super) wait_limit: Duration,
}

/// Where the disks of a new VM go.
pub(super) struct Place {
    pub(super) vm_id: VmId,
    pub(super) directory: PathBuf,
    /// The same, where it exists for this VM alone.
    own_directory: Option<PathBuf>,
}

impl Place {
    /// The directory that was asked for, or one in the site's data directory.
    pub(super) fn choose(site: &Site, directory: Option<&str>) -> Result<Self> {
        let vm_id = VmId::from_random(env::random(&*site.env.entropy));
        let (own_directory, directory) = match directory {
            Some(directory) => (None, absolute(directory)?),
            None => (Some(site.directory.disks(vm_id)), site.directory.disks(vm_id)),
        };
        Ok(Self { vm_id, directory, own_directory })
    }

    /// A directory for this VM alone, in the one that is named or in the site's data directory.
    pub(super) fn own(site: &Site, storage: Option<&Path>) -> Self {
        let vm_id = VmId::from_random(env::random(&*site.env.entropy));
        let directory = directory_in(site, storage, vm_id);
        Self { vm_id, own_directory: Some(directory.clone()), directory }
    }
}

/// What somebody asked for, as the job's document tells it.
pub(super) struct Asked {
    pub(super) kind: JobKind,
    pub(super) reference: String,
    /// The files that are made.
    pub(super) paths: Vec<PathBuf>,
    pub(super) format: DiskFormat,
    pub(super) replace: bool,
}

/// A VM of this definition, whose disks read from a moment of a replica, and their files.
pub(super) fn of_moment(
    found: Arc<FoundMoment>,
    definition: VmDefinition,
    directory: &Path,
) -> Result<(Content, Vec<PathBuf>)> {
    let mut disks = Vec::with_capacity(definition.disks.len());
    for (place, disk) in definition.disks.iter().enumerate() {
        let size_bytes = found.size_bytes(&disk.name).ok_or_else(|| {
            Failure::not_found(format!("the replica has no disk {} at that moment", disk.name))
        })?;
        let path = directory.join(format!("{place}-disk.qcow2"));
        disks.push(ImageDisk {
            name: disk.name.clone(),
            path,
            size_bytes,
            source: found.image_source(disk.name.clone()),
        });
    }
    let paths = disks.iter().map(|disk| disk.path.clone()).collect();
    Ok((Content::Images { definition, disks, _held: Some(found) }, paths))
}

/// How disks read from the images of this VM's point.
pub(super) fn backing(
    site: &Site,
    vm_id: VmId,
    disks: impl Iterator<Item = DiskName>,
    wait_limit: Duration,
) -> Backing {
    let export = |disk: DiskName| {
        let export = export_name(vm_id.as_str(), &disk);
        (disk, export)
    };
    Backing { socket: site.backings.socket().to_owned(), exports: disks.map(export).collect(), wait_limit }
}

impl NewVm {
    /// Lines the building up. The VM's name, its id and its files are taken from now on.
    pub(super) async fn submit(self, site: &Site, place: Place, asked: Asked) -> Result<Job> {
        if !asked.replace {
            check_absent(&asked.paths)?;
        }
        let _admission = site.admission.lock().await;
        vms::check_name_free(site, &self.name, self.vm_id).await?;
        check_unclaimed(site, &asked.paths)?;
        vms::check_paths_free(site, &asked.paths).await?;
        let document = RestoreDocument {
            reference: asked.reference,
            paths: asked.paths,
            format: asked.format,
            replace: asked.replace,
            own_directory: place.own_directory,
        };
        let draft = JobDraft {
            kind: asked.kind,
            subject: self.name.to_string(),
            vm_id: Some(self.vm_id),
            vault_id: self.vault_id(),
            request: document_of(&document),
        };
        let work_site = site.clone();
        let work =
            Box::new(move |monitor| Box::pin(async move { self.work(&work_site, monitor).await }) as _);
        site.jobs.submit(draft, work).await
    }

    pub(super) async fn work(self, site: &Site, monitor: Arc<JobMonitor>) -> Outcome {
        let (vm, disks) = self.build(site, &monitor).await?;
        let mut view = RestoredVmView {
            vm_id: vm.id.to_string(),
            vm_name: vm.name.to_string(),
            point_id: self.point_id().map(|point| point.to_string()),
            reference: self.reference(),
            disks: disks.into_iter().map(super::restore_disk::disk_view).collect(),
            started: false,
            hydration_job: None,
        };
        if self.start {
            monitor.phase("starting the VM");
            if let Err(failure) = vms::run(site, &vm).await {
                let failure = failure.during("the VM is built but did not start");
                return Err(WorkFailure { failure, result: Some(Box::new(JobResult::RestoredVm(view))) });
            }
            view.started = true;
        }
        let hydrated = self.dependence.filter(|it| it.hydrates && !vm.dependent_disks.is_empty());
        if let Some(dependence) = hydrated {
            let pace = dependence.rate_limit_bytes_per_second;
            view.hydration_job = Some(hydrate::submit(site, &Owner::Vm(Box::new(vm)), pace).await?.id);
        }
        Ok(JobResult::RestoredVm(view))
    }

    /// Writes its disks, makes it known, and shows it the images that its disks read from. It is not started.
    pub(super) async fn build(
        &self,
        site: &Site,
        monitor: &Arc<JobMonitor>,
    ) -> Result<(KnownVm, Vec<RestoredDisk>)> {
        let RestoredVm { mut definition, disks } = match &self.content {
            Content::Point { point, order } => {
                let source = open_source(site, point, monitor).await?;
                let operation: Arc<dyn Monitor> = monitor.clone();
                Box::pin(protection::restore_vm(&source, order, &operation)).await?
            }
            Content::Images { definition, disks, .. } => self.layer(site, definition, disks).await?,
        };
        if self.isolated {
            definition.networks.iter_mut().for_each(|network| network.kind = NetworkKind::Isolated);
        }
        let vm = KnownVm {
            id: self.vm_id,
            name: self.name.clone(),
            origin: Origin::Managed { definition },
            last_seen: None,
            dependent_disks: self.dependent_disks(&disks),
            created_at: site.env.clock.now(),
            half_restored: None,
        };
        if let Some(replaced) = &self.replaces {
            site.backings.withdraw_all(vm.id.as_str(), &replaced.vm.dependent_disks);
        }
        site.backings.pin(vm.id.as_str(), &vm.dependent_disks)?;
        if let Err(failure) = self.admit(site, &vm, &disks).await {
            site.backings.withdraw_all(vm.id.as_str(), &vm.dependent_disks);
            site.catalog.remove_failover_test(vm.id).await?;
            return Err(failure);
        }
        site.backings.offer(vm.id.as_str(), &vm.dependent_disks);
        Ok((vm, disks))
    }

    /// Makes the files of disks that read from images, and the definition of the VM that uses them.
    async fn layer(&self, site: &Site, definition: &VmDefinition, disks: &[ImageDisk]) -> Result<RestoredVm> {
        let wait_limit = self.dependence.map(|it| it.wait_limit).unwrap_or_default();
        let mut overlays = Vec::with_capacity(disks.len());
        let made = async {
            for disk in disks {
                if let Some(directory) = disk.path.parent() {
                    super::make_directory(directory)?;
                }
                let export = export_name(self.vm_id.as_str(), &disk.name);
                let backing = NbdBacking { socket: site.backings.socket(), export: &export, wait_limit };
                overlays.push(NewOverlay::create(&disk.path, disk.size_bytes, backing).await?);
            }
            for overlay in &overlays {
                overlay.place().await?;
            }
            Ok(())
        };
        if let Err(failure) = made.await {
            overlays.iter().for_each(NewOverlay::discard);
            return Err(failure);
        }
        let mut definition = definition.clone();
        let paths: BTreeMap<_, _> = disks.iter().map(|disk| (&disk.name, &disk.path)).collect();
        for disk in &mut definition.disks {
            if let Some(path) = paths.get(&disk.name) {
                disk.path = Some((*path).clone());
                disk.format = Some(DiskFormat::Qcow2);
            }
        }
        let restored = disks.iter().map(|disk| RestoredDisk {
            name: disk.name.clone(),
            path: disk.path.clone(),
            format: DiskFormat::Qcow2,
            size_bytes: ByteCount(disk.size_bytes),
            written_bytes: ByteCount(0),
        });
        Ok(RestoredVm { disks: restored.collect(), definition })
    }

    fn dependent_disks(&self, disks: &[RestoredDisk]) -> Vec<DependentDisk> {
        let Some(dependence) = self.dependence else { return Vec::new() };
        let dependent = disks.iter().filter_map(|disk| {
            Some(DependentDisk {
                disk: disk.name.clone(),
                size_bytes: disk.size_bytes.0,
                source: self.source_of(&disk.name)?,
                wait_limit_seconds: dependence.wait_limit.as_secs(),
                hydrates: dependence.hydrates,
                rate_limit_bytes_per_second: dependence.rate_limit_bytes_per_second,
            })
        });
        dependent.collect()
    }

    /// The image that a disk reads from; none for one that is whole at once.
    fn source_of(&self, disk: &DiskName) -> Option<ImageSource> {
        match &self.content {
            Content::Point { point, order } => {
                order.backing.as_ref()?.exports.get(disk)?;
                Some(point.image_source(disk.clone()))
            }
            Content::Images { disks, .. } => {
                disks.iter().find(|image| image.name == *disk).map(|image| image.source.clone())
            }
        }
    }

    fn vault_id(&self) -> Option<VaultId> {
        match &self.content {
            Content::Point { point, .. } => Some(point.vault.id),
            Content::Images { .. } => None,
        }
    }

    fn point_id(&self) -> Option<PointId> {
        match &self.content {
            Content::Point { order, .. } => Some(order.point_id),
            Content::Images { .. } => None,
        }
    }

    fn reference(&self) -> Option<String> {
        match &self.content {
            Content::Point { point, .. } => Some(point.reference(None)),
            Content::Images { .. } => None,
        }
    }

    async fn admit(&self, site: &Site, vm: &KnownVm, disks: &[RestoredDisk]) -> Result<()> {
        if let Some(test) = &self.test {
            site.catalog.add_failover_test(test).await?;
        }
        let _admission = site.admission.lock().await;
        let admitted = match &self.replaces {
            Some(replaced) => vms::replace(site, vm, replaced).await,
            None => vms::admit(site, vm).await,
        };
        admitted.map_err(|failure| {
            let place = disks.first().and_then(|disk| disk.path.parent()).unwrap_or_else(|| "/".as_ref());
            let place = place.display();
            failure.during(&format!("the disks are at {place}, but the VM could not be made known"))
        })
    }
}
