//! What is answered on one connection.

use std::{sync::Arc, time::Duration};

use image::ByteRange;
use journal::{Checkpoint, Copied, CopyTicket, Part, Position};
use model::VmId;
use tokio::{
    sync::{OwnedSemaphorePermit, SemaphorePermit},
    task,
    time::{self, Instant},
};

use crate::{
    AddedDisk, Epoch, Error, ErrorKind, Result,
    tap::Tap,
    wire::{Answer, Ask, CopiedKind, HOLD_MS_MAX, PARTS_BYTES_MAX, WAIT_MS_MAX},
};

/// What belongs to one connection, and ends with it.
pub(super) struct Session {
    tap: Arc<Tap>,
    copy: Option<OpenCopy>,
    hold: Option<u64>,
}

struct OpenCopy {
    ticket: CopyTicket,
    vm: VmId,
    epoch: Epoch,
    _place: OwnedSemaphorePermit,
}

/// Parts, and the memory for them.
pub(super) struct Parts<'a> {
    pub(super) parts: Vec<Part>,
    _memory: Option<SemaphorePermit<'a>>,
}

impl Session {
    pub(super) fn new(tap: Arc<Tap>) -> Self {
        Self { tap, copy: None, hold: None }
    }

    pub(super) async fn answer(&mut self, ask: Ask, body: &[u8]) -> Result<(Answer, Option<Parts<'_>>)> {
        let tap = Arc::clone(&self.tap);
        let answer = match ask {
            Ask::Hello { .. } => return Err(Error::protocol("the connection has said hello already")),
            Ask::Status => Answer::Status(Box::new(tap.status())),
            Ask::AddDisk { vm, name, size_bytes } => {
                let AddedDisk { number, export, epoch } = tap.add_disk(vm, name, size_bytes)?;
                Answer::Disk { number, export, epoch }
            }
            Ask::ResizeDisk { disk, size_bytes } => Answer::Sequence(tap.resize_disk(disk, size_bytes)?),
            Ask::RemoveDisk { disk } => Answer::Sequence(tap.remove_disk(disk)?),
            Ask::BeginEpoch { vm } => {
                let epoch = tap.begin_epoch(vm, None)?;
                tap.doors_are_open().await?;
                Answer::Epoch(epoch)
            }
            Ask::BeginEpochAt { vm, moment } => {
                let epoch = tap.begin_epoch(vm, Some(moment))?;
                tap.doors_are_open().await?;
                Answer::Epoch(epoch)
            }
            Ask::DiskIsWhole { disk, epoch } => Answer::Sequence(tap.disk_is_whole(disk, epoch)?),
            Ask::BeginCopy { disk, offset_bytes, length_bytes } => {
                self.begin_copy(disk, ByteRange { offset_bytes, length_bytes })?;
                Answer::Done
            }
            Ask::FinishCopy { copied } => {
                self.finish_copy(copied, body).await?;
                Answer::Done
            }
            Ask::Checkpoint { kind, vm, name } => {
                Answer::Sequence(tap.checkpoint(Checkpoint { kind: kind.into(), vm, name })?)
            }
            Ask::Durable { sequence } => Answer::Sequence(tap.durable(sequence).await?),
            Ask::Parts { from, most_bytes, wait_ms } => {
                let parts = self.parts(from, most_bytes, wait_ms).await?;
                return Ok((Answer::Done, Some(parts)));
            }
            Ask::PositionAfter { sequence } => {
                Answer::Position(blocking(move || tap.journal.position_after(sequence)).await?)
            }
            Ask::Start => Answer::Position(tap.journal.start()),
            Ask::Release { before } => {
                blocking(move || tap.journal.release(before)).await?;
                Answer::Done
            }
            Ask::Hold { most_ms } => {
                let number = tap.hold.begin(Duration::from_millis(most_ms.min(HOLD_MS_MAX)))?;
                self.hold = Some(number);
                Answer::Done
            }
            Ask::LetGo => {
                let number = self.hold.take();
                let number = number.ok_or_else(|| Error::invalid("this connection holds nothing"))?;
                Answer::LetGo { was_held: tap.hold.end(number) }
            }
            Ask::GiveUp { reason } => {
                tap.give_up(None, &reason);
                Answer::Done
            }
            Ask::ShutDown => {
                tap.end().await?;
                Answer::Done
            }
        };
        Ok((answer, None))
    }

    fn begin_copy(&mut self, disk: journal::DiskNumber, range: ByteRange) -> Result<()> {
        if self.copy.is_some() {
            return Err(Error::protocol("a copy has begun on this connection already"));
        }
        let place = Arc::clone(&self.tap.copies).try_acquire_owned();
        let place = place.map_err(|_| Error::new(ErrorKind::Busy, "too many copies are under way"))?;
        let (ticket, vm, epoch) = self.tap.begin_copy(disk, range)?;
        self.copy = Some(OpenCopy { ticket, vm, epoch, _place: place });
        Ok(())
    }

    /// Hands a copy to the journal once there is room to spare. While it waits it is the connection's, and ends with it.
    async fn finish_copy(&mut self, kind: CopiedKind, data: &[u8]) -> Result<()> {
        let mut room = self.tap.room.subscribe();
        loop {
            let copy = self.copy.take();
            let mut copy = copy.ok_or_else(|| Error::invalid("no copy has begun on this connection"))?;
            if kind == CopiedKind::Nothing || self.tap.has_room_to_spare() {
                match self.tap.journal.finish_copy(copy.ticket, kind.with(data)) {
                    Ok(None) => {
                        self.tap.wake_flusher();
                        return Ok(());
                    }
                    Ok(Some((ticket, _))) => copy.ticket = ticket,
                    Err(error) => {
                        self.tap.check_epoch(copy.vm, copy.epoch)?;
                        return Err(error.into());
                    }
                }
            }
            self.tap.check_epoch(copy.vm, copy.epoch)?;
            self.copy = Some(copy);
            self.tap.check_sound()?;
            // The sender lives as long as the tap.
            let _ = room.changed().await;
        }
    }

    /// Parts from a position on, as soon as there are any.
    async fn parts(&self, from: Position, most_bytes: u64, wait_ms: u64) -> Result<Parts<'_>> {
        let most_bytes = most_bytes.clamp(1, PARTS_BYTES_MAX);
        let deadline = Instant::now() + Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
        let mut flushed = self.tap.flushed.subscribe();
        loop {
            let memory = super::memory(&self.tap.parts_memory, most_bytes as usize).await;
            let tap = Arc::clone(&self.tap);
            let parts = blocking(move || tap.journal.parts(from, most_bytes)).await?;
            if !parts.is_empty() || Instant::now() >= deadline {
                return Ok(Parts { parts, _memory: memory });
            }
            drop(memory);
            // Late or not, a last look follows.
            let _ = time::timeout_at(deadline, flushed.changed()).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(number) = self.hold.take() {
            self.tap.hold.end(number);
        }
        if let Some(copy) = self.copy.take() {
            // One that an epoch has ended is given up already.
            let _ = self.tap.journal.finish_copy(copy.ticket, Copied::Nothing);
        }
    }
}

/// Does what waits for files.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> journal::Result<T> + Send + 'static,
) -> Result<T> {
    match task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Error::new(ErrorKind::Io, "reading the journal").with_source(error)),
    }
}
