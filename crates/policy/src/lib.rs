//! When backups, snapshots and drills run by themselves, and which of them stay: pure functions over moments.
//!
//! Nothing here takes the time or knows a vault. All that is read is the host's time zone database.

mod due;
mod jitter;
mod retention;
mod schedule;
mod zone;

pub use due::Scheduled;
pub use jitter::jitter_seconds;
pub use retention::{Retention, Rule, Verdict, keep};
pub use schedule::{ParseScheduleError, Schedule};
pub use zone::{ParseZoneError, Zone};
