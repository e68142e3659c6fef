//! What happens on the host where the guest runs.

use std::{sync::Arc, time::Duration};

use image::ByteRange;
use journal::{
    Checkpoint, CheckpointKind, Copied, CopyTicket, DiskNumber, ErrorKind, Generation, Journal,
    JournalOptions, Sequence, Taken,
};
use model::JournalId;

use super::{
    guest::{SECTOR_BYTES, SECTORS_MAX, Span},
    world::World,
};

/// A copy that was read and has not entered the journal.
pub(crate) struct Reading {
    span: Span,
    bytes: Vec<u8>,
    ticket: CopyTicket,
}

/// The journal's process, while it lives.
pub(crate) struct Source {
    pub(crate) journal: Journal,
    /// Whether the guest's writes reach the journal.
    is_tapped: bool,
    reading: Vec<Reading>,
    /// Disks of which all copies have begun.
    all_begun: Vec<DiskNumber>,
}

impl Source {
    fn new(journal: Journal) -> Self {
        Self { journal, is_tapped: true, reading: Vec::new(), all_begun: Vec::new() }
    }
}

fn span_range(span: Span) -> ByteRange {
    ByteRange::new((span.start * SECTOR_BYTES) as u64, (span.count * SECTOR_BYTES) as u64)
}

impl World {
    fn options(&self) -> JournalOptions {
        JournalOptions {
            memory_bytes: self.memory_bytes,
            disk_bytes: 1 << 20,
            segment_age: Duration::from_millis(self.segment_age_ms),
        }
    }

