use std::sync::Arc;

use image::{ByteRange, FaultyImage, MemoryImage, conformance};
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::{
    DiskMap, DiskSource, ErrorKind, Monitor,
    fixture::{
        MIB, OddStore, Oddity, back_up, changed_source, create_in, memory_vault, noise, object, objects,
        open_in, open_write_only, point, read_whole, restored, source,
        world::{World, id},
    },
    log::Change,
    tree::REGION_BYTES,
};

/// A disk with data, text, zeros inside of data and holes; not a whole number of blocks long.
fn disk() -> Vec<u8> {
    let mut bytes = vec![0; 13 * MIB + 1536];
    bytes[..3 * MIB].copy_from_slice(&noise(1, 3 * MIB));
    bytes[MIB..MIB + 70_000].fill(0);
    for (place, byte) in bytes[5 * MIB..6 * MIB].iter_mut().enumerate() {
        *byte = b"all work and no play "[place % 21];
    }
    let end = bytes.len();
    bytes[end - 5000..].copy_from_slice(&noise(2, 5000));
    bytes
}

#[tokio::test]
async fn a_stored_disk_is_an_image() {
    let (vault, _) = memory_vault().await;
    let stored = back_up(&vault, 1, source(&disk())).await.unwrap();
    conformance::check_image(&vault.image(&stored.map).await.unwrap(), &disk()).await;
    assert!(restored(&vault, &stored.map).await.unwrap() == disk());
}

#[tokio::test]
async fn holes_are_neither_read_nor_stored() {
    let (vault, _) = memory_vault().await;
    let stored = back_up(&vault, 1, source(&disk())).await.unwrap();
    assert!(stored.read_bytes < 5 * MIB as u64, "{}", stored.read_bytes);
    let empty = back_up(&vault, 2, source(&vec![0; 9 * MIB])).await.unwrap();
    assert_eq!((empty.map.root, empty.read_bytes, empty.stored_bytes), (None, 0, 0));
    assert!(restored(&vault, &empty.map).await.unwrap() == vec![0; 9 * MIB]);
}

#[tokio::test]
async fn text_is_compressed_and_noise_costs_next_to_nothing_more() {
    let (vault, _) = memory_vault().await;
    let stored = back_up(&vault, 1, source(&vec![7; 8 * MIB])).await.unwrap();
    assert!(stored.stored_bytes < 100_000, "{}", stored.stored_bytes);
    let stored = back_up(&vault, 2, source(&noise(3, 8 * MIB))).await.unwrap();
    assert!(stored.stored_bytes < 8 * MIB as u64 * 1002 / 1000, "{}", stored.stored_bytes);
}

#[tokio::test]
async fn what_is_in_the_vault_is_not_stored_again() {
    let (vault, store) = memory_vault().await;
    let first = back_up(&vault, 1, source(&disk())).await.unwrap();
    // A second process, and another disk that holds the same further back.
    let other = open_in(store, 2).await;
    let again = back_up(&other, 2, source(&disk())).await.unwrap();
    assert_eq!((again.map, again.stored_bytes, again.new_chunks), (first.map, 0, 0));
    let mut moved = vec![0; 8 * MIB];
    moved[2 * MIB + 8192..5 * MIB + 8192].copy_from_slice(&disk()[..3 * MIB]);
    let moved = back_up(&other, 3, source(&moved)).await.unwrap();
    assert!(moved.stored_bytes < MIB as u64, "{}", moved.stored_bytes);
}

#[tokio::test]
async fn an_incremental_reads_and_stores_what_changed() {
    let (vault, _) = memory_vault().await;
    let mut bytes = noise(4, 600 * REGION_BYTES as usize / 16);
    let before = back_up(&vault, 1, source(&bytes)).await.unwrap();
    let change = ByteRange::new(77 * MIB as u64 + 4096, 8192);
    bytes[change.offset_bytes as usize..change.end_bytes() as usize].fill(0x5a);
    let after = back_up(&vault, 2, changed_source(&bytes, before.map, vec![change])).await.unwrap();
    assert!(after.read_bytes <= 8192 + 2 * (256 << 10), "{}", after.read_bytes);
    assert!(after.stored_bytes <= after.read_bytes + 8192, "{}", after.stored_bytes);
    assert!(after.new_chunks <= 12, "a leaf, an inner node and a few chunks, not {}", after.new_chunks);
    assert!(restored(&vault, &after.map).await.unwrap() == bytes);
    assert!(restored(&vault, &before.map).await.unwrap() != bytes, "the earlier point stays what it was");
}

