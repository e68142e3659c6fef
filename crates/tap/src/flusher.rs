//! The thread that makes what was taken durable, in groups.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use journal::Sequence;

use crate::{Error, ErrorKind, Result, tap::Tap};

/// How long it rests at most while nothing is written: an old segment is sealed all the same.
const REST: Duration = Duration::from_secs(1);

/// Starts the thread, which ends after the tap was told to end and everything is durable.
pub(crate) fn start(tap: &Arc<Tap>) -> Result<JoinHandle<()>> {
    let flushed = Arc::clone(tap);
    let started = thread::Builder::new().name("flusher".to_owned()).spawn(move || run(&flushed));
    let handle = started.map_err(|error| Error::from_io("starting a thread", error))?;
    tap.set_flusher(handle.thread().clone());
    Ok(handle)
}

fn run(tap: &Tap) {
    let age = Duration::from_millis(tap.options.flush_age_ms);
    loop {
        let ends = *tap.ending.borrow();
        if !ends {
            rest(tap);
            tap.journal.wait_until_filled(age);
        }
        let begun = Instant::now();
        let flushed = tap.journal.flush();
        if let Err(error) = &flushed {
            tap.fail(error);
        }
        tap.note_flush(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        if ends || flushed.is_err() {
            tap.ended.send_replace(Some(flushed.is_ok()));
            return;
        }
    }
}

/// Waits while there is nothing to flush.
fn rest(tap: &Tap) {
    tap.flusher_rests(true);
    // Whoever writes or ends the tap from here on wakes this thread.
    if tap.journal.usage().memory_bytes == 0 && !*tap.ending.borrow() {
        thread::park_timeout(REST);
    }
    tap.flusher_rests(false);
}

impl Tap {
    /// Waits until everything through this record is durable.
    pub(crate) async fn durable(&self, sequence: Sequence) -> Result<Sequence> {
        let mut flushed = self.flushed.subscribe();
        loop {
            let durable = self.journal.durable_through();
            if durable >= sequence {
                return Ok(durable);
            }
            self.check_sound()?;
            if flushed.changed().await.is_err() {
                return Err(Error::new(ErrorKind::Gone, "the tap has ended"));
            }
        }
    }
}
