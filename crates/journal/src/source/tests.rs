//! What a journal promises, with real files.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use env::Clock;
use image::ByteRange;
use model::{Timestamp, VmId};

use super::JournalOptions;
use crate::{
    Change, Copied, Directory, ErrorKind, Full, Generation, Journal, Mark, PartContent, Sequence, Taken,
    block::MAGIC,
    fixture::{MIB, Pair, journal_id, noise, options, taken},
};

fn first_segment() -> &'static str {
    "segment-0000000000000001"
}

#[test]
fn what_was_flushed_is_there_after_the_process_died() {
    let mut pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let kept = taken(pair.journal.write(disk, 0, &noise(1, 4096)).unwrap());
    assert_eq!(pair.journal.flush().unwrap(), kept);
    taken(pair.journal.write(disk, 0, &noise(2, 4096)).unwrap());
    pair.reopen_journal();
    assert_eq!(pair.journal.durable_through(), kept);
    let epoch = pair.journal.flush().unwrap();
    let records = pair.journal.records_after(kept).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(
        (records[0].sequence, &records[0].change),
        (epoch, &Change::Mark(Mark::EpochBegun { vm: crate::fixture::vm() }))
    );
}

#[test]
fn records_are_read_in_order_from_any_on() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let mut written = Vec::new();
    for round in 0..6 {
        let sequence = taken(pair.journal.write(disk, round * 512, &noise(round, 512)).unwrap());
        written.push((sequence, noise(round, 512)));
        pair.seal();
    }
    let (mut position, mut read) = (written[1].0, Vec::new());
    loop {
        let records = pair.journal.records_after(position).unwrap();
        let Some(last) = records.last() else { break };
        position = last.sequence;
        read.extend(records.into_iter().map(|record| match record.change {
            Change::Write { data, .. } => (record.sequence, data.to_vec()),
            other => panic!("{other:?}"),
        }));
    }
    assert_eq!(read, written[2..]);
}

#[test]
fn a_torn_tail_is_cut_and_its_numbers_are_given_again() {
    let mut pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let kept = taken(pair.journal.write(disk, 0, &noise(1, 4096)).unwrap());
    pair.journal.flush().unwrap();
    let file = pair.source_folder.open(first_segment()).unwrap();
    let end = file.length_bytes().unwrap();
    taken(pair.journal.write(disk, 0, &noise(2, 40_960)).unwrap());
    pair.journal.flush().unwrap();
    file.set_length(end + 20_000).unwrap();
    pair.reopen_journal();
    assert_eq!(file.length_bytes().unwrap(), end);
    assert_eq!(pair.journal.usage().taken_through, kept.next(), "the epoch's mark");
    let again = taken(pair.journal.write(disk, 0, &noise(3, 4096)).unwrap());
    assert_eq!(pair.ship(), again);
}

#[test]
fn damage_before_what_was_durable_is_no_torn_tail() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    for round in 0..3 {
        taken(pair.journal.write(disk, 0, &noise(round, 4096)).unwrap());
        pair.journal.flush().unwrap();
    }
    let file = pair.source_folder.open(first_segment()).unwrap();
    let bytes = crate::folder::read_whole(&*file, MIB).unwrap();
    let places: Vec<usize> = (0..bytes.len()).filter(|&place| bytes[place..].starts_with(&MAGIC)).collect();
    assert_eq!(places.len(), 3);
    let altered = bytes[places[1] + 500] ^ 1;
    file.write_at(places[1] as u64 + 500, &[altered]).unwrap();
    let (folder, clock) = (Arc::clone(&pair.source_folder), Arc::clone(&pair.env.clock));
    let error = Journal::open(folder, options(), clock).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(first_segment()), "{error}");
    assert_eq!(file.length_bytes().unwrap(), bytes.len() as u64, "nothing was cut");
}

/// A clock that stands still until it is set.
#[derive(Default)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microseconds(self.0.load(Ordering::Relaxed))
    }
}

#[test]
fn a_clock_that_is_set_back_keeps_no_segment_open() {
    const SECOND_US: i64 = 1_000_000;
    let (directory, clock) = (tempfile::tempdir().unwrap(), Arc::new(HandClock::default()));
    let folder = Arc::new(Directory::open(directory.path()).unwrap());
    let set = |seconds: i64| clock.0.store(seconds * SECOND_US, Ordering::Relaxed);
    set(7200);
    let journal = Journal::create(folder, journal_id(), Generation(1), options(), clock.clone()).unwrap();
    let disk = journal.add_disk(VmId::from_random([1; 10]), "root".parse().unwrap(), MIB).unwrap();
    let is_sealed = || {
        let parts = journal.parts(journal.start(), MIB).unwrap();
        parts.iter().any(|part| matches!(part.content, PartContent::Seal(_)))
    };
    taken(journal.write(disk, 0, &noise(1, 4096)).unwrap());
    journal.flush().unwrap();
    set(3600);
    journal.flush().unwrap();
    assert!(!is_sealed(), "it has not grown for long");
    set(3602);
    journal.flush().unwrap();
    assert!(is_sealed());
}

