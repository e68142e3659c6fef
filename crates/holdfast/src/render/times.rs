//! Times as people read them.

use env::Clock as _;
use jiff::tz::TimeZone;
use model::Timestamp;

use super::duration;

/// The time zone and the moment from which the person looks.
pub struct Times {
    zone: TimeZone,
    now: Timestamp,
}

impl Times {
    /// Here and now.
    pub fn local() -> Self {
        Self { zone: TimeZone::system(), now: env::SystemClock.now() }
    }

    /// In another zone, at another moment.
    #[cfg(test)]
    pub fn at(zone: TimeZone, now: Timestamp) -> Self {
        Self { zone, now }
    }

    /// The same moment, seen from another zone; from this one where that is not known here.
    pub fn in_zone(&self, name: &str) -> Self {
        Self { zone: TimeZone::get(name).unwrap_or_else(|_| self.zone.clone()), now: self.now }
    }

    /// The moment by the clock on the wall, with the zone's offset, and how long ago it was.
    pub fn moment(&self, moment: Timestamp) -> String {
        format!("{} ({})", self.clock(moment), self.age(moment))
    }

    /// The moment by the clock on the wall, with the zone's offset.
    pub fn clock(&self, moment: Timestamp) -> String {
        match jiff::Timestamp::from_microsecond(moment.as_microseconds()) {
            Ok(moment) => moment.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
            Err(_) => moment.to_string(),
        }
    }

    /// How long ago the moment was.
    pub fn age(&self, moment: Timestamp) -> String {
        match self.now.microseconds_since(moment) / 1_000_000 {
            ..1 => "just now".to_owned(),
            seconds @ 1..60 => format!("{seconds} s ago"),
            seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
            seconds @ 3_600..172_800 => format!("{} h ago", seconds / 3_600),
            seconds => format!("{} days ago", seconds / 86_400),
        }
    }

    /// How long something took, or has been taking.
    pub fn took(&self, started: Option<Timestamp>, ended: Option<Timestamp>) -> Option<String> {
        let microseconds = ended.unwrap_or(self.now).microseconds_since(started?);
        Some(duration(u64::try_from(microseconds).unwrap_or(0)))
    }
}
