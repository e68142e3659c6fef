//! What is wanted for a replicated VM.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ByteCount, ParseByteCountError};

const MINUTES_A_DAY: u16 = 24 * 60;

/// How a VM is replicated. As a document, what is left out is as by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicationSettings {
    /// How far back the other site can go, in hours.
    pub retention_hours: u32,
    /// How often what was written since is copied, in seconds; none where every write is taken.
    pub interval_seconds: Option<u32>,
    /// How often there is a checkpoint that is consistent for applications, in seconds; none without.
    pub application_every_seconds: Option<u32>,
    /// The fastest rate at which is sent, in bytes a second; none sends as fast as it can.
    pub rate_limit_bytes_per_second: Option<ByteCount>,
    /// Rates for parts of the day. The first that holds the time of day counts.
    pub rate_windows: Vec<RateWindow>,
    /// The journal's share of the local disk, in bytes: what it may hold that the other site has not acknowledged.
    pub journal_size_bytes: ByteCount,
}

impl ReplicationSettings {
    /// A week at most is read back from a replica without much ado; a month costs as much as the guest writes in it.
    pub const RETENTION_MAX_HOURS: u32 = 30 * 24;
    /// Freezing a guest more often costs it more than the checkpoint is worth.
    pub const APPLICATION_EVERY_MIN_SECONDS: u32 = 60;
    /// More often the guest would stand still for moments all the time.
    pub const INTERVAL_MIN_SECONDS: u32 = 5;
    /// Whoever wants less makes backups.
    pub const INTERVAL_MAX_SECONDS: u32 = 24 * 3600;
    /// A smaller journal breaks at the first breath of the link.
    pub const JOURNAL_SIZE_MIN: ByteCount = ByteCount(64 << 20);
}

impl Default for ReplicationSettings {
    fn default() -> Self {
        Self {
            retention_hours: 24,
            interval_seconds: None,
            application_every_seconds: None,
            rate_limit_bytes_per_second: None,
            rate_windows: Vec::new(),
            journal_size_bytes: ByteCount(32 << 30),
        }
    }
}

/// A part of each day, and how fast is sent in it. Written as `08:00-18:00=10MiB`, or `22:00-06:00=full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RateWindow {
    /// Its beginning, in minutes after midnight.
    pub from_minutes: u16,
    /// Its end, not in it; not after its beginning where it lasts over midnight.
    pub until_minutes: u16,
    /// Bytes a second in it; none is as fast as it goes.
    pub bytes_per_second: Option<ByteCount>,
}

/// The text is not a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseRateWindowError(String);

impl fmt::Display for ParseRateWindowError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        write!(
            formatter,
            "{text:?} is not a part of a day and its rate: write it as in 08:00-18:00=10MiB or 22:00-06:00=full"
        )
    }
}

impl std::error::Error for ParseRateWindowError {}

impl fmt::Display for RateWindow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from_minutes: from, until_minutes: until, bytes_per_second } = self;
        write!(formatter, "{:02}:{:02}-{:02}:{:02}=", from / 60, from % 60, until / 60, until % 60)?;
        match bytes_per_second {
            Some(rate) => write!(formatter, "{}B", rate.0),
            None => formatter.write_str("full"),
        }
    }
}

impl FromStr for RateWindow {
    type Err = ParseRateWindowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseRateWindowError(text.chars().take(100).collect());
        let (times, rate) = text.split_once('=').ok_or_else(error)?;
        let (from, until) = times.split_once('-').ok_or_else(error)?;
        let minutes = |time: &str| {
            let (hours, minutes) = time.trim().split_once(':')?;
            let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
            (minutes < 60).then_some(hours.checked_mul(60)? + minutes).filter(|all| *all <= MINUTES_A_DAY)
        };
        let (from, until) = (minutes(from).ok_or_else(error)?, minutes(until).ok_or_else(error)?);
        let bytes_per_second = match rate.trim() {
            "full" => None,
            rate => Some(
                rate.strip_suffix("/s").unwrap_or(rate).parse().map_err(|_: ParseByteCountError| error())?,
            ),
        };
        if from == MINUTES_A_DAY || bytes_per_second == Some(ByteCount(0)) {
            return Err(error());
        }
        Ok(Self { from_minutes: from, until_minutes: until % MINUTES_A_DAY, bytes_per_second })
    }
}

impl TryFrom<String> for RateWindow {
    type Error = ParseRateWindowError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RateWindow> for String {
    fn from(window: RateWindow) -> Self {
        window.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::RateWindow;

    #[test]
    fn windows_are_read_as_they_are_written() {
        for text in ["08:00-18:30=10485760B", "22:00-06:00=full", "00:00-00:00=1B"] {
            assert_eq!(text.parse::<RateWindow>().unwrap().to_string(), text);
        }
        assert_eq!("8:00-24:00=10MiB/s".parse::<RateWindow>().unwrap().to_string(), "08:00-00:00=10485760B");
        for text in
            ["", "08:00=1M", "25:00-26:00=1M", "08:60-09:00=1M", "08:00-09:00=0", "24:00-01:00=full", "1-2=x"]
        {
            assert!(text.parse::<RateWindow>().is_err(), "{text}");
        }
    }
}