#[tokio::test]
async fn nothing_changed_costs_nothing() {
    let (vault, _) = memory_vault().await;
    let before = back_up(&vault, 1, source(&disk())).await.unwrap();
    let after = back_up(&vault, 2, changed_source(&disk(), before.map, Vec::new())).await.unwrap();
    assert_eq!((after.map, after.read_bytes, after.stored_bytes), (before.map, 0, 0));
}

#[tokio::test]
async fn without_a_change_map_only_the_differences_are_stored() {
    let (vault, _) = memory_vault().await;
    let mut bytes = noise(5, 20 * MIB);
    let mut map = back_up(&vault, 1, source(&bytes)).await.unwrap().map;
    for (number, offset) in [(2, 3 * MIB), (3, 3 * MIB + 12_288), (4, 9 * MIB)] {
        bytes[offset..offset + 4096].fill(number);
        let change = ByteRange::new(offset as u64, 4096);
        map = back_up(&vault, number, changed_source(&bytes, map, vec![change])).await.unwrap().map;
    }
    let compared = DiskSource { parent: Some(map), ..source(&bytes) };
    let compared = back_up(&vault, 5, compared).await.unwrap();
    assert_eq!((compared.map, compared.stored_bytes), (map, 0), "cuts follow the parent's");
    assert_eq!(compared.read_bytes, bytes.len() as u64);
}

