//! What is known of a replication, and what follows from it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use catalog::KnownReplication;
use model::Timestamp;
use peer::replicas::ReplicaProgress;
use replication::{Facts, LinkState, Meter, Mode, RpoHistory, Standing};
use tap::{DurableCheckpoint, TapStatus};

/// Checkpoints on their way that are remembered: a quarter of an hour of them at least. Where more are, every other one is
/// forgotten.
const CHECKPOINTS_MAX: usize = 3600;

/// Breaks that are remembered.
const BREAKS_MAX: usize = 100;

const HOUR_US: i64 = 3_600_000_000;

/// How far the copying is.
#[derive(Debug, Default)]
pub(super) struct CopyProgress {
    pub(super) done_bytes: AtomicU64,
    pub(super) total_bytes: AtomicU64,
    /// What of it the other site had already.
    pub(super) had_bytes: AtomicU64,
}

/// How far the other site is with what its bases begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seeding {
    pub(super) from: String,
    pub(super) done_bytes: u64,
    pub(super) total_bytes: u64,
}

/// What is known of a replication.
pub(super) struct Figures {
    pub(super) standing: Standing,
    pub(super) since: Timestamp,
    pub(super) breaks: u64,
    recent_breaks: VecDeque<Timestamp>,
    pub(super) copy: Arc<CopyProgress>,
    pub(super) tap: Option<TapStatus>,
    pub(super) progress: Option<ReplicaProgress>,
    down: Option<(Timestamp, String)>,
    refused: Option<String>,
    pub(super) sent_bytes: u64,
    /// Waited for before anything is copied.
    pub(super) seeding: Option<Seeding>,
    /// What the bases there have begun with, as far as it is known since the server started.
    pub(super) seed: Option<String>,
    pub(super) seed_problem: Option<String>,
    pub(super) written: Meter,
    pub(super) sent: Meter,
    /// Those that are durable here, and not yet known to be so there.
    checkpoints: VecDeque<DurableCheckpoint>,
    /// The newest that is durable there.
    pub(super) durable_at: Option<Timestamp>,
    pub(super) rpo: RpoHistory,
    pub(super) application_at: Option<Timestamp>,
    pub(super) application_problem: Option<String>,
    /// At intervals: when applications are made to hold still for a moment next.
    pub(super) freeze_at: Option<Timestamp>,
}

impl Figures {
    pub(super) fn new(known: &KnownReplication, standing: Standing, now: Timestamp) -> Self {
        // What cannot be read is begun anew: it is a figure, and nothing depends on it.
        let rpo = known.rpo_history.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Self {
            standing,
            since: now,
            breaks: 0,
            recent_breaks: VecDeque::new(),
            copy: Arc::default(),
            tap: None,
            progress: None,
            down: None,
            refused: None,
            sent_bytes: 0,
            seeding: None,
            seed: None,
            seed_problem: None,
            written: Meter::default(),
            sent: Meter::default(),
            checkpoints: VecDeque::new(),
            durable_at: known.durable_at,
            rpo: rpo.unwrap_or_default(),
            application_at: None,
            application_problem: None,
            freeze_at: None,
        }
    }

    /// How it stands now, and how often it broke.
    pub(super) fn note_standing(&mut self, standing: Standing, breaks: u64, now: Timestamp) {
        if std::mem::discriminant(&standing) != std::mem::discriminant(&self.standing) {
            self.since = now;
        }
        for _ in self.breaks..breaks {
            self.recent_breaks.push_back(now);
        }
        while self.recent_breaks.len() > BREAKS_MAX {
            self.recent_breaks.pop_front();
        }
        (self.standing, self.breaks) = (standing, breaks);
    }

    /// What the tap tells of itself.
    pub(super) fn note_tap(&mut self, status: TapStatus, time: Duration) {
        self.written.note(time, status.counts.written_bytes);
        if let Some(checkpoint) = status.checkpoint
            && self.checkpoints.back().is_none_or(|last| last.sequence < checkpoint.sequence)
        {
            self.checkpoints.push_back(checkpoint);
        }
        if self.checkpoints.len() > CHECKPOINTS_MAX {
            let mut place = 0;
            self.checkpoints.retain(|_| {
                place += 1;
                place % 2 == 0
            });
        }
        self.tap = Some(status);
        self.settle_checkpoints();
    }

    /// What the other site has.
    pub(super) fn note_progress(&mut self, progress: ReplicaProgress) {
        (self.down, self.refused) = (None, None);
        self.progress = Some(progress);
        self.settle_checkpoints();
    }

