//! What a replica shows, against records applied one after another.

use std::time::Duration;

use image::{ByteRange, DiskImage, ExtentKind, conformance::check_image};
use model::Timestamp;
use proptest::prelude::*;

use crate::{
    At, Change, Checkpoint, CheckpointKind, Copied, DiskNumber, ErrorKind, Generation, Grid, Mark, Part,
    PartContent, Position, Received, RestorePoint, Retention, SegmentNumber, Sequence,
    fixture::{MIB, Naive, Pair, block_on, noise, taken, vm},
    thin,
};

const KEEP_NOTHING: Retention = Retention { window: Duration::ZERO, segment_bytes: Some(0) };

fn fold_all(pair: &Pair) -> Sequence {
    pair.replica.fold(&pair.replica.plan_fold(&KEEP_NOTHING)).unwrap().reaches_back_to
}

fn crash_checkpoint() -> Checkpoint {
    Checkpoint { kind: CheckpointKind::Crash, vm: None, name: String::new() }
}

#[test]
fn every_moment_shows_what_was_written_by_then() {
    let mut pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let first = taken(pair.journal.write(disk, 4096, &noise(1, 8192)).unwrap());
    let second = taken(pair.journal.write(disk, 8192, &noise(2, 512)).unwrap());
    let third = taken(pair.journal.zero(disk, ByteRange::new(4096, 1024)).unwrap());
    assert_eq!(pair.ship(), third);
    let mut expected = vec![0; MIB as usize];
    expected[4096..12288].copy_from_slice(&noise(1, 8192));
    assert!(pair.read(disk, first) == expected);
    expected[8192..8704].copy_from_slice(&noise(2, 512));
    assert!(pair.read(disk, second) == expected);
    expected[4096..5120].fill(0);
    assert!(pair.read(disk, third) == expected);
    pair.reopen_replica();
    assert!(pair.read(disk, third) == expected);
}

#[test]
fn a_replica_image_keeps_the_contract_of_images() {
    let pair = Pair::new();
    let disk = pair.disk("root", 2 * MIB);
    for (number, offset_bytes) in [0, 65_536, 300_032, MIB].into_iter().enumerate() {
        taken(pair.journal.write(disk, offset_bytes, &noise(number as u64, 20_480)).unwrap());
    }
    pair.seal();
    fold_all(&pair);
    taken(pair.journal.write(disk, 8192, &noise(9, 512)).unwrap());
    taken(pair.journal.zero(disk, ByteRange::new(66_048, 4096)).unwrap());
    let last = pair.ship();
    let expected = pair.read(disk, last);
    let moment = pair.replica.moment(vm(), At::Latest).unwrap();
    let image = moment.image(disk).unwrap();
    block_on(check_image(&image, &expected));
    let extents = block_on(image.extents(ByteRange::new(66_048, 4096))).unwrap();
    assert!(extents.iter().all(|extent| extent.kind == ExtentKind::Zero), "punched zeros are known");
}

#[test]
fn a_fold_changes_no_moment_that_is_still_shown() {
    let mut pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let mut moments = Vec::new();
    for round in 0..6 {
        taken(pair.journal.write(disk, round * 5120, &noise(round, 10_240)).unwrap());
        moments.push(pair.ship());
        pair.seal();
    }
    let shown: Vec<Vec<u8>> = moments.iter().map(|&at| pair.read(disk, at)).collect();
    let held = pair.replica.moment(vm(), At::Sequence(moments[3])).unwrap();
    let reach = fold_all(&pair);
    assert!(reach <= moments[3] && reach > moments[1], "folded up to what is held: {reach}");
    let refused = pair.replica.moment(vm(), At::Sequence(moments[0])).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Folded);
    for (at, bytes) in moments.iter().zip(&shown).skip(3) {
        assert!(pair.read(disk, *at) == *bytes, "record {at}");
    }
    drop(held);
    pair.reopen_replica();
    pair.replica.pin("drill", moments[4]).unwrap();
    pair.reopen_replica();
    assert!(fold_all(&pair) <= moments[4], "a pin outlives the process");
    assert!(pair.read(disk, moments[4]) == shown[4]);
    assert!(pair.replica.unpin("drill").unwrap() && !pair.replica.unpin("drill").unwrap());
}

