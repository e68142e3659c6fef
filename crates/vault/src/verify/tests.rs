use std::sync::Arc;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use proptest::prelude::*;

use super::PointHealth;
use crate::{
    Damage, Digest, DiskSource, ErrorKind, Monitor, Sequence, StoreLocation, StoredDisk, Vault, VerifyReport,
    fixture::{
        MIB, back_up, changed_source, key_file_slot, memory_vault, noise, object, objects, open_in,
        open_write_only, read_whole, restored, source, unlock,
    },
};
use env::Env;
use image::ByteRange;

fn disk() -> Vec<u8> {
    let mut bytes = noise(1, 9 * MIB);
    bytes[5 * MIB..6 * MIB].fill(0);
    bytes
}

fn changed_disk() -> Vec<u8> {
    let mut bytes = disk();
    bytes[7 * MIB..7 * MIB + 4096].fill(3);
    bytes
}

/// A vault with two points, the second of which shares most of its chunks with the first.
async fn two_points() -> (Vault, Arc<InMemory>, [StoredDisk; 2]) {
    let (vault, store) = memory_vault().await;
    let first = back_up(&vault, 1, source(&disk())).await.unwrap();
    let change = vec![ByteRange::new(7 * MIB as u64, 4096)];
    let second = back_up(&vault, 2, changed_source(&changed_disk(), first.map, change)).await.unwrap();
    (vault, store, [first, second])
}

async fn verify(store: Arc<InMemory>) -> VerifyReport {
    open_in(store, 9).await.verify(&Monitor::default()).await.unwrap()
}

/// The objects in a folder, largest first.
async fn largest_in(store: &InMemory, folder: &str) -> Vec<Path> {
    let folder = Path::from(folder);
    let mut found: Vec<_> = store.list(Some(&folder)).try_collect().await.unwrap();
    found.sort_by_key(|meta| std::cmp::Reverse(meta.size));
    found.into_iter().map(|meta| meta.location).collect()
}

#[tokio::test]
async fn a_sound_vault_is_clean_and_every_byte_of_it_was_read() {
    let (vault, store, _) = two_points().await;
    let seen = Arc::new(std::sync::Mutex::new((0, 0)));
    let log = Arc::clone(&seen);
    let monitor =
        Monitor::new(Default::default(), Arc::new(move |done, total| *log.lock().unwrap() = (done, total)));
    let report = vault.verify(&monitor).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.points.len(), 2);
    let stats = vault.stats().await.unwrap();
    assert_eq!((report.packs, report.checked_bytes), (stats.packs.count, stats.packs.bytes.0));
    assert_eq!(*seen.lock().unwrap(), (stats.packs.bytes.0, stats.packs.bytes.0));
    assert_eq!((stats.packs.count, stats.index_segments.count, stats.points.count), (4, 2, 2));
    drop(store);
}

#[tokio::test]
async fn anybody_can_check_objects_by_their_names() {
    let (vault, store, _) = two_points().await;
    let log = &vault.shared.log;
    log.write_state(&log.refresh().await.unwrap()).await.unwrap();
    let mut seen = [0; 3];
    for path in objects(&*store).await {
        let name = path.filename().unwrap();
        let bytes = object(&*store, &path).await;
        let number = || Sequence(name.parse().unwrap());
        match path.as_ref().split('/').next().unwrap() {
            "config" => seen[0] += 1,
            "log" => assert!(crate::log::entry::is_sound(number(), &bytes), "{path}"),
            "states" => {
                assert!(crate::log::state::is_sound(number(), &bytes), "{path}");
                seen[1] += 1;
            }
            _ => {
                assert_eq!(name, Digest::of(&bytes).to_string(), "{path}");
                seen[2] += 1;
            }
        }
    }
    assert_eq!(seen, [1, 1, 9]);
}

