//! The machine of a site: its hypervisor with the VM, its taps, its disks. All of it outlives the server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use journal::{Checkpoint, CheckpointKind, Copied, CopyTicket, Flaw, Folder, Sequence, Taken};
use model::{JournalId, VmId};

use super::{
    guest::{Disks, History, Sector, Span},
    moments::Moments,
    tap::{Launch, Result, Tap},
};
use crate::{dice::Dice, journal::folder::SimDisk};

/// The VM as the hypervisor has it.
pub(crate) struct Qemu {
    pub(crate) disks: Arc<Disks>,
    pub(crate) runs: bool,
    /// The epoch of tracking, and what was written in each that is kept.
    epoch: u64,
    tracked: BTreeMap<u64, BTreeSet<Sector>>,
    mirror: Option<Mirror>,
    pub(super) moments: Moments,
}

/// All writes go to a tap as well.
#[derive(Debug, Clone, Copy)]
struct Mirror {
    number: u64,
    journal: JournalId,
    tap: u64,
}

/// Why a mirror is no longer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MirrorEnd {
    VmStopped,
    Full,
    Broken(String),
}

/// A mirror that has begun.
pub(crate) struct Begun {
    pub(crate) mirror: u64,
    /// What the journal lacks; none when that is not known.
    pub(crate) missed: Option<BTreeSet<Sector>>,
}

pub(crate) struct Host {
    dice: Dice,
    vm_id: VmId,
    pub(crate) vm: Option<Qemu>,
    pub(crate) taps: BTreeMap<JournalId, Tap>,
    journals: BTreeMap<JournalId, Arc<SimDisk>>,
    replicas: BTreeMap<JournalId, Arc<SimDisk>>,
    /// Also of journals of which nothing is left here.
    pub(crate) histories: BTreeMap<JournalId, History>,
    ends: BTreeMap<u64, MirrorEnd>,
    given: u64,
    /// A rule that was broken.
    pub(crate) violation: Option<String>,
}

