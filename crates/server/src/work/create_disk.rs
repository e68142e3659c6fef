//! A new disk that reads from an image until it is whole.
//!
//! The file is made beside its place, then the disk becomes known, then the file gets its name: a crash in between leaves a
//! disk that is known and whose file only needs its name, or a partial that nobody knows.

use std::{path::Path, sync::Arc};

use api::{Code, CreateDisk, JobResult};
use catalog::{DependentDisk, ImageSource, Job, KnownDisk};
use model::{ByteCount, DiskFormat, DiskId, DiskName, JobKind, SiteDiskName};
use protection::{Monitor as _, NewOverlay};

use super::{RestoreDocument, absolute, check_absent, check_unclaimed, document_of, hydrate};
use crate::{
    backing::export_name,
    dependents::Owner,
    disks::{self, upload},
    failure::{Failure, Result},
    images::Source,
    jobs::{JobDraft, JobMonitor, Outcome},
    site::Site,
    startup, vms,
};

/// Sectors of a disk, in bytes: its size is a multiple of it.
const SECTOR_BYTES: u64 = 512;

/// A disk that is to be made.
struct NewDisk {
    disk: KnownDisk,
    dependent: DependentDisk,
    /// Whether what lies last on it is to fill it.
    grow_file_system: bool,
}

/// Lines a new disk up. Its name and its file are taken from now on.
pub(crate) async fn submit(site: &Site, request: CreateDisk) -> Result<Job> {
    let name: SiteDiskName =
        request.name.parse().map_err(|error| Failure::invalid(format!("the disk's name: {error}")))?;
    let directory = match &request.directory {
        Some(directory) => absolute(directory)?,
        None => site.directory.site_disks(),
    };
    let path = directory.join(format!("{name}.qcow2"));
    let source = Source::resolve_one(site, &request.reference, request.from_copy.as_deref()).await?;
    let (disk, image) = only(source.image_sources()?)?;
    // That it opens now is worth knowing now.
    let image_size_bytes = source.open_one(site).await?.image.size_bytes();
    let size_bytes = size(&request, image_size_bytes)?;
    let _admission = site.admission.lock().await;
    disks::check_name_free(site, &name).await?;
    check_absent(std::slice::from_ref(&path))?;
    check_unclaimed(site, std::slice::from_ref(&path))?;
    vms::check_paths_free(site, std::slice::from_ref(&path)).await?;
    let vault_id = source.vault_id();
    let draft = JobDraft {
        kind: JobKind::CreateDisk,
        subject: name.to_string(),
        vm_id: None,
        vault_id,
        request: document_of(&document(&request, &path)),
    };
    let grow_file_system = request.grow_file_system && size_bytes > image_size_bytes;
    let dependent = dependent(&request, disk, image, image_size_bytes);
    let disk = KnownDisk {
        id: DiskId::from_random(env::random(&*site.env.entropy)),
        name,
        path,
        size_bytes,
        source: request.reference,
        dependent: Some(dependent.clone()),
        failure: None,
        uploading: false,
        created_at: site.env.clock.now(),
    };
    let new = NewDisk { disk, dependent, grow_file_system };
    let work_site = site.clone();
    let work = Box::new(move |monitor| Box::pin(async move { work(&work_site, new, monitor).await }) as _);
    site.jobs.submit(draft, work).await
}

fn only(sources: Vec<(DiskName, ImageSource)>) -> Result<(DiskName, ImageSource)> {
    sources.into_iter().next().ok_or_else(|| Failure::not_found("the image has no disk"))
}

/// The size of the new disk: that of the image, or a larger one.
fn size(request: &CreateDisk, image_size_bytes: u64) -> Result<u64> {
    let Some(ByteCount(size_bytes)) = request.size_bytes else { return Ok(image_size_bytes) };
    if size_bytes < image_size_bytes {
        let (wanted, there) = (ByteCount(size_bytes), ByteCount(image_size_bytes));
        return Err(Failure::invalid(format!("a disk of {wanted} cannot hold an image of {there}"))
            .with_hint("give it a size that is not smaller, or leave --size out"));
    }
    if !size_bytes.is_multiple_of(SECTOR_BYTES) {
        return Err(Failure::invalid(format!("the size of a disk is a multiple of {SECTOR_BYTES} bytes")));
    }
    Ok(size_bytes)
}