#[test]
fn an_image_is_read_while_what_it_needs_moves_into_the_base() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    for round in 0..8 {
        taken(pair.journal.write(disk, round * 8192, &noise(round, 8192)).unwrap());
        pair.seal();
    }
    let last = pair.replica.durable_through();
    let expected = pair.read(disk, last);
    let moment = pair.replica.moment(vm(), At::Sequence(last)).unwrap();
    let image = moment.image(disk).unwrap();
    let mut bytes = vec![0; 8192];
    block_on(image.read_at(0, &mut bytes)).unwrap();
    fold_all(&pair);
    let mut bytes = vec![0; MIB as usize];
    block_on(image.read_at(0, &mut bytes)).unwrap();
    assert!(bytes == expected);
}

#[test]
fn disks_come_grow_shrink_and_go() {
    let mut pair = Pair::new();
    let disk = pair.disk("root", MIB);
    taken(pair.journal.write(disk, MIB - 4096, &noise(1, 4096)).unwrap());
    let before = pair.journal.resize_disk(disk, MIB / 2).unwrap();
    pair.journal.resize_disk(disk, MIB).unwrap();
    let other = pair.disk("data", 8192);
    let with_other = taken(pair.journal.write(other, 0, &noise(2, 8192)).unwrap());
    let without = pair.journal.remove_disk(other).unwrap();
    pair.ship();
    for _ in 0..2 {
        assert_eq!(pair.read(disk, before).len() as u64, MIB / 2);
        assert!(pair.read(disk, without).iter().all(|&byte| byte == 0), "what was cut off is gone");
        assert!(pair.read(other, with_other) == noise(2, 8192));
        let moment = pair.replica.moment(vm(), At::Sequence(without)).unwrap();
        assert_eq!(moment.image(other).map(drop).unwrap_err().kind(), ErrorKind::NotFound);
        pair.seal();
        pair.reopen_replica();
    }
    fold_all(&pair);
    assert!(pair.read(disk, pair.replica.durable_through()).iter().all(|&byte| byte == 0));
    let names = pair.target_folder.names().unwrap();
    assert_eq!(names.iter().filter(|name| name.starts_with("base-")).count(), 1, "{names:?}");
}

#[test]
fn a_moment_at_which_writes_were_missed_is_not_shown() {
    let mut pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let good = taken(pair.journal.write(disk, 0, &noise(1, 4096)).unwrap());
    pair.ship();
    pair.reopen_journal();
    let torn = taken(pair.journal.write(disk, 4096, &noise(2, 4096)).unwrap());
    pair.ship();
    let refused = pair.replica.moment(vm(), At::Sequence(torn)).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotWhole);
    assert_eq!(pair.replica.newest_whole(vm()), Some(good), "the moments before stay");
    let ticket = pair.journal.begin_copy(disk, ByteRange::new(0, 8192)).unwrap();
    assert_eq!(pair.journal.disk_is_whole(disk).unwrap_err().kind(), ErrorKind::Invalid);
    taken(pair.journal.write(disk, 512, &noise(3, 512)).unwrap());
    let copied = noise(4, 8192);
    assert!(pair.journal.finish_copy(ticket, Copied::Data(&copied)).unwrap().is_none());
    let whole = pair.journal.disk_is_whole(disk).unwrap();
    pair.ship();
    let mut expected = copied;
    expected[512..1024].copy_from_slice(&noise(3, 512));
    assert!(pair.read(disk, whole)[..8192] == expected[..], "a copy gives way to what was written meanwhile");
    assert_eq!(pair.replica.newest_whole(vm()), Some(whole));
}

