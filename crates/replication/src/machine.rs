//! The machine that decides.

mod interval;

use std::time::Duration;

use crate::{Action, Attachment, End, Epoch, Event, Mode, Obstacle, Record, Standing, Wish, backoff::pause};

/// How often tracking begins anew, once the disks are whole.
const EPOCH_INTERVAL: Duration = Duration::from_secs(10);

/// How soon an epoch is asked for again that the hypervisor could not begin.
const EPOCH_RETRY: Duration = Duration::from_secs(1);

/// How often it is looked whether a stopped VM runs again, or one that is busy no more.
const VM_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How often it is tried again what the hypervisor cannot do.
const UNSUPPORTED_INTERVAL: Duration = Duration::from_secs(60);

/// The pauses after breaks.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why a VM that does not run is not whole at the other site.
const LACKING: &str =
    "the VM does not run, and what it wrote last was not all taken: that is read once it runs again";

/// A tap that held for so long may break again without a long pause.
const GOOD_AFTER: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Nothing is done until somebody wants it.
    Idle,
    /// For good.
    Fenced(String),
    Resting {
        why: Obstacle,
        until: Duration,
    },
    Attaching,
    Copying {
        is_partial: bool,
    },
    /// All was copied; an epoch that begins now proves that nothing was missed meanwhile.
    Proving {
        is_partial: bool,
        ask: Ask,
    },
    Declaring {
        is_partial: bool,
    },
    Whole {
        since: Duration,
        ask: Ask,
    },
    /// At intervals: an epoch is closed, and not known to be trusted.
    Closing {
        is_at_rest: bool,
    },
    /// At intervals: the last epoch is trusted, and the next one is not due.
    Between {
        until: Duration,
    },
}

/// Whether an epoch was asked for, or when one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Asked,
    At(Duration),
}

/// An epoch that will be trusted.
#[derive(Debug, Clone, Copy)]
struct Pending {
    epoch: Epoch,
    through: Record,
    is_being_kept: bool,
}

/// Decides what is done for the replication of one VM.
///
/// Moments are handed in as the time since some fixed moment, by a clock that never goes back.
#[derive(Debug, Clone)]
pub struct Machine {
    mode: Mode,
    phase: Phase,
    attachment: Attachment,
    trusted: Option<Epoch>,
    pending: Option<Pending>,
    durable: Record,
    /// Breaks in a row.
    failures: u32,
    /// Why there is no tap, until there is one.
    trouble: Option<String>,
    /// The journal had everything when the VM ended, and the VM has not run since, as far as is known.
    ended_whole: bool,
    breaks: u64,
    pace: interval::Pace,
}

impl Machine {
    /// A machine that begins at this moment, with what the catalog has of the trusted epoch.
    #[must_use]
    pub fn new(wish: Wish, trusted: Option<Epoch>, now: Duration) -> Self {
        let phase = match wish {
            Wish::Pause => Phase::Idle,
            Wish::Replicate => {
                Phase::Resting { why: Obstacle::Busy("the server has just started".to_owned()), until: now }
            }
        };
        Self {
            mode: Mode::Tap,
            phase,
            attachment: Attachment(0),
            trusted,
            pending: None,
            durable: Record(0),
            failures: 0,
            trouble: None,
            ended_whole: false,
            breaks: 0,
            pace: interval::Pace::default(),
        }
    }

