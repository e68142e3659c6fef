//! An upload is all there: it is checked, and becomes the disk's file.
//!
//! The file is made beside its place from blocks that are read back and checked, then the catalog says that the disk is there, then
//! the file gets its name. A crash before that leaves the upload as it was, one after it a file that only needs its name.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use api::{Code, JobResult, SealUpload, UPLOAD_BLOCK_BYTES};
use catalog::{Job, KnownDisk, UploadedBlock};
use model::{DiskFormat, JobKind, Progress};
use protection::Monitor as _;

use super::{RestoreDocument, document_of};
use crate::{
    disks::{self, upload},
    failure::{Failure, Result},
    jobs::{JobDraft, JobMonitor, Outcome},
    site::Site,
};

/// Blocks that are asked of the catalog at once.
const BLOCKS_AT_ONCE: u32 = 10_000;

/// Lines the end of an upload up, once the whole digest is known to be right.
pub(crate) async fn submit(site: &Site, disk: &KnownDisk, request: SealUpload) -> Result<Job> {
    upload::check_uploading(disk)?;
    let blocks = all_blocks(site, disk).await?;
    let found = whole_digest(disk.size_bytes, &blocks)?;
    if found != request.blake3.to_ascii_lowercase() {
        let detail = format!("the upload of {} is not what was meant: its digest is {found}", disk.name);
        return Err(Failure::new(Code::Damaged, detail)
            .with_hint("ask which blocks are there, and send those that are missing or different"));
    }
    let document = RestoreDocument {
        reference: "upload".to_owned(),
        paths: vec![disk.path.clone()],
        format: DiskFormat::Qcow2,
        replace: false,
        own_directory: None,
    };
    let draft = JobDraft {
        kind: JobKind::CreateDisk,
        subject: disk.name.to_string(),
        vm_id: None,
        vault_id: None,
        request: document_of(&document),
    };
    let _admission = site.admission.lock().await;
    super::check_unclaimed(site, &document.paths)?;
    let (work_site, disk) = (site.clone(), disk.clone());
    let work =
        Box::new(move |monitor| Box::pin(async move { work(&work_site, disk, blocks, monitor).await }) as _);
    site.jobs.submit(draft, work).await
}

async fn all_blocks(site: &Site, disk: &KnownDisk) -> Result<Vec<UploadedBlock>> {
    let mut blocks = Vec::new();
    loop {
        let start = blocks.last().map_or(0, |last: &UploadedBlock| last.number + 1);
        let page = site.catalog.uploaded_blocks(disk.id, start, BLOCKS_AT_ONCE).await?;
        if page.is_empty() {
            return Ok(blocks);
        }
        blocks.extend(page);
    }
}

/// The digest of what was sent, and of the disk's size.
fn whole_digest(size_bytes: u64, blocks: &[UploadedBlock]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&size_bytes.to_le_bytes());
    for block in blocks {
        hasher.update(&block.number.to_le_bytes());
        hasher.update(digest_of(block)?.as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn digest_of(block: &UploadedBlock) -> Result<blake3::Hash> {
    blake3::Hash::from_hex(&block.digest)
        .map_err(|error| Failure::new(Code::Damaged, format!("a digest in the catalog: {error}")))
}

async fn work(site: &Site, disk: KnownDisk, blocks: Vec<UploadedBlock>, monitor: Arc<JobMonitor>) -> Outcome {
    let made = monitor.cancellation().run_until_cancelled(convert(&disk, &blocks, &monitor)).await;
    let settled = match made {
        Some(Ok(())) => settle(site, &disk).await,
        Some(Err(failure)) => Err(failure),
        None => Err(Failure::new(Code::Cancelled, "cancelled")),
    };
    if let Err(failure) = settled {
        crate::startup::discard_partial(&disk.path);
        return Err(failure.into());
    }
    tracing::info!(disk = %disk.name, path = %disk.path.display(), "an upload became a disk");
    let disk = disks::find(site, disk.id.as_str()).await?;
    Ok(JobResult::CreatedDisk(disks::view(site, &disk).await?))
}

/// Writes the file beside its place.
async fn convert(disk: &KnownDisk, blocks: &[UploadedBlock], monitor: &JobMonitor) -> Result<()> {
    let partial = protection::partial_path(&disk.path);
    crate::startup::discard_partial(&disk.path);
    let target = image_formats::create_target(&partial, DiskFormat::Qcow2, disk.size_bytes).await?;
    let raw = upload::raw_path(&disk.path);
    let total_bytes = Some(blocks.len() as u64 * UPLOAD_BLOCK_BYTES);
    for (done, block) in blocks.iter().enumerate() {
        let bytes = read(&raw, disk.size_bytes, block).await?;
        target.write_at(block.number * UPLOAD_BLOCK_BYTES, &bytes).await?;
        let done_bytes = (done as u64 + 1) * UPLOAD_BLOCK_BYTES;
        monitor.progress(Progress { phase: "checking and writing".to_owned(), done_bytes, total_bytes });
    }
    target.finish().await?;
    Ok(())
}

async fn read(raw: &Path, size_bytes: u64, block: &UploadedBlock) -> Result<Vec<u8>> {
    let length = upload::block_length(size_bytes, block.number)?;
    let (path, offset_bytes) = (raw.to_owned(), block.number * UPLOAD_BLOCK_BYTES);
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; length as usize];
        File::open(&path)?.read_exact_at(&mut bytes, offset_bytes)?;
        Ok(bytes)
    });
    let read = read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let bytes = read.map_err(|error| Failure::from_io(format!("reading {}", raw.display()), &error))?;
    if blake3::hash(&bytes) != digest_of(block)? {
        let detail = format!("the block {} of the upload is not what was written", block.number);
        return Err(Failure::new(Code::Damaged, detail).with_hint("send it again"));
    }
    Ok(bytes)
}

async fn settle(site: &Site, disk: &KnownDisk) -> Result<()> {
    let _admission = site.admission.lock().await;
    super::check_absent(std::slice::from_ref(&disk.path))?;
    site.catalog.end_upload(disk.id).await?;
    protection::place_partial(&disk.path).await?;
    upload::discard(&disk.path)
}
