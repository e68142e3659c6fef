//! Points in time.

use std::{fmt, str::FromStr};

/// A moment, in microseconds since 1970-01-01T00:00:00Z. Written and serialised as RFC 3339 in UTC.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct Timestamp {
    microseconds: i64,
}

impl Timestamp {
    /// The moment this many microseconds after the Unix epoch, clamped to the years -9999 to 9999.
    #[must_use]
    pub fn from_microseconds(microseconds: i64) -> Self {
        let (earliest, latest) =
            (jiff::Timestamp::MIN.as_microsecond(), jiff::Timestamp::MAX.as_microsecond());
        Self { microseconds: microseconds.clamp(earliest, latest) }
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub fn as_microseconds(self) -> i64 {
        self.microseconds
    }

    /// The moment this many days later.
    #[must_use]
    pub fn plus_days(self, days: u32) -> Self {
        const DAY_MICROSECONDS: i64 = 86_400_000_000;
        Self::from_microseconds(self.microseconds.saturating_add(i64::from(days) * DAY_MICROSECONDS))
    }

    /// The moment so many days before; the earliest moment there is where that is out of reach.
    #[must_use]
    pub fn minus_days(self, days: u32) -> Self {
        const DAY_MICROSECONDS: i64 = 86_400_000_000;
        Self::from_microseconds(self.microseconds.saturating_sub(i64::from(days) * DAY_MICROSECONDS))
    }

    /// Microseconds from `earlier` to this moment; negative when `earlier` is later.
    #[must_use]
    pub fn microseconds_since(self, earlier: Self) -> i64 {
        self.microseconds.saturating_sub(earlier.microseconds)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment =
            jiff::Timestamp::from_microsecond(self.microseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        formatter.pad(&moment.to_string())
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment: jiff::Timestamp = text
            .parse()
            .map_err(|_| format!("{text:?} is not a time: write it as in 2026-03-01T14:05:00Z"))?;
        Ok(Self { microseconds: moment.as_microsecond() })
    }
}

impl TryFrom<String> for Timestamp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(moment: Timestamp) -> Self {
        moment.to_string()
    }
}
