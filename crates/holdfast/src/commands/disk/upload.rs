//! An image file of this machine becomes a disk of the server's.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use api::{BeginUpload, SealUpload, SiteDiskView, UPLOAD_BLOCK_BYTES};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use image::{ByteRange, DiskImage, ExtentKind};
use model::ByteCount;

use crate::{context::Context, exit::Exit, failure::Failure, wait::TransferProgress};

/// Blocks that are on their way at once.
const BLOCKS_AT_ONCE: usize = 4;

/// What is looked at between two looks, in bytes.
const WINDOW_BYTES: u64 = 1 << 30;

/// Sends an image's data to the server, block by block, and what is there already not again. Returns the job that makes the disk
/// out of it.
pub async fn upload(
    context: &Context,
    name: String,
    file: &Path,
    directory: Option<String>,
) -> Result<api::JobView, Failure> {
    let unreadable = |error: image_formats::Error| {
        let failure = Failure::new(Exit::Error, error.to_string());
        match error.guidance() {
            Some(guidance) => failure.with_hint(guidance.to_owned()),
            None => failure,
        }
    };
    let image = image_formats::open_image(file, None).await.map_err(unreadable)?;
    let size_bytes = image.size_bytes();
    let request = BeginUpload { name, size_bytes: ByteCount(size_bytes), directory };
    let disk = context.client.begin_upload(&request).await?;
    let there = blocks_there(context, &disk).await?;
    let upload = Upload { context, image, disk, there };
    let blocks = upload.blocks().await?;
    let total_bytes = blocks.len() as u64 * UPLOAD_BLOCK_BYTES;
    let mut progress = TransferProgress::new(&context.output, "uploading", total_bytes);
    let sent = stream::iter(blocks).map(|number| upload.send(number)).buffered(BLOCKS_AT_ONCE);
    let mut sent = Box::pin(sent);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&size_bytes.to_le_bytes());
    while let Some((number, digest)) = sent.try_next().await? {
        progress.advance(UPLOAD_BLOCK_BYTES);
        if let Some(digest) = digest {
            hasher.update(&number.to_le_bytes());
            hasher.update(digest.as_bytes());
        }
    }
    progress.finish();
    let seal = SealUpload { blake3: hasher.finalize().to_hex().to_string() };
    Ok(context.client.seal_upload(upload.disk.id.as_str(), &seal).await?)
}

/// The digests of the blocks that the server has.
async fn blocks_there(context: &Context, disk: &SiteDiskView) -> Result<BTreeMap<u64, String>, Failure> {
    let mut there = BTreeMap::new();
    let mut next = Some(0);
    while let Some(start) = next {
        let page = context.client.uploaded_blocks(disk.id.as_str(), start).await?;
        there.extend(page.blocks.into_iter().map(|block| (block.number, block.blake3)));
        next = page.next;
    }
    Ok(there)
}

/// An upload under way.
struct Upload<'a> {
    context: &'a Context,
    image: Arc<dyn DiskImage>,
    disk: SiteDiskView,
    there: BTreeMap<u64, String>,
}

impl Upload<'_> {
    /// The blocks that may hold data, and those that the server has.
    async fn blocks(&self) -> Result<Vec<u64>, Failure> {
        let size_bytes = self.image.size_bytes();
        let mut blocks: Vec<u64> = self.there.keys().copied().collect();
        let mut start = 0;
        while start < size_bytes {
            let end = (start + WINDOW_BYTES).min(size_bytes);
            let extents = self.image.extents(ByteRange::between(start, end)).await.map_err(unread)?;
            for extent in extents.iter().filter(|extent| extent.kind == ExtentKind::Data) {
                let last = (extent.range.end_bytes() - 1) / UPLOAD_BLOCK_BYTES;
                blocks.extend(extent.range.offset_bytes / UPLOAD_BLOCK_BYTES..=last);
            }
            start = end;
        }
        blocks.sort_unstable();
        blocks.dedup();
        Ok(blocks)
    }

    /// Sends a block, unless the server has it or it is all zeros and the server has none in its place. Returns its digest where
    /// the server has it then.
    async fn send(&self, number: u64) -> Result<(u64, Option<blake3::Hash>), Failure> {
        let start = number * UPLOAD_BLOCK_BYTES;
        let length = UPLOAD_BLOCK_BYTES.min(self.image.size_bytes() - start);
        let mut bytes = vec![0; length as usize];
        self.image.read_at(start, &mut bytes).await.map_err(unread)?;
        let there = self.there.get(&number);
        if there.is_none() && bytes.iter().all(|byte| *byte == 0) {
            return Ok((number, None));
        }
        let digest = blake3::hash(&bytes);
        if there.is_none_or(|there| *there != digest.to_hex().as_str()) {
            let id = self.disk.id.as_str();
            self.context.client.put_block(id, number, digest.to_hex().as_str(), bytes.into()).await?;
        }
        Ok((number, Some(digest)))
    }
}

fn unread(error: image::Error) -> Failure {
    Failure::new(Exit::Error, error.to_string())
}
