//! The machine at intervals, in a world in which everything may happen at any moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Action, Attachment, End, Epoch, Event, Machine, Mode, Obstacle, Record, Standing, Wish};

const BLOCKS: u64 = 6;
const SEEDS: u64 = 1500;
const STEPS: u32 = 500;
const INTERVAL: Duration = Duration::from_secs(10);

/// A mistake of whoever drives the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// What was written since a moment that came to nothing is in no other epoch.
    FailedEpochForgotten,
    /// Records are said to be durable that are not.
    TrustUndurable,
    /// An epoch is closed before all of it was copied.
    ClosedTooSoon,
    /// An epoch counts as one of a VM at rest because that has ended since.
    RestUnread,
}

type Disk = [u64; BLOCKS as usize];

#[derive(Debug, Clone, Copy)]
enum Entry {
    Block(u64, u64),
    /// The disks are whole, as they were at a moment.
    Whole,
}

/// What was written since a moment.
#[derive(Debug, Clone, Default)]
struct Bitmap {
    blocks: BTreeSet<u64>,
    records: bool,
}

#[derive(Debug, Clone)]
struct Moment {
    attachment: Attachment,
    epoch: u64,
    trusted: Option<u64>,
    disk: Disk,
    left: BTreeSet<u64>,
    ran: bool,
    /// How often the journal was opened when its epoch began.
    tap: u32,
}

struct World {
    random: u64,
    flaw: Option<Flaw>,
    machine: Machine,
    now: Duration,
    actions: Vec<Action>,
    events: Vec<Event>,
    vm_runs: bool,
    disk: Disk,
    versions: u64,
    bitmaps: BTreeMap<u64, Bitmap>,
    held: Option<Moment>,
    entries: Vec<Entry>,
    durable: usize,
    tap: Option<u32>,
    taps: u32,
    epochs: u64,
    newest: Attachment,
    catalog: Option<Epoch>,
    lie: Option<String>,
    is_calm: bool,
}

