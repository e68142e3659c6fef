//! Bases that begin with a seed, and disks that are compared with what a replica shows.

use std::time::Duration;

use env::{Entropy, SeededEntropy};
use image::{ByteRange, DiskImage};

use crate::{
    At, Copied, DiskNumber, ErrorKind, Retention, Sequence,
    fixture::{MIB, Pair, block_on, noise, taken, vm},
};

const KEEP_NOTHING: Retention = Retention { window: Duration::ZERO, segment_bytes: Some(0) };

fn fold_all(pair: &Pair) {
    pair.replica.fold(&pair.replica.plan_fold(&KEEP_NOTHING)).unwrap();
}

/// A disk of which the replica knows nothing but that it is there.
fn added(pair: &Pair, size_bytes: u64) -> DiskNumber {
    let disk = pair.journal.add_disk(vm(), "root".parse().unwrap(), size_bytes).unwrap();
    pair.ship();
    disk
}

fn seed(pair: &Pair, disk: DiskNumber, bytes: &[u8]) {
    let seeding = pair.replica.begin_seed(disk).unwrap();
    seeding.write_at(0, bytes).unwrap();
    seeding.finish().unwrap();
}

fn shown(pair: &Pair, disk: DiskNumber, at_least: Sequence) -> Vec<u8> {
    let image = pair.replica.image_to_compare(disk, at_least).unwrap();
    let mut bytes = vec![0; image.size_bytes() as usize];
    block_on(image.read_at(0, &mut bytes)).unwrap();
    bytes
}

#[test]
fn a_seed_is_what_no_record_says_otherwise_of_and_stays_so() {
    let mut pair = Pair::new();
    let disk = added(&pair, MIB);
    let mut expected = noise(1, MIB as usize);
    seed(&pair, disk, &expected);
    taken(pair.journal.write(disk, 4096, &noise(2, 512)).unwrap());
    expected[4096..4608].copy_from_slice(&noise(2, 512));
    taken(pair.journal.zero(disk, ByteRange::new(8192, 512)).unwrap());
    expected[8192..8704].fill(0);
    let last = pair.ship();
    assert!(shown(&pair, disk, last) == expected);
    assert_eq!(pair.replica.moment(vm(), At::Latest).map(drop).unwrap_err().kind(), ErrorKind::NotWhole);
    pair.reopen_replica();
    assert!(pair.replica.is_seeded(disk) && shown(&pair, disk, last) == expected);
    let whole = pair.journal.disk_is_whole(disk).unwrap();
    pair.seal();
    fold_all(&pair);
    pair.reopen_replica();
    assert!(!pair.replica.is_seeded(disk), "a fold has reached it");
    assert!(pair.read(disk, whole) == expected);
}

