//! A guest, a hypervisor, a journal, a catalog and a server, of which each may fail at any moment. What is asked of them
//! happens later, in any order.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Action, Attachment, End, Epoch, Event, Machine, Obstacle, Record, Standing, Wish};

const BLOCKS: u64 = 6;

/// A mistake of whoever drives the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// An epoch is said to have begun that has not.
    NoProof,
    /// Records are said to be durable that are not.
    TrustUndurable,
    /// The copy is said to have ended while blocks are left.
    CopiedTooSoon,
    /// The hypervisor drops what it tracked before the journal is durable.
    HypervisorForgetsFirst,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Block(u64, u64),
    EpochBegun,
}

/// Writes of the guest reach the journal, as long as both ends of this are there.
#[derive(Debug, Clone, Copy)]
struct Mirror {
    attachment: Attachment,
    /// How often the journal was opened when it was made.
    tap: u32,
}

pub struct World {
    random: u64,
    flaw: Option<Flaw>,
    machine: Machine,
    now: Duration,
    actions: Vec<Action>,
    events: Vec<Event>,
    vm_runs: bool,
    disk: [u64; BLOCKS as usize],
    versions: u64,
    epoch: u64,
    /// What was written in each epoch.
    tracked: BTreeMap<u64, BTreeSet<u64>>,
    mirror: Option<Mirror>,
    entries: Vec<Entry>,
    durable: usize,
    /// How often the journal was opened; none while nobody holds it.
    tap: Option<u32>,
    taps: u32,
    /// What is left to be copied.
    missed: Option<(Mirror, BTreeSet<u64>)>,
    newest: Attachment,
    catalog: Option<Epoch>,
    lie: Option<String>,
}