impl Host {
    pub(crate) fn new(dice: Dice, vm_id: VmId) -> Self {
        Self {
            dice,
            vm_id,
            vm: None,
            taps: BTreeMap::new(),
            journals: BTreeMap::new(),
            replicas: BTreeMap::new(),
            histories: BTreeMap::new(),
            ends: BTreeMap::new(),
            given: 0,
            violation: None,
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    pub(crate) fn create_vm(&mut self, disks: Arc<Disks>) {
        self.vm = Some(Qemu {
            disks,
            runs: false,
            epoch: 0,
            tracked: BTreeMap::new(),
            mirror: None,
            moments: Moments::default(),
        });
    }

    /// The guest writes: to its disk first, then to the journal, then it goes on.
    pub(crate) fn write(&mut self) -> Option<String> {
        let (span, fill) = (Span::draw(&self.dice), self.dice.number(0..256) as u8);
        let vm = self.vm.as_mut().filter(|vm| vm.runs)?;
        span.fill(Arc::make_mut(&mut vm.disks), fill);
        vm.tracked.entry(vm.epoch).or_default().extend(span.sectors());
        vm.moments.track(span);
        let (mirror, disks) = (vm.mirror?, Arc::clone(&vm.disks));
        let Some(tap) = self.taps.get_mut(&mirror.journal).filter(|tap| tap.life == mirror.tap) else {
            self.end_mirror(MirrorEnd::Broken("the tap is gone".to_owned()));
            return Some("a write finds no tap".to_owned());
        };
        if tap.is_shut {
            self.end_mirror(MirrorEnd::Broken("the tap has shut its doors".to_owned()));
            return Some("a write is not let in".to_owned());
        }
        let number = tap.numbers().get(&span.disk).copied()?;
        match tap.journal.write(number, span.range().offset_bytes, span.bytes(&disks)) {
            Ok(Taken::Through(record)) => {
                self.note(mirror.journal);
                Some(format!("writes {span:?} {fill}: {record}"))
            }
            Ok(Taken::Full(full)) => {
                tap.give_up();
                self.note(mirror.journal);
                self.end_mirror(MirrorEnd::Full);
                Some(format!("the tap gives up: {full:?}"))
            }
            Err(error) => {
                self.kill_tap(mirror.journal);
                Some(format!("the tap fails: {error}"))
            }
        }
    }

    /// Notes what records the journal has taken just now.
    fn note(&mut self, journal: JournalId) {
        if let (Some(tap), Some(vm)) = (self.taps.get(&journal), &self.vm) {
            tap.note(self.histories.entry(journal).or_default(), &vm.disks);
        }
    }

    fn end_mirror(&mut self, end: MirrorEnd) {
        let mirror = self.vm.as_mut().and_then(|vm| vm.mirror.take());
        if let Some(mirror) = mirror {
            self.ends.insert(mirror.number, end);
            if let Some(tap) = self.taps.get_mut(&mirror.journal).filter(|tap| tap.life == mirror.tap) {
                tap.client_ended();
            }
            self.note(mirror.journal);
        }
    }

    /// The mirror breaks by itself, or the moment that is held.
    pub(crate) fn break_mirror(&mut self) {
        self.lose_moment();
        self.end_mirror(MirrorEnd::Broken("its connection has ended".to_owned()));
    }

    pub(crate) fn start_vm(&mut self) {
        if let Some(vm) = &mut self.vm {
            vm.runs = true;
        }
    }

    pub(crate) fn stop_vm(&mut self) {
        if let Some(vm) = &mut self.vm {
            vm.runs = false;
            vm.moments.end_running();
        }
        self.end_mirror(MirrorEnd::VmStopped);
    }

    pub(crate) fn runs(&self) -> bool {
        self.vm.as_ref().is_some_and(|vm| vm.runs)
    }

    /// The whole machine loses its power.
    pub(crate) fn crash(&mut self) {
        self.taps.clear();
        if let Some(vm) = &mut self.vm {
            (vm.runs, vm.epoch) = (false, vm.epoch + 1);
            // What was tracked was in memory.
            vm.tracked.clear();
            vm.moments = Moments::default();
            if let Some(mirror) = vm.mirror.take() {
                self.ends.insert(mirror.number, MirrorEnd::VmStopped);
            }
        }
        for disk in self.journals.values().chain(self.replicas.values()) {
            disk.crash();
        }
    }

    pub(crate) fn set_weather(&self, is_full: bool, sync_fails: u32) {
        for disk in self.journals.values().chain(self.replicas.values()) {
            disk.set_weather(is_full, sync_fails);
        }
    }

    // Taps.

    /// The tap that lives, or one that is launched now.
    pub(crate) fn tap(
        &mut self,
        id: JournalId,
        generation: u64,
        clock: Arc<dyn env::Clock>,
        flaw: Option<Flaw>,
    ) -> Result<u64> {
        if let Some(tap) = self.taps.get(&id) {
            return Ok(tap.life);
        }
        let (life, dice) = (self.number(), self.dice.fork());
        let folder = self.journals.entry(id).or_insert_with(|| SimDisk::new(dice)).folder();
        let disk_bytes = *self.dice.pick(&[40_000, 200_000, 1 << 20]).unwrap_or(&200_000);
        let launch = Launch { folder, id, generation, clock, flaw, disk_bytes };
        let tap = Tap::launch(life, self.vm_id, launch).map_err(|error| {
            let text = error.to_string();
            if error.kind() == journal::ErrorKind::Corrupt {
                self.violation.get_or_insert(format!("the journal {id} cannot be taken up: {text}"));
            }
            text
        })?;
        let (history, last) = (self.histories.entry(id).or_default(), tap.journal.durable_through());
        if last < history.durable_here {
            let durable = history.durable_here;
            self.violation.get_or_insert(format!("{durable} was durable in {id}, now {last} is"));
        }
        history.cut(last);
        self.taps.insert(id, tap);
        self.note(id);
        Ok(life)
    }

    pub(crate) fn has_journal(&self, id: JournalId) -> bool {
        self.journals.contains_key(&id)
    }

    /// Whether there was a journal that is there no more.
    pub(crate) fn has_lost_journal(&self, id: JournalId) -> bool {
        self.histories.contains_key(&id) && !self.has_journal(id)
    }

    pub(crate) fn tap_of(&mut self, id: JournalId, life: u64) -> Result<&mut Tap> {
        self.taps.get_mut(&id).filter(|tap| tap.life == life).ok_or_else(|| "the tap is gone".to_owned())
    }

    /// Has a tap do something, and notes what records that made.
    pub(crate) fn with_tap<T>(
        &mut self,
        id: JournalId,
        life: u64,
        work: impl FnOnce(&mut Tap) -> Result<T>,
    ) -> Result<T> {
        let done = work(self.tap_of(id, life)?);
        self.note(id);
        done
    }

    pub(crate) fn kill_tap(&mut self, id: JournalId) {
        if self.taps.remove(&id).is_some()
            && self.vm.as_ref().is_some_and(|vm| vm.mirror.is_some_and(|mirror| mirror.journal == id))
        {
            self.end_mirror(MirrorEnd::Broken("the tap is gone".to_owned()));
        }
    }

    /// What taps do by themselves: they make durable what they took, and mark moments.
    pub(crate) fn tick_taps(&mut self) {
        let ids: Vec<_> = self.taps.keys().copied().collect();
        for id in ids {
            let Some(tap) = self.taps.get(&id) else { continue };
            let disks = tap.journal.disks();
            if disks.is_whole(self.vm_id) && !tap.journal.stands() && self.dice.chance(300) {
                let checkpoint = Checkpoint { kind: CheckpointKind::Crash, vm: None, name: String::new() };
                let _ = tap.journal.checkpoint(checkpoint); // one that has no room is made later
            }
            self.note(id);
            let Some(tap) = self.taps.get(&id) else { continue };
            let flushed = tap.journal.flush();
            let history = self.histories.entry(id).or_default();
            history.durable_here = history.durable_here.max(tap.journal.durable_through());
            if flushed.is_err() {
                self.kill_tap(id);
            }
        }
    }

    pub(crate) fn remove_journal(&mut self, id: JournalId) {
        self.kill_tap(id);
        self.journals.remove(&id);
    }

    // Mirrors.

    /// Has all writes go to a tap, and tells what it lacks.
    pub(crate) fn begin_mirror(
        &mut self,
        journal: JournalId,
        tap: u64,
        trusted: Option<u64>,
    ) -> Result<Begun> {
        self.end_mirror(MirrorEnd::Broken("another one has begun".to_owned()));
        let number = self.number();
        self.tap_of(journal, tap)?;
        let vm = self.vm.as_mut().filter(|vm| vm.runs).ok_or("the VM does not run")?;
        let tracked = trusted.filter(|trusted| vm.tracked.contains_key(trusted));
        let missed = tracked
            .map(|trusted| vm.tracked.range(trusted..).flat_map(|(_, sectors)| sectors).copied().collect());
        vm.tracked.entry(vm.epoch).or_default();
        vm.mirror = Some(Mirror { number, journal, tap });
        Ok(Begun { mirror: number, missed })
    }

    /// Why a mirror is not there, if it is not.
    pub(crate) fn mirror_end(&self, number: u64) -> Option<MirrorEnd> {
        let current = self.vm.as_ref().and_then(|vm| vm.mirror);
        if current.is_some_and(|mirror| mirror.number == number) {
            return None;
        }
        let unknown = || MirrorEnd::Broken("nobody knows of it".to_owned());
        Some(self.ends.get(&number).cloned().unwrap_or_else(unknown))
    }

    pub(crate) fn cut_mirror(&mut self, number: u64) {
        if self.mirror_end(number).is_none() {
            self.end_mirror(MirrorEnd::Broken("it was cut off".to_owned()));
        }
    }

    /// An epoch of tracking begins. That it can says that the tap was handed every write until now.
    pub(crate) fn begin_tracking(&mut self, mirror: u64) -> Result<u64> {
        let vm = self.vm.as_mut().filter(|vm| vm.runs).ok_or("the VM does not run")?;
        let current = vm.mirror.filter(|current| current.number == mirror).ok_or("the mirror has ended")?;
        let holds =
            self.taps.get(&current.journal).is_some_and(|tap| tap.life == current.tap && !tap.is_shut);
        if !holds {
            self.end_mirror(MirrorEnd::Broken("the tap is gone".to_owned()));
            return Err("the tap is gone".to_owned());
        }
        vm.epoch += 1;
        let epoch = vm.epoch;
        vm.tracked.entry(epoch).or_default();
        Ok(epoch)
    }

    pub(crate) fn trust(&mut self, epoch: u64) {
        if let Some(vm) = &mut self.vm {
            vm.tracked.retain(|of, _| *of >= epoch);
        }
    }

    pub(crate) fn begin_copy(&mut self, id: JournalId, life: u64, span: Span) -> Result<CopyTicket> {
        self.with_tap(id, life, |tap| {
            if tap.is_shut {
                return Err("the tap has shut its doors".to_owned());
            }
            let number = tap.numbers().get(&span.disk).copied().ok_or("there is no such disk")?;
            tap.journal.begin_copy(number, span.range()).map_err(|error| error.to_string())
        })
    }

    pub(crate) fn read(&self, span: Span) -> Result<Vec<u8>> {
        let vm = self.vm.as_ref().ok_or("there is no VM")?;
        Ok(span.bytes(&vm.disks).to_vec())
    }

    /// The copy, unless there is no room for it now: then it is tried again.
    pub(crate) fn finish_copy(
        &mut self,
        id: JournalId,
        life: u64,
        ticket: CopyTicket,
        data: &[u8],
    ) -> Result<Option<CopyTicket>> {
        self.with_tap(id, life, |tap| {
            let finished = tap.journal.finish_copy(ticket, Copied::Data(data));
            finished.map(|again| again.map(|(ticket, _)| ticket)).map_err(|error| error.to_string())
        })
    }

    // Replicas.

    /// The folder of a replica, for the server that lives now.
    pub(crate) fn replica_folder(&mut self, id: JournalId) -> Arc<dyn Folder> {
        let dice = self.dice.fork();
        self.replicas.entry(id).or_insert_with(|| SimDisk::new(dice)).folder()
    }

    pub(crate) fn remove_replica(&mut self, id: JournalId) {
        self.replicas.remove(&id);
    }

    pub(crate) fn taken_through(&mut self, id: JournalId, life: u64) -> Result<(Sequence, Sequence)> {
        let tap = self.tap_of(id, life)?;
        Ok((tap.journal.usage().taken_through, tap.epoch))
    }
}
