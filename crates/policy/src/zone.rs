//! Time zones.

use std::{fmt, str::FromStr};

use jiff::{Zoned, tz::TimeZone};
use model::Timestamp;

/// A time zone of the IANA database, as in `Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// The text names no time zone that this host knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseZoneError(String);

impl Zone {
    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// The host's time zone; [`Zone::utc`] where it has none with a name.
    #[must_use]
    pub fn system() -> Self {
        let zone = TimeZone::system();
        match zone.iana_name() {
            Some(name) => Self { name: name.to_owned(), zone },
            None => Self::utc(),
        }
    }

    /// The zone's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// A moment as the clock on the wall shows it.
    pub(crate) fn civil(&self, moment: Timestamp) -> Zoned {
        jiff::Timestamp::from_microsecond(moment.as_microseconds())
            .unwrap_or_default()
            .to_zoned(self.zone.clone())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.name)
    }
}

impl fmt::Display for ParseZoneError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} is not a time zone of this host: write one as in Europe/Berlin or UTC",
            self.0
        )
    }
}

impl std::error::Error for ParseZoneError {}

impl FromStr for Zone {
    type Err = ParseZoneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let zone = TimeZone::get(text).map_err(|_| ParseZoneError(text.to_owned()))?;
        Ok(Self { name: zone.iana_name().unwrap_or(text).to_owned(), zone })
    }
}

#[cfg(test)]
mod tests;
