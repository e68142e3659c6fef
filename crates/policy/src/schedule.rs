//! Schedules: at which moments something is due.

mod calendar;

use std::{fmt, str::FromStr};

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use model::Timestamp;

use crate::Zone;

/// The longest schedule, in bytes.
const TEXT_BYTES_MAX: usize = 200;

/// The longest interval: a leap year. Longer ones are dates.
const INTERVAL_SECONDS_MAX: i64 = 366 * 86_400;

/// When something is due, to the minute. Written as
/// - cron, five fields: `0 21 * * 1-5`, with `L`, `W` and `#` (`0 3 * * sun#1`);
/// - systemd's calendar events, without years and seconds: `daily`, `mon..fri 21:00`, `*-*-01 03:00`
///   (systemd.time(7), "Calendar Events");
/// - an interval: `every 15m`, `every 4h`, counted in UTC from 1970 on, so that it is the same length on every day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Calendar(Box<Cron>),
    Interval { seconds: i64 },
}

/// The text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseScheduleError {
    text: String,
    reason: String,
}

impl Schedule {
    /// The first moment after this one at which it is due; none in the next few thousand years is none.
    ///
    /// A time of day that the clock skips is due when the clock goes on; one that the clock shows twice is due the first
    /// time only. What is due every so many minutes or hours goes on through both.
    #[must_use]
    pub fn next_after(&self, moment: Timestamp, zone: &Zone) -> Option<Timestamp> {
        match &self.rule {
            Rule::Interval { seconds } => {
                let interval_us = seconds * 1_000_000;
                let passed = moment.as_microseconds().div_euclid(interval_us);
                let next = passed.checked_add(1)?.checked_mul(interval_us)?;
                Some(Timestamp::from_microseconds(next)).filter(|next| *next > moment)
            }
            Rule::Calendar(cron) => {
                let next = cron.find_next_occurrence(&zone.civil(moment), false).ok()?;
                Some(Timestamp::from_microseconds(next.timestamp().as_microsecond()))
                    .filter(|next| *next > moment)
            }
        }
    }

    /// The schedule as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl fmt::Display for ParseScheduleError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, reason } = self;
        write!(
            formatter,
            "{text:?} is not a schedule: {reason}; write one as in daily, 'mon..fri 21:00', 'every 4h' or '0 21 * * 1-5'"
        )
    }
}

impl std::error::Error for ParseScheduleError {}

impl FromStr for Schedule {
    type Err = ParseScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let failed = |reason: String| ParseScheduleError { text: text.to_owned(), reason };
        if text.len() > TEXT_BYTES_MAX {
            return Err(failed(format!("it is longer than {TEXT_BYTES_MAX} bytes")));
        }
        let rule = match text.strip_prefix("every ") {
            Some(interval) => interval_seconds(interval).map(|seconds| Rule::Interval { seconds }),
            None => calendar(text).map(|cron| Rule::Calendar(Box::new(cron))),
        };
        let schedule = Self { text: text.to_owned(), rule: rule.map_err(failed)? };
        match schedule.next_after(Timestamp::from_microseconds(0), &Zone::utc()) {
            Some(_) => Ok(schedule),
            None => Err(failed("there is no such date".to_owned())),
        }
    }
}

fn calendar(text: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed);
    // In cron a day of the month *or* of the week is enough; in systemd both must fit.
    let parsed = if text.split_whitespace().count() == 5 {
        parser.build().parse(text)
    } else {
        parser.dom_and_dow(true).build().parse(&calendar::cron_pattern(text)?)
    };
    parsed.map_err(|error| error.to_string().to_lowercase())
}

fn interval_seconds(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(split);
    let unit_seconds = match unit.trim() {
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("an interval is a number and m, h or d".to_owned()),
    };
    count
        .parse::<i64>()
        .ok()
        .and_then(|count| count.checked_mul(unit_seconds))
        .filter(|seconds| (60..=INTERVAL_SECONDS_MAX).contains(seconds))
        .ok_or_else(|| "an interval is 1m to 366d".to_owned())
}

#[cfg(test)]
mod tests;
