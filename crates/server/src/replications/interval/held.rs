//! A moment that is held, and all that goes when it is let go of.

use std::sync::{Arc, Mutex as Lock, PoisonError, RwLock, Weak};

use async_trait::async_trait;
use hypervisor::{Capture, CaptureOutcome};
use image::{ByteRange, DiskImage, Error, ErrorKind, Extent};
use model::Timestamp;
use replication::Epoch;
use tap::CheckpointKind;
use tokio::sync::{Mutex, watch};

use crate::jobs::Ticket;

/// A moment of a VM that is held.
pub(crate) struct Moment {
    /// What is tracked since.
    pub(super) epoch: Epoch,
    pub(super) kind: CheckpointKind,
    pub(super) captured_at: Timestamp,
    /// The VM did not run.
    pub(super) is_at_rest: bool,
    held: Mutex<Option<Held>>,
    images: Lock<Vec<Weak<HeldImage>>>,
}

/// What is given back when a moment is let go of.
struct Held {
    capture: Box<dyn Capture>,
    turn: Option<Lent>,
}

impl Moment {
    pub(super) fn new(
        epoch: Epoch,
        kind: CheckpointKind,
        is_at_rest: bool,
        capture: Box<dyn Capture>,
        turn: Option<Lent>,
    ) -> Self {
        let captured_at = capture.facts().captured_at;
        let held = Mutex::new(Some(Held { capture, turn }));
        Self { epoch, kind, captured_at, is_at_rest, held, images: Lock::default() }
    }

    /// The image is one of the moment's, and goes with it.
    pub(super) fn note(&self, image: &Arc<HeldImage>) {
        self.images.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(image));
    }

    /// Lets go of the moment and settles what is tracked, once.
    pub(crate) async fn let_go(&self, outcome: CaptureOutcome) {
        let mut held = self.held.lock().await;
        let Some(Held { capture, turn }) = held.take() else { return };
        for image in self.images.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            image.upgrade().iter().for_each(|image| image.let_go());
        }
        if let Err(error) = capture.finish(outcome).await {
            tracing::warn!(%error, "a moment was not let go of in order; the next one cleans up");
        }
        drop(turn);
    }
}

/// An image of a moment. Whoever reads it later than that finds it gone, and keeps nothing open.
pub(super) struct HeldImage {
    size_bytes: u64,
    image: RwLock<Option<Arc<dyn DiskImage>>>,
}

impl HeldImage {
    pub(super) fn new(image: Arc<dyn DiskImage>) -> Self {
        Self { size_bytes: image.size_bytes(), image: RwLock::new(Some(image)) }
    }

    fn let_go(&self) {
        self.image.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn image(&self) -> image::Result<Arc<dyn DiskImage>> {
        let image = self.image.read().unwrap_or_else(PoisonError::into_inner).clone();
        image.ok_or_else(|| Error::new(ErrorKind::Gone, "the moment is held no longer"))
    }
}

#[async_trait]
impl DiskImage for HeldImage {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn extents(&self, range: ByteRange) -> image::Result<Vec<Extent>> {
        self.image()?.extents(range).await
    }

    async fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> image::Result<()> {
        self.image()?.read_at(offset_bytes, buffer).await
    }
}

/// The VM's turn, as long as a moment of it is held.
pub(super) struct Lent {
    ticket: Option<Ticket>,
    holds_turn: watch::Sender<bool>,
}

impl Lent {
    pub(super) fn new(ticket: Ticket, holds_turn: watch::Sender<bool>) -> Self {
        holds_turn.send_replace(true);
        Self { ticket: Some(ticket), holds_turn }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Whoever waits for it finds the turn free.
        self.ticket.take();
        self.holds_turn.send_replace(false);
    }
}
