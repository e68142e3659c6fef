//! Where work goes that would hold up everybody else on its thread.

use std::{num::NonZero, thread};

use tokio::task::{self, JoinError};

/// Where long computations and blocking calls run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Threads {
    /// On the runtime's blocking threads, as many at once as the machine has processors.
    #[default]
    Pool,
    /// On the spot, so that the order of everything follows from the program alone.
    Inline,
}

impl Threads {
    /// Starts work, and waits for its end; on the pool it goes on when the future is dropped.
    ///
    /// # Errors
    /// The work's panic, or the end of the runtime; never with [`Threads::Inline`].
    pub fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, JoinError>> + Send {
        let started = match self {
            Self::Pool => Err(task::spawn_blocking(work)),
            Self::Inline => Ok(work()),
        };
        async move {
            match started {
                Ok(done) => Ok(done),
                Err(running) => running.await,
            }
        }
    }

    /// How many pieces of work it makes sense to have under way at once; the same on every machine where nothing may
    /// depend on it.
    #[must_use]
    pub fn parallelism(self) -> usize {
        match self {
            Self::Pool => thread::available_parallelism().map_or(1, NonZero::get),
            Self::Inline => 2,
        }
    }
}

#[cfg(test)]
mod tests;
