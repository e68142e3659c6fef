//! Acknowledgements held back, so that journals of several hosts can mark one moment.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::{sync::watch, time};

use crate::{Error, ErrorKind, Result};

/// Whether acknowledgements are held.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    current: watch::Sender<Option<Holding>>,
    given: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holding {
    number: u64,
    until: Instant,
}

impl Holding {
    fn lasts(self) -> bool {
        Instant::now() < self.until
    }
}

impl Hold {
    /// Begins to hold, for this long at most; returns by which number to end it.
    pub(crate) fn begin(&self, most: Duration) -> Result<u64> {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let begun = self.current.send_if_modified(|current| {
            let is_free = !current.is_some_and(Holding::lasts);
            if is_free {
                *current = Some(Holding { number, until: Instant::now() + most });
            }
            is_free
        });
        match begun {
            true => Ok(number),
            false => Err(Error::new(ErrorKind::Busy, "somebody else holds the acknowledgements")),
        }
    }

    /// Lets go. Whether they were held until now.
    pub(crate) fn end(&self, number: u64) -> bool {
        let mut was_held = false;
        self.current.send_if_modified(|current| {
            let is_it = current.is_some_and(|holding| holding.number == number);
            was_held = is_it && current.is_some_and(Holding::lasts);
            if is_it {
                *current = None;
            }
            is_it
        });
        was_held
    }

    /// Waits as long as the hold lasts that there is now. One that begins later is about writes that are taken later. Says
    /// first until when it may take.
    pub(crate) async fn pass(&self, waits_until: impl FnOnce(Instant)) {
        let Some(holding) = *self.current.borrow() else { return };
        if !holding.lasts() {
            return;
        }
        waits_until(holding.until);
        let mut current = self.current.subscribe();
        let ended = current.wait_for(|current| current.is_none_or(|it| it.number != holding.number));
        // However it ends, it has ended.
        let _ = time::timeout_at(holding.until.into(), ended).await;
    }
}
