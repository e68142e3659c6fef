//! How a VM is replicated, as options.

use api::StartReplication;
use clap::{Args, ValueEnum};
use model::{ByteCount, RateWindow, ReplicationSettings};

use crate::{arguments, failure::Failure};

/// How often where nobody says how often, in seconds.
const EVERY_DEFAULT_SECONDS: u32 = 30;

/// How the journal gets what the guest writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Every write, before the guest is told that it is done: any moment can be gone back to.
    Tap,
    /// What was written since, so often: the guest never waits for the journal, and the moments are those alone.
    Interval,
}

/// How a VM is replicated.
#[derive(Debug, Args)]
pub struct Settings {
    /// How far back the other site can go, as in 24h or 7d: an hour to 30 days; 24h where nothing else is known.
    #[arg(long, value_name = "DURATION", value_parser = arguments::hours)]
    retention: Option<u32>,
    /// How the journal gets what the guest writes: every write of it, by default, or at intervals what was written since.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// With --mode interval: how often, as in 30s, which is the default: 5s to 24h.
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    every: Option<u32>,
    /// How often the guest's applications are made to hold still for a checkpoint, as in 1h; never by default.
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    application_every: Option<u32>,
    /// The most that is sent in a second, as in 50MiB; as much as goes by default.
    #[arg(long, value_name = "SIZE", value_parser = arguments::rate)]
    rate_limit: Option<ByteCount>,
    /// Another limit for a part of the day, by the server's clock: 08:00-18:00=10MiB, or 22:00-06:00=full. May be given again;
    /// the first that holds the time counts.
    #[arg(long, value_name = "FROM-UNTIL=SIZE")]
    rate_window: Vec<RateWindow>,
    /// How much of the local disk the journal may take while the other site is not reached; 32GiB by default.
    #[arg(long, value_name = "SIZE")]
    journal_size: Option<ByteCount>,
}

impl Settings {
    /// What is asked for, of a replication to this site.
    pub(crate) fn request(self, to: String) -> Result<StartReplication, Failure> {
        Ok(StartReplication {
            to,
            retention_hours: self.retention,
            interval_seconds: self.interval_seconds()?,
            application_every_seconds: self.application_every,
            rate_limit_bytes_per_second: self.rate_limit,
            rate_windows: self.rate_window,
            journal_size_bytes: self.journal_size,
            seed: None,
            as_before: false,
        })
    }

    /// The same, where what is not asked for is as it was before.
    pub(crate) fn request_as_before(self, to: String) -> Result<StartReplication, Failure> {
        let is_tap = self.mode == Some(Mode::Tap);
        let request = self.request(to)?;
        let interval_seconds = if is_tap { Some(0) } else { request.interval_seconds };
        Ok(StartReplication { interval_seconds, as_before: true, ..request })
    }

    fn interval_seconds(&self) -> Result<Option<u32>, Failure> {
        match (self.mode, self.every) {
            (Some(Mode::Interval), every) => Ok(Some(every.unwrap_or(EVERY_DEFAULT_SECONDS))),
            (_, None) => Ok(None),
            (_, Some(_)) => Err(Failure::usage("--every is for --mode interval")
                .with_hint("without it every write is taken, and every second is a checkpoint")),
        }
    }
}

/// Reads a duration of whole seconds.
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    let duration = arguments::duration(text)?;
    match u32::try_from(duration.as_secs()) {
        Ok(seconds @ 60..) => Ok(seconds),
        _ => Err("write a minute or more, as in 1h".to_owned()),
    }
}

pub(super) fn interval(text: &str) -> Result<u32, String> {
    const RANGE: std::ops::RangeInclusive<u32> =
        ReplicationSettings::INTERVAL_MIN_SECONDS..=ReplicationSettings::INTERVAL_MAX_SECONDS;
    let seconds = u32::try_from(arguments::duration(text)?.as_secs()).ok();
    seconds
        .filter(|seconds| RANGE.contains(seconds))
        .ok_or_else(|| "write 5 seconds at least and a day at most, as in 30s".to_owned())
}
