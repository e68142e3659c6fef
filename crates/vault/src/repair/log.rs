//! Healing the log.

use super::{Cure, DamagedObject, LogHealth, Repair};
use crate::{
    Digest, ErrorKind, Result, Sequence,
    log::{Appended, ENTRY_BYTES_MAX, Entry, Log, LogDamage, LogPart, State, entry::Collection},
};

impl Repair<'_> {
    /// Heals entries from copies, and finds out what the vault is. `live` may have read what is damaged now.
    pub(super) async fn heal_log(&mut self, live: &Log) -> Result<LogHealth> {
        let mut damage = self.shared.log.inspect().await?;
        loop {
            let (mut rest, mut healed) = (Vec::new(), 0);
            for one in damage {
                match self.heal_entry(&one).await? {
                    true => {
                        healed += 1;
                        self.report.add(object(one.part), one.reason, Some(Cure::Copied));
                    }
                    false => rest.push(one),
                }
            }
            damage = rest;
            // One that is healed may show another that is missing after it, and vouches for it.
            if self.is_dry || healed == 0 {
                break;
            }
            damage = self.shared.log.inspect().await?;
        }
        let is_damaged = !damage.is_empty();
        for one in damage {
            self.report.add(object(one.part), one.reason, Some(Cure::Rebuilt));
        }
        let state = match live.refresh().await {
            Ok(state) => (*state).clone(),
            // What a newer release wrote is no damage.
            Err(error) if error.kind() == ErrorKind::UnsupportedVersion => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "the log is pieced together");
                self.piece_together().await?
            }
        };
        Ok(LogHealth { state, is_damaged })
    }

    /// The state from what copies know, where our log goes on from there; else what is left of ours.
    async fn piece_together(&self) -> Result<State> {
        for copy in &self.copies {
            let Ok(theirs) = self.shared.log_of(copy).refresh().await else { continue };
            if let Some(state) = self.shared.log.go_on_from(&theirs).await? {
                return Ok(state);
            }
        }
        self.shared.log.salvage().await
    }

    /// Puts an entry from a copy in the place of a damaged one, if it fits what is around it.
    async fn heal_entry(&self, damage: &LogDamage) -> Result<bool> {
        let LogPart::Entry(sequence) = damage.part else { return Ok(false) };
        for copy in &self.copies {
            let Ok(Some(bytes)) = copy.get_named(&sequence.entry_name(), ENTRY_BYTES_MAX).await else {
                continue;
            };
            let Ok(entry) = Entry::decode(sequence, &bytes, &self.shared.keys) else { continue };
            if self.fits(sequence, entry.previous, Digest::of(&bytes)).await? {
                if !self.is_dry {
                    self.shared.store.put_named(&sequence.entry_name(), bytes.to_vec()).await?;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an entry fits between those that we have: no neighbour contradicts it, and at least one confirms it.
    async fn fits(&self, sequence: Sequence, previous: Digest, digest: Digest) -> Result<bool> {
        let log = &self.shared.log;
        let before = match log.read_entry(Sequence(sequence.0.saturating_sub(1))).await? {
            Some(Ok((_, digest))) => Some(digest == previous),
            _ if sequence == Sequence(1) => Some(previous == Digest([0; 32])),
            _ => None,
        };
        let after = match log.read_entry(sequence.next()).await? {
            Some(Ok((next, _))) => Some(next.previous == digest),
            _ => None,
        };
        let state = match log.read_state(sequence).await? {
            Some(Ok(state)) => Some(state.head == digest),
            _ => None,
        };
        let said = [before, after, state];
        Ok(said.iter().all(|it| *it != Some(false)) && said.contains(&Some(true)))
    }

    /// Makes the vault go on from what is known of it, with an index that has all of its segments.
    pub(super) async fn go_on(&self, health: LogHealth, swap: super::index::Swap) -> Result<()> {
        if self.is_dry || !health.is_damaged && swap.lost.is_empty() {
            return Ok(());
        }
        let LogHealth { mut state, is_damaged } = health;
        loop {
            let collection = Collection {
                segments: swap.lost.clone(),
                new_segments: swap.rebuilt.clone(),
                ..Collection::default()
            };
            let log = &self.shared.log;
            let appended = match is_damaged {
                true => log.reset(&state, collection).await?,
                false => log.try_append(&state, crate::log::Change::Collect(collection)).await?,
            };
            match appended {
                Appended::Done(_) => return Ok(()),
                Appended::Overtaken => {
                    state = match log.go_on_from(&state).await? {
                        Some(state) => state,
                        None => log.salvage().await?,
                    }
                }
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
