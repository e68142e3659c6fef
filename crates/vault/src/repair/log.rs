//! Healing the log.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Cure, DamagedObject, LogHealth, Repair, index::Swap};
use crate::{
    Digest, ErrorKind, Result, Sequence,
    log::{Appended, Change, ENTRY_BYTES_MAX, Entry, LogPart, State, entry::Collection, marks},
    store::Store,
};

/// Entries that copies have in the place of damaged ones: the digest of each, and that of the entry before it.
type Healed = BTreeMap<Sequence, (Digest, Digest)>;

impl Repair<'_> {
    /// Heals entries from earlier versions and from copies, and finds out what the vault is.
    pub(super) async fn heal_log(&mut self) -> Result<LogHealth> {
        self.uncover_log().await?;
        if let Some(state) = self.foreseen.clone() {
            return Ok(LogHealth { state, damage: Vec::new() });
        }
        let mut damage = self.shared.log.inspect().await?;
        let mut healed = Healed::new();
        loop {
            let healed_before = healed.len();
            let mut rest = Vec::new();
            // From the last one down: each vouches for the one before it.
            damage.sort_by_key(|one| Reverse(one.part));
            for one in damage {
                match one.part {
                    LogPart::Entry(sequence) if self.heal_entry(sequence, &mut healed).await? => {
                        self.report.add(object(one.part), one.reason, Some(Cure::Copied));
                    }
                    _ => rest.push(one),
                }
            }
            damage = rest;
            // One that is healed may show another that is missing before it.
            if self.is_dry || healed.len() == healed_before {
                break;
            }
            damage = self.shared.log.inspect().await?;
        }
        let state = self.state_now().await?;
        damage.sort_by_key(|one| one.part);
        let parts = damage.iter().map(|one| one.part).collect();
        for one in damage {
            self.report.add(object(one.part), one.reason, Some(Cure::Rebuilt));
        }
        Ok(LogHealth { state, damage: parts })
    }

    /// The state at this moment or, where the log is damaged, what can be known of it.
    pub(super) async fn state_now(&self) -> Result<State> {
        if let Some(state) = &self.foreseen {
            return Ok(state.clone());
        }
        match self.live.log.refresh().await {
            Ok(state) => Ok((*state).clone()),
            // What cannot be reached now, or was written by a newer release, is no damage.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::debug!(%error, "the log is pieced together");
                self.piece_together().await
            }
            Err(error) => Err(error),
        }
    }

    /// The state from what copies know, where our log goes on from there; else what is left of ours.
    async fn piece_together(&self) -> Result<State> {
        for copy in &self.copies {
            let Ok(theirs) = self.shared.log_of(copy).refresh().await else { continue };
            if let Some(state) = self.shared.log.go_on_from(&theirs).await? {
                return Ok(state);
            }
        }
        self.salvage().await
    }

    async fn salvage(&self) -> Result<State> {
        // A dry run writes nothing, not even to see the store's clock.
        let now = match self.is_dry {
            true => self.shared.env.clock.now(),
            false => self.shared.log.moment().await?.latest(),
        };
        self.shared.log.salvage(now).await
    }

    /// Puts an entry from a copy in the place of a damaged one, if it is ours.
    async fn heal_entry(&self, sequence: Sequence, healed: &mut Healed) -> Result<bool> {
        for copy in &self.copies {
            let Ok(Some(bytes)) = copy.get_named(&sequence.entry_name(), ENTRY_BYTES_MAX).await else {
                continue;
            };
            let Ok(entry) = Entry::decode(sequence, &bytes, &self.shared.keys) else { continue };
            let digest = Digest::of(&bytes);
            if self.is_ours(copy, &entry, digest, healed).await? {
                if !self.is_dry {
                    self.shared.store.put_named(&sequence.entry_name(), bytes.to_vec()).await?;
                }
                healed.insert(sequence, (digest, entry.previous));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an entry of a copy was ours. Somebody may have written to the copy, and then its entries follow ours as well
    /// as ours did. So the one before it proves nothing; what names its digest does: the entry after it, a state, a mark of
    /// whoever made the copy. And nothing may speak against it.
    async fn is_ours(&self, copy: &Store, entry: &Entry, digest: Digest, healed: &Healed) -> Result<bool> {
        let (log, sequence) = (&self.shared.log, entry.sequence);
        let before = match (healed.get(&sequence.before()), log.read_entry(sequence.before()).await?) {
            (Some((digest, _)), _) => Some(*digest),
            (None, Some(Ok((_, digest)))) => Some(digest),
            _ if sequence == Sequence(1) => Some(Digest([0; 32])),
            _ => None,
        };
        let named_after = match (healed.get(&sequence.next()), log.read_entry(sequence.next()).await?) {
            (Some((_, previous)), _) => Some(*previous),
            (None, Some(Ok((next, _)))) => Some(next.previous),
            _ => None,
        };
        let named_by_state = match log.read_state(sequence).await? {
            Some(Ok(state)) => Some(state.head),
            _ => None,
        };
        if before.is_some_and(|before| before != entry.previous)
            || named_after.is_some_and(|named| named != digest)
            || named_by_state.is_some_and(|named| named != digest)
        {
            return Ok(false);
        }
        Ok(named_after.is_some()
            || named_by_state.is_some()
            || marks::is_marked(copy, sequence, digest).await?
            || marks::is_marked(&self.shared.store, sequence, digest).await?)
    }

    /// Makes the vault go on from what is known of it, with an index that has all of its segments. Returns whether it does:
    /// not when a collection came between, which may have taken what `swap` lists. `health` is then what the vault is now.
    pub(super) async fn go_on(&mut self, health: &mut LogHealth, swap: &Swap) -> Result<bool> {
        if self.is_dry && health.state.is_salvaged {
            self.report.add_held(&health.state);
        }
        if self.is_dry || health.damage.is_empty() && swap.lost.is_empty() && swap.rebuilt.is_empty() {
            return Ok(true);
        }
        let collection = Collection {
            segments: swap.lost.iter().map(|(segment, _)| *segment).collect(),
            new_segments: swap.rebuilt.clone(),
            ..Collection::default()
        };
        loop {
            let (log, state) = (&self.shared.log, &health.state);
            let appended = match health.damage.is_empty() {
                false => log.reset(state, collection.clone(), &health.damage).await?,
                true => log.try_append(state, Change::Collect(collection.clone())).await?,
            };
            let later = match appended {
                Appended::Done(state) => {
                    if health.state.is_salvaged {
                        self.report.add_held(&state);
                    }
                    health.state = (*state).clone();
                    return Ok(true);
                }
                Appended::Overtaken => match log.go_on_from(state).await? {
                    Some(state) => state,
                    None => self.salvage().await?,
                },
            };
            let is_collected = later.body.collected != health.state.body.collected;
            health.state = later;
            if is_collected {
                return Ok(false);
            }
        }
    }
}

fn object(part: LogPart) -> DamagedObject {
    match part {
        LogPart::Entry(sequence) => DamagedObject::LogEntry(sequence),
        LogPart::State(sequence) => DamagedObject::State(sequence),
    }
}
