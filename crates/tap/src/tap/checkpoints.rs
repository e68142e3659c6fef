//! Checkpoints on their way to the disk.

use std::collections::VecDeque;

use journal::{Checkpoint, Sequence, Taken};

use super::Tap;
use crate::{DurableCheckpoint, Error, ErrorKind, Result};

/// Checkpoints that wait to be durable; of more than these the oldest are not told of.
const WAITING_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    waiting: VecDeque<DurableCheckpoint>,
    pub(super) newest: Option<DurableCheckpoint>,
}

impl Checkpoints {
    /// Everything through this record is durable.
    pub(super) fn durable(&mut self, through: Sequence) {
        while let Some(checkpoint) = self.waiting.pop_front_if(|it| it.sequence <= through) {
            self.newest = Some(checkpoint);
        }
    }
}

impl Tap {
    /// Names this moment.
    pub(crate) fn checkpoint(&self, checkpoint: Checkpoint) -> Result<Sequence> {
        let mut state = self.state();
        let sequence = match self.journal.checkpoint(checkpoint)? {
            Taken::Through(sequence) => sequence,
            Taken::Full(_) => {
                return Err(Error::new(ErrorKind::Full, "the journal has no room for a checkpoint"));
            }
        };
        if self.has_whole_vm() {
            state
                .checkpoints
                .waiting
                .push_back(DurableCheckpoint { sequence, time: self.journal.newest_time() });
            if state.checkpoints.waiting.len() > WAITING_MAX {
                state.checkpoints.waiting.pop_front();
            }
        }
        drop(state);
        self.wake_flusher();
        Ok(sequence)
    }

    /// Whether there is a VM of which a moment can be restored.
    pub(crate) fn has_whole_vm(&self) -> bool {
        let disks = self.journal.disks();
        disks.vms().into_iter().any(|vm| disks.is_whole(vm))
    }
}