impl World {
    fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            flaw,
            machine: Machine::new(Wish::Replicate, None, Duration::ZERO).with_mode(Mode::Interval(INTERVAL)),
            now: Duration::ZERO,
            actions: Vec::new(),
            events: Vec::new(),
            vm_runs: true,
            disk: Disk::default(),
            versions: 0,
            bitmaps: BTreeMap::new(),
            held: None,
            entries: Vec::new(),
            durable: 0,
            tap: None,
            taps: 0,
            epochs: 0,
            newest: Attachment(0),
            catalog: None,
            lie: None,
            is_calm: false,
        }
    }

    fn below(&mut self, count: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % count
    }

    fn step(&mut self) {
        match self.below(100) {
            0..30 => self.write(),
            30..52 => self.act(),
            52..72 => self.deliver(),
            72..80 => self.flush(),
            80..91 => self.pass(Duration::from_millis(self.random.wrapping_shr(40) % 6000)),
            91 => self.lose_moment(),
            92 => {
                self.tap = None;
                self.entries.truncate(self.durable);
            }
            93 => self.restart_server(),
            94 => self.stop_vm(),
            95 => self.start_vm(),
            96 => self.tell(Event::Want(Wish::Pause)),
            97 => self.tell(Event::Want(Wish::Replicate)),
            98 => self.tell(Event::VmChanged),
            _ => self.tell(Event::Room),
        }
        self.check_rest();
    }

    /// A VM that is said to lack nothing is there as it is now.
    fn check_rest(&mut self) {
        if self.machine.standing() == Standing::VmStopped && self.shown() != Some(self.disk) {
            self.lie = Some(format!("said to be all there: {:?}, and it is {:?}", self.shown(), self.disk));
        }
    }

    /// What the newest moment shows that is whole.
    fn shown(&self) -> Option<Disk> {
        let last = self.entries.iter().rposition(|entry| matches!(entry, Entry::Whole))?;
        let mut shown = Disk::default();
        for entry in &self.entries[..last] {
            if let Entry::Block(block, version) = entry {
                shown[*block as usize] = *version;
            }
        }
        Some(shown)
    }

    fn calm(&mut self) {
        self.is_calm = true;
        self.start_vm();
        self.tell(Event::Want(Wish::Replicate));
        for _ in 0..400 {
            for _ in 0..40 {
                self.act();
                self.deliver();
            }
            self.flush();
            self.tell(Event::Room);
            self.pass(Duration::from_secs(5));
        }
    }

    fn tell(&mut self, event: Event) {
        let actions = self.machine.handle(event, self.now);
        self.actions.extend(actions);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.tell(Event::Tick);
    }

    fn write(&mut self) {
        if self.vm_runs {
            let block = self.below(BLOCKS);
            self.versions += 1;
            self.disk[block as usize] = self.versions;
            let recording = self.bitmaps.values_mut().filter(|bitmap| bitmap.records);
            recording.for_each(|bitmap| bitmap.blocks.extend([block]));
        }
    }

    fn lose_moment(&mut self) {
        if let Some(lost) = self.held.take() {
            self.events.push(Event::NotCopied(lost.attachment, "the moment was lost".to_owned()));
        }
    }

    fn stop_vm(&mut self) {
        self.vm_runs = false;
        // Of one that is copied nothing is needed any more.
        if let Some(lost) = self.held.take_if(|held| held.ran && !held.left.is_empty()) {
            self.events.push(Event::Ended(lost.attachment, End::VmStopped));
        }
    }

    fn start_vm(&mut self) {
        if !self.vm_runs {
            self.vm_runs = true;
            self.tell(Event::VmChanged);
        }
    }

    fn restart_server(&mut self) {
        self.actions.clear();
        self.events.clear();
        (self.held, self.newest) = (None, Attachment(0));
        let machine = Machine::new(Wish::Replicate, self.catalog, self.now);
        self.machine = machine.with_mode(Mode::Interval(INTERVAL));
    }

    fn flush(&mut self) {
        if self.tap.is_some() && self.flaw != Some(Flaw::TrustUndurable) {
            self.durable = self.entries.len();
        }
        let said = if self.flaw == Some(Flaw::TrustUndurable) { self.entries.len() } else { self.durable };
        self.events.push(Event::Durable(Record(said as u64)));
    }

    fn deliver(&mut self) {
        if !self.events.is_empty() {
            let place = self.below(self.events.len() as u64) as usize;
            let event = self.events.remove(place);
            self.tell(event);
        }
    }

    fn act(&mut self) {
        if self.actions.is_empty() {
            return self.copy_one();
        }
        let place = self.below(self.actions.len() as u64) as usize;
        match self.actions.remove(place) {
            Action::Attach { attachment, trusted, is_at_rest } => {
                self.attach(attachment, trusted, is_at_rest);
            }
            Action::Copy(_) => self.copy_one(),
            Action::Declare(attachment) => self.close(attachment),
            Action::Keep(epoch) => {
                self.catalog = Some(epoch);
                self.events.push(Event::Kept(epoch));
            }
            Action::Trust(attachment, epoch) => self.let_go(attachment, Some(epoch.0)),
            Action::Detach(attachment) => {
                let trusted = self.held.as_ref().and_then(|held| held.trusted);
                self.let_go(attachment, trusted);
            }
            Action::BeginEpoch(_) => self.lie = Some("an epoch was begun in a moment".to_owned()),
        }
    }

    fn let_go(&mut self, attachment: Attachment, committed: Option<u64>) {
        if self.held.take_if(|held| held.attachment == attachment).is_some() {
            self.settle(committed, self.flaw == Some(Flaw::FailedEpochForgotten));
        }
    }

    fn settle(&mut self, committed: Option<u64>, forgets: bool) {
        let Some(mut kept) = committed.and_then(|epoch| self.bitmaps.remove(&epoch)) else {
            return self.bitmaps.clear();
        };
        let others = std::mem::take(&mut self.bitmaps);
        if !kept.records && others.values().any(|other| other.records) {
            kept.records = true;
            if !forgets {
                kept.blocks.extend(others.into_values().flat_map(|other| other.blocks));
            }
        }
        self.bitmaps.extend(committed.map(|epoch| (epoch, kept)));
    }

    fn attach(&mut self, attachment: Attachment, trusted: Option<Epoch>, is_at_rest: bool) {
        // One after the other, in their order.
        if attachment < self.newest {
            return;
        }
        self.newest = attachment;
        if !self.vm_runs && !is_at_rest {
            return self.events.push(Event::NotAttached(attachment, Obstacle::VmStopped));
        }
        if !self.is_calm && self.below(8) == 0 {
            let why = Obstacle::Broken("it could not be begun".to_owned());
            return self.events.push(Event::NotAttached(attachment, why));
        }
        let tap = *self.tap.get_or_insert_with(|| {
            self.taps += 1;
            self.taps
        });
        let trusted = trusted.map(|epoch| epoch.0);
        self.settle(trusted, false);
        self.epochs += 1;
        let baseline = trusted.and_then(|trusted| self.bitmaps.get_mut(&trusted));
        let known = baseline.filter(|baseline| baseline.records).map(|baseline| {
            baseline.records = !self.vm_runs;
            baseline.blocks.clone()
        });
        self.bitmaps.insert(self.epochs, Bitmap { blocks: BTreeSet::new(), records: true });
        let is_partial = known.is_some();
        let left = known.unwrap_or_else(|| (0..BLOCKS).collect());
        let (epoch, disk, ran) = (self.epochs, self.disk, self.vm_runs);
        self.held = Some(Moment { attachment, epoch, trusted, disk, left, ran, tap });
        self.events.push(Event::Attached { attachment, is_partial });
    }

    fn copy_one(&mut self) {
        let Some(mut moment) = self.held.take() else { return };
        if Some(moment.tap) != self.tap {
            let end = End::TapLost("its process has ended".to_owned());
            self.events.push(Event::Ended(moment.attachment, end));
            return self.held = Some(moment);
        }
        if let Some(block) = moment.left.pop_first() {
            self.entries.push(Entry::Block(block, moment.disk[block as usize]));
        }
        let is_enough = self.flaw == Some(Flaw::ClosedTooSoon) && moment.left.len() < 2;
        if moment.left.is_empty() || is_enough {
            self.events.push(Event::Copied(moment.attachment));
        }
        self.held = Some(moment);
    }

    /// The journal refuses when it was taken up again since; of a moment that was lost nothing can be read.
    fn close(&mut self, attachment: Attachment) {
        let held =
            self.held.clone().filter(|held| held.attachment == attachment && Some(held.tap) == self.tap);
        let Some(moment) = held else {
            let end = if self.vm_runs { End::Broken("it was lost".to_owned()) } else { End::VmStopped };
            return self.events.push(Event::Ended(attachment, end));
        };
        self.entries.push(Entry::Whole);
        if self.shown() != Some(moment.disk) {
            self.lie = Some(format!("closed: {:?}, and it was {:?}", self.shown(), moment.disk));
        }
        let is_at_rest = !moment.ran || self.flaw == Some(Flaw::RestUnread) && !self.vm_runs;
        let (epoch, through) = (Epoch(moment.epoch), Record(self.entries.len() as u64));
        self.events.push(Event::Closed { attachment, epoch, through, is_at_rest });
    }
}