    /// The same in another mode, from the beginning on.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// A machine of a replication that was fenced.
    #[must_use]
    pub fn fenced(why: String, trusted: Option<Epoch>) -> Self {
        Self { phase: Phase::Fenced(why), ..Self::new(Wish::Pause, trusted, Duration::ZERO) }
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        if self.mode != Mode::Tap {
            return self.standing_at_intervals();
        }
        let copying = |is_partial| if is_partial { Standing::Resyncing } else { Standing::Copying };
        match (&self.phase, &self.trouble) {
            (Phase::Idle, _) => Standing::Paused,
            (Phase::Fenced(why), _) => Standing::Fenced(why.clone()),
            (Phase::Resting { why: Obstacle::VmStopped, .. } | Phase::Attaching, _) if self.ended_whole => {
                Standing::VmStopped
            }
            (Phase::Resting { why: Obstacle::VmStopped, .. }, None) => Standing::Degraded(LACKING.to_owned()),
            (Phase::Resting { .. } | Phase::Attaching, Some(trouble)) => Standing::Degraded(trouble.clone()),
            (Phase::Resting { .. } | Phase::Attaching, None) if self.attachment <= Attachment(1) => {
                Standing::Starting
            }
            (Phase::Resting { .. } | Phase::Attaching, None) => copying(self.trusted.is_some()),
            (
                Phase::Copying { is_partial }
                | Phase::Proving { is_partial, .. }
                | Phase::Declaring { is_partial },
                _,
            ) => copying(*is_partial),
            (Phase::Whole { .. } | Phase::Closing { .. } | Phase::Between { .. }, _) => Standing::Protected,
        }
    }

    /// How often writes were missed because the tap broke.
    #[must_use]
    pub fn breaks(&self) -> u64 {
        self.breaks
    }

    /// The epoch that is trusted.
    #[must_use]
    pub fn trusted(&self) -> Option<Epoch> {
        self.trusted
    }