fn document(request: &CreateDisk, path: &Path) -> RestoreDocument {
    RestoreDocument {
        reference: request.reference.clone(),
        paths: vec![path.to_owned()],
        format: DiskFormat::Qcow2,
        replace: false,
        own_directory: None,
    }
}

fn dependent(request: &CreateDisk, disk: DiskName, source: ImageSource, size_bytes: u64) -> DependentDisk {
    DependentDisk {
        disk,
        size_bytes,
        source,
        wait_limit_seconds: request.wait_limit_seconds,
        hydrates: request.hydrate,
        rate_limit_bytes_per_second: request.rate_limit_bytes_per_second,
    }
}

async fn work(site: &Site, new: NewDisk, monitor: Arc<JobMonitor>) -> Outcome {
    monitor.phase("creating the disk");
    site.backings.pin(new.disk.id.as_str(), std::slice::from_ref(&new.dependent))?;
    site.backings.offer(new.disk.id.as_str(), std::slice::from_ref(&new.dependent));
    if let Err(failure) = make(site, &new, &monitor).await {
        site.backings.withdraw(new.disk.id.as_str(), &new.dependent.disk);
        return Err(failure.into());
    }
    let NewDisk { disk, dependent, .. } = new;
    tracing::info!(disk = %disk.name, path = %disk.path.display(), "a disk was made");
    if dependent.hydrates {
        let owner = Owner::Disk(Box::new(disk.clone()));
        hydrate::submit(site, &owner, dependent.rate_limit_bytes_per_second).await?;
    }
    Ok(JobResult::CreatedDisk(disks::view(site, &disk).await?))
}

async fn make(site: &Site, new: &NewDisk, monitor: &JobMonitor) -> Result<()> {
    let NewDisk { disk, dependent, grow_file_system } = new;
    if let Some(directory) = disk.path.parent() {
        super::make_directory(directory)?;
    }
    let export = export_name(disk.id.as_str(), &dependent.disk);
    let backing = site.backings.link(&export, dependent);
    let overlay = NewOverlay::create(&disk.path, disk.size_bytes, backing).await?;
    if *grow_file_system {
        monitor.phase("growing the file system");
        let file = overlay.partial();
        let growing = grow(site, &file);
        let grown = monitor.cancellation().run_until_cancelled(growing).await;
        let grown = grown.unwrap_or_else(|| Err(Failure::new(Code::Cancelled, "cancelled")));
        grown.inspect_err(|_| overlay.discard())?;
    }
    let known = async {
        site.catalog.add_disk(disk).await?;
        if let Err(error) = overlay.place().await {
            site.catalog.remove_disk(disk.id).await?;
            return Err(Failure::from(error));
        }
        Ok(())
    };
    known.await.inspect_err(|_| overlay.discard())
}

/// The file is new, so that it needs no care: where this fails, it goes.
async fn grow(site: &Site, file: &Path) -> Result<()> {
    let grown = files::grow_file_system(file, site.files.config()).await.map_err(|error| {
        let failure = Failure::from(error);
        match failure.hint() {
            Some(_) => failure,
            None => failure.with_hint("leave --grow-file-system out, and grow it in the guest"),
        }
    })?;
    tracing::info!(file = %file.display(), file_system = grown.file_system, "a file system has grown");
    Ok(())
}

/// What a dead server left of a new disk gets its name when the disk is known and all there, and goes otherwise.
pub(crate) async fn clean_up(site: &Site, job: &Job) -> Result<()> {
    let known = site.catalog.disk(&job.subject).await?;
    for path in super::written_paths(job) {
        let is_known = known.as_ref().is_some_and(|disk| disk.path == path && !disk.uploading);
        if !is_known {
            startup::discard_partial(&path);
        } else if !path.exists() && protection::partial_path(&path).exists() {
            protection::place_partial(&path).await?;
        }
        if is_known {
            upload::discard(&path)?;
        }
    }
    Ok(())
}