#[tokio::test]
async fn a_flipped_bit_costs_one_frame_and_verify_says_which_points_it_hurts() {
    let (_, store, stored) = two_points().await;
    let pack = largest_in(&store, "packs").await.remove(0);
    let mut bytes = object(&*store, &pack).await;
    bytes[2_000_000] ^= 1;
    store.put(&pack, bytes.into()).await.unwrap();

    let report = verify(store.clone()).await;
    let chunks = report.damage.iter().filter(|damage| matches!(damage, Damage::Chunk { .. })).count();
    assert!((4..=64).contains(&chunks) && report.damage.len() == chunks + 1, "{report:?}");
    assert!(report.points.iter().all(|point| !point.is_intact()), "both points need the frame");
    let lost = &report.points[0].hurt[0];
    assert!(lost.lost_bytes <= MIB as u64 && lost.lost_bytes > 512 << 10, "{lost:?}");

    let vault = open_in(store, 3).await;
    let error = restored(&vault, &stored[0].map).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(pack.filename().unwrap()), "{error}");
    let image = vault.image(&stored[0].map).await.unwrap();
    let (mut good, mut bad) = (vec![0; 4096], vec![0; lost.lost[0].length_bytes as usize]);
    image::DiskImage::read_at(&image, 8 * MIB as u64, &mut good).await.unwrap();
    assert!(good == disk()[8 * MIB..8 * MIB + 4096], "what is not lost is still there");
    let error = image::DiskImage::read_at(&image, lost.lost[0].offset_bytes, &mut bad).await.unwrap_err();
    assert_eq!(error.kind(), image::ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_missing_pack_is_named_with_the_points_that_need_it() {
    let (_, store, _) = two_points().await;
    let pack = largest_in(&store, "packs").await.remove(0);
    store.delete(&pack).await.unwrap();
    let report = verify(store).await;
    let name = pack.filename().unwrap().parse().unwrap();
    assert_eq!(report.damage, [Damage::MissingPack { pack: name }]);
    assert!(report.points.iter().all(|point| point.hurt[0].lost_bytes > 7 * MIB as u64));
}

#[tokio::test]
async fn damage_of_one_point_leaves_the_other_intact() {
    let (_, store, stored) = two_points().await;
    // The second largest holds the second point's data.
    let pack = largest_in(&store, "packs").await.remove(1);
    store.delete(&pack).await.unwrap();
    let report = verify(store.clone()).await;
    assert_eq!(
        report.points.iter().map(PointHealth::is_intact).collect::<Vec<_>>(),
        [true, false],
        "{report:?}"
    );
    assert!(restored(&open_in(store, 3).await, &stored[0].map).await.unwrap() == disk());
}

#[tokio::test]
async fn an_unreadable_point_does_not_hide_the_others() {
    let (_, store, _) = two_points().await;
    let point = largest_in(&store, "points").await.remove(0);
    store.put(&point, b"HFPONT\x01\0nonsense".to_vec().into()).await.unwrap();
    let vault = open_in(store.clone(), 3).await;
    let list = vault.points().await.unwrap();
    assert_eq!((list.points.len(), list.unreadable.len()), (1, 1));
    assert!(matches!(verify(store).await.damage[..], [Damage::Point { .. }]));
}

#[tokio::test]
async fn the_next_backup_heals_what_a_lost_index_segment_took() {
    let (vault, store, stored) = two_points().await;
    let segment = largest_in(&store, "index").await.remove(0);
    store.delete(&segment).await.unwrap();
    drop(vault);
    let vault = open_in(store.clone(), 5).await;
    assert!(restored(&vault, &stored[0].map).await.is_err());
    let compared = DiskSource { parent: Some(stored[1].map), ..source(&changed_disk()) };
    let healed = back_up(&vault, 3, compared).await.unwrap();
    assert_eq!(healed.map, stored[1].map, "the same disk has the same map");
    assert!(restored(&vault, &stored[1].map).await.unwrap() == changed_disk());
}

#[tokio::test]
async fn the_next_backup_stores_again_what_a_lost_pack_held() {
    for loss in [Loss::Deleted, Loss::Truncated, Loss::Emptied] {
        let (vault, store, stored) = two_points().await;
        let pack = largest_in(&store, "packs").await.remove(0);
        loss.strike(&store, &pack).await;
        for (number, vault, is_healed) in [(3, vault, false), (4, open_in(store.clone(), 5).await, true)] {
            let writer = vault.writer().await.unwrap();
            assert_eq!(writer.lost_packs(), 1, "what only the first point needs is lost for good");
            assert_eq!(writer.is_whole(&stored[1].map).await.unwrap(), is_healed, "{loss:?}");
            assert!(!writer.is_whole(&stored[0].map).await.unwrap());
            let compared = DiskSource { parent: Some(stored[1].map), ..source(&changed_disk()) };
            let compared = back_up(&vault, number, compared).await.unwrap();
            assert_eq!(compared.map, stored[1].map, "the same disk has the same map");
            assert_eq!(compared.stored_bytes == 0, is_healed, "it is stored once");
        }
        let vault = open_in(store, 6).await;
        assert!(restored(&vault, &stored[1].map).await.unwrap() == changed_disk(), "{loss:?}");
        assert!(read_whole(&vault, &stored[1].map).await.unwrap() == changed_disk(), "{loss:?}");
    }
}

#[tokio::test]
async fn what_a_verification_found_damaged_is_stored_again_and_read_from_the_new_pack() {
    let (vault, store, stored) = two_points().await;
    let pack = largest_in(&store, "packs").await.remove(0);
    let mut bytes = object(&*store, &pack).await;
    bytes[2_000_000] ^= 1;
    store.put(&pack, bytes.into()).await.unwrap();
    assert!(!vault.verify(&Monitor::default()).await.unwrap().is_clean());
    let compared = DiskSource { parent: Some(stored[0].map), ..source(&disk()) };
    assert!(back_up(&vault, 3, compared).await.unwrap().stored_bytes > 0);
    // Another process does not know which of the two packs is the good one.
    let vault = open_in(store.clone(), 5).await;
    assert!(restored(&vault, &stored[0].map).await.unwrap() == disk());
    let vault = open_in(store, 6).await;
    assert!(read_whole(&vault, &stored[0].map).await.unwrap() == disk());
    let report = vault.verify(&Monitor::default()).await.unwrap();
    assert!(!report.damage.is_empty() && report.points.iter().all(PointHealth::is_intact), "{report:?}");
}

#[tokio::test]
async fn a_lost_part_of_the_parents_map_is_damage_with_changes_and_heals_without() {
    let (_, store, stored) = two_points().await;
    // The smaller packs hold the maps: the first point's and what the second has of its own.
    for pack in largest_in(&store, "packs").await.split_off(2) {
        store.delete(&pack).await.unwrap();
    }
    let vault = open_in(store.clone(), 5).await;
    let change = vec![ByteRange::new(7 * MIB as u64, 4096)];
    let changed = changed_source(&changed_disk(), stored[1].map, change);
    assert_eq!(back_up(&vault, 3, changed).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let compared = DiskSource { parent: Some(stored[1].map), ..source(&changed_disk()) };
    let healed = back_up(&vault, 3, compared).await.unwrap();
    assert!(healed.stored_bytes > 0);
    assert!(restored(&open_in(store, 6).await, &healed.map).await.unwrap() == changed_disk());
}

#[tokio::test]
async fn a_verification_does_not_trust_what_its_handle_has_seen_before() {
    for folder in ["points", "index"] {
        let (vault, store, stored) = two_points().await;
        assert!(vault.verify(&Monitor::default()).await.unwrap().is_clean());
        assert!(restored(&vault, &stored[1].map).await.unwrap() == changed_disk());
        let object = largest_in(&store, folder).await.remove(0);
        store.put(&object, noise(5, 300).into()).await.unwrap();
        let report = vault.verify(&Monitor::default()).await.unwrap();
        match &report.damage[..] {
            [Damage::Point { .. }] => assert_eq!((folder, report.points.len()), ("points", 1)),
            [Damage::IndexSegment { .. }] => {
                assert_eq!(folder, "index");
                assert!(!report.points.iter().any(PointHealth::is_intact), "{report:?}");
                assert!(back_up(&vault, 3, source(&disk())).await.unwrap().stored_bytes > 8 * MIB as u64);
            }
            damage => panic!("{damage:?}"),
        }
    }
}

#[tokio::test]
async fn objects_that_were_cut_short_are_damage_in_any_kind_of_store() {
    let directory = tempfile::tempdir().unwrap();
    let location = StoreLocation::parse(directory.path().to_str().unwrap()).unwrap();
    let slots = [key_file_slot()];
    let vault = Vault::create(&location, &slots, Env::seeded(1)).await.unwrap();
    let stored = back_up(&vault, 1, source(&disk())).await.unwrap();
    let local = object_store::local::LocalFileSystem::new_with_prefix(directory.path()).unwrap();
    for loss in [Loss::Truncated, Loss::Emptied] {
        for pack in objects(&local).await.iter().filter(|path| path.as_ref().starts_with("packs/")) {
            loss.strike(&local, pack).await;
        }
        let vault = Vault::open(&location, &unlock(), Env::seeded(2)).await.unwrap();
        assert_eq!(restored(&vault, &stored.map).await.unwrap_err().kind(), ErrorKind::Corrupt, "{loss:?}");
        let report = vault.verify(&Monitor::default()).await.unwrap();
        assert!(report.damage.iter().all(|damage| matches!(damage, Damage::Pack { .. })), "{report:?}");
        assert_eq!((report.packs, report.damage.len()), (2, 2), "{report:?}");
        assert!(!report.points[0].is_intact());
    }
    for path in objects(&local).await.iter().filter(|path| !path.as_ref().starts_with("config")) {
        if !path.as_ref().starts_with("keys/") {
            Loss::Emptied.strike(&local, path).await;
        }
    }
    let report = vault.verify(&Monitor::default()).await.unwrap();
    // Two packs, the index segment, the point, and the two entries of the log that said so.
    assert_eq!((report.damage.len(), report.points.len()), (6, 0), "{report:?}");
}

#[tokio::test]
async fn a_host_that_only_writes_checks_data_by_digest_and_says_so() {
    let (vault, store, _) = two_points().await;
    let full = vault.verify(&Monitor::default()).await.unwrap();
    let host = open_write_only(store.clone(), &vault, 2).await;
    let report = host.verify(&Monitor::default()).await.unwrap();
    assert!(report.is_clean() && report.points.len() == 2, "{report:?}");
    assert_eq!((full.digest_only_packs, report.digest_only_packs), (0, 2), "both packs of data");
    assert_eq!((report.packs, report.checked_bytes), (full.packs, full.checked_bytes));
    assert!(report.chunks > 0 && report.chunks < full.chunks, "nodes of maps only");

    let pack = largest_in(&store, "packs").await.remove(0);
    let mut bytes = object(&*store, &pack).await;
    bytes[2_000_000] ^= 1;
    store.put(&pack, bytes.into()).await.unwrap();
    let report = host.verify(&Monitor::default()).await.unwrap();
    assert!(matches!(&report.damage[..], [Damage::Pack { .. }]), "{report:?}");
    assert!(report.points.iter().all(|point| !point.is_intact()), "which chunks are lost, it cannot tell");
    // It can heal what it cannot read.
    assert!(back_up(&host, 3, source(&changed_disk())).await.unwrap().stored_bytes > 7 * MIB as u64);
    assert!(open_in(store, 3).await.verify(&Monitor::default()).await.unwrap().points[2].is_intact());
}

/// What may happen to an object.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Deleted,
    Truncated,
    Emptied,
}

impl Loss {
    async fn strike(self, store: &impl ObjectStore, path: &Path) {
        let mut bytes = object(store, path).await;
        match self {
            Self::Deleted => return store.delete(path).await.unwrap(),
            Self::Truncated => bytes.truncate(bytes.len() / 3),
            Self::Emptied => bytes.clear(),
        }
        store.put(path, bytes.into()).await.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_bit_flipped_anywhere_never_yields_wrong_data(which: prop::sample::Index, place: prop::sample::Index, bit in 0..8u8) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let (_, store, stored) = two_points().await;
            let paths = objects(&*store).await;
            let path = which.get(&paths);
            let mut bytes = object(&*store, path).await;
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            store.put(path, bytes.into()).await.unwrap();

            let opened = Vault::open(&StoreLocation::at_hand(store.clone()), &unlock(), Env::seeded(4)).await;
            let Ok(vault) = opened else {
                assert!(path.as_ref() == "config" || path.as_ref().starts_with("keys/"), "{path} keeps the vault shut");
                return;
            };
            for (stored, bytes) in stored.iter().zip([disk(), changed_disk()]) {
                match restored(&vault, &stored.map).await {
                    Ok(found) => assert!(found == bytes, "{path} at {place}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
                }
                match read_whole(&vault, &stored.map).await {
                    Ok(found) => assert!(found == bytes, "{path} at {place}"),
                    Err(error) => assert_eq!(error.kind(), image::ErrorKind::Corrupt, "{error}"),
                }
            }
            assert!(!vault.verify(&Monitor::default()).await.unwrap().is_clean(), "{path} at {place}");
        });
    }
}
