//! Disks that are uploaded block by block.
//!
//! What always holds: a block that the catalog knows is durable in the raw file beside the disk's place, with the digest that the
//! catalog has. A block that changes is forgotten first. The disk gets its file only when the whole digest is right and every
//! block was read back.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use api::{BeginUpload, UPLOAD_BLOCK_BYTES, UploadedBlockView, UploadedBlocksView};
use catalog::{KnownDisk, UploadedBlock};
use model::{ByteCount, DiskId, SiteDiskName};

use super::check_name_free;
use crate::{
    failure::{Failure, Result},
    site::Site,
    vms,
    work::{absolute, check_absent, check_unclaimed, make_directory},
};

/// Blocks that one answer tells of.
const BLOCKS_MAX: u32 = 10_000;

/// Sectors of a disk, in bytes: its size is a multiple of it.
const SECTOR_BYTES: u64 = 512;

/// The largest disk that QEMU can make a qcow2 file of without further ado.
const SIZE_MAX_BYTES: u64 = 64 << 40;

/// Begins an upload; one of the same name and size goes on.
pub(crate) async fn begin(site: &Site, request: BeginUpload) -> Result<KnownDisk> {
    let name: SiteDiskName =
        request.name.parse().map_err(|error| Failure::invalid(format!("the disk's name: {error}")))?;
    let ByteCount(size_bytes) = request.size_bytes;
    if size_bytes == 0 || !size_bytes.is_multiple_of(SECTOR_BYTES) || size_bytes > SIZE_MAX_BYTES {
        return Err(Failure::invalid(format!(
            "the size of a disk is a multiple of {SECTOR_BYTES} bytes, and {} at most",
            ByteCount(SIZE_MAX_BYTES)
        )));
    }
    let directory = match &request.directory {
        Some(directory) => absolute(directory)?,
        None => site.directory.site_disks(),
    };
    let path = directory.join(format!("{name}.qcow2"));
    let _admission = site.admission.lock().await;
    if let Some(known) = site.catalog.disk(name.as_str()).await?
        && known.uploading
        && (known.size_bytes, &known.path) == (size_bytes, &path)
    {
        return Ok(known);
    }
    check_name_free(site, &name).await?;
    check_absent(std::slice::from_ref(&path))?;
    check_unclaimed(site, std::slice::from_ref(&path))?;
    vms::check_paths_free(site, std::slice::from_ref(&path)).await?;
    make_directory(&directory)?;
    let disk = KnownDisk {
        id: DiskId::from_random(env::random(&*site.env.entropy)),
        name,
        path,
        size_bytes,
        source: "upload".to_owned(),
        dependent: None,
        failure: None,
        uploading: true,
        created_at: site.env.clock.now(),
    };
    site.catalog.add_disk(&disk).await?;
    tracing::info!(disk = %disk.name, "an upload begins");
    Ok(disk)
}

/// The blocks that are durable, from a number on.
pub(crate) async fn blocks(site: &Site, disk: &KnownDisk, start: u64) -> Result<UploadedBlocksView> {
    check_uploading(disk)?;
    let blocks = site.catalog.uploaded_blocks(disk.id, start, BLOCKS_MAX).await?;
    let next = blocks.last().filter(|_| blocks.len() == BLOCKS_MAX as usize).map(|last| last.number + 1);
    let view = |block: UploadedBlock| UploadedBlockView { number: block.number, blake3: block.digest };
    Ok(UploadedBlocksView {
        block_size_bytes: UPLOAD_BLOCK_BYTES,
        blocks: blocks.into_iter().map(view).collect(),
        next,
    })
}

/// Takes a block in. When this returns, it is durable.
pub(crate) async fn put(
    site: &Site,
    disk: &KnownDisk,
    number: u64,
    digest: &str,
    bytes: Vec<u8>,
) -> Result<()> {
    check_uploading(disk)?;
    let length = block_length(disk.size_bytes, number)?;
    if bytes.len() as u64 != length {
        let found = bytes.len();
        return Err(Failure::invalid(format!("the block {number} has {length} bytes, and {found} came")));
    }
    let found = blake3::hash(&bytes).to_hex().to_string();
    if found != digest.to_ascii_lowercase() {
        return Err(Failure::new(
            api::Code::Damaged,
            format!("the block {number} is not what was sent: {found}"),
        )
        .with_hint("send it again"));
    }
    site.catalog.forget_uploaded_block(disk.id, number).await?;
    let (path, size_bytes) = (raw_path(&disk.path), disk.size_bytes);
    let written = tokio::task::spawn_blocking(move || write(&path, size_bytes, number, &bytes)).await;
    written
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|error| Failure::from_io(format!("writing the block {number} of {}", disk.name), &error))?;
    site.catalog.add_uploaded_block(disk.id, &UploadedBlock { number, digest: found }).await?;
    Ok(())
}

fn write(path: &Path, size_bytes: u64, number: u64, bytes: &[u8]) -> io::Result<()> {
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    if file.metadata()?.len() != size_bytes {
        file.set_len(size_bytes)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
    }
    file.write_all_at(bytes, number * UPLOAD_BLOCK_BYTES)?;
    file.sync_data()
}

/// The length of a block in bytes.
pub(crate) fn block_length(size_bytes: u64, number: u64) -> Result<u64> {
    let start = number.checked_mul(UPLOAD_BLOCK_BYTES).filter(|start| *start < size_bytes);
    let start = start.ok_or_else(|| Failure::invalid(format!("the disk has no block {number}")))?;
    Ok((size_bytes - start).min(UPLOAD_BLOCK_BYTES))
}

/// Where the bytes go until all are there.
pub(crate) fn raw_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".holdfast-upload");
    path.with_file_name(name)
}

/// Removes what an upload has written.
pub(crate) fn discard(path: &Path) -> Result<()> {
    let raw = raw_path(path);
    match std::fs::remove_file(&raw) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::from_io(format!("removing {}", raw.display()), &error))
        }
        _ => Ok(()),
    }
}

/// Fails for a disk that is there already.
pub(crate) fn check_uploading(disk: &KnownDisk) -> Result<()> {
    match disk.uploading {
        true => Ok(()),
        false => Err(Failure::conflict(format!("the disk {} is there already", disk.name))),
    }
}

/// Fails for a disk that is not there yet.
pub(crate) fn check_there(disk: &KnownDisk) -> Result<()> {
    match disk.uploading {
        false => Ok(()),
        true => Err(Failure::conflict(format!("the disk {} is being uploaded", disk.name))
            .with_hint("upload the rest first: holdfast disk create NAME --upload FILE")),
    }
}