#[test]
fn a_seed_comes_in_time_or_not_at_all() {
    let mut pair = Pair::new();
    let disk = added(&pair, MIB);
    assert_eq!(pair.replica.begin_seed(DiskNumber(7)).unwrap_err().kind(), ErrorKind::NotFound);
    // One that was not finished leaves nothing.
    let begun = pair.replica.begin_seed(disk).unwrap();
    begun.write_at(0, &noise(1, 4096)).unwrap();
    assert_eq!(begun.write_at(MIB - 512, &[1; 1024]).unwrap_err().kind(), ErrorKind::Invalid);
    drop(begun);
    assert!(shown(&pair, disk, Sequence(1)).iter().all(|byte| *byte == 0));
    let begun = pair.replica.begin_seed(disk).unwrap();
    begun.write_at(0, &noise(1, 4096)).unwrap();
    std::mem::forget(begun);
    pair.reopen_replica();
    assert!(shown(&pair, disk, Sequence(1)).iter().all(|byte| *byte == 0));
    // One that a fold overtakes is refused, and so is one of a disk that was whole.
    let late = pair.replica.begin_seed(disk).unwrap();
    pair.seal();
    fold_all(&pair);
    assert_eq!(late.finish().unwrap_err().kind(), ErrorKind::Invalid);
    assert!(!pair.replica.takes_seed(disk));
    let other = pair.disk("data", MIB);
    pair.ship();
    assert_eq!(pair.replica.begin_seed(other).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn what_was_seeded_and_removed_leaves_no_file() {
    let pair = Pair::new();
    let disk = added(&pair, MIB);
    seed(&pair, disk, &noise(1, 4096));
    pair.journal.remove_disk(disk).unwrap();
    pair.seal();
    fold_all(&pair);
    let names = pair.target_folder.names().unwrap();
    assert!(names.iter().all(|name| !name.starts_with("base-")), "{names:?}");
}

const SECTOR: usize = 512;
const SECTORS: usize = 64;
const REGIONS: usize = 8;
const REGION: usize = SECTORS / REGIONS * SECTOR;

/// After a record: what is acknowledged, and the write that is under way.
type Moment = (Sequence, Vec<u8>, Option<(usize, Vec<u8>)>);

/// A guest, its disk, and who copies it.
struct Run {
    pair: Pair,
    disk: DiskNumber,
    dice: SeededEntropy,
    /// The disk as a reader finds it.
    live: Vec<u8>,
    /// The same without the write that is under way.
    acknowledged: Vec<u8>,
    /// Is on the disk, and not in the journal yet.
    under_way: Option<(usize, Vec<u8>)>,
    /// What the replica may be asked for.
    at_least: Sequence,
    had: [bool; REGIONS],
    /// What the replica showed of a region, before the disk is read.
    asked: Option<(usize, Vec<u8>)>,
    whole: bool,
    /// While the disk is whole: what is acknowledged after each record, and what is under way.
    moments: Vec<Moment>,
}

impl Run {
    fn new(number: u64) -> Self {
        let pair = Pair::new();
        let disk = added(&pair, (SECTORS * SECTOR) as u64);
        let live = noise(number, SECTORS * SECTOR);
        let mut run = Self {
            pair,
            disk,
            dice: SeededEntropy::new(number),
            acknowledged: live.clone(),
            live,
            under_way: None,
            at_least: Sequence(0),
            had: [false; REGIONS],
            asked: None,
            whole: false,
            moments: Vec::new(),
        };
        let mut like = run.live.clone();
        for region in 0..REGIONS {
            if run.one_of(3) == 0 {
                like[region * REGION..(region + 1) * REGION].fill(0);
            }
        }
        seed(&run.pair, disk, &like);
        run.epoch();
        run
    }

    fn one_of(&mut self, count: usize) -> usize {
        let mut byte = [0; 2];
        self.dice.fill(&mut byte);
        usize::from(u16::from_le_bytes(byte)) % count
    }

    /// Content of few kinds, so that a sector often comes to be what it was.
    fn content(&mut self, length: usize) -> Vec<u8> {
        vec![self.one_of(3) as u8; length]
    }

    fn epoch(&mut self) {
        self.at_least = self.pair.journal.begin_epoch(vm()).unwrap();
        (self.had, self.whole, self.asked) = ([false; REGIONS], false, None);
    }

    fn range(&mut self) -> (usize, usize) {
        let start = self.one_of(SECTORS);
        (start * SECTOR, (1 + self.one_of(6)).min(SECTORS - start) * SECTOR)
    }

    fn enter(&mut self, at: usize, data: &[u8]) {
        let sequence = taken(self.pair.journal.write(self.disk, at as u64, data).unwrap());
        self.acknowledged[at..at + data.len()].copy_from_slice(data);
        self.note(sequence);
    }

    fn note(&mut self, sequence: Sequence) {
        if self.whole {
            self.moments.push((sequence, self.acknowledged.clone(), self.under_way.clone()));
        }
    }

    fn land(&mut self) {
        if let Some((at, data)) = self.under_way.take() {
            self.enter(at, &data);
        }
    }

    fn step(&mut self) {
        match self.one_of(16) {
            0..=4 => {
                let (at, length) = self.range();
                let data = self.content(length);
                // No guest writes to one sector twice at once.
                self.land();
                self.live[at..at + length].copy_from_slice(&data);
                match self.one_of(2) {
                    0 => self.under_way = Some((at, data)),
                    _ => self.enter(at, &data),
                }
            }
            5 => self.land(),
            6 if self.one_of(4) == 0 => {
                // A write passes the journal by.
                self.land();
                let (at, length) = self.range();
                let data = self.content(length);
                self.live[at..at + length].copy_from_slice(&data);
                self.acknowledged[at..at + length].copy_from_slice(&data);
                self.epoch();
            }
            7 => drop(self.pair.ship()),
            8 => self.pair.seal(),
            9 => fold_all(&self.pair),
            10 => {
                self.pair.ship();
                self.pair.reopen_replica();
            }
            11 | 12 => self.ask(),
            _ => self.compare(),
        }
    }

    fn ask(&mut self) {
        let region = (0..REGIONS).find(|region| !self.had[*region]).unwrap_or(0);
        if self.pair.replica.durable_through() < self.at_least {
            self.pair.ship();
        }
        let bytes = shown(&self.pair, self.disk, self.at_least);
        self.asked = Some((region, bytes[region * REGION..(region + 1) * REGION].to_vec()));
    }

    fn compare(&mut self) {
        let Some((region, there)) = self.asked.take() else { return };
        let start = region * REGION;
        if self.live[start..start + REGION] != there[..] {
            let range = ByteRange::new(start as u64, REGION as u64);
            let ticket = self.pair.journal.begin_copy(self.disk, range).unwrap();
            let read = self.live[start..start + REGION].to_vec();
            self.land();
            let left = self.pair.journal.finish_copy(ticket, Copied::Data(&read)).unwrap();
            assert!(left.is_none(), "there was room");
        }
        self.had[region] = true;
        if self.had == [true; REGIONS] && !self.whole {
            self.whole = true;
            let sequence = self.pair.journal.disk_is_whole(self.disk).unwrap();
            self.note(sequence);
        }
    }

    /// Whether each moment that is shown is what the disk held, or what a crash might have left of it.
    fn is_sound(&mut self) -> bool {
        self.land();
        self.pair.ship();
        let reach = self.pair.replica.status().unwrap().reaches_back_to;
        self.moments.iter().filter(|(sequence, ..)| *sequence >= reach).all(|(sequence, bytes, under_way)| {
            let read = self.pair.read(self.disk, *sequence);
            (0..SECTORS * SECTOR).step_by(SECTOR).all(|at| {
                let sector = &read[at..at + SECTOR];
                let early = under_way
                    .as_ref()
                    .and_then(|(from, data)| data.get(at.checked_sub(*from)?..)?.get(..SECTOR));
                sector == &bytes[at..at + SECTOR] || Some(sector) == early
            })
        })
    }
}

fn is_sound(number: u64) -> Option<bool> {
    let mut run = Run::new(number);
    (0..120).for_each(|_| run.step());
    let sound = run.is_sound();
    (!run.moments.is_empty()).then_some(sound)
}

#[test]
fn a_region_that_is_equal_is_had_whatever_the_guest_does_meanwhile() {
    let results: Vec<_> = (0..40).map(|number| (number, is_sound(number))).collect();
    let told = results.iter().filter(|(_, sound)| sound.is_some()).count();
    assert!(told > 10, "few came so far: {told}");
    for (number, sound) in results {
        assert_ne!(sound, Some(false), "interleaving {number}");
    }
}

#[test]
fn nothing_is_compared_with_what_was_shown_before_the_epoch() {
    let pair = Pair::new();
    let disk = added(&pair, MIB);
    let epoch = pair.journal.begin_epoch(vm()).unwrap();
    let early = pair.replica.image_to_compare(disk, epoch).map(drop).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::NotFound);
    pair.ship();
    pair.replica.image_to_compare(disk, epoch).unwrap();
}
