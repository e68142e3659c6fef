use std::sync::Arc;

use futures::future::join_all;
use image::{ByteRange, DiskImage, conformance};
use model::ByteCount;
use object_store::memory::InMemory;

use crate::{
    FrameCache,
    fixture::{MIB, OddStore, Oddity, back_up, create_in, memory_vault, noise, source},
};

const LARGE: ByteCount = ByteCount(64 << 20);

/// Text of numbers, of which no two blocks are equal.
fn text(length: usize) -> Vec<u8> {
    (0_u64..).flat_map(|number| format!("line {number} of a log\n").into_bytes()).take(length).collect()
}

#[tokio::test]
async fn an_image_with_a_cache_is_an_image() {
    let (vault, _) = memory_vault().await;
    let bytes = [text(3 * MIB), vec![0; MIB], noise(1, 2 * MIB)].concat();
    let stored = back_up(&vault, 1, source(&bytes)).await.unwrap();
    for budget in [ByteCount(0), LARGE] {
        let image = vault.image(&stored.map).await.unwrap().with_frames(&FrameCache::with_budget(budget));
        conformance::check_image(&image, &bytes).await;
    }
}

#[tokio::test]
async fn a_block_is_the_same_whatever_of_its_frame_was_read_before() {
    let (vault, _) = memory_vault().await;
    let bytes = text(3 * MIB);
    let stored = back_up(&vault, 1, source(&bytes)).await.unwrap();
    for blocks in [[0, 700, 20], [700, 0, 255], [255, 256, 254]] {
        let image = vault.image(&stored.map).await.unwrap().with_frames(&FrameCache::with_budget(LARGE));
        for block in blocks {
            let mut read = [0; 4096];
            image.read_at(block * 4096, &mut read).await.unwrap();
            assert!(read == bytes[block as usize * 4096..][..4096], "block {block} of {blocks:?}");
        }
    }
}

#[tokio::test]
async fn readers_at_the_same_time_fetch_a_frame_once_and_later_ones_never() {
    let store = Arc::new(OddStore::new(Arc::new(InMemory::new()), Oddity::Counts));
    let vault = create_in(Arc::clone(&store) as _).await;
    let bytes = noise(1, MIB);
    let stored = back_up(&vault, 1, source(&bytes)).await.unwrap();
    let image = vault.image(&stored.map).await.unwrap().with_frames(&FrameCache::with_budget(LARGE));
    image.extents(ByteRange::new(0, MIB as u64)).await.unwrap();
    let read_everywhere = async || {
        let before = store.requests();
        let reads = (0..16_u64).map(async |number| {
            let mut block = [0; 4096];
            image.read_at(number << 16, &mut block).await.unwrap();
            assert!(block == bytes[(number << 16) as usize..][..4096]);
        });
        join_all(reads).await;
        store.requests() - before
    };
    // The chunks lie in one frame or two; each is fetched in part by the first reader, and whole by the next.
    let fetches = read_everywhere().await;
    assert!((1..=4).contains(&fetches), "{fetches}");
    assert_eq!(read_everywhere().await, 0);
}

#[tokio::test]
async fn a_cache_serves_all_images_and_keeps_no_more_than_its_budget() {
    let store = Arc::new(OddStore::new(Arc::new(InMemory::new()), Oddity::Counts));
    let vault = create_in(Arc::clone(&store) as _).await;
    let stored = back_up(&vault, 1, source(&noise(1, 8 * MIB))).await.unwrap();
    for (budget, is_kept) in [(LARGE, true), (ByteCount(4 << 20), false)] {
        let frames = FrameCache::with_budget(budget);
        let mut whole = vec![0; 8 * MIB];
        let image = vault.image(&stored.map).await.unwrap().with_frames(&frames);
        image.read_at(0, &mut whole).await.unwrap();
        let again = vault.image(&stored.map).await.unwrap().with_frames(&frames);
        again.extents(ByteRange::new(0, 8 * MIB as u64)).await.unwrap();
        let before = store.requests();
        again.read_at(0, &mut whole).await.unwrap();
        assert_eq!(store.requests() == before, is_kept, "{budget}");
    }
}
