//! What is different at intervals: each attachment is one epoch, from a moment that is held to the mark that closes it.

use std::time::Duration;

use super::{Action, Attachment, End, Epoch, Machine, Mode, Obstacle, Pending, Phase, Standing};

/// When the next epoch begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    next: Duration,
    /// Something has happened since the moment that is held: the next one follows at once.
    is_hurried: bool,
    /// An epoch was trusted, and none has failed for long since.
    is_steady: bool,
}

impl Pace {
    /// A moment will be asked for: what has happened until now is in it.
    pub(super) fn set_out(&mut self) {
        self.is_hurried = false;
    }

    /// A moment is held, and the next one comes then.
    pub(super) fn begin(&mut self, next: Duration) {
        self.next = next;
    }
}

impl Machine {
    pub(super) fn standing_at_intervals(&self) -> Standing {
        match (&self.phase, &self.trouble) {
            (Phase::Idle, _) => Standing::Paused,
            (Phase::Fenced(why), _) => Standing::Fenced(why.clone()),
            (Phase::Resting { why: Obstacle::VmStopped, .. } | Phase::Attaching, _) if self.ended_whole => {
                Standing::VmStopped
            }
            // Until an epoch is whole, and not only begun.
            (_, Some(trouble)) => Standing::Degraded(trouble.clone()),
            (_, None) if self.pace.is_steady => Standing::Protected,
            (Phase::Resting { .. } | Phase::Attaching, None) if self.attachment <= Attachment(1) => {
                Standing::Starting
            }
            (_, None) if self.trusted.is_some() => Standing::Resyncing,
            (_, None) => Standing::Copying,
        }
    }

    pub(super) fn closed(
        &mut self,
        attachment: Attachment,
        pending: Pending,
        is_at_rest: bool,
    ) -> Vec<Action> {
        if attachment != self.attachment || !matches!(self.phase, Phase::Declaring { .. }) {
            return Vec::new();
        }
        self.phase = Phase::Closing { is_at_rest };
        self.pending = Some(pending);
        self.keep_pending()
    }

    /// The journal durably has the epoch that was closed, and the catalog knows.
    pub(super) fn trust_closed(&mut self, epoch: Epoch, is_at_rest: bool, now: Duration) -> Vec<Action> {
        (self.trouble, self.failures, self.pace.is_steady) = (None, 0, true);
        if is_at_rest && !self.pace.is_hurried {
            self.ended_whole = true;
            self.rest(Obstacle::VmStopped, now);
        } else {
            let until = if self.pace.is_hurried { now } else { self.pace.next.max(now) };
            self.phase = Phase::Between { until };
        }
        vec![Action::Trust(self.attachment, epoch)]
    }

    /// An epoch comes to nothing: what it would have brought is in the next one.
    pub(super) fn failed(&mut self, end: End, now: Duration) -> Vec<Action> {
        // The catalog is told already, and the moment is needed no more.
        if self.pending.is_some_and(|pending| pending.is_being_kept)
            && matches!(self.phase, Phase::Closing { .. })
        {
            return Vec::new();
        }
        self.forget_unclosed();
        match end {
            // What it wrote last is read at rest, and its disks are looked at anew.
            End::VmStopped | End::DisksChanged => self.phase = Phase::Between { until: now },
            End::JournalFull => {
                self.breaks += 1;
                self.rest(Obstacle::JournalFull, now);
            }
            End::Broken(why) | End::TapLost(why) => {
                self.breaks += 1;
                self.rest(Obstacle::Broken(why), now);
            }
        }
        vec![Action::Detach(self.attachment)]
    }

    /// What is tracked since a moment goes with it: an epoch that ends early must never be trusted.
    pub(super) fn forget_unclosed(&mut self) {
        if self.mode != Mode::Tap {
            self.pace.is_steady &= !matches!(self.phase, Phase::Idle);
            self.pending = self.pending.filter(|pending| pending.is_being_kept);
        }
    }

    /// The VM has changed: the next epoch does not wait.
    pub(super) fn hurry(&mut self) -> Vec<Action> {
        match (self.mode, &self.phase) {
            (Mode::Interval(_), Phase::Between { .. }) => self.attach(),
            (Mode::Interval(_), _) => {
                self.pace.is_hurried = true;
                Vec::new()
            }
            (Mode::Tap, _) => Vec::new(),
        }
    }

    pub(super) fn every(&mut self, interval: Duration, now: Duration) -> Vec<Action> {
        if self.mode != Mode::Tap {
            self.mode = Mode::Interval(interval);
            self.pace.next = self.pace.next.min(now + interval);
            if let Phase::Between { until } = &mut self.phase {
                *until = (*until).min(now + interval);
            }
        }
        Vec::new()
    }
}