#[tokio::test]
async fn changes_without_a_parent_of_the_same_size_are_refused() {
    let (vault, _) = memory_vault().await;
    let before = back_up(&vault, 1, source(&vec![1; MIB])).await.unwrap();
    let error =
        back_up(&vault, 2, changed_source(&vec![1; 2 * MIB], before.map, Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    // The resized disk is stored against its parent by comparing.
    let resized = DiskSource { parent: Some(before.map), ..source(&vec![1; 2 * MIB]) };
    let resized = back_up(&vault, 3, resized).await.unwrap();
    assert!(restored(&vault, &resized.map).await.unwrap() == vec![1; 2 * MIB]);
}

#[tokio::test]
async fn a_disk_that_fails_leaves_no_point_and_a_useless_writer() {
    let (vault, _) = memory_vault().await;
    let image = FaultyImage::after_reads(MemoryImage::new(noise(6, 30 * MIB)), 3, image::ErrorKind::Gone);
    let broken = DiskSource { image: Arc::new(image), parent: None, changes: None };
    let mut writer = vault.writer().await.unwrap();
    let error = writer.store_disk(broken, &Monitor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disk(image::ErrorKind::Gone));
    let error = writer.store_disk(source(&disk()), &Monitor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(vault.points().await.unwrap().points.is_empty());
    assert!(vault.verify(&Monitor::default()).await.unwrap().is_clean());
}

#[tokio::test]
async fn cancelling_stops_and_progress_never_goes_back() {
    let (vault, _) = memory_vault().await;
    let cancel = CancellationToken::new();
    let (token, seen) = (cancel.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let log = Arc::clone(&seen);
    let listener = Arc::new(move |done, total| {
        log.lock().unwrap().push(done);
        assert_eq!(total, 40 * MIB as u64);
        if done >= 8 * MIB as u64 {
            token.cancel();
        }
    });
    let mut writer = vault.writer().await.unwrap();
    let stopped = writer.store_disk(source(&noise(7, 40 * MIB)), &Monitor::new(cancel, listener)).await;
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted() && *seen.last().unwrap() < 40 * MIB as u64, "{seen:?}");
}

#[tokio::test]
async fn a_map_from_elsewhere_cannot_be_committed() {
    let (vault, _) = memory_vault().await;
    let (other, _) = memory_vault().await;
    let stored = back_up(&other, 1, source(&disk())).await.unwrap();
    let error = vault.writer().await.unwrap().commit(point(1, &stored)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn writers_in_two_processes_do_not_disturb_each_other() {
    let (first, store) = memory_vault().await;
    let second = open_in(store.clone(), 2).await;
    let (mut one, mut two) = (first.writer().await.unwrap(), second.writer().await.unwrap());
    let mut bytes = disk();
    bytes[..4096].fill(9);
    let monitors = (Monitor::default(), Monitor::default());
    let disks = tokio::join!(
        one.store_disk(source(&disk()), &monitors.0),
        two.store_disk(source(&bytes), &monitors.1)
    );
    let (in_one, in_two) = (disks.0.unwrap(), disks.1.unwrap());
    let committed = tokio::join!(one.commit(point(1, &in_one)), two.commit(point(2, &in_two)));
    committed.0.unwrap();
    committed.1.unwrap();
    let third = open_in(store, 3).await;
    assert_eq!(third.points().await.unwrap().points.len(), 2);
    assert!(restored(&third, &in_one.map).await.unwrap() == disk());
    assert!(restored(&third, &in_two.map).await.unwrap() == bytes);
    assert!(third.verify(&Monitor::default()).await.unwrap().is_clean());
}

#[tokio::test]
async fn a_writer_that_dies_leaves_work_for_the_next() {
    let (vault, store) = memory_vault().await;
    let mut writer = vault.writer().await.unwrap();
    writer.store_disk(source(&disk()), &Monitor::default()).await.unwrap();
    writer.packer.flush().await.unwrap();
    let state = vault.shared.log.refresh().await.unwrap();
    writer.packer.list_segments(&state).await.unwrap();
    drop(writer);
    let vault = open_in(store, 2).await;
    assert!(vault.points().await.unwrap().points.is_empty());
    assert_eq!(back_up(&vault, 1, source(&disk())).await.unwrap().stored_bytes, 0);
}

#[tokio::test]
async fn a_store_that_fills_up_at_any_put_never_shows_half_a_point() {
    let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
    let mut puts = 0;
    loop {
        let store = Arc::new(InMemory::new());
        drop(create_in(store.clone()).await);
        let failing = Arc::new(OddStore::new(store.clone(), Oddity::FailsAfterPuts(puts, full)));
        let outcome = back_up(&open_in(failing, 2).await, 1, source(&noise(8, 20 * MIB))).await;
        let healthy = open_in(store, 3).await;
        assert!(healthy.verify(&Monitor::default()).await.unwrap().is_clean());
        let points = healthy.points().await.unwrap().points;
        match outcome {
            Err(error) => {
                assert_eq!((error.kind(), points.len()), (ErrorKind::NoSpace, 0));
                assert!(error.guidance().is_some());
            }
            Ok(stored) => {
                assert!(restored(&healthy, &stored.map).await.unwrap() == noise(8, 20 * MIB));
                break;
            }
        }
        puts += 1;
    }
    assert!(puts >= 4, "packs, index and point are different puts, not {puts}");
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_tried_again_and_then_given_up() {
    let store = Arc::new(InMemory::new());
    drop(create_in(store.clone()).await);
    let failing = OddStore::new(
        store,
        Oddity::FailsAfterPuts(0, || std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    );
    let error = back_up(&open_in(Arc::new(failing), 2).await, 1, source(&disk())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.is_retryable());
}

/// One write to a disk, in blocks of 512 bytes: where, how long, and of what; zero trims.
type Write = (usize, usize, u8);

fn write(bytes: &mut [u8], (start, length, fill): Write) -> ByteRange {
    let start = start * 512 % bytes.len();
    let end = (start + length * 512).min(bytes.len());
    match fill {
        0..4 => bytes[start..end].fill(fill),
        _ => bytes[start..end].copy_from_slice(&noise(fill.into(), end - start)),
    }
    ByteRange::between(start as u64, end as u64)
}

/// What a dirty bitmap with this granularity says of a write.
fn dirty(range: ByteRange, granularity_bytes: u64, size_bytes: u64) -> ByteRange {
    let start_bytes = range.offset_bytes / granularity_bytes * granularity_bytes;
    ByteRange::between(start_bytes, range.end_bytes().next_multiple_of(granularity_bytes).min(size_bytes))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_chain_of_backups_shows_each_moment(
        size in 1..20_000usize,
        base in prop::collection::vec((0..20_000usize, 1..6_000usize, 0..9u8), 0..6),
        rounds in prop::collection::vec((prop::collection::vec((0..20_000usize, 1..900usize, 0..9u8), 0..5), 9..17u32, any::<bool>()), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (vault, _) = memory_vault().await;
            let mut bytes = vec![0; size * 512];
            base.into_iter().for_each(|one| { write(&mut bytes, one); });
            let mut map = back_up(&vault, 0, source(&bytes)).await.unwrap().map;
            let mut moments = vec![(map, bytes.clone())];
            for (number, (writes, granularity_bits, mapped)) in rounds.into_iter().enumerate() {
                let changed: Vec<_> = writes.into_iter().map(|one| write(&mut bytes, one)).collect();
                let superset = changed.into_iter().map(|range| dirty(range, 1 << granularity_bits, bytes.len() as u64));
                let disk = if mapped {
                    changed_source(&bytes, map, superset.collect())
                } else {
                    DiskSource { parent: Some(map), ..source(&bytes) }
                };
                map = back_up(&vault, number as u8 + 1, disk).await.unwrap().map;
                moments.push((map, bytes.clone()));
            }
            for (map, bytes) in moments {
                assert!(restored(&vault, &map).await.unwrap() == bytes);
                assert!(read_whole(&vault, &map).await.unwrap() == bytes);
            }
            assert!(vault.verify(&Monitor::default()).await.unwrap().is_clean());
        });
    }
}

#[tokio::test]
async fn a_disk_larger_than_one_window_of_extents_is_stored_whole() {
    let (vault, _) = memory_vault().await;
    let size_bytes = (3 << 30) + 512;
    let image = Arc::new(Sparse {
        size_bytes,
        islands: vec![0, (1 << 30) - 4096, 1 << 30, 2_500_000_256, size_bytes - 512],
    });
    let stored =
        back_up(&vault, 1, DiskSource { image: image.clone(), parent: None, changes: None }).await.unwrap();
    assert_eq!(DiskMap { root: None, ..stored.map }.root_level(), 2);
    let shown = vault.image(&stored.map).await.unwrap();
    for island in &image.islands {
        let start_bytes = island.saturating_sub(1024).min(size_bytes - 2048);
        let (mut expected, mut found) = ([0; 2048], [1; 2048]);
        image::DiskImage::read_at(&*image, start_bytes, &mut expected).await.unwrap();
        image::DiskImage::read_at(&shown, start_bytes, &mut found).await.unwrap();
        assert!(expected == found && expected != [0; 2048], "around {island}");
    }
    let extents = image::DiskImage::extents(&shown, ByteRange::new(0, size_bytes)).await.unwrap();
    let data_bytes: u64 = extents
        .iter()
        .filter(|extent| extent.kind == image::ExtentKind::Data)
        .map(|extent| extent.range.length_bytes)
        .sum();
    assert!(data_bytes <= 5 * 4096, "{data_bytes}");
}

/// A huge disk with a few sectors of data.
struct Sparse {
    size_bytes: u64,
    islands: Vec<u64>,
}

#[async_trait::async_trait]
impl image::DiskImage for Sparse {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> image::Result<Vec<image::Extent>> {
        let mut extents = Vec::new();
        let mut next_bytes = range.offset_bytes;
        for island in &self.islands {
            let data = ByteRange::new(*island, 512).intersection(range);
            let zeros = ByteRange::between(next_bytes, data.offset_bytes);
            for (range, kind) in [(zeros, image::ExtentKind::Zero), (data, image::ExtentKind::Data)] {
                if !data.is_empty() && !range.is_empty() {
                    extents.push(image::Extent { range, kind });
                    next_bytes = range.end_bytes();
                }
            }
        }
        let rest = ByteRange::between(next_bytes, range.end_bytes());
        extents.extend(
            (!rest.is_empty()).then_some(image::Extent { range: rest, kind: image::ExtentKind::Zero }),
        );
        Ok(extents)
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> image::Result<()> {
        for (place, byte) in buffer.iter_mut().enumerate() {
            let at = offset_bytes + place as u64;
            *byte = u8::from(self.islands.iter().any(|island| (*island..island + 512).contains(&at)));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_host_that_only_writes_backs_up_again_and_again_and_reads_nothing_back() {
    let (reader, store) = memory_vault().await;
    let mut bytes = noise(1, 9 * MIB);
    let first = back_up(&reader, 1, source(&bytes)).await.unwrap();

    let host = open_write_only(store.clone(), &reader, 2).await;
    assert_eq!(back_up(&host, 2, source(&bytes)).await.unwrap().stored_bytes, 0, "it knows what is there");
    let mut parent = first;
    let mut moments = vec![(first, bytes.clone())];
    for number in 3..6u8 {
        let offset = usize::from(number) * MIB + 5000;
        bytes[offset..offset + 4096].fill(number);
        let change = vec![ByteRange::new(offset as u64, 4096)];
        // Every time another process, which knows only what is in the store.
        let host = open_write_only(store.clone(), &reader, u64::from(number)).await;
        assert_eq!(host.points().await.unwrap().points.len(), usize::from(number) - 1);
        let writer = host.writer().await.unwrap();
        assert!(writer.is_whole(&parent.map).await.unwrap());
        parent = back_up(&host, number, changed_source(&bytes, parent.map, change)).await.unwrap();
        assert!(parent.stored_bytes > 0 && parent.read_bytes < MIB as u64, "{parent:?}");
        moments.push((parent, bytes.clone()));
    }
    let compared = DiskSource { parent: Some(parent.map), ..source(&bytes) };
    assert_eq!(back_up(&host, 6, compared).await.unwrap().stored_bytes, 0);

    let target = image::MemoryTarget::new(parent.map.size_bytes);
    let errors = [
        host.restore_disk(&parent.map, &target, &Monitor::default()).await.unwrap_err(),
        host.image(&parent.map).await.err().unwrap(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::WrongKey);
        assert!(error.guidance().unwrap().contains("key file"), "{error:?}");
    }
    let reader = open_in(store, 9).await;
    for (stored, bytes) in moments {
        assert!(restored(&reader, &stored.map).await.unwrap() == bytes);
    }
    assert!(reader.verify(&Monitor::default()).await.unwrap().is_clean());
}

#[tokio::test]
async fn a_host_that_only_writes_stores_again_what_was_lost() {
    let (reader, store) = memory_vault().await;
    let bytes = noise(1, 9 * MIB);
    let first = back_up(&reader, 1, source(&bytes)).await.unwrap();
    let mut packs = objects(&*store).await;
    packs.retain(|path| path.as_ref().starts_with("packs/"));
    for pack in packs {
        store.delete(&pack).await.unwrap();
    }
    let host = open_write_only(store.clone(), &reader, 2).await;
    let writer = host.writer().await.unwrap();
    assert!(writer.lost_packs() > 0 && !writer.is_whole(&first.map).await.unwrap());
    let compared = DiskSource { parent: Some(first.map), ..source(&bytes) };
    assert_eq!(back_up(&host, 2, compared).await.unwrap().map, first.map);
    assert!(restored(&open_in(store, 3).await, &first.map).await.unwrap() == bytes);
}

/// A writer whose answer was lost begins anew, and finds that it has done it.
#[tokio::test]
async fn a_point_is_committed_once_however_often_it_is_tried() {
    let (vault, _) = memory_vault().await;
    let stored = back_up(&vault, 1, source(&noise(1, MIB))).await.unwrap();
    let again = back_up(&vault, 1, source(&noise(1, MIB))).await.unwrap();
    assert_eq!(again.map, stored.map);
    let error = back_up(&vault, 1, source(&noise(2, MIB))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(vault.points().await.unwrap().points.len(), 1);
}

/// Others go on, and make the log short, at any moment of a commit.
#[tokio::test]
async fn a_commit_fails_only_where_it_had_no_effect() {
    for number in 0.. {
        let (world, vault) = World::new().await;
        let view = world.view();
        let mut writer = world.open_by(view.clone()).await.writer().await.unwrap();
        let stored = writer.store_disk(source(&noise(1, 9000)), &Monitor::default()).await.unwrap();
        let others = vault.clone();
        view.let_happen_before(
            number,
            Box::pin(async move {
                let log = &others.shared.log;
                for _ in 0..3 {
                    let state = log.append(Change::Index { segments: Vec::new() }).await.unwrap();
                    log.trim(&state).await.unwrap();
                }
            }),
        );
        let committed = writer.commit(point(1, &stored)).await;
        if !view.has_happened() {
            break;
        }
        let is_there = vault.point(id(1)).await.is_ok();
        assert_eq!(committed.is_ok(), is_there, "{number} {committed:?}");
    }
}

/// Puts a store back to what it was.
async fn put_back(store: &InMemory, earlier: &[(Path, Vec<u8>)]) {
    for path in objects(store).await {
        store.delete(&path).await.unwrap();
    }
    for (path, bytes) in earlier {
        store.put(path, bytes.clone().into()).await.unwrap();
    }
}

async fn everything(store: &InMemory) -> Vec<(Path, Vec<u8>)> {
    let mut all = Vec::new();
    for path in objects(store).await {
        let bytes = object(store, &path).await;
        all.push((path, bytes));
    }
    all
}

#[tokio::test]
async fn a_store_that_is_put_back_to_an_earlier_time_takes_nobody_by_surprise() {
    // The store is as it was, somebody else has gone on a little, or further than this handle had come.
    for others in 0..4 {
        let (vault, store) = memory_vault().await;
        back_up(&vault, 1, source(&noise(1, MIB))).await.unwrap();
        let earlier = everything(&store).await;
        for number in 2..4 {
            back_up(&vault, number, source(&noise(number.into(), MIB))).await.unwrap();
        }
        let mut writer = vault.writer().await.unwrap();
        let stored = writer.store_disk(source(&noise(3, MIB)), &Monitor::default()).await.unwrap();
        put_back(&store, &earlier).await;
        for number in 0..others {
            let other = open_in(store.clone(), 50 + u64::from(number)).await;
            back_up(&other, 20 + number, source(&noise(20 + u64::from(number), MIB))).await.unwrap();
        }

        let error = writer.commit(point(9, &stored)).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Overtaken && error.is_retryable(), "{others}: {error}");
        assert!(error.to_string().contains("put back"), "{others}: {error}");
        // What the handle saw before is not there: it is stored again.
        let stored = back_up(&vault, 9, source(&noise(3, MIB))).await.unwrap();
        assert!(stored.stored_bytes > MIB as u64 / 2);
        let opened = open_in(store.clone(), 60).await;
        assert!(restored(&opened, &stored.map).await.unwrap() == noise(3, MIB));
        assert_eq!(opened.points().await.unwrap().points.len(), 2 + usize::from(others));
        assert!(opened.verify(&Monitor::default()).await.unwrap().is_clean());
    }
}

#[tokio::test]
async fn an_entry_that_follows_one_that_is_gone_is_taken_back() {
    let (vault, store) = memory_vault().await;
    let earlier = everything(&store).await;
    for number in 1..3 {
        back_up(&vault, number, source(&noise(number.into(), MIB))).await.unwrap();
    }
    let state = vault.shared.log.refresh().await.unwrap();
    put_back(&store, &earlier).await;
    let appended = vault.shared.log.try_append(&state, Change::Index { segments: Vec::new() }).await;
    assert_eq!(appended.unwrap_err().kind(), ErrorKind::Overtaken);
    let opened = open_in(store.clone(), 60).await;
    assert!(opened.verify(&Monitor::default()).await.unwrap().is_clean());
    back_up(&opened, 3, source(&noise(3, MIB))).await.unwrap();
}