    /// So much was sent.
    pub(super) fn note_sent(&mut self, bytes: u64) {
        self.sent_bytes += bytes;
    }

    /// The other site could not be reached.
    pub(super) fn note_down(&mut self, why: String, now: Timestamp) {
        let since = self.down.take().map_or(now, |(since, _)| since);
        self.down = Some((since, why));
    }

    /// The other site takes nothing.
    pub(super) fn note_refused(&mut self, why: String) {
        self.refused = Some(why);
    }

    /// Time has passed: for what is measured.
    pub(super) fn note_time(&mut self, time: Duration, now: Timestamp) {
        self.sent.note(time, self.sent_bytes);
        if let Some(rpo) = self.rpo_seconds(now) {
            self.rpo.note(now, rpo);
        }
    }

    /// What is durable there is on its way no more.
    fn settle_checkpoints(&mut self) {
        let Some(progress) = &self.progress else { return };
        while let Some(first) = self.checkpoints.front()
            && first.sequence <= progress.durable_through
        {
            self.durable_at = Some(first.time);
            self.checkpoints.pop_front();
        }
    }

    /// Whether the other site has everything that was taken.
    pub(super) fn is_in_sync(&self) -> bool {
        match (&self.tap, &self.progress) {
            (Some(tap), Some(progress)) => progress.durable_through >= tap.usage.taken_through,
            _ => false,
        }
    }

    /// What would be lost now, in seconds.
    pub(super) fn rpo_seconds(&self, now: Timestamp) -> Option<f64> {
        let durable_at = self.durable_at?;
        if self.standing == Standing::VmStopped && self.is_in_sync() {
            return Some(0.0);
        }
        Some(seconds(now.microseconds_since(durable_at)))
    }

    /// Bytes that were taken and are not known to be there.
    pub(super) fn lag_bytes(&self) -> u64 {
        let Some(tap) = &self.tap else { return 0 };
        if self.is_in_sync() {
            return 0;
        }
        let there = self.progress.as_ref().filter(|progress| progress.wanted.segment == tap.start.segment);
        let there_bytes = there.map_or(0, |progress| progress.wanted.offset_bytes);
        (tap.usage.disk_bytes + tap.usage.memory_bytes).saturating_sub(there_bytes)
    }

    /// How far the other site is behind, in seconds.
    pub(super) fn lag_seconds(&self, now: Timestamp) -> Option<f64> {
        if self.is_in_sync() {
            return Some(0.0);
        }
        let newest = self.progress.as_ref()?.newest_time?;
        Some(seconds(now.microseconds_since(newest)))
    }

    /// Bytes that are left to be copied.
    pub(super) fn to_copy_bytes(&self) -> u64 {
        let total_bytes = self.copy.total_bytes.load(Ordering::Relaxed);
        total_bytes.saturating_sub(self.copy.done_bytes.load(Ordering::Relaxed))
    }

    /// How full the journal is, in per cent of its share.
    pub(super) fn journal_percent(&self) -> u64 {
        self.tap.as_ref().map_or(0, |tap| {
            let taken_bytes = u128::from(tap.usage.disk_bytes + tap.usage.memory_bytes);
            (taken_bytes * 100 / u128::from(tap.disk_limit_bytes.max(1))) as u64
        })
    }

    /// The way to the other site.
    pub(super) fn link(&self, now: Timestamp) -> LinkState {
        match (&self.refused, &self.down) {
            (Some(why), _) => LinkState::Refuses(why.clone()),
            (None, Some((since, why))) => {
                let lasting_us = u64::try_from(now.microseconds_since(*since)).unwrap_or(0);
                LinkState::Down { why: why.clone(), lasting: Duration::from_micros(lasting_us) }
            }
            (None, None) => LinkState::Up,
        }
    }

    /// What its health follows from.
    pub(super) fn facts(&self, mode: Mode, now: Timestamp) -> Facts {
        let lasting_us = u64::try_from(now.microseconds_since(self.since)).unwrap_or(0);
        let is_recent = |at: &&Timestamp| now.microseconds_since(**at) < HOUR_US;
        Facts {
            standing: self.standing.clone(),
            lasting: Duration::from_micros(lasting_us),
            link: self.link(now),
            rpo_seconds: self.rpo_seconds(now),
            journal_percent: self.journal_percent(),
            breaks_in_hour: self.recent_breaks.iter().filter(is_recent).count() as u64,
            mode,
        }
    }
}

fn seconds(microseconds: i64) -> f64 {
    microseconds.max(0) as f64 / 1e6
}
