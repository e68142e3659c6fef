//! What was asked of a store before, so that it is not asked again. Losing it costs a request for each object, nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use model::{Immutability, Timestamp, VaultSettings};

use super::{MARGIN_DAYS, Retained, needs::Needs};
use crate::{
    Digest, Error, Result, Retention, RetentionMode, Sequence,
    codec::{Magic, Reader, preamble},
    log::ENTRIES,
    store::ObjectKind,
};

const MAGIC: Magic = *b"HFRETN";
const VERSION: u16 = 1;
const WHAT: &str = "what is known of retentions";

/// The shortest entry: one with a short name.
const ENTRY_BYTES_MIN: usize = 1 + 1 + 8 + 2 + 8;

/// An object of a vault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Object(ObjectKind, Digest),
    /// By its name below the vault's place.
    Named(String),
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(kind, digest) => formatter.write_str(&kind.name_of(digest)),
            Self::Named(name) => formatter.write_str(name),
        }
    }
}

/// What is known of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// When the object was written, by the store's clock. One that was written since is another version, and not retained.
    pub(super) written_at: Timestamp,
    /// The mode that was asked for; the store may have left it in another.
    pub(super) asked: RetentionMode,
    pub(super) retention: Retention,
}

/// When all points were looked at last, and what the vault was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Surveyed {
    pub(super) at: Timestamp,
    pub(super) settings: VaultSettings,
    pub(super) collected: Sequence,
}

/// What earlier runs of [`Vault::retain`](crate::Vault::retain) asked of one store for one vault. Kept by the caller, where it
/// likes; without it the next run asks for everything again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retentions {
    pub(super) surveyed: Option<Surveyed>,
    /// Index segments that the survey found in use: packs of others are new.
    pub(super) segments: BTreeSet<Digest>,
    pub(super) objects: BTreeMap<Name, Known>,
}

impl Retentions {
    /// Whether an object that was written then has this retention, or a longer one.
    pub(super) fn has(&self, name: &Name, written_at: Timestamp, wanted: Retention) -> bool {
        self.objects.get(name).is_some_and(|known| {
            known.written_at == written_at
                && known.asked == wanted.mode
                && known.retention.until >= wanted.until
        })
    }

    /// What was retained, and until when it was needed then.
    pub(super) fn needed(&self) -> impl Iterator<Item = (&Name, Timestamp)> {
        let until = |known: &Known| known.retention.until.minus_days(MARGIN_DAYS);
        self.objects.iter().map(move |(name, known)| (name, until(known)))
    }

    /// Forgets packs, index segments and points that are not needed any more.
    pub(super) fn forget_all_but(&mut self, needs: &Needs) {
        self.objects.retain(|name, _| match name {
            Name::Object(ObjectKind::KeySlot, _) | Name::Named(_) => true,
            Name::Object(kind, digest) => needs.of_kind(*kind).contains_key(digest),
        });
    }

    /// Forgets what of the rest is not there any more, but for entries after the last one of the log. Those were there, so
    /// somebody has deleted them: returns how many.
    pub(super) fn forget_others(&mut self, listed: &BTreeSet<&Name>, last: Sequence) -> u64 {
        let is_cut_off = |name: &Name| match name {
            Name::Named(name) => name
                .strip_prefix(ENTRIES)
                .and_then(|rest| Sequence::of_name(rest.strip_prefix('/')?))
                .is_some_and(|sequence| sequence > last),
            Name::Object(..) => false,
        };
        self.objects.retain(|name, _| match name {
            Name::Object(ObjectKind::KeySlot, _) | Name::Named(_) => {
                listed.contains(name) || is_cut_off(name)
            }
            Name::Object(..) => true,
        });
        self.objects.keys().filter(|name| is_cut_off(name)).count() as u64
    }

    /// Adds to a report how weakly and until when what is known is retained.
    pub(super) fn sum_up(&self, report: &mut Retained, now: Timestamp) {
        let retentions = self.objects.values().map(|known| known.retention);
        for Retention { mode, until } in retentions.filter(|retention| retention.until > now) {
            report.mode = report.mode.min(mode);
            report.first_until = Some(report.first_until.map_or(until, |first| first.min(until)));
            report.last_until = report.last_until.max(Some(until));
        }
    }

    /// As bytes, to be kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = preamble(MAGIC, VERSION);
        bytes.push(self.surveyed.is_some().into());
        if let Some(Surveyed { at, settings, collected }) = self.surveyed {
            bytes.extend(at.as_microseconds().to_le_bytes());
            bytes.extend(settings.soft_delete_days.to_le_bytes());
            bytes.push(match settings.immutability {
                Immutability::Disabled => 0,
                Immutability::Enabled => 1,
                Immutability::Locked => 2,
            });
            bytes.extend(settings.min_retention_days.to_le_bytes());
            bytes.extend(collected.0.to_le_bytes());
        }
        bytes.extend((self.segments.len() as u32).to_le_bytes());
        bytes.extend(self.segments.iter().flat_map(|segment| segment.0));
        bytes.extend((self.objects.len() as u32).to_le_bytes());
        for (name, known) in &self.objects {
            encode_name(name, &mut bytes);
            bytes.extend(known.written_at.as_microseconds().to_le_bytes());
            bytes.extend([mode_byte(known.asked), mode_byte(known.retention.mode)]);
            bytes.extend(known.retention.until.as_microseconds().to_le_bytes());
        }
        let checksum = Digest::of(&bytes);
        bytes.extend(checksum.0);
        bytes
    }

    /// From bytes that were kept.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) when they are damaged, and
    /// [`ErrorKind::UnsupportedVersion`](crate::ErrorKind::UnsupportedVersion): then all is to be asked for again.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (content, checksum) =
            bytes.split_last_chunk::<32>().ok_or_else(|| Error::corrupt(format!("{WHAT} ends too early")))?;
        if Digest::of(content).0 != *checksum {
            return Err(Error::corrupt(format!("{WHAT} is damaged")));
        }
        decode_content(content)
    }
}