impl World {
    pub fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            flaw,
            machine: Machine::new(Wish::Replicate, None, Duration::ZERO),
            now: Duration::ZERO,
            actions: Vec::new(),
            events: Vec::new(),
            vm_runs: true,
            disk: [0; BLOCKS as usize],
            versions: 0,
            epoch: 0,
            tracked: BTreeMap::new(),
            mirror: None,
            entries: Vec::new(),
            durable: 0,
            tap: None,
            taps: 0,
            missed: None,
            newest: Attachment(0),
            catalog: None,
            lie: None,
        }
    }

    pub fn standing(&self) -> Standing {
        self.machine.standing()
    }

    pub fn check(&self) -> Result<(), String> {
        self.lie.clone().map_or(Ok(()), Err)
    }

    /// Anything may happen.
    pub fn step(&mut self) {
        match self.below(100) {
            0..35 => self.write(),
            35..55 => self.act(),
            55..75 => self.deliver(),
            75..82 => self.flush(),
            82..92 => self.pass(Duration::from_millis(self.random.wrapping_shr(40) % 6000)),
            92 => self.break_off("the mirror broke"),
            93 => self.kill_tap(),
            94 => self.restart_server(),
            95 => self.stop_vm(),
            96 => self.vm_runs = true,
            97 => self.tell(Event::Want(Wish::Pause)),
            98 => self.tell(Event::Want(Wish::Replicate)),
            _ => self.tell(Event::Room),
        }
    }

    /// Nothing fails any more, until nothing is left to be done.
    pub fn calm(&mut self) {
        self.vm_runs = true;
        self.tell(Event::Want(Wish::Replicate));
        for _ in 0..400 {
            while !self.actions.is_empty() || !self.events.is_empty() || self.missed.is_some() {
                self.act();
                self.deliver();
            }
            self.flush();
            self.tell(Event::Room);
            self.pass(Duration::from_secs(5));
        }
    }

    fn below(&mut self, count: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % count
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
        if !self.vm_runs {
            return;
        }
        let block = self.below(BLOCKS);
        self.versions += 1;
        self.disk[block as usize] = self.versions;
        self.tracked.entry(self.epoch).or_default().insert(block);
        match self.mirror {
            Some(mirror) if Some(mirror.tap) == self.tap => {
                self.entries.push(Entry::Block(block, self.versions));
            }
            Some(_) => self.break_off("the tap is gone"),
            None => {}
        }
    }

    fn break_off(&mut self, why: &str) {
        if let Some(mirror) = self.mirror.take() {
            let lost = Some(mirror.tap) != self.tap;
            let end = if lost { End::TapLost(why.to_owned()) } else { End::Broken(why.to_owned()) };
            self.events.push(Event::Ended(mirror.attachment, end));
        }
    }

    fn kill_tap(&mut self) {
        self.tap = None;
        self.entries.truncate(self.durable);
    }

    fn stop_vm(&mut self) {
        self.vm_runs = false;
        if let Some(mirror) = self.mirror.take() {
            self.events.push(Event::Ended(mirror.attachment, End::VmStopped));
        }
    }

    fn restart_server(&mut self) {
        self.actions.clear();
        self.events.clear();
        (self.missed, self.newest) = (None, Attachment(0));
        self.machine = Machine::new(Wish::Replicate, self.catalog, self.now);
    }

    fn flush(&mut self) {
        self.durable = match self.flaw {
            Some(Flaw::TrustUndurable) => self.durable,
            _ if self.tap.is_none() => return,
            _ => self.entries.len(),
        };
        let said = match self.flaw {
            Some(Flaw::TrustUndurable) => self.entries.len(),
            _ => self.durable,
        };
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
            Action::Attach { attachment, trusted, .. } => self.attach(attachment, trusted),
            Action::Copy(_) => self.copy_one(),
            Action::BeginEpoch(attachment) => self.begin_epoch(attachment),
            Action::Declare(attachment) => self.declare(attachment),
            Action::Keep(epoch) => {
                self.catalog = Some(epoch);
                self.events.push(Event::Kept(epoch));
            }
            Action::Trust(_, epoch) => self.tracked.retain(|of, _| *of >= epoch.0),
            Action::Detach(attachment) => {
                if self.mirror.is_some_and(|mirror| mirror.attachment == attachment) {
                    self.mirror = None;
                    self.entries.push(Entry::EpochBegun);
                }
            }
        }
    }

    fn attach(&mut self, attachment: Attachment, trusted: Option<Epoch>) {
        // One after the other, in their order.
        if attachment < self.newest {
            return;
        }
        self.newest = attachment;
        if !self.vm_runs {
            return self.events.push(Event::NotAttached(attachment, Obstacle::VmStopped));
        }
        if self.below(8) == 0 {
            let why = Obstacle::Broken("it could not be begun".to_owned());
            return self.events.push(Event::NotAttached(attachment, why));
        }
        let tap = *self.tap.get_or_insert_with(|| {
            self.taps += 1;
            self.taps
        });
        self.entries.push(Entry::EpochBegun);
        let mirror = Mirror { attachment, tap };
        self.mirror = Some(mirror);
        let tracked = trusted.filter(|trusted| self.tracked.contains_key(&trusted.0));
        let missed = match tracked {
            Some(trusted) => {
                self.tracked.range(trusted.0..).flat_map(|(_, blocks)| blocks).copied().collect()
            }
            None => (0..BLOCKS).collect(),
        };
        self.tracked.entry(self.epoch).or_default();
        self.missed = Some((mirror, missed));
        self.events.push(Event::Attached { attachment, is_partial: tracked.is_some() });
    }

    /// Copies a block, as long as the machine wants it and nothing has happened to the tap that the copy would know of.
    fn copy_one(&mut self) {
        let Some((mirror, mut left)) = self.missed.take() else { return };
        if Some(mirror.tap) != self.tap {
            return self.events.push(Event::NotCopied(mirror.attachment, "the tap is gone".to_owned()));
        }
        if let Some(block) = left.pop_first() {
            self.entries.push(Entry::Block(block, self.disk[block as usize]));
        }
        let is_enough = self.flaw == Some(Flaw::CopiedTooSoon) && left.len() < 2;
        if left.is_empty() || is_enough {
            self.events.push(Event::Copied(mirror.attachment));
        } else {
            self.missed = Some((mirror, left));
        }
    }

    fn begin_epoch(&mut self, attachment: Attachment) {
        let mirror = self.mirror.filter(|mirror| mirror.attachment == attachment);
        let holds = mirror.is_some_and(|mirror| Some(mirror.tap) == self.tap);
        if !holds && self.flaw != Some(Flaw::NoProof) {
            return match mirror {
                Some(_) => self.break_off("the tap is gone"),
                None => self.events.push(Event::NoEpoch(attachment)),
            };
        }
        self.epoch += 1;
        self.tracked.entry(self.epoch).or_default();
        let (epoch, through) = (Epoch(self.epoch), Record(self.entries.len() as u64));
        if self.flaw == Some(Flaw::HypervisorForgetsFirst) {
            self.tracked.retain(|of, _| *of >= epoch.0);
            self.catalog = Some(epoch);
        }
        self.events.push(Event::EpochBegun { attachment, epoch, through });
    }

    /// The journal refuses when it knows that the tap has broken off since; it does not know of what was missed before.
    fn declare(&mut self, attachment: Attachment) {
        let holds =
            self.mirror.is_some_and(|mirror| mirror.attachment == attachment && Some(mirror.tap) == self.tap);
        if !holds && self.flaw != Some(Flaw::NoProof) {
            return self.events.push(Event::NotDeclared(attachment, "it broke off".to_owned()));
        }
        let mut shown = [0; BLOCKS as usize];
        for entry in &self.entries {
            if let Entry::Block(block, version) = entry {
                shown[*block as usize] = *version;
            }
        }
        if shown != self.disk {
            self.lie = Some(format!("called whole: {shown:?}, and it is {:?}", self.disk));
        }
        self.events.push(Event::Declared(attachment));
    }
}