#[test]
fn an_outage_keeps_the_newest_whole_moment_whatever_the_retention() {
    let mut pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let good = taken(pair.journal.write(disk, 0, &noise(1, 4096)).unwrap());
    pair.ship();
    pair.reopen_journal();
    for round in 0..3 {
        taken(pair.journal.write(disk, 4096, &noise(round, 4096)).unwrap());
        pair.seal();
    }
    let plan = pair.replica.plan_fold(&KEEP_NOTHING);
    assert!(plan.reaches_back_to <= good && plan.excess_bytes > 0, "{plan:?}");
    fold_all(&pair);
    assert!(pair.read(disk, good)[..4096] == noise(1, 4096));
}

#[test]
fn parts_that_come_twice_late_or_altered_do_no_harm() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    for round in 0..4 {
        taken(pair.journal.write(disk, round * 4096, &noise(round, 4096)).unwrap());
        pair.journal.flush().unwrap();
    }
    let parts = pair.journal.parts(pair.journal.start(), u64::MAX).unwrap();
    assert_eq!(pair.replica.receive(&parts[0]).unwrap(), Received::Appended);
    let wanted = pair.replica.wanted().unwrap();
    assert_eq!(pair.replica.receive(&parts[2]).unwrap(), Received::Gap { wanted });
    assert_eq!(pair.replica.receive(&parts[0]).unwrap(), Received::Duplicate);
    let PartContent::Block(block) = &parts[1].content else { panic!("a block follows the header") };
    let mut altered = block.to_vec();
    altered[100] ^= 1;
    let altered = Part { content: PartContent::Block(altered.into()), ..parts[1].clone() };
    assert_eq!(pair.replica.receive(&altered).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(pair.replica.receive(&parts[1]).unwrap(), Received::Appended, "the true one is taken");
    let early_end = Part { position: parts[2].position, content: PartContent::Seal([0; 32]) };
    assert_eq!(pair.replica.receive(&early_end).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(pair.ship(), pair.journal.durable_through());
}

#[test]
fn both_sides_have_the_same_bytes() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    for round in 0..20 {
        taken(pair.journal.write(disk, round * 1024, &noise(round, 4096)).unwrap());
        pair.seal();
    }
    let sealed = pair.replica.status().unwrap().segment_count;
    assert!(sealed > 1);
    for number in 1..=sealed {
        let bytes = |folder: &dyn crate::Folder| {
            let file = folder.open(&format!("segment-{number:016}")).unwrap();
            crate::folder::read_whole(&*file, u64::MAX).unwrap()
        };
        assert!(bytes(&*pair.source_folder) == bytes(&*pair.target_folder), "segment {number}");
    }
}

#[test]
fn an_older_generation_is_refused() {
    let pair = Pair::new();
    pair.disk("root", MIB);
    pair.seal();
    pair.replica.raise_generation(Generation(2)).unwrap();
    pair.disk("data", MIB);
    pair.journal.flush().unwrap();
    for _ in 0..2000 {
        pair.env.clock.now();
    }
    pair.journal.flush().unwrap();
    let wanted = pair.replica.wanted().unwrap();
    let refused = pair
        .journal
        .parts(wanted, u64::MAX)
        .unwrap()
        .iter()
        .find_map(|part| pair.replica.receive(part).err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::Fenced);
    assert_eq!(pair.replica.raise_generation(Generation(1)).unwrap_err().kind(), ErrorKind::Fenced);
}