fn run(seed: u64, flaw: Option<Flaw>) -> Result<(), String> {
    let mut world = World::new(seed, flaw);
    for _ in 0..STEPS {
        world.step();
        world.lie.clone().map_or(Ok(()), Err)?;
    }
    world.calm();
    world.lie.map_or(Ok(()), Err)
}

#[test]
fn whatever_the_order_an_epoch_shows_its_moment() {
    for seed in 0..SEEDS {
        if let Err(lie) = run(seed, None) {
            panic!("seed {seed}: {lie}");
        }
    }
}

#[test]
fn once_nothing_fails_any_more_epochs_are_whole() {
    for seed in 0..SEEDS / 4 {
        let mut world = World::new(seed, None);
        (0..STEPS).for_each(|_| world.step());
        world.calm();
        assert_eq!(world.machine.standing(), Standing::Protected, "seed {seed}");
    }
}

#[test]
fn each_mistake_with_epochs_is_found() {
    let flaws = [Flaw::FailedEpochForgotten, Flaw::TrustUndurable, Flaw::ClosedTooSoon, Flaw::RestUnread];
    for flaw in flaws {
        let is_found = (0..SEEDS).any(|seed| run(seed, Some(flaw)).is_err());
        assert!(is_found, "{flaw:?} was found in no world");
    }
}