    /// When a [`Event::Tick`] is due.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Resting { why: Obstacle::JournalFull, .. } => None,
            Phase::Resting { until, .. } | Phase::Between { until } => Some(*until),
            Phase::Proving { ask: Ask::At(at), .. } | Phase::Whole { ask: Ask::At(at), .. } => Some(*at),
            _ => None,
        }
    }

    /// Takes in what has come to pass, and says what is to be done.
    #[must_use]
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Tick => self.tick(now),
            Event::Want(wish) => self.want(wish),
            Event::Attached { attachment, is_partial } => self.attached(attachment, is_partial, now),
            Event::NotAttached(attachment, why) => self.not_attached(attachment, why, now),
            Event::Copied(attachment) => self.copied(attachment),
            Event::EpochBegun { attachment, epoch, through } => {
                self.epoch_begun(attachment, epoch, through, now)
            }
            Event::NoEpoch(attachment) => self.no_epoch(attachment, now),
            Event::Declared(attachment) => self.declared(attachment, now),
            Event::Durable(record) => {
                self.durable = self.durable.max(record);
                self.keep_pending()
            }
            Event::Closed { attachment, epoch, through, is_at_rest } => {
                self.closed(attachment, Pending { epoch, through, is_being_kept: false }, is_at_rest)
            }
            Event::Every(interval) => self.every(interval, now),
            Event::Kept(epoch) => self.kept(epoch, now),
            Event::NotCopied(attachment, why) | Event::NotDeclared(attachment, why) => {
                self.ended(attachment, End::Broken(why), now)
            }
            Event::Ended(attachment, end) => self.ended(attachment, end, now),
            Event::Room => match &self.phase {
                Phase::Resting { why: Obstacle::JournalFull, .. } => self.attach(),
                _ => Vec::new(),
            },
            Event::VmChanged => {
                // Also while it is on its way to look: what the VM has written by the end of a look is not known.
                self.ended_whole = false;
                match &self.phase {
                    Phase::Resting { why: Obstacle::VmStopped | Obstacle::Busy(_), .. } => self.attach(),
                    _ => self.hurry(),
                }
            }
            Event::JournalEmpty => {
                self.ended_whole = false;
                self.pace = interval::Pace::default();
                (self.trusted, self.pending, self.durable) = (None, None, Record(0));
                Vec::new()
            }
            Event::TapLost => {
                self.ended_whole = false;
                Vec::new()
            }
            Event::Fenced(why) => self.fence(why),
        }
    }

    fn tick(&mut self, now: Duration) -> Vec<Action> {
        if self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        match &mut self.phase {
            Phase::Resting { .. } | Phase::Between { .. } => self.attach(),
            Phase::Proving { ask, .. } | Phase::Whole { ask, .. } => {
                *ask = Ask::Asked;
                vec![Action::BeginEpoch(self.attachment)]
            }
            _ => Vec::new(),
        }
    }

    fn want(&mut self, wish: Wish) -> Vec<Action> {
        match (wish, &self.phase) {
            (_, Phase::Fenced(_)) | (Wish::Pause, Phase::Idle) => Vec::new(),
            (Wish::Pause, _) => {
                let was_attached = self.is_attached();
                (self.phase, self.trouble) = (Phase::Idle, None);
                self.forget_unclosed();
                self.detach(was_attached)
            }
            (Wish::Replicate, Phase::Idle) => {
                self.failures = 0;
                self.attach()
            }
            // Whoever asks again does not want to wait for the end of a pause.
            (Wish::Replicate, Phase::Resting { why, .. }) if *why != Obstacle::JournalFull => self.attach(),
            (Wish::Replicate, Phase::Between { .. }) => self.attach(),
            (Wish::Replicate, _) => Vec::new(),
        }
    }

    fn fence(&mut self, why: String) -> Vec<Action> {
        if matches!(self.phase, Phase::Fenced(_)) {
            return Vec::new();
        }
        let was_attached = self.is_attached();
        self.phase = Phase::Fenced(why);
        self.forget_unclosed();
        self.detach(was_attached)
    }

    fn attach(&mut self) -> Vec<Action> {
        self.attachment = Attachment(self.attachment.0 + 1);
        self.phase = Phase::Attaching;
        self.pace.set_out();
        let is_at_rest = self.mode != Mode::Tap && !self.ended_whole;
        vec![Action::Attach { attachment: self.attachment, trusted: self.trusted, is_at_rest }]
    }

    /// What was on its way when the attachment ended is let go of when it comes.
    fn detach(&self, was_attached: bool) -> Vec<Action> {
        if was_attached { vec![Action::Detach(self.attachment)] } else { Vec::new() }
    }

    fn is_attached(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Fenced(_) | Phase::Resting { .. } | Phase::Between { .. })
    }

    fn attached(&mut self, attachment: Attachment, is_partial: bool, now: Duration) -> Vec<Action> {
        if attachment != self.attachment || self.phase != Phase::Attaching {
            return vec![Action::Detach(attachment)];
        }
        self.phase = Phase::Copying { is_partial };
        self.ended_whole = false;
        match self.mode {
            Mode::Tap => self.trouble = None,
            Mode::Interval(interval) => self.pace.begin(now + interval),
        }
        vec![Action::Copy(attachment)]
    }

    fn not_attached(&mut self, attachment: Attachment, why: Obstacle, now: Duration) -> Vec<Action> {
        if attachment == self.attachment && self.phase == Phase::Attaching {
            self.ended_whole &= why == Obstacle::VmStopped;
            self.rest(why, now);
        }
        Vec::new()
    }

    fn copied(&mut self, attachment: Attachment) -> Vec<Action> {
        match self.phase {
            Phase::Copying { is_partial } if attachment == self.attachment => match self.mode {
                Mode::Tap => {
                    self.phase = Phase::Proving { is_partial, ask: Ask::Asked };
                    vec![Action::BeginEpoch(attachment)]
                }
                // A moment that is held needs no proof: it is the same from its beginning to its end.
                Mode::Interval(_) => {
                    self.phase = Phase::Declaring { is_partial };
                    vec![Action::Declare(attachment)]
                }
            },
            _ => Vec::new(),
        }
    }

    fn epoch_begun(
        &mut self,
        attachment: Attachment,
        epoch: Epoch,
        through: Record,
        now: Duration,
    ) -> Vec<Action> {
        if attachment != self.attachment {
            return Vec::new();
        }
        let mut actions = match &mut self.phase {
            Phase::Proving { is_partial, ask: Ask::Asked } => {
                self.phase = Phase::Declaring { is_partial: *is_partial };
                vec![Action::Declare(attachment)]
            }
            Phase::Whole { ask, .. } if *ask == Ask::Asked => {
                *ask = Ask::At(now + EPOCH_INTERVAL);
                Vec::new()
            }
            _ => return Vec::new(),
        };
        // One that is being kept already is trusted first: the next one comes in its turn.
        if self.pending.is_none_or(|pending| !pending.is_being_kept) {
            self.pending = Some(Pending { epoch, through, is_being_kept: false });
            actions.extend(self.keep_pending());
        }
        actions
    }

    fn no_epoch(&mut self, attachment: Attachment, now: Duration) -> Vec<Action> {
        if attachment == self.attachment
            && let Phase::Proving { ask, .. } | Phase::Whole { ask, .. } = &mut self.phase
        {
            *ask = Ask::At(now + EPOCH_RETRY);
        }
        Vec::new()
    }

    fn declared(&mut self, attachment: Attachment, now: Duration) -> Vec<Action> {
        if attachment == self.attachment && matches!(self.phase, Phase::Declaring { .. }) {
            self.phase = Phase::Whole { since: now, ask: Ask::At(now + EPOCH_INTERVAL) };
        }
        Vec::new()
    }

    /// Keeps the epoch that is pending once the journal durably has everything from before it.
    fn keep_pending(&mut self) -> Vec<Action> {
        match &mut self.pending {
            Some(pending) if pending.through <= self.durable && !pending.is_being_kept => {
                pending.is_being_kept = true;
                vec![Action::Keep(pending.epoch)]
            }
            _ => Vec::new(),
        }
    }

    fn kept(&mut self, epoch: Epoch, now: Duration) -> Vec<Action> {
        if self.pending.is_none_or(|pending| pending.epoch != epoch) {
            return Vec::new();
        }
        self.pending = None;
        self.trusted = Some(epoch);
        // Without an attachment what was tracked earlier stays until there is one again.
        match self.phase {
            Phase::Declaring { .. } | Phase::Whole { .. } => vec![Action::Trust(self.attachment, epoch)],
            Phase::Closing { is_at_rest } => self.trust_closed(epoch, is_at_rest, now),
            _ => Vec::new(),
        }
    }

    fn ended(&mut self, attachment: Attachment, end: End, now: Duration) -> Vec<Action> {
        // One may end before it is known that it began.
        if attachment != self.attachment || !self.is_attached() {
            return Vec::new();
        }
        if self.mode != Mode::Tap {
            return self.failed(end, now);
        }
        if matches!(end, End::TapLost(_)) {
            // What was taken in and not durable is lost; its numbers will be those of other records.
            self.pending = self.pending.filter(|pending| pending.is_being_kept);
        }
        if matches!(&self.phase, Phase::Whole { since, .. } if now.saturating_sub(*since) >= GOOD_AFTER) {
            self.failures = 0;
        }
        self.ended_whole = end == End::VmStopped && matches!(self.phase, Phase::Whole { .. });
        let detach = Action::Detach(attachment);
        match end {
            End::VmStopped => self.rest(Obstacle::VmStopped, now),
            End::DisksChanged => {
                let mut actions = vec![detach];
                actions.extend(self.attach());
                return actions;
            }
            End::JournalFull => {
                self.breaks += 1;
                self.rest(Obstacle::JournalFull, now);
            }
            End::Broken(why) | End::TapLost(why) => {
                self.breaks += 1;
                self.rest(Obstacle::Broken(why), now);
            }
        }
        vec![detach]
    }

    fn rest(&mut self, why: Obstacle, now: Duration) {
        let wait = match &why {
            Obstacle::VmStopped | Obstacle::Busy(_) => VM_LOOK_INTERVAL,
            Obstacle::Unsupported(_) => UNSUPPORTED_INTERVAL,
            // Until there is room.
            Obstacle::JournalFull => Duration::ZERO,
            Obstacle::Broken(_) => {
                self.failures = self.failures.saturating_add(1);
                pause(self.failures, FIRST_PAUSE, LONGEST_PAUSE)
            }
        };
        if !matches!(why, Obstacle::VmStopped | Obstacle::Busy(_)) {
            self.trouble = Some(why.to_string());
        }
        self.phase = Phase::Resting { why, until: now + wait };
    }
}

#[cfg(test)]
mod tests;
