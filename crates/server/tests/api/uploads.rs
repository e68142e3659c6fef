//! Disks that are uploaded block by block, and ranges of images with digests.

use std::path::Path;

use api::{
    BeginUpload, Code, DiskState, HydrateRequest, JobResult, SealUpload, SiteDiskView, UPLOAD_BLOCK_BYTES,
};
use model::ByteCount;

use crate::{
    disks::shows,
    site::{DISK_SIZE_BYTES, TestSite, code, pattern, problem},
};

fn begin(size_bytes: usize) -> BeginUpload {
    BeginUpload { name: "moved".to_owned(), size_bytes: ByteCount(size_bytes as u64), directory: None }
}

fn blocks(bytes: &[u8]) -> Vec<(u64, &[u8])> {
    (0..).zip(bytes.chunks(UPLOAD_BLOCK_BYTES as usize)).collect()
}

async fn put(site: &TestSite, disk: &SiteDiskView, number: u64, bytes: &[u8]) {
    let digest = blake3::hash(bytes).to_hex();
    site.client.put_block(disk.id.as_str(), number, &digest, bytes.to_vec().into()).await.unwrap();
}

/// What seals an upload of these blocks.
fn seal(size_bytes: usize, blocks: &[(u64, &[u8])]) -> SealUpload {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(size_bytes as u64).to_le_bytes());
    for (number, bytes) in blocks {
        hasher.update(&number.to_le_bytes());
        hasher.update(blake3::hash(bytes).as_bytes());
    }
    SealUpload { blake3: hasher.finalize().to_hex().to_string() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_a_restart_and_is_a_disk_once_it_is_sealed() {
    let site = TestSite::start().await;
    let bytes = pattern(5);
    let disk = site.client.begin_upload(&begin(DISK_SIZE_BYTES)).await.unwrap();
    assert_eq!(disk.state, DiskState::Uploading);
    let all = blocks(&bytes);
    // The last block is a hole, and is not sent.
    let sent = &all[..2];
    put(&site, &disk, 0, sent[0].1).await;

    let site = site.restart().await;
    let again = site.client.begin_upload(&begin(DISK_SIZE_BYTES)).await.unwrap();
    assert_eq!(again.id, disk.id);
    assert_eq!(code(site.client.begin_upload(&begin(512)).await), Code::Conflict, "it has another size");
    let there = site.client.uploaded_blocks("moved", 0).await.unwrap();
    let digest = blake3::hash(sent[0].1).to_hex().to_string();
    assert_eq!(there.blocks.iter().map(|it| (it.number, &it.blake3)).collect::<Vec<_>>(), [(0, &digest)]);
    let early = site.client.seal_upload("moved", &seal(DISK_SIZE_BYTES, sent)).await;
    assert_eq!(code(early), Code::Damaged, "a block is missing");
    put(&site, &disk, 1, sent[1].1).await;
    assert_eq!(code(site.client.hydrate_disk("moved", &HydrateRequest::default()).await), Code::Conflict);

    let job = site.client.seal_upload("moved", &seal(DISK_SIZE_BYTES, sent)).await.unwrap();
    let ended = site.end(&job).await;
    let Some(JobResult::CreatedDisk(made)) = ended.result else { panic!("{:?}", ended.problem) };
    assert_eq!(made.state, DiskState::Whole);
    assert!(shows(&site, Path::new(&made.path), &bytes));
    let files = std::fs::read_dir(site.path("disks")).unwrap().count();
    assert_eq!(files, 1, "nothing else is left");
    assert_eq!(code(site.client.uploaded_blocks("moved", 0).await), Code::Conflict, "it is a disk now");
}

#[tokio::test]
async fn what_is_not_what_was_sent_is_refused() {
    let site = TestSite::start().await;
    let disk = site.client.begin_upload(&begin(DISK_SIZE_BYTES)).await.unwrap();
    let bytes = vec![7; UPLOAD_BLOCK_BYTES as usize];
    let put = async |number: u64, digest: &str, bytes: &[u8]| {
        site.client.put_block(disk.id.as_str(), number, digest, bytes.to_vec().into()).await
    };
    let digest = blake3::hash(&bytes).to_hex();
    let other = blake3::hash(b"other").to_hex();
    assert_eq!(problem(put(0, &other, &bytes).await).code, Code::Damaged);
    assert_eq!(code(put(0, &digest, &bytes[1..]).await), Code::Invalid);
    assert_eq!(code(put(3, &digest, &bytes).await), Code::Invalid);
    assert!(site.client.uploaded_blocks("moved", 0).await.unwrap().blocks.is_empty());
    put(0, &digest, &bytes).await.unwrap();
    for size_bytes in [0, 511] {
        let request = BeginUpload { name: "odd".to_owned(), ..begin(size_bytes) };
        assert_eq!(code(site.client.begin_upload(&request).await), Code::Invalid);
    }
    site.client.delete_disk("moved", false).await.unwrap();
    assert_eq!(std::fs::read_dir(site.path("disks")).unwrap().count(), 0);
}