    /// Starts the journal's process, and checks that it has what was acknowledged.
    pub(crate) fn start_source(&mut self) {
        let (folder, clock, options) = (self.source_disk.folder(), self.clock(), self.options());
        let open = || match self.flaw() {
            Some(flaw) => Journal::open_with_flaw(Arc::clone(&folder), options, Arc::clone(&clock), flaw),
            None => Journal::open(Arc::clone(&folder), options, Arc::clone(&clock)),
        };
        let opened = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound && self.acknowledged == Sequence(0) => {
                let id = JournalId::from_random(self.dice.bytes());
                let (folder, clock) = (Arc::clone(&folder), Arc::clone(&clock));
                Journal::create(folder, id, Generation(1), options, clock).and_then(|_| open())
            }
            opened => opened,
        };
        match opened {
            Ok(journal) => {
                let last = journal.durable_through();
                self.say("source", format!("starts, durable through {last}"));
                if last < self.acknowledged {
                    let acknowledged = self.acknowledged;
                    return self.violated(format!("{acknowledged} was durable at the source, now {last} is"));
                }
                self.guest.cut(last);
                let known: Vec<DiskNumber> = journal.disks().iter().map(|(disk, _)| disk).collect();
                self.guest.keep(&known);
                self.source = Some(Source::new(journal));
            }
            Err(error) => {
                self.failed("source", "starting", &error);
                if self.source_disk.is_dead() {
                    self.lose_source(true);
                }
            }
        }
    }

    /// The process is gone; the guest runs on.
    pub(crate) fn lose_source(&mut self, host_crashes: bool) {
        self.say("source", if host_crashes { "host crashes" } else { "process dies" });
        self.source = None;
        if host_crashes {
            self.source_disk.crash();
        }
    }

    pub(crate) fn add_disk(&mut self) {
        let Some(source) = &self.source else { return };
        if self.guest.disks.len() >= 2 || !source.is_tapped {
            return;
        }
        let sectors = self.dice.number(8..SECTORS_MAX as u64) as usize;
        let size_bytes = (sectors * SECTOR_BYTES) as u64;
        let name = format!("disk-{}", self.dice.number(0..1000)).parse();
        let Ok(name) = name else { return };
        if let Ok(disk) = source.journal.add_disk(self.guest.vm, name, size_bytes) {
            self.say("guest", format!("has disk {disk} of {sectors} sectors"));
            self.guest.disks.insert(disk, vec![0; size_bytes as usize]);
            let all = Span { disk, start: 0, count: sectors };
            self.guest.write(all, self.dice.number(0..3) as u8);
            self.guest.torn.push(disk);
            self.guest.note(all, None);
        }
    }

    /// The guest writes: to its disk first, then to the journal, then it goes on.
    pub(crate) fn write(&mut self) {
        let Some(span) = self.guest.draw_span(&self.dice) else { return };
        let fill = self.dice.number(0..256) as u8;
        let is_zero = self.dice.chance(200);
        self.guest.write(span, if is_zero { 0 } else { fill });
        let Some(source) = self.source.as_mut().filter(|source| source.is_tapped) else {
            return self.guest.note(span, None);
        };
        let range = span_range(span);
        let taken = match is_zero {
            true => source.journal.zero(span.disk, range),
            false => source.journal.write(span.disk, range.offset_bytes, self.guest.bytes(span)),
        };
        match taken {
            Ok(Taken::Through(sequence)) => {
                self.say("guest", format!("writes {span:?} {fill}: {sequence}"));
                self.guest.note(span, Some(sequence));
            }
            Ok(Taken::Full(full)) => {
                source.is_tapped = false;
                source.reading.clear();
                self.guest.note(span, None);
                self.say("source", format!("breaks the tap: {full:?}"));
            }
            Err(error) => {
                self.guest.note(span, None);
                self.failed("source", "taking in a write", &error);
                self.source = None;
            }
        }
    }

    pub(crate) fn checkpoint(&mut self) {
        let Some(source) = &self.source else { return };
        if !source.is_tapped {
            return;
        }
        let checkpoint = Checkpoint { kind: CheckpointKind::Crash, vm: None, name: String::new() };
        if let Ok(Taken::Through(sequence)) = source.journal.checkpoint(checkpoint) {
            self.guest.note_moment(sequence);
            self.say("source", format!("checkpoint {sequence}"));
        }
    }

    /// Attaches the tap again, or goes on copying what the journal lacks.
    pub(crate) fn resync(&mut self) {
        let Some(source) = self.source.as_mut() else { return };
        if !source.is_tapped {
            if source.journal.usage().memory_bytes > 0 {
                return;
            }
            // The mirror first, then what is missing.
            if let Ok(sequence) = source.journal.begin_epoch(self.guest.vm) {
                source.is_tapped = true;
                source.all_begun.clear();
                // Copies of before are no more worth anything.
                source.reading.clear();
                self.guest.torn = self.guest.disks.keys().copied().collect();
                self.say("source", format!("taps again: {sequence}"));
            }
            return;
        }
        if !source.reading.is_empty() && self.dice.chance(600) {
            return self.finish_copy();
        }
        let Some(&disk) = self.dice.pick(&self.guest.torn) else { return };
        if source.all_begun.contains(&disk) {
            return self.finish_disk(disk);
        }
        for span in self.guest.missed(disk) {
            if let Ok(ticket) = source.journal.begin_copy(disk, span_range(span)) {
                source.reading.push(Reading { span, bytes: self.guest.bytes(span).to_vec(), ticket });
            }
        }
        source.all_begun.push(disk);
        self.say("source", format!("copies disk {disk}"));
    }

    fn finish_copy(&mut self) {
        let Some(source) = self.source.as_mut() else { return };
        let place = self.dice.number(0..source.reading.len() as u64) as usize;
        let Reading { span, bytes, ticket } = source.reading.swap_remove(place);
        match source.journal.finish_copy(ticket, Copied::Data(&bytes)) {
            Ok(None) => self.say("source", format!("copied {span:?}")),
            Ok(Some((ticket, _))) => source.reading.push(Reading { span, bytes, ticket }),
            Err(error) => {
                self.failed("source", "copying", &error);
                self.source = None;
            }
        }
    }

    fn finish_disk(&mut self, disk: DiskNumber) {
        let Some(source) = self.source.as_mut() else { return };
        if source.reading.iter().any(|reading| reading.span.disk == disk) {
            return;
        }
        if let Ok(sequence) = source.journal.disk_is_whole(disk) {
            self.guest.copied(disk, sequence);
            self.guest.torn.retain(|torn| *torn != disk);
            self.guest.note_moment(sequence);
            self.say("source", format!("disk {disk} is whole: {sequence}"));
        }
    }

    /// Makes durable; the host may die meanwhile.
    pub(crate) fn flush(&mut self) {
        let Some(source) = &self.source else { return };
        match source.journal.flush() {
            Ok(through) => {
                self.acknowledged = self.acknowledged.max(through);
                self.say("source", format!("durable through {through}"));
            }
            Err(error) => {
                // What it says and shows until it is gone counts as well.
                self.acknowledged = self.acknowledged.max(source.journal.durable_through());
                self.failed("source", "flushing", &error);
                if self.dice.chance(500) {
                    self.ship();
                }
                let host_crashes = self.source_disk.is_dead() || self.dice.chance(300);
                self.lose_source(host_crashes);
            }
        }
    }
}