#[test]
fn a_released_segment_is_not_shipped_again() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    for round in 0..3 {
        taken(pair.journal.write(disk, 0, &noise(round, 4096)).unwrap());
        pair.seal();
    }
    let before = pair.journal.usage().disk_bytes;
    pair.journal.release(pair.replica.wanted().unwrap().segment).unwrap();
    assert!(pair.journal.usage().disk_bytes < before);
    let gone = Position { segment: SegmentNumber(1), offset_bytes: 0 };
    assert_eq!(pair.journal.parts(gone, 1).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(pair.journal.position_after(Sequence(0)).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(pair.journal.parts(pair.journal.start(), u64::MAX).unwrap().len(), 1, "an empty segment");
}

#[test]
fn a_replica_that_begins_late_knows_nothing_of_before() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    taken(pair.journal.write(disk, 0, &noise(1, 4096)).unwrap());
    pair.seal();
    let folder = std::sync::Arc::new(crate::Directory::open(&pair.path("late")).unwrap());
    let late = crate::Replica::open(folder, env::Threads::Inline).unwrap();
    let segment = pair.replica.wanted().unwrap().segment;
    late.begin_at(segment).unwrap();
    let written = taken(pair.journal.write(disk, 4096, &noise(2, 4096)).unwrap());
    pair.journal.flush().unwrap();
    for part in pair.journal.parts(Position { segment, offset_bytes: 0 }, u64::MAX).unwrap() {
        assert_eq!(late.receive(&part).unwrap(), Received::Appended);
    }
    assert_eq!(late.sync().unwrap(), written);
    assert_eq!(late.newest_whole(vm()), None);
    let refused = late.moment(vm(), At::Sequence(written)).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotWhole);
    assert_eq!(late.begin_at(segment).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn checkpoints_are_listed_by_time_and_found_by_time() {
    let mut pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let mut marked = Vec::new();
    for round in 0..4 {
        taken(pair.journal.write(disk, round * 4096, &noise(round, 4096)).unwrap());
        marked.push(taken(pair.journal.checkpoint(crash_checkpoint()).unwrap()));
        pair.seal();
    }
    let always = Timestamp::from_microseconds(i64::MIN)..=Timestamp::from_microseconds(i64::MAX);
    let points = pair.replica.checkpoints(vm(), always.clone()).unwrap();
    let sequences: Vec<Sequence> = points.iter().map(|point| point.sequence).collect();
    assert_eq!(sequences, marked);
    let (second, third) = (points[1].time, points[2].time);
    assert_eq!(pair.replica.checkpoints(vm(), second..=third).unwrap(), points[1..=2]);
    assert_eq!(pair.replica.sequence_at(second).unwrap(), marked[1]);
    assert_eq!(pair.replica.moment(vm(), At::Time(second)).unwrap().sequence(), marked[1]);
    let too_early = pair.replica.sequence_at(Timestamp::from_microseconds(0)).unwrap_err();
    assert_eq!(too_early.kind(), ErrorKind::Folded);
    fold_all(&pair);
    pair.reopen_replica();
    assert_eq!(pair.replica.checkpoints(vm(), always).unwrap(), [], "what was folded is not offered");
}

#[test]
fn thinning_keeps_what_people_marked_and_the_newest_of_each_step() {
    let point = |second: i64, kind| RestorePoint {
        sequence: Sequence(second as u64),
        time: Timestamp::from_microseconds(1_767_225_600_000_000 + second * 1_000_000),
        checkpoint: Checkpoint { kind, ..crash_checkpoint() },
    };
    let mut points: Vec<RestorePoint> =
        (0..7200).map(|second| point(second, CheckpointKind::Crash)).collect();
    points[10] = point(10, CheckpointKind::Bookmark);
    let seconds = |seconds| Duration::from_secs(seconds);
    let steps = vec![(seconds(60), seconds(0)), (seconds(3600), seconds(60))];
    let kept = thin(&points, &Grid { steps });
    assert_eq!(kept.first().unwrap().sequence, Sequence(10));
    assert_eq!(kept.iter().filter(|point| point.sequence.0 >= 7139).count(), 61, "the last minute whole");
    assert_eq!(kept.len(), 1 + 61 + 60, "and one for each minute of the hour");
}

#[test]
fn merged_indexes_show_the_same_and_are_made_again_when_damaged() {
    let mut pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let mut moments = Vec::new();
    for round in 0..40 {
        taken(pair.journal.write(disk, round % 7 * 3072, &noise(round, 5120)).unwrap());
        pair.seal();
        moments.push(pair.replica.durable_through());
    }
    let shown: Vec<Vec<u8>> = moments.iter().map(|&at| pair.read(disk, at)).collect();
    assert_eq!(pair.replica.merge_indexes().unwrap(), 2);
    assert_eq!(pair.replica.merge_indexes().unwrap(), 0);
    pair.reopen_replica();
    assert_eq!(pair.replica.merge_indexes().unwrap(), 0, "they are known again");
    let check = |pair: &Pair, from: usize| {
        for (at, bytes) in moments.iter().zip(&shown).skip(from) {
            assert!(pair.read(disk, *at) == *bytes, "record {at}");
        }
    };
    check(&pair, 0);
    pair.replica.pin("half way", moments[20]).unwrap();
    fold_all(&pair);
    check(&pair, 20);
    let index = pair.target_folder.open("index-1-0000000000000001").unwrap();
    index.write_at(index.length_bytes().unwrap() - 40, b"damage").unwrap();
    pair.reopen_replica();
    check(&pair, 20);
    assert_eq!(pair.replica.merge_indexes().unwrap(), 1);
    check(&pair, 20);
}

#[test]
fn damage_is_an_error_that_names_the_segment() {
    let mut pair = Pair::new();
    let disk = pair.disk("root", MIB);
    taken(pair.journal.write(disk, 0, &noise(1, 65_536)).unwrap());
    pair.seal();
    let last = pair.replica.durable_through();
    let file = pair.target_folder.open("segment-0000000000000001").unwrap();
    let mut byte = [0];
    file.read_at(40_000, &mut byte).unwrap();
    file.write_at(40_000, &[byte[0] ^ 1]).unwrap();
    pair.reopen_replica();
    let moment = pair.replica.moment(vm(), At::Sequence(last)).unwrap();
    let image = moment.image(disk).unwrap();
    let error = block_on(image.read_at(0, &mut [0; 512])).unwrap_err();
    assert_eq!(error.kind(), image::ErrorKind::Corrupt);
    assert!(error.to_string().contains("segment-0000000000000001"), "{error}");
    assert_eq!(
        pair.replica.fold(&pair.replica.plan_fold(&KEEP_NOTHING)).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

#[derive(Debug, Clone)]
enum Step {
    Write { sector: u64, sectors: u64, seed: u64 },
    Zero { sector: u64, sectors: u64 },
    Resize { sectors: u64 },
    Seal,
    Merge,
    Fold,
    Reopen,
}

const SECTORS: u64 = 256;

fn step() -> impl Strategy<Value = Step> {
    let range = (0..SECTORS, 1..64u64);
    prop_oneof![
        8 => (range.clone(), any::<u64>())
            .prop_map(|((sector, sectors), seed)| Step::Write { sector, sectors, seed }),
        3 => range.prop_map(|(sector, sectors)| Step::Zero { sector, sectors }),
        1 => (SECTORS / 2..=SECTORS).prop_map(|sectors| Step::Resize { sectors }),
        4 => Just(Step::Seal),
        1 => Just(Step::Merge),
        1 => Just(Step::Fold),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_moment_equals_the_records_applied_one_after_another(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        let disk = pair.disk("root", SECTORS * 512);
        let mut naive = Naive::default();
        let name = "root".parse().unwrap();
        naive.apply(&Change::Mark(Mark::DiskAdded { disk, vm: vm(), name, size_bytes: SECTORS * 512 }));
        let mut shown: Vec<(Sequence, Vec<u8>)> = Vec::new();
        let mut sectors_now = SECTORS;
        for step in steps {
            let cut = |sector: u64, sectors: u64| (sector < sectors_now).then(|| sectors.min(sectors_now - sector));
            let (change, sequence) = match step {
                Step::Write { sector, sectors, seed } => {
                    let Some(sectors) = cut(sector, sectors) else { continue };
                    let data = noise(seed, (sectors * 512) as usize);
                    let sequence = taken(pair.journal.write(disk, sector * 512, &data).unwrap());
                    (Change::Write { disk, offset_bytes: sector * 512, data: data.into() }, sequence)
                }
                Step::Zero { sector, sectors } => {
                    let Some(sectors) = cut(sector, sectors) else { continue };
                    let range = ByteRange::new(sector * 512, sectors * 512);
                    (Change::Zero { disk, range }, taken(pair.journal.zero(disk, range).unwrap()))
                }
                Step::Resize { sectors } => {
                    sectors_now = sectors;
                    let size_bytes = sectors * 512;
                    let sequence = pair.journal.resize_disk(disk, size_bytes).unwrap();
                    (Change::Mark(Mark::DiskResized { disk, size_bytes }), sequence)
                }
                Step::Seal => { pair.seal(); continue }
                Step::Merge => { pair.replica.merge_indexes().unwrap(); continue }
                Step::Fold => { fold_all(&pair); continue }
                Step::Reopen => { pair.ship(); pair.reopen_replica(); continue }
            };
            naive.apply(&change);
            shown.push((sequence, naive.disks[&DiskNumber(0)].clone()));
        }
        pair.ship();
        let reach = pair.replica.status().unwrap().reaches_back_to;
        for (sequence, bytes) in shown.iter().filter(|(sequence, _)| *sequence >= reach) {
            prop_assert!(pair.read(disk, *sequence) == *bytes, "record {sequence}");
        }
    }
}

#[test]
fn the_time_of_a_record_is_found_and_so_is_the_reach() {
    let mut pair = Pair::new();
    let disk = pair.journal.add_disk(vm(), "root".parse().unwrap(), MIB).unwrap();
    taken(pair.journal.write(disk, 0, &noise(1, 4096)).unwrap());
    assert_eq!(pair.ship(), Sequence(2));
    assert_eq!(pair.replica.oldest_whole(vm()), None, "nothing is whole yet");
    let whole = pair.journal.disk_is_whole(disk).unwrap();
    let mut times = Vec::new();
    for round in 0..6 {
        let sequence = taken(pair.journal.write(disk, round * 4096, &noise(round, 4096)).unwrap());
        pair.ship();
        times.push((sequence, pair.replica.time_of(sequence).unwrap()));
        if round == 2 {
            pair.seal();
        }
    }
    assert!(times.is_sorted_by(|earlier, later| earlier.1 < later.1), "{times:?}");
    for (sequence, time) in &times {
        assert_eq!(pair.replica.sequence_at(*time).unwrap(), *sequence);
    }
    assert_eq!(pair.replica.oldest_whole(vm()), Some(whole));
    assert!(pair.replica.time_of(whole).unwrap() < times[0].1);
    let beyond = pair.replica.time_of(times[5].0.next()).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::NotFound);
    let reach = fold_all(&pair);
    assert_eq!(pair.replica.oldest_whole(vm()), Some(reach));
    assert!(pair.replica.time_of(reach).is_ok(), "of what is folded: the first record after it");
    pair.reopen_replica();
    assert_eq!(pair.replica.oldest_whole(vm()), Some(reach));
    assert!(pair.replica.time_of(reach).is_ok());
}

#[test]
fn nothing_more_enters_the_segment_that_grows_once_its_generation_is_over() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let before = pair.ship();
    pair.replica.raise_generation(Generation(2)).unwrap();
    taken(pair.journal.write(disk, 0, &noise(1, 4096)).unwrap());
    pair.journal.flush().unwrap();
    let parts = pair.journal.parts(pair.replica.wanted().unwrap(), u64::MAX).unwrap();
    assert_eq!(pair.replica.receive(&parts[0]).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(pair.replica.sync().unwrap(), before);
}
