//! An image that a running guest reads: while it cannot be read for now, reads wait.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use image::{ByteRange, DiskImage, Error, ErrorKind, Extent, Result};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};

use super::{read_ahead::ReadAhead, source::Source};

/// The pause before the second try; doubled before each further one, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An image that is opened when it is first read, and whose reads wait for as long as they may while it is away. Damage is
/// no reason to wait: the guest sees it at once, as that of a bad disk.
pub(super) struct PatientImage {
    source: Source,
    size_bytes: u64,
    wait_limit: Duration,
    image: OnceCell<ReadAhead>,
    failure: Mutex<Option<ReadFailure>>,
    /// Whether something was read.
    is_read: AtomicBool,
}

/// Why an image cannot be read.
#[derive(Debug, Clone)]
pub(crate) struct ReadFailure {
    pub(crate) reason: String,
    /// Whether the bytes are not those that were written, rather than out of reach.
    pub(crate) is_damage: bool,
}

impl PatientImage {
    pub(super) fn new(source: Source, size_bytes: u64, wait_limit: Duration) -> Self {
        Self {
            source,
            size_bytes,
            wait_limit,
            image: OnceCell::new(),
            failure: Mutex::default(),
            is_read: AtomicBool::new(false),
        }
    }

    /// Why reads wait now; or what damage they met, until that is forgotten.
    pub(super) fn failure(&self) -> Option<ReadFailure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets damage that may have been healed.
    pub(super) fn forget_failure(&self) {
        self.note(None);
    }

    fn note(&self, failure: Option<ReadFailure>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    async fn opened(&self) -> Result<&ReadAhead> {
        let open = || async {
            let image = self.source.open().await.map_err(|failure| {
                // A key may be added, a share mounted: whatever it is, the guest waits for it.
                Error::new(ErrorKind::Io, failure.detail())
            })?;
            if image.size_bytes() != self.size_bytes {
                return Err(Error::new(ErrorKind::Gone, "the image has another size than the disk"));
            }
            Ok(ReadAhead::new(image))
        };
        self.image.get_or_try_init(open).await
    }

    fn wait(&self) -> Wait<'_> {
        Wait { image: self, deadline: Instant::now() + self.wait_limit, pause: None }
    }
}

/// One read that may have to wait.
struct Wait<'a> {
    image: &'a PatientImage,
    deadline: Instant,
    /// The last pause; none before the first.
    pause: Option<Duration>,
}

impl Wait<'_> {
    /// Rests after a failure; fails when there is nothing to wait for, or no time left.
    async fn after(&mut self, error: Error) -> Result<()> {
        let is_damage = error.kind() == ErrorKind::Corrupt;
        self.image.note(Some(ReadFailure { reason: error.to_string(), is_damage }));
        // A store that is away shows in many ways; damage and a wrong range in one each.
        let is_final = is_damage || error.kind() == ErrorKind::OutOfBounds;
        if is_final || Instant::now() >= self.deadline {
            tracing::error!(%error, "a disk sees an error of the image that it reads from");
            return Err(error);
        }
        if self.pause.is_none() {
            tracing::warn!(%error, "an image that a disk reads from cannot be read; reads wait");
        }
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.pause = Some(pause);
        sleep(pause).await;
        Ok(())
    }

    /// The read has succeeded.
    fn over(&self) {
        if !self.image.is_read.swap(true, Ordering::Relaxed) {
            tracing::info!("a VM has begun to read its image");
        }
        if self.pause.is_some() {
            tracing::info!("an image that a disk reads from can be read again");
            self.image.note(None);
        }
    }
}

#[async_trait]
impl DiskImage for PatientImage {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        let mut wait = self.wait();
        loop {
            let tried = match self.opened().await {
                Ok(image) => image.extents(range).await,
                Err(error) => Err(error),
            };
            match tried {
                Ok(extents) => {
                    wait.over();
                    return Ok(extents);
                }
                Err(error) => wait.after(error).await?,
            }
        }
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<()> {
        let mut wait = self.wait();
        loop {
            let tried = match self.opened().await {
                Ok(image) => image.read_at(offset_bytes, buffer).await,
                Err(error) => Err(error),
            };
            match tried {
                Ok(()) => {
                    wait.over();
                    return Ok(());
                }
                Err(error) => wait.after(error).await?,
            }
        }
    }
}
