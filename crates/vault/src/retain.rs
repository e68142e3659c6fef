//! What an immutable vault promises, held by its store: objects that points need are retained by Object Lock for as long as the
//! vault's own rules keep those points. So nobody who has the store's credentials destroys them earlier.
//!
//! - `needs`: which objects are needed until when
//! - `retentions`: what was asked of the store before, so that it is not asked again
//!
//! A run may be repeated and killed at any time. It asks the store for more than is needed now, so that what stays needed for
//! another day is not asked for every day.

mod needs;
mod retentions;

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use model::{Immutability, Timestamp};

use crate::{
    Digest, ErrorKind, Monitor, ObjectLock, Result, Retention, RetentionMode, Vault,
    store::{ObjectKind, Store},
};
use needs::Needs;
pub use retentions::Retentions;
use retentions::{Known, Name, Surveyed};

/// Days by which more is asked for than is needed. A request for a pack of 8 MiB costs what S3 takes for keeping it for twenty
/// hours, so less would cost more in requests than more in packs that are kept although nothing needs them any more.
const MARGIN_DAYS: u32 = 10;

/// How old a look at all points may be before they are looked at again, in days. New packs do not wait for it.
const SURVEY_DAYS: u32 = 1;

/// Requests that are on their way at once.
const REQUESTS_AT_ONCE: usize = 16;

/// What the store itself keeps of an immutable vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retained {
    /// Who can end it: of all objects that are needed, the weakest.
    pub mode: RetentionMode,
    /// When the first retention of an object that is needed ends; none where nothing is needed.
    pub first_until: Option<Timestamp>,
    /// When the last one ends.
    pub last_until: Option<Timestamp>,
    /// Objects whose retention was extended by this run.
    pub extended: u64,
    /// Objects that points need and that are not in the store: deleted, or hidden by who deleted them.
    pub missing: u64,
}

impl Vault {
    /// Makes the store keep all that the points of an immutable vault need, until the earliest moment at which the vault's own
    /// rules could let it go: packs, index segments, the points' objects, the log, the config, the key slots. Reads the maps of
    /// all points once a day; in between it looks after what is new. `known` is what earlier runs asked for, and is kept up to
    /// date also where this fails.
    ///
    /// None where nothing is to be kept, because the vault is not immutable or its store has no Object Lock.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without the permission `s3:PutObjectRetention`; whatever keeps the vault from being read.
    pub async fn retain(&self, known: &mut Retentions, monitor: &Monitor) -> Result<Option<Retained>> {
        monitor.unless_cancelled(Box::pin(self.run_retain(known))).await
    }

    async fn run_retain(&self, known: &mut Retentions) -> Result<Option<Retained>> {
        let shared = &self.shared;
        let fresh = shared.refresh().await?;
        let settings = fresh.state.body.settings;
        if settings.immutability == Immutability::Disabled {
            return Ok(None);
        }
        let Some(lock) = ObjectLock::of(shared.store.location()).await? else { return Ok(None) };
        // Where the bucket locks new objects itself, they have that mode already, and its owner has chosen it.
        let mode = lock.default_mode().unwrap_or(match settings.immutability {
            Immutability::Locked => RetentionMode::Compliance,
            Immutability::Enabled | Immutability::Disabled => RetentionMode::Governance,
        });
        // Retentions are judged by the store's clock. It alone counts: a host's that runs ahead would bind for good.
        let now = shared.store.now().await?;
        let surveyed = Surveyed { at: now, settings, collected: fresh.state.body.collected };
        let is_due = known.surveyed.is_none_or(|last| is_due(&last, &surveyed));
        let needs = match is_due {
            true => Needs::survey(shared, &fresh.state, now).await?,
            false => Needs::of_new(shared, &fresh.state, now, known),
        };
        let missing = fresh.unreadable.len() as u64;
        let report = Retained { mode, first_until: None, last_until: None, extended: 0, missing };
        let mut run = Run { store: &shared.store, lock, mode, known, listed: BTreeSet::new(), report };
        let held = run.hold_all(&needs).await;
        let Run { listed, mut report, .. } = run;
        held?;
        if is_due {
            let body = &fresh.state.body;
            let settled = body.segments.iter().filter(|segment| !body.loose.contains_key(segment));
            known.segments = settled.copied().collect();
            known.forget_all_but(&listed);
        }
        // Where something is missing, the next run looks at everything again.
        known.surveyed = match (report.missing, is_due) {
            (0, true) => Some(surveyed),
            (0, false) => known.surveyed,
            _ => None,
        };
        known.sum_up(&mut report, now);
        Ok(Some(report))
    }
}

