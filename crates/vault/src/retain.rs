//! What an immutable vault promises, kept by its store: objects that points need are retained by Object Lock for as long as the
//! vault's own rules keep those points. So nobody who has the store's credentials destroys them earlier.
//!
//! - `needs`: which objects are needed until when
//! - `retentions`: what was asked of the store before, so that it is not asked again
//!
//! A run may be repeated and killed at any time. It asks the store for more than is needed now, so that what stays needed for
//! another day is not asked for every day.

mod needs;
mod retentions;

use futures::{StreamExt, stream};
use model::{Immutability, Timestamp};

use crate::{
    ErrorKind, Monitor, ObjectLock, Result, Retention, RetentionMode, Sequence, StoreLocation, Vault,
    store::{ObjectKind, Store},
};
use needs::Needs;
pub use retentions::Retentions;
pub(crate) use retentions::decode_content;
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
    /// date also where this fails. Takes some 200 bytes of memory a pack.
    ///
    /// None where nothing is to be kept, because the vault is not immutable or its store has no Object Lock.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without the permission `s3:PutObjectRetention`; whatever keeps the vault from being read.
    pub async fn retain(&self, known: &mut Retentions, monitor: &Monitor) -> Result<Option<Retained>> {
        let run = self.run_retain(&self.shared.store, known);
        monitor.unless_cancelled(Box::pin(run)).await
    }

    /// As [`Vault::retain`], in the store of a copy: there, what this vault needs is kept. What the copy does not have yet is
    /// counted as missing.
    ///
    /// # Errors
    /// As [`Vault::retain`]; [`ErrorKind::NotFound`] where there is no place for a copy.
    pub async fn retain_copy(
        &self,
        location: &StoreLocation,
        known: &mut Retentions,
        monitor: &Monitor,
    ) -> Result<Option<Retained>> {
        let run = async {
            let copy = Store::open(location, &self.shared.env).await?;
            self.run_retain(&copy, known).await
        };
        monitor.unless_cancelled(Box::pin(run)).await
    }

    async fn run_retain(&self, store: &Store, known: &mut Retentions) -> Result<Option<Retained>> {
        let shared = &self.shared;
        let fresh = shared.refresh().await?;
        let settings = fresh.state.body.settings;
        if settings.immutability == Immutability::Disabled {
            return Ok(None);
        }
        let Some(lock) = ObjectLock::of(store.location()).await? else { return Ok(None) };
        // Where the bucket locks new objects itself, they have that mode already, and its owner has chosen it.
        let mode = lock.default_mode().unwrap_or(match settings.immutability {
            Immutability::Locked => RetentionMode::Compliance,
            Immutability::Enabled | Immutability::Disabled => RetentionMode::Governance,
        });
        // Retentions are judged by the store's clock. It alone counts: a host's that runs ahead would bind for good.
        let now = store.now().await?;
        let surveyed = Surveyed { at: now, settings, collected: fresh.state.body.collected };
        let is_due = known.surveyed.is_none_or(|last| is_due(&last, &surveyed));
        let needs = match is_due {
            true => Needs::survey(shared, &fresh.state, now).await?,
            false => Needs::of_new(shared, &fresh.state, now, known),
        };
        let missing = fresh.unreadable.len() as u64;
        let report = Retained { mode, first_until: None, last_until: None, extended: 0, missing };
        let mut run = Run { store, lock, mode, last: fresh.state.sequence, known, report };
        run.retain_all(&needs).await?;
        let mut report = run.report;
        if is_due {
            let body = &fresh.state.body;
            let settled = body.segments.iter().filter(|segment| !body.loose.contains_key(segment));
            known.segments = settled.copied().collect();
            known.forget_all_but(&needs);
            known.surveyed = Some(surveyed);
        }
        if report.missing > 0 {
            // The next run looks at everything again.
            known.surveyed = None;
            // What a collection has taken meanwhile nobody misses.
            if shared.log.refresh().await?.body.collected > surveyed.collected {
                report.missing = 0;
            }
        }
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
    /// The last entry of the log.
    last: Sequence,
    known: &'a mut Retentions,
    report: Retained,
}

impl Run<'_> {
    async fn retain_all(&mut self, needs: &Needs) -> Result<()> {
        for kind in [ObjectKind::Pack, ObjectKind::IndexSegment, ObjectKind::Point] {
            let needed = needs.of_kind(kind);
            let listed = self.store.list_dated(kind).await?;
            let found = listed.into_iter().filter_map(|(digest, _, written_at)| {
                Some((Name::Object(kind, digest), written_at, *needed.get(&digest)?))
            });
            let found_count = self.extend(found).await?;
            self.report.missing += (needed.len() as u64).saturating_sub(found_count);
        }
        let Some(until) = needs.vault_until else { return Ok(()) };
        let mut found = Vec::new();
        match self.store.written_at("config").await? {
            Some(written_at) => found.push((Name::Named("config".into()), written_at)),
            None => self.report.missing += 1,
        }
        for (slot, _, written_at) in self.store.list_dated(ObjectKind::KeySlot).await? {
            found.push((Name::Object(ObjectKind::KeySlot, slot), written_at));
        }
        for folder in ["log", "states", "copied"] {
            let listed = self.store.list_named_dated(folder).await?;
            found.extend(listed.into_iter().map(|(name, at)| (Name::Named(name), at)));
        }
        let listed = found.iter().map(|(name, _)| name).collect();
        self.report.missing += self.known.forget_others(&listed, self.last);
        self.extend(found.into_iter().map(|(name, written_at)| (name, written_at, until))).await.map(drop)
    }

    /// Extends the retentions that are too short: of objects, when each was written, and until when it is needed. Returns how
    /// many objects there are.
    async fn extend(&mut self, objects: impl Iterator<Item = (Name, Timestamp, Timestamp)>) -> Result<u64> {
        let (lock, mode) = (&self.lock, self.mode);
        let (mut count, mut due) = (0, Vec::new());
        for (name, written_at, until) in objects {
            count += 1;
            if !self.known.has(&name, written_at, Retention { mode, until: until.plus_days(SURVEY_DAYS) }) {
                due.push((name, written_at, until));
            }
        }
        let mut requests = stream::iter(due)
            .map(|(name, written_at, until)| async move {
                let wanted = Retention { mode, until: until.plus_days(MARGIN_DAYS) };
                let retention = lock.extend(&name.to_string(), wanted).await;
                (name, written_at, retention)
            })
            .buffer_unordered(REQUESTS_AT_ONCE);
        while let Some((name, written_at, retention)) = requests.next().await {
            match retention {
                Ok(retention) => {
                    self.report.extended += 1;
                    self.known.objects.insert(name, Known { written_at, asked: mode, retention });
                }
                // Collected or trimmed since it was listed; or deleted by somebody, and then the next listing tells.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.known.objects.remove(&name);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}
