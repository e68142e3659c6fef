//! A disk as NBD clients write it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use image::{ByteRange, DiskTarget, Error, ErrorKind, Result};
use journal::{DiskNumber, Full, Journal, Taken};
use model::VmId;
use nbd::TargetPerClient;
use tokio::time::{self, Instant};

use crate::tap::{Put, Tap};

/// What is put into the journal at once; a longer write becomes several. Who waits for room needs no more of it.
const PIECE_BYTES: usize = 1 << 20;

/// How long a flush may take before the tap breaks.
const FLUSH_PATIENCE: Duration = Duration::from_millis(1500);

/// A disk that clients may connect to.
pub(crate) struct Export {
    pub(crate) tap: Arc<Tap>,
    pub(crate) disk: DiskNumber,
    pub(crate) vm: VmId,
    pub(crate) size_bytes: u64,
}

impl TargetPerClient for Export {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn begin(&self) -> Arc<dyn DiskTarget> {
        let opening = self.tap.client_begins(self.disk);
        let Self { disk, vm, size_bytes, .. } = *self;
        Arc::new(Connected { tap: Arc::clone(&self.tap), disk, vm, size_bytes, opening })
    }
}

/// A disk as one client writes it.
struct Connected {
    tap: Arc<Tap>,
    disk: DiskNumber,
    vm: VmId,
    size_bytes: u64,
    opening: u64,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.tap.client_ended(self.disk, self.vm, self.opening);
    }
}

/// A write that waits for room, until this is dropped.
struct Waiting<'a>(&'a Tap);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.end_waiting();
    }
}

impl Connected {
    /// Takes in a piece of a write.
    async fn take(
        &self,
        length_bytes: u64,
        deadline: Instant,
        put: impl Fn(&Journal) -> journal::Result<Taken>,
    ) -> Result<()> {
        // Those that wait are first.
        if !self.tap.is_stalled() {
            match self.put(length_bytes, &put) {
                Put::Full(Full::Memory) => {}
                done => return self.settle(done),
            }
        }
        self.tap.begin_waiting();
        let _waiting = Waiting(&self.tap);
        let waited = async {
            let _turn = self.tap.turn.lock().await;
            let mut room = self.tap.room.subscribe();
            loop {
                match self.put(length_bytes, &put) {
                    Put::Full(Full::Memory) => {}
                    done => return done,
                }
                // The sender lives as long as the tap.
                let _ = room.changed().await;
            }
        };
        let done = time::timeout_at(deadline, waited).await.unwrap_or(Put::Full(Full::Memory));
        self.settle(done)
    }

    fn put(&self, length_bytes: u64, put: impl Fn(&Journal) -> journal::Result<Taken>) -> Put {
        self.tap.put((self.vm, self.opening), length_bytes, put)
    }

    /// What was not taken would be missing: the guest goes on, and the tap breaks.
    fn settle(&self, done: Put) -> Result<()> {
        let reason = match done {
            Put::Taken => return Ok(()),
            Put::Shut => return Err(gone()),
            Put::Full(Full::Memory) => {
                format!("the journal had no room for a write in {} ms", self.tap.options.patience_ms)
            }
            Put::Full(Full::Disk) => "the journal's share of the disk is full".to_owned(),
            Put::Failed(error) => format!("the journal refused a write: {error}"),
        };
        self.tap.give_up(Some(self.opening), &reason);
        Err(gone())
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.tap.options.patience_ms)
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Gone, "the tap has let the guest go on without it")
}

#[async_trait]
impl DiskTarget for Connected {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn starts_zeroed(&self) -> bool {
        false
    }

    async fn write_at(&self, offset_bytes: u64, data: &[u8]) -> Result<()> {
        let unanswered = self.tap.pulse.begin();
        let deadline = self.deadline();
        let mut offset_bytes = offset_bytes;
        for piece in data.chunks(PIECE_BYTES) {
            let length_bytes = piece.len() as u64;
            self.take(length_bytes, deadline, |journal| journal.write(self.disk, offset_bytes, piece))
                .await?;
            offset_bytes += length_bytes;
        }
        self.tap.hold.pass(|until| unanswered.waits_until(until)).await;
        Ok(())
    }

    async fn write_zeroes(&self, range: ByteRange) -> Result<()> {
        let unanswered = self.tap.pulse.begin();
        self.take(0, self.deadline(), |journal| journal.zero(self.disk, range)).await?;
        self.tap.hold.pass(|until| unanswered.waits_until(until)).await;
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        let _unanswered = self.tap.pulse.begin();
        let wanted = self.tap.journal.usage().taken_through;
        match time::timeout(FLUSH_PATIENCE, self.tap.durable(wanted)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(gone()),
            Err(_) => {
                let reason = format!("the journal was not durable in {} ms", FLUSH_PATIENCE.as_millis());
                self.tap.give_up(Some(self.opening), &reason);
                Err(gone())
            }
        }
    }
}