/// Reads all but the checksum.
pub(crate) fn decode_content(content: &[u8]) -> Result<Retentions> {
    let mut reader = Reader::new(content, WHAT);
    reader.preamble(MAGIC, VERSION)?;
    let surveyed = match reader.u8()? {
        0 => None,
        1 => Some(decode_surveyed(&mut reader)?),
        _ => return Err(reader.error("says neither that there was a survey nor that there was none")),
    };
    let mut segments = BTreeSet::new();
    for _ in 0..reader.count(32)? {
        segments.insert(Digest(reader.array()?));
    }
    let mut objects = BTreeMap::new();
    for _ in 0..reader.count(ENTRY_BYTES_MIN)? {
        let name = decode_name(&mut reader)?;
        let written_at = time(&mut reader)?;
        let asked = decode_mode(&mut reader)?;
        let retention = Retention { mode: decode_mode(&mut reader)?, until: time(&mut reader)? };
        objects.insert(name, Known { written_at, asked, retention });
    }
    reader.finish()?;
    Ok(Retentions { surveyed, segments, objects })
}

fn decode_surveyed(reader: &mut Reader<'_>) -> Result<Surveyed> {
    let at = time(reader)?;
    let soft_delete_days = reader.u32()?;
    let immutability = match reader.u8()? {
        0 => Immutability::Disabled,
        1 => Immutability::Enabled,
        2 => Immutability::Locked,
        _ => return Err(reader.error("has an unknown immutability")),
    };
    let settings = VaultSettings { soft_delete_days, immutability, min_retention_days: reader.u32()? };
    Ok(Surveyed { at, settings, collected: Sequence(reader.u64()?) })
}

/// The kinds that are named by their digest, by their number; the number after them says that a name follows.
const KINDS: [ObjectKind; 4] =
    [ObjectKind::KeySlot, ObjectKind::Pack, ObjectKind::IndexSegment, ObjectKind::Point];

fn encode_name(name: &Name, bytes: &mut Vec<u8>) {
    match name {
        Name::Object(kind, digest) => {
            bytes.push(KINDS.iter().take_while(|other| *other != kind).count() as u8);
            bytes.extend(digest.0);
        }
        Name::Named(name) => {
            bytes.push(KINDS.len() as u8);
            // The longest is a mark of a copy, of 88 letters; what is longer is not ours, and only its start is kept.
            let name = name.get(..name.len().min(u8::MAX.into())).unwrap_or_default();
            bytes.push(name.len() as u8);
            bytes.extend(name.as_bytes());
        }
    }
}

fn decode_name(reader: &mut Reader<'_>) -> Result<Name> {
    let number = usize::from(reader.u8()?);
    if let Some(kind) = KINDS.get(number) {
        return Ok(Name::Object(*kind, Digest(reader.array()?)));
    }
    let length = usize::from(reader.u8()?);
    let name = std::str::from_utf8(reader.take(length)?);
    match name {
        Ok(name) if number == KINDS.len() => Ok(Name::Named(name.to_owned())),
        _ => Err(reader.error("has a name that nothing has")),
    }
}

fn mode_byte(mode: RetentionMode) -> u8 {
    match mode {
        RetentionMode::Governance => 0,
        RetentionMode::Compliance => 1,
    }
}

fn decode_mode(reader: &mut Reader<'_>) -> Result<RetentionMode> {
    match reader.u8()? {
        0 => Ok(RetentionMode::Governance),
        1 => Ok(RetentionMode::Compliance),
        _ => Err(reader.error("has an unknown mode")),
    }
}

fn time(reader: &mut Reader<'_>) -> Result<Timestamp> {
    Ok(Timestamp::from_microseconds(i64::from_le_bytes(reader.array()?)))
}

#[cfg(test)]
impl Retentions {
    /// One of everything.
    pub(crate) fn example() -> Self {
        let at = |second: i64| Timestamp::from_microseconds(second * 1_000_000);
        let known = |mode, second| Known {
            written_at: at(second),
            asked: RetentionMode::Compliance,
            retention: Retention { mode, until: at(second + 86_400) },
        };
        let pack = Name::Object(ObjectKind::Pack, Digest([2; 32]));
        let entry = Name::Named(Sequence(7).entry_name());
        let settings = VaultSettings {
            soft_delete_days: 14,
            immutability: Immutability::Locked,
            min_retention_days: 30,
        };
        Self {
            surveyed: Some(Surveyed { at: at(5), settings, collected: Sequence(3) }),
            segments: [Digest([1; 32])].into(),
            objects: [
                (pack, known(RetentionMode::Governance, 1)),
                (entry, known(RetentionMode::Compliance, 2)),
            ]
            .into(),
        }
    }
}