/// Whether points are to be looked at again: old ones may be needed for longer by now, or what new points share with them.
fn is_due(last: &Surveyed, now: &Surveyed) -> bool {
    let is_recent = last.at <= now.at && now.at < last.at.plus_days(SURVEY_DAYS);
    !is_recent || (last.settings, last.collected) != (now.settings, now.collected)
}

/// One run.
struct Run<'a> {
    store: &'a Store,
    lock: ObjectLock,
    mode: RetentionMode,
    known: &'a mut Retentions,
    /// What is needed, and there.
    listed: BTreeSet<Name>,
    report: Retained,
}

impl Run<'_> {
    async fn hold_all(&mut self, needs: &Needs) -> Result<()> {
        for kind in [ObjectKind::Pack, ObjectKind::IndexSegment, ObjectKind::Point] {
            let mut missing: BTreeSet<Digest> = needs.of_kind(kind).keys().copied().collect();
            let mut found = Vec::new();
            for (digest, _, written_at) in self.store.list_dated(kind).await? {
                if let Some(until) = needs.of_kind(kind).get(&digest) {
                    missing.remove(&digest);
                    found.push((Name::Object(kind, digest), written_at, *until));
                }
            }
            self.report.missing += missing.len() as u64;
            self.hold(found).await?;
        }
        let Some(until) = needs.vault_until else { return Ok(()) };
        let mut found = Vec::new();
        match self.store.written_at("config").await? {
            Some(written_at) => found.push((Name::Named("config".into()), written_at, until)),
            None => self.report.missing += 1,
        }
        for (slot, _, written_at) in self.store.list_dated(ObjectKind::KeySlot).await? {
            found.push((Name::Object(ObjectKind::KeySlot, slot), written_at, until));
        }
        for folder in ["log", "states", "copied"] {
            let listed = self.store.list_named_dated(folder).await?;
            found.extend(listed.into_iter().map(|(name, at)| (Name::Named(name), at, until)));
        }
        self.hold(found).await
    }

    /// Extends the retentions that are too short: of objects, when each was written, and until when it is needed.
    async fn hold(&mut self, objects: Vec<(Name, Timestamp, Timestamp)>) -> Result<()> {
        let (lock, mode) = (&self.lock, self.mode);
        let mut due = Vec::new();
        for (name, written_at, until) in objects {
            let soon = Retention { mode, until: until.plus_days(SURVEY_DAYS) };
            if !self.known.holds(&name, written_at, soon) {
                due.push((name.clone(), written_at, until));
            }
            self.listed.insert(name);
        }
        let mut requests = stream::iter(due)
            .map(|(name, written_at, until)| async move {
                let wanted = Retention { mode, until: until.plus_days(MARGIN_DAYS) };
                let held = lock.extend(&name.to_string(), wanted).await;
                (name, written_at, held)
            })
            .buffer_unordered(REQUESTS_AT_ONCE);
        while let Some((name, written_at, held)) = requests.next().await {
            match held {
                Ok(held) => {
                    self.report.extended += 1;
                    self.known.objects.insert(name, Known { written_at, asked: mode, held });
                }
                // Collected or trimmed since it was listed; or deleted by somebody, and then the next listing tells.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.known.objects.remove(&name);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
