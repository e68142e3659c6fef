//! What was taken in becomes blocks of segments, durable in groups.

use std::sync::{MutexGuard, PoisonError};

use model::Timestamp;

use super::Shared;
use crate::{
    Error, Flaw, Result, SegmentNumber, Sequence,
    block::{BlockHead, Encoder, HEAD_BYTES},
    record::{RawBlock, decode_records},
    segment::{SealedSegment, builder::SegmentBuilder, header::Header},
};

/// Writes blocks; one thread at a time.
pub(super) struct Sink {
    builder: SegmentBuilder,
    encoder: Encoder,
    /// Since when the segment ages; a clock that is set back has it age anew.
    ages_since: Option<Timestamp>,
}

impl Sink {
    pub(super) fn new(builder: SegmentBuilder) -> Result<Self> {
        Ok(Self { builder, encoder: Encoder::new()?, ages_since: None })
    }

    /// Writes a block; returns the bytes that it takes.
    fn write(&mut self, raw: &RawBlock, durable: Sequence) -> Result<usize> {
        let block = self.encoder.encode(raw, durable, self.builder.place())?;
        let head = BlockHead::decode(&block[..HEAD_BYTES])?;
        let records = decode_records(&head, &raw.bytes)?;
        self.builder.append_own(&head, &block, &records)?;
        Ok(block.len())
    }
}

impl Shared {
    /// Writes what waits, and makes it durable.
    pub(super) fn flush(&self) -> Result<Sequence> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        self.intake().check_sound()?;
        let flushed = self.flush_with(&mut sink);
        if let Err(error) = &flushed {
            // What of the file is durable now is not known any more.
            self.intake().broken = Some(error.to_string());
            self.filled.notify_all();
        }
        flushed
    }

    fn flush_with(&self, sink: &mut MutexGuard<'_, Sink>) -> Result<Sequence> {
        let blocks = self.intake().take_all();
        let has_blocks = !blocks.is_empty();
        for raw in blocks {
            if sink.builder.is_full() {
                self.roll(sink)?;
            }
            let durable = self.published().durable;
            let stored_bytes = sink.write(&raw, durable)?;
            self.intake().written(raw.bytes.len(), stored_bytes);
            self.tell_of_room();
            if self.flaws.has(Flaw::AcknowledgeBeforeSync) {
                self.published().durable = raw.last();
            }
            if self.flaws.has(Flaw::ShipBeforeSync) {
                self.published().active_end_bytes = sink.builder.end_bytes();
            }
        }
        if has_blocks {
            sink.builder.sync()?;
            let mut published = self.published();
            published.active_end_bytes = sink.builder.end_bytes();
            published.durable = sink.builder.next().previous();
        }
        if self.is_old(sink) {
            self.roll(sink)?;
        }
        Ok(self.published().durable)
    }

    /// Whether the segment has grown for long enough. By a clock that was set back it would not for as long as that was.
    fn is_old(&self, sink: &mut Sink) -> bool {
        let Some((first_time, _)) = sink.builder.times() else { return false };
        let now = self.clock.now();
        // Records of a moment that is held are as old as that: a segment of them ages since it was begun.
        let begun = if self.intake().stands_at.is_some() { now } else { first_time };
        let since = sink.ages_since.unwrap_or(begun).min(now);
        sink.ages_since = Some(since);
        let age_us = now.microseconds_since(since);
        u128::try_from(age_us).is_ok_and(|age_us| age_us >= self.options.segment_age.as_micros())
    }

    /// Seals the segment and begins the next. The first is whole and durable before the second is there.
    fn roll(&self, sink: &mut MutexGuard<'_, Sink>) -> Result<()> {
        let Some(footer) = sink.builder.footer() else { return Ok(()) };
        let sealed = sink.builder.seal(&footer)?;
        let header = Header {
            journal: self.id,
            generation: self.generation,
            number: sealed.number.next(),
            first: sealed.last.next(),
            created_at: self.clock.now(),
            disks: sink.builder.disks().clone(),
        };
        sink.builder = SegmentBuilder::create(&*self.folder, &header.encode())?;
        sink.ages_since = None;
        self.publish(sealed, &sink.builder);
        Ok(())
    }

    fn publish(&self, sealed: SealedSegment, builder: &SegmentBuilder) {
        let mut intake = self.intake();
        let mut published = self.published();
        published.durable = sealed.last;
        published.sealed.push_back(sealed);
        published.active = builder.number();
        published.active_header_bytes = builder.header().length_bytes;
        published.active_end_bytes = builder.end_bytes();
        intake.disk_bytes = published.disk_bytes();
    }

    /// Removes segments of which nothing is needed any more.
    pub(super) fn release(&self, before: SegmentNumber) -> Result<()> {
        loop {
            let name = {
                let published = self.published();
                match published.sealed.front() {
                    Some(segment) if segment.number < before => segment.name(),
                    _ => return Ok(()),
                }
            };
            // One that is gone already is as good: a release may have been cut off.
            match self.folder.remove(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::from_io(format!("removing {name}"), error));
                }
                _ => {}
            }
            // One after another for good: after a crash there is no gap between those that are left.
            let synced = self.folder.sync();
            synced.map_err(|error| Error::from_io(format!("removing {name}"), error))?;
            {
                let mut intake = self.intake();
                let mut published = self.published();
                published.sealed.pop_front();
                intake.disk_bytes = published.disk_bytes();
            }
            self.tell_of_room();
        }
    }
}