/// A machine whose first epoch is closed, and not durable.
fn closing() -> Machine {
    let mut machine = Machine::new(Wish::Replicate, None, Duration::ZERO).with_mode(Mode::Interval(INTERVAL));
    let first = Attachment(1);
    let attach = Action::Attach { attachment: first, trusted: None, is_at_rest: true };
    assert_eq!(machine.handle(Event::Tick, Duration::ZERO), [attach]);
    let attached = Event::Attached { attachment: first, is_partial: false };
    assert_eq!(machine.handle(attached, Duration::ZERO), [Action::Copy(first)]);
    assert_eq!(machine.standing(), Standing::Copying);
    assert_eq!(machine.handle(Event::Copied(first), Duration::ZERO), [Action::Declare(first)]);
    let closed = Event::Closed { attachment: first, epoch: Epoch(7), through: Record(50), is_at_rest: false };
    assert_eq!(machine.handle(closed, Duration::ZERO), []);
    machine
}

#[test]
fn an_epoch_is_trusted_when_it_is_durable_and_the_next_comes_in_time() {
    let mut machine = closing();
    let now = Duration::from_secs(3);
    assert_eq!(machine.handle(Event::Durable(Record(50)), now), [Action::Keep(Epoch(7))]);
    assert_eq!(machine.handle(Event::Kept(Epoch(7)), now), [Action::Trust(Attachment(1), Epoch(7))]);
    assert_eq!((machine.standing(), machine.due()), (Standing::Protected, Some(INTERVAL)));
    let next = Action::Attach { attachment: Attachment(2), trusted: Some(Epoch(7)), is_at_rest: true };
    assert_eq!(machine.handle(Event::Tick, INTERVAL), [next]);
    assert_eq!(machine.standing(), Standing::Protected);
}

#[test]
fn an_epoch_that_ends_before_it_is_durable_is_never_trusted() {
    let mut machine = closing();
    let lost = Event::Ended(Attachment(1), End::TapLost("it was killed".to_owned()));
    assert_eq!(machine.handle(lost, Duration::ZERO), [Action::Detach(Attachment(1))]);
    assert_eq!(machine.handle(Event::Durable(Record(99)), Duration::ZERO), []);
    assert_eq!(machine.standing(), Standing::Degraded("it was killed".to_owned()));
    let due = machine.due().unwrap();
    let again = Action::Attach { attachment: Attachment(2), trusted: None, is_at_rest: true };
    assert_eq!(machine.handle(Event::Tick, due), [again]);
}

#[test]
fn what_has_changed_while_a_moment_is_held_does_not_wait() {
    let mut machine = closing();
    assert_eq!(machine.handle(Event::VmChanged, Duration::ZERO), []);
    let _ = machine.handle(Event::Durable(Record(50)), Duration::ZERO);
    let _ = machine.handle(Event::Kept(Epoch(7)), Duration::ZERO);
    assert_eq!(machine.due(), Some(Duration::ZERO));
    assert_eq!(machine.handle(Event::Every(INTERVAL * 9), Duration::ZERO), []);
    assert_eq!(machine.due(), Some(Duration::ZERO));
}

#[test]
fn a_vm_at_rest_is_read_once() {
    let mut machine = closing();
    let _ = machine.handle(Event::Durable(Record(50)), Duration::ZERO);
    let _ = machine.handle(Event::Kept(Epoch(7)), Duration::ZERO);
    let _ = machine.handle(Event::Tick, INTERVAL);
    let second = Attachment(2);
    let _ = machine.handle(Event::Attached { attachment: second, is_partial: true }, INTERVAL);
    let _ = machine.handle(Event::Copied(second), INTERVAL);
    let closed = Event::Closed { attachment: second, epoch: Epoch(8), through: Record(50), is_at_rest: true };
    assert_eq!(machine.handle(closed, INTERVAL), [Action::Keep(Epoch(8))]);
    let _ = machine.handle(Event::Kept(Epoch(8)), INTERVAL);
    assert_eq!(machine.standing(), Standing::VmStopped);
    let due = machine.due().unwrap();
    let look = Action::Attach { attachment: Attachment(3), trusted: Some(Epoch(8)), is_at_rest: false };
    assert_eq!(machine.handle(Event::Tick, due), [look]);
}