#[test]
fn a_full_journal_says_so_at_once_and_takes_nothing() {
    let tight = JournalOptions { memory_bytes: 10_000, disk_bytes: 60_000, segment_age: Duration::MAX };
    let pair = Pair::with(tight);
    let disk = pair.disk("root", MIB);
    let first = taken(pair.journal.write(disk, 0, &noise(1, 8192)).unwrap());
    assert_eq!(pair.journal.write(disk, 8192, &noise(2, 8192)).unwrap(), Taken::Full(Full::Memory));
    let ticket = pair.journal.begin_copy(disk, ByteRange::new(0, 8192)).unwrap();
    let refused = pair.journal.finish_copy(ticket, Copied::Data(&noise(3, 8192))).unwrap();
    let (ticket, full) = refused.unwrap();
    assert_eq!(full, Full::Memory);
    assert_eq!(pair.journal.usage().taken_through, first);
    pair.journal.flush().unwrap();
    assert!(pair.journal.finish_copy(ticket, Copied::Zero).unwrap().is_none(), "the ticket was still good");
    pair.journal.flush().unwrap();
    let mut written = 0;
    let full = loop {
        match pair.journal.write(disk, 0, &noise(written, 8192)).unwrap() {
            Taken::Through(_) => written += 1,
            Taken::Full(full) => break full,
        }
        pair.journal.flush().unwrap();
    };
    assert_eq!((full, written), (Full::Disk, 6));
    assert!(pair.journal.add_disk(crate::fixture::vm(), "late".parse().unwrap(), 512).is_ok(), "marks fit");
}

#[test]
fn what_makes_no_sense_is_refused_and_leaves_no_record() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let before = pair.journal.usage().taken_through;
    let refused = [
        pair.journal.write(disk, 1, &[0; 512]),
        pair.journal.write(disk, 0, &[0; 100]),
        pair.journal.write(disk, 0, &[]),
        pair.journal.write(disk, MIB, &[0; 512]),
        pair.journal.write(disk, u64::MAX - 511, &[0; 512]),
        pair.journal.write(crate::DiskNumber(9), 0, &[0; 512]),
        pair.journal.zero(disk, ByteRange::new(MIB - 512, 1024)),
    ];
    for result in refused {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(pair.journal.resize_disk(disk, 100).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(pair.journal.usage().taken_through, before);
}

#[test]
fn a_new_epoch_ends_the_copies_of_its_vm() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let ticket = pair.journal.begin_copy(disk, ByteRange::new(0, 512)).unwrap();
    pair.journal.begin_epoch(crate::fixture::vm()).unwrap();
    assert_eq!(pair.journal.finish_copy(ticket, Copied::Zero).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(pair.journal.disk_is_whole(disk).is_ok());
}

#[test]
fn a_long_write_is_several_records_and_one_answer() {
    let pair = Pair::new();
    let disk = pair.disk("root", 4 * MIB);
    let before = pair.journal.usage().taken_through;
    let data = noise(5, 3 * MIB as usize);
    let through = taken(pair.journal.write(disk, 512, &data).unwrap());
    assert_eq!(through.0 - before.0, 12);
    pair.ship();
    assert!(pair.read(disk, through)[512..512 + data.len()] == data[..]);
}

#[test]
fn times_do_not_go_back_with_the_clock() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    taken(pair.journal.write(disk, 0, &[1; 512]).unwrap());
    pair.journal.flush().unwrap();
    // A clock that was set back: a second journal's, over the same folder.
    let clock = Arc::new(env::SteppingClock::default());
    let journal = Journal::open(Arc::clone(&pair.source_folder), options(), clock).unwrap();
    taken(journal.write(disk, 0, &[2; 512]).unwrap());
    journal.flush().unwrap();
    let (mut position, mut times) = (Sequence(0), Vec::new());
    loop {
        let records = journal.records_after(position).unwrap();
        let Some(last) = records.last() else { break };
        position = last.sequence;
        times.extend(records.iter().map(|record| record.time));
    }
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_folder_has_one_journal() {
    let pair = Pair::new();
    let (folder, clock) = (Arc::clone(&pair.source_folder), Arc::clone(&pair.env.clock));
    let again = Journal::create(folder, journal_id(), Generation(1), options(), Arc::clone(&clock));
    assert_eq!(again.map(drop).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let nothing = Journal::open(Arc::clone(&pair.target_folder), options(), clock);
    assert_eq!(nothing.map(drop).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn only_what_is_durable_is_shipped() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    taken(pair.journal.write(disk, 0, &noise(1, 4096)).unwrap());
    let parts = pair.journal.parts(pair.journal.start(), u64::MAX).unwrap();
    assert!(matches!(parts[..], [ref header] if matches!(header.content, PartContent::Header(_))));
    pair.journal.flush().unwrap();
    assert_eq!(pair.journal.parts(pair.journal.start(), u64::MAX).unwrap().len(), 2);
}
